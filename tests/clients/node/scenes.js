// What node-postgres does with a database, printed as JSON lines. The place comes in libpq's environment variables.
'use strict'
const pg = require('pg')
const Cursor = require('pg-cursor')
const QueryStream = require('pg-query-stream')
const copies = require('pg-copy-streams')
const { pipeline } = require('stream/promises')
const { Readable } = require('stream')

const print = (...values) => console.log(JSON.stringify(values))
const failure = (e) => print('error', e.code, e.message, e.severity, e.position, e.constraint, e.table, e.schema, e.column)
const shape = (result) => [result.command, result.rowCount, result.fields.map((f) => [f.name, f.dataTypeID, f.format]), result.rows]
const attempt = async (run) => {
  try {
    const result = await run()
    print('done', result && result.fields ? shape(result) : result)
  } catch (e) {
    failure(e)
  }
}
const PHONE = 'SELECT phone FROM shop.people WHERE id = $1'

const scenes = {
  async simple(client) {
    print(...shape(await client.query('SELECT * FROM shop.people ORDER BY id')))
    for (const result of await client.query('SELECT 1 AS a; SELECT phone FROM shop.people WHERE id = 2; SELECT 3')) print(...shape(result))
    print(...shape(await client.query({ text: 'SELECT id, phone FROM shop.people WHERE id < 4 ORDER BY id', rowMode: 'array' })))
    print(...shape(await client.query('')))
    for (const wrong of ['SELECT 1/0', 'SELECT * FROM shop.nothing_here', 'SELEC', "INSERT INTO shop.branches VALUES ('BJ', 'x')"])
      await attempt(() => client.query(wrong))
  },
  async prepared(client) {
    for (let i = 1; i < 12; i++) print(...shape(await client.query(PHONE, [i])))
    for (let i = 1; i < 12; i++) print(...shape(await client.query({ name: 'one', text: PHONE, values: [i] })))
    print(...shape(await client.query({ text: 'SELECT id, balance::float8, photo FROM shop.people WHERE id = 3', binary: true })))
    print(...shape(await client.query('SELECT $1::jsonb AS j, $2::int[] AS a, $3::timestamptz AS t', [{ a: 1 }, [1, null], new Date(0)])))
    await attempt(() => client.query({ name: 'two', text: 'SELECT 1/$1::int', values: [0] }))
    await attempt(() => client.query({ name: 'three', text: 'SELECT nothing FROM shop.people', values: [] }))
    print((await Promise.all(Array.from({ length: 60 }, (_, i) => client.query(PHONE, [(i % 40) + 1])))).map((r) => r.rows[0].phone))
  },
  async cursors(client) {
    const cursor = client.query(new Cursor('SELECT id, phone FROM shop.people ORDER BY id'))
    for (let rows; (rows = await cursor.read(7)).length; ) print(rows)
    const early = client.query(new Cursor('SELECT id, phone FROM shop.people ORDER BY id'))
    print(await early.read(2))
    await early.close()
    for (const batchSize of [1, 40, 100]) {
      let count = 0
      for await (const row of client.query(new QueryStream('SELECT id, phone FROM shop.people ORDER BY id', [], { batchSize })))
        count += row.phone ? row.phone.length : 0
      print(count)
    }
    await attempt(async () => {
      for await (const row of client.query(new QueryStream('SELECT 10 / (20 - id) AS x FROM shop.people ORDER BY id', [], { batchSize: 5 })))
        print(row)
    })
  },
  async copies(client) {
    const parts = []
    for await (const part of client.query(copies.to('COPY (SELECT id, phone FROM shop.people ORDER BY id) TO STDOUT'))) parts.push(part)
    print(Buffer.concat(parts).toString())
    await client.query('CREATE TEMP TABLE taken (a int, b text)')
    await pipeline(Readable.from(['1\tone\n', '2\t', 'two\n']), client.query(copies.from('COPY taken FROM STDIN')))
    await attempt(() => pipeline(Readable.from(['x\n']), client.query(copies.from('COPY taken FROM STDIN'))))
    print(...shape(await client.query('SELECT * FROM taken ORDER BY a')))
  },
  async transactions(client) {
    await client.query('BEGIN')
    await attempt(() => client.query('SELECT 1/0'))
    await attempt(() => client.query(PHONE, [1]))
    await client.query('ROLLBACK')
    await attempt(() => client.query(PHONE, [1]))
  },
  async notifications(client) {
    const heard = new Promise((resolve) => client.once('notification', (n) => resolve([n.channel, n.payload])))
    await client.query('LISTEN news')
    await client.query("NOTIFY news, 'from node'")
    print(await heard)
  },
  async cancel(client) {
    await client.query("SET statement_timeout = '50ms'")
    await attempt(() => client.query('SELECT pg_sleep(60)'))
    await client.query('RESET statement_timeout')
    const killer = new pg.Client()
    await killer.connect()
    const sleeping = attempt(() => client.query('SELECT pg_sleep(60)'))
    const cancelled = 'SELECT bool_or(pg_cancel_backend(pid)) AS it FROM pg_stat_activity WHERE pid = $1 AND wait_event = \'PgSleep\''
    while (!(await killer.query(cancelled, [client.processID])).rows[0].it);
    await sleeping
    await killer.end()
    await attempt(() => client.query(PHONE, [1]))
  },
}

async function main() {
  for (const [title, scene] of Object.entries(scenes)) {
    print('==', title)
    const client = new pg.Client()
    await client.connect()
    await scene(client)
    await client.end()
  }
  const pool = new pg.Pool({ max: 4 })
  print((await Promise.all(Array.from({ length: 80 }, (_, i) => pool.query(PHONE, [(i % 40) + 1])))).map((r) => r.rows[0].phone))
  await pool.end()
}

main().catch((e) => {
  print('died', String(e))
  process.exit(1)
})
