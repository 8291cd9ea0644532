"""`filters: equality` and `refuse`: look-ups by the full stored value, what they show and cost, and ways around the cost."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import json
import re
import signal
import socket
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from random import Random

import asyncpg
import psycopg
import pytest
from psycopg import pq

from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, ProxyProcess, until

HBA = f"""\
host all postgres 127.0.0.1/32 trust
host all {CONTROL} 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""
BUDGET = 6
USERS = 200
POLICY = f"""\
version: 1
classes:
  phone: {{ level: C2, mask: {{ keep: {{ first: 3, last: 4 }} }} }}
  secret: {{ level: C3, mask: null }}
columns:
  bank.customers.phone: {{ class: phone, filters: {{ equality: {{ probes_per_hour: 500 }} }} }}
  bank.customers.id_card: {{ class: phone, filters: equality }}
  bank.customers.card: {{ class: secret, filters: equality }}
  bank.customers.acct: {{ class: secret, filters: equality }}
  bank.customers.born: {{ class: secret, filters: equality }}
  bank.customers.uid: {{ class: secret, filters: equality }}
  bank.customers.email: {{ class: phone, filters: refuse }}
  bank.customers.name: phone
  bank.parted.phone: {{ class: phone, filters: equality }}
  bank.few.phone: {{ class: phone, filters: equality }}
attributes:
  user: {{ from: bank.staff, on_behalf: teller }}
  trusted_apps: {{ f_app: [teller] }}
limits:
  - {{ name: few, role: f_few, probes_per_hour: {BUDGET} }}
  - {{ name: none, user: f_none, probes_per_hour: 0 }}
"""
A, B = "13800000007", "13812340007"
"""The same customer's telephone in each of two databases: masked, they look the same."""
WORLDS = {"world_a": "0000", "world_b": "1234"}
ROLES = f"""\
CREATE ROLE {CONTROL} LOGIN PASSWORD 'control';
CREATE ROLE f_few;
CREATE ROLE f_free LOGIN;
CREATE ROLE f_none LOGIN;
CREATE ROLE f_app LOGIN IN ROLE f_few;
""" + "".join(f"CREATE ROLE f_{i} LOGIN IN ROLE f_few;\n" for i in range(USERS))  # fmt: skip
BANK = """\
CREATE SCHEMA bank;
CREATE TABLE bank.customers (id int PRIMARY KEY, name text, phone varchar(20), id_card char(18), card numeric(19), acct bigint,
    born date, uid uuid, email text, branch text, note text);
INSERT INTO bank.customers SELECT i, 'name ' || i, '138MMMM' || lpad(i::text, 4, '0'), '990MMMM' || lpad(i::text, 10, '0') || 'X',
    622202MMMM000000000 + i, MMMM00000 + i, date '1980-01-01' + i + MMMM,
    ('00000000-MMMM-0000-0000-' || lpad(i::text, 12, '0'))::uuid,
    'e' || i || '@x.cn', 'B' || i % 7, 'n' || i FROM generate_series(1, 3000) AS i;
CREATE INDEX customers_phone ON bank.customers (phone);
CREATE INDEX customers_acct ON bank.customers (acct);
CREATE VIEW bank.contacts AS SELECT id, phone AS tel, name FROM bank.customers;
CREATE VIEW bank.labels AS SELECT id, phone, name || '/' || phone AS label FROM bank.customers;
CREATE TABLE bank.orders (id int, customer int, what text);
INSERT INTO bank.orders VALUES (1, 7, 'loan'), (2, 8, 'card');
CREATE TABLE bank.parted (id int, phone text) PARTITION BY RANGE (id);
CREATE TABLE bank.parted_1 PARTITION OF bank.parted FOR VALUES FROM (0) TO (10);
CREATE TABLE bank.parted_2 PARTITION OF bank.parted FOR VALUES FROM (10) TO (20);
INSERT INTO bank.parted VALUES (1, '138MMMM0001'), (11, '138MMMM0011');
CREATE TABLE bank.few (id int, phone text);
INSERT INTO bank.few VALUES (1, '13800000001'), (2, '13800000002'), (3, '13800000002'), (4, NULL), (5, '139');
CREATE SCHEMA copy;
CREATE TABLE copy.few AS SELECT id, CASE WHEN phone = '139' THEN '***' ELSE overlay(phone placing '****' from 4 for 4) END
    AS phone, phone AS raw FROM bank.few;
CREATE TABLE bank.staff (login text);
INSERT INTO bank.staff VALUES ('t1'), ('t2');
GRANT USAGE ON SCHEMA bank TO PUBLIC;
GRANT ALL ON ALL TABLES IN SCHEMA bank TO PUBLIC;
GRANT TEMPORARY ON DATABASE DDDD TO PUBLIC;
ANALYZE bank.customers;
"""
Session = psycopg.Connection[tuple[object, ...]]
_users = iter(range(USERS))


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with TestServer(hba=HBA) as server:
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", ROLES)
        for world, middle in WORLDS.items():
            server.execute_sql("postgres", f"CREATE DATABASE {world}")
            server.execute_sql(world, BANK.replace("MMMM", middle).replace("DDDD", world))
        yield server


@pytest.fixture(scope="module")
def proxy(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    home = tmp_path_factory.mktemp("filters") / "home"
    with ProxyProcess(home, server, database="world_a", policy=POLICY, extra="workers: 2") as proxy:
        yield proxy


def connect(proxy: ProxyProcess, user: str = "f_free", world: str = "world_a") -> Session:
    return psycopg.connect(host="127.0.0.1", port=proxy.port, user=user, dbname=world, autocommit=True)


def somebody() -> str:
    """A login that has looked for nothing yet."""
    return f"f_{next(_users)}"


def rows(session: Session, text: str, *parameters: object, **options: bool) -> list[tuple[object, ...]]:
    return session.execute(text.encode(), parameters or None, **options).fetchall()


@pytest.mark.parametrize(
    "condition",
    [
        f"phone = '{A}'",
        f"c.phone = '{A}'",
        f"bank.customers.phone = '{A}'",
        f"'{A}' = phone",
        f"(phone) = ('{A}')",
        f"((phone = '{A}'))",
        f"phone = '{A}'::text",
        f"phone = CAST('{A}' AS varchar(20))",
        f"phone = varchar '{A}'",
        f"phone IN ('{A}')",
        f"phone IN ('1', '{A}', NULL)",
        f"phone = ANY ('{{1,\"{A}\",NULL}}')",
        f"phone = ANY ('{{{A}}}'::varchar[])",
        f"phone = ANY (ARRAY['{A}', '1'])",
        f"phone = ANY (ARRAY['{A}', '1']::text[])",
        f"branch = 'B0' AND (id > 3 AND phone = '{A}') AND name IS NOT NULL",
        f"phone OPERATOR(pg_catalog.=) '{A}'",
        "phone = E'138\\x300000007'",
        "id_card = '9900000000000000" + "7X'",
        "card = 6222020000000000007",
        "card = '6222020000000000007.000'",
        "card = 6222020000000000007.0",
        "acct = 7",
        "acct = '7'",
        "acct IN (-7, 7, 8000000000)",
        "acct = ANY ('{7,-1}')",
        "acct = 7::int2",
        "born = '1980-01-08'",
        "born = date '1980-01-08'",
        "uid = '00000000-0000-0000-0000-000000000007'",
        "uid = '{00000000-0000-0000-0000-000000000007}'::uuid",
    ],
)
def test_a_row_is_found_by_its_stored_value_and_shown_masked(proxy: ProxyProcess, condition: str) -> None:
    alias = " AS c" if "c.phone" in condition else ""
    with connect(proxy) as session:
        found = rows(session, f"SELECT id, phone, card FROM bank.customers{alias} WHERE {condition} ORDER BY 1")
    assert found == [(7, "138****0007", None)]


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        (f"SELECT tel FROM bank.contacts WHERE tel = '{A}'", [("138****0007",)]),
        (f"SELECT o.what, c.phone FROM bank.orders o JOIN bank.customers c ON c.id = o.customer WHERE c.phone = '{A}'",
         [("loan", "138****0007")]),
        (f"SELECT o.what FROM bank.orders o JOIN bank.customers c ON c.id = o.customer AND c.phone = '{A}'", [("loan",)]),
        (f"SELECT what, phone FROM bank.orders o LEFT JOIN bank.customers c ON c.id = customer AND c.phone = '{A}' ORDER BY 1",
         [("card", None), ("loan", "138****0007")]),
        (f"SELECT o.what FROM bank.customers c LEFT JOIN bank.orders o ON c.id = o.customer WHERE c.phone = '{A}'", [("loan",)]),
        (f"SELECT count(*) FROM bank.orders WHERE EXISTS (SELECT FROM bank.customers c WHERE c.id = customer "
         f"AND c.phone = '{A}')", [(1,)]),
        (f"WITH x AS (SELECT id FROM bank.customers WHERE phone = '{A}') SELECT what FROM bank.orders, x WHERE customer = x.id",
         [("loan",)]),
        (f"SELECT * FROM (SELECT phone FROM bank.customers WHERE phone = '{A}') AS s", [("138****0007",)]),
        (f"SELECT a.id, b.id FROM bank.customers a, bank.customers b WHERE a.phone = '{A}' AND b.phone = '13800000008'",
         [(7, 8)]),
        (f"SELECT phone FROM bank.customers WHERE phone = '{A}' UNION ALL "
         "SELECT phone FROM bank.customers WHERE phone = '13800000008'",
         [("138****0007",), ("138****0008",)]),
        (f"SELECT phone, count(*) FROM bank.customers WHERE phone = '{A}' GROUP BY phone HAVING phone LIKE '138***%'",
         [("138****0007", 1)]),
        (f"SELECT c FROM bank.customers c WHERE c.phone = '{A}' AND c.phone = '138****0007'", []),
        (f"SELECT id FROM bank.customers WHERE phone = '{A}' AND phone LIKE '%****%' FOR UPDATE", [(7,)]),
        ("SELECT id, phone FROM bank.parted WHERE phone = '13800000011'", [(11, "138****0011")]),
        ("SELECT id, phone FROM bank.parted_2 WHERE phone = '13800000011'", [(11, "138****0011")]),
        (f"EXPLAIN (COSTS OFF) SELECT id FROM bank.customers WHERE phone = '{A}'",
         f"Index Cond: ((phone)::text = '{A}'::text)"),
    ],
)  # fmt: skip
def test_in_joins_views_and_subqueries(proxy: ProxyProcess, statement: str, found: object) -> None:
    with connect(proxy) as session:
        got = rows(session, statement)
    if isinstance(found, str):
        assert any(found in str(line) for (line,) in got), got
    else:
        assert got == found


def test_parameters_of_psycopg(proxy: ProxyProcess) -> None:
    with connect(proxy) as session:
        for prepare in (False, True, True):
            for binary in (False, True):
                options = {"prepare": prepare, "binary": binary}
                text = "SELECT id, phone FROM bank.customers WHERE phone = %s"
                assert rows(session, text, A, **options) == [(7, "138****0007")]
                assert rows(session, "SELECT id FROM bank.customers WHERE phone = ANY(%s)", [A, "1"], **options) == [(7,)]
                assert rows(session, "SELECT id FROM bank.customers WHERE phone IN (%s, %s)", "1", A, **options) == [(7,)]
                assert rows(session, "SELECT id FROM bank.customers WHERE acct = %s", 7, **options) == [(7,)]
                assert rows(session, "SELECT id FROM bank.customers WHERE acct = %b", 7, **options) == [(7,)]
                assert rows(session, "SELECT id FROM bank.customers WHERE phone = %b", A, **options) == [(7,)]
                assert rows(session, "SELECT id FROM bank.customers WHERE acct = ANY(%b)", [7, 1 << 40], **options) == [(7,)]
                card = decimal.Decimal("6222020000000000007")
                assert rows(session, "SELECT id FROM bank.customers WHERE card = %s", card, **options) == [(7,)]
                assert rows(session, "SELECT id FROM bank.customers WHERE card = %b", card, **options) == [(7,)]
                born = datetime.date(1980, 1, 8)
                assert rows(session, "SELECT id FROM bank.customers WHERE born = %b", born, **options) == [(7,)]
                uid = uuid.UUID("00000000-0000-0000-0000-000000000007")
                assert rows(session, "SELECT id FROM bank.customers WHERE uid = %b", uid, **options) == [(7,)]
        with session.transaction(), session.cursor("named") as cursor:
            assert cursor.execute("SELECT phone FROM bank.customers WHERE phone = %s", [A]).fetchall() == [("138****0007",)]
        with session.cursor().copy(f"COPY (SELECT id, phone FROM bank.customers WHERE phone = '{A}') TO STDOUT".encode()) as copy:
            assert b"".join(copy) == b"7\t138****0007\n"


def test_asyncpg(proxy: ProxyProcess) -> None:
    async def run() -> None:
        session = await asyncpg.connect(host="127.0.0.1", port=proxy.port, user="f_free", database="world_a")
        try:
            for _ in range(2):
                assert await session.fetchval("SELECT phone FROM bank.customers WHERE phone = $1", A) == "138****0007"
                assert await session.fetchval("SELECT id FROM bank.customers WHERE phone = ANY($1)", ["x", A]) == 7
                assert await session.fetchval("SELECT id FROM bank.customers WHERE phone = $1::varchar AND acct = $2", A, 7) == 7
                assert await session.fetchval("SELECT id FROM bank.customers WHERE acct = ANY($1::bigint[])", [7]) == 7
                assert await session.fetchval("SELECT id FROM bank.customers WHERE id_card = $1", "99000000000000007X") == 7
                card = decimal.Decimal("6222020000000000007")
                assert await session.fetchval("SELECT id FROM bank.customers WHERE card = $1", card) == 7
                assert await session.fetchval("SELECT id FROM bank.customers WHERE born = $1", datetime.date(1980, 1, 8)) == 7
        finally:
            await session.close()

    asyncio.run(run())


def test_psql(proxy: ProxyProcess, server: TestServer) -> None:
    script = f"""\\set tel {A}
SELECT phone FROM bank.customers WHERE phone = :'tel';
PREPARE p AS SELECT id, phone FROM bank.customers WHERE phone = $1;
EXECUTE p('{A}');
SELECT id FROM bank.customers WHERE phone = $1 \\bind {A} \\g
"""
    command = [server.psql_path, "-X", "-q", "-A", "-t", "-h", "127.0.0.1", "-p", str(proxy.port), "-U", "f_free", "world_a"]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=True)
    wanted = ["138****0007", "7|138****0007"]
    assert done.stdout.split() in ([*wanted, "7"], wanted), done  # \bind is psql 16's


def test_the_index_on_the_stored_column_is_used(proxy: ProxyProcess, server: TestServer) -> None:
    """As the server itself explains the text that it is sent."""
    command = ["-c", str(proxy.config), "--as", "f_free", "--database", "world_a"]
    text = f"SELECT name, phone FROM bank.customers WHERE phone = '{A}' AND branch = 'B0'"
    done = subprocess.run(
        [sys.executable, "-m", "proxy.cli", "explain", *command, text], capture_output=True, text=True, check=True
    )
    assert "bank.customers.phone" in done.stdout
    assert "500" in done.stdout, done.stdout
    sent = next(line for line in done.stdout.splitlines() if "OPERATOR(pg_catalog.=)" in line)
    plan = server.execute_sql("world_a", "EXPLAIN " + sent[sent.index("SELECT") :])
    assert "Index Scan using customers_phone" in plan, plan


# -- what it costs --------------------------------------------------------------------------------------------------------


def spent(proxy: ProxyProcess, user: str, world: str, column: str = "phone") -> int:
    """How many values of the budget are gone; it is gone altogether then."""
    accepted = 0
    with connect(proxy, user, world) as session:
        while True:
            try:
                rows(session, f"SELECT id FROM bank.customers WHERE {column} = '-1{accepted}'")
                accepted += 1
            except psycopg.errors.ConfigurationLimitExceeded:
                return BUDGET - accepted


def test_a_budget_of_distinct_values(proxy: ProxyProcess) -> None:
    user = somebody()
    with connect(proxy, user) as session, connect(proxy, user) as other:
        for number in range(BUDGET):
            value = f"1380000000{number}"
            for text in (f"'{value}'", f"'{value}'::text", f"ANY ('{{{value}}}')"):
                rows(session, f"SELECT id FROM bank.customers WHERE phone = {text}")
            rows(other, "SELECT id FROM bank.customers WHERE phone = %s", value)
            rows(session, "SELECT id FROM bank.customers WHERE phone = %s", value, prepare=True)
            rows(session, "SELECT id FROM bank.customers WHERE phone = %s", value, prepare=True, binary=True)
            rows(session, "SELECT tel FROM bank.contacts WHERE tel = %b", value)
        for one in (session, other):
            with pytest.raises(psycopg.errors.ConfigurationLimitExceeded) as caught:
                rows(one, f"SELECT id FROM bank.customers WHERE phone = '{A}x'")
            assert "probing budget of column bank.customers.phone exceeded: in an hour 6 different values" in str(caught.value)
            assert "possible again from 2" in str(caught.value.diag.message_hint)
            with pytest.raises(psycopg.errors.ConfigurationLimitExceeded):
                rows(one, "SELECT id FROM bank.customers WHERE phone = %s", f"{A}x", prepare=True)
            assert rows(one, "SELECT id FROM bank.customers WHERE phone = '13800000003'") == [(3,)]  # not new
            assert rows(one, "SELECT count(*) FROM bank.customers") == [(3000,)]
            rows(one, "SELECT id FROM bank.customers WHERE acct = 7")  # each column has its own


def test_more_than_the_budget_at_once_is_refused_whole(proxy: ProxyProcess) -> None:
    user = somebody()
    with connect(proxy, user) as session:
        many = ", ".join(f"'1380000000{n}'" for n in range(BUDGET + 1))
        for text in (f"phone IN ({many})", f"phone = ANY (ARRAY[{many}])", "phone = ANY ('{1,2,3,4,5,6,7}')"):
            with pytest.raises(psycopg.errors.ConfigurationLimitExceeded):
                rows(session, f"SELECT id FROM bank.customers WHERE {text}")
        with pytest.raises(psycopg.errors.ConfigurationLimitExceeded):
            rows(session, "SELECT id FROM bank.customers WHERE phone = ANY(%s)", [str(n) for n in range(9)])
    assert spent(proxy, user, "world_a") == 0


def test_long_texts(proxy: ProxyProcess) -> None:
    """Planned in a process of their own, or as short ones."""
    user = somebody()
    with connect(proxy, user) as session:
        for filler in ("x" * 9000, "x" * 300_000):
            text = f"SELECT id FROM bank.customers WHERE phone = '{A}' AND name <> '{filler}'"
            assert rows(session, text) == [(7,)]
        ids = ", ".join(map(str, range(5000)))
        assert rows(session, f"SELECT id FROM bank.customers WHERE phone IN ('{A}', '1') AND id IN ({ids})") == [(7,)]
        operators = " OR ".join(f"id = {n}" for n in range(900))
        assert rows(session, f"SELECT id FROM bank.customers WHERE phone IN ('{A}', '2') AND ({operators})") == [(7,)]
        many = ", ".join(f"'{n:020}'" for n in range(1000))
        with pytest.raises(psycopg.errors.ConfigurationLimitExceeded):
            rows(session, f"SELECT id FROM bank.customers WHERE phone IN ({many})")
    assert spent(proxy, user, "world_a") == 3


def test_nothing_at_all(proxy: ProxyProcess) -> None:
    with connect(proxy, "f_none") as session:
        with pytest.raises(psycopg.errors.ConfigurationLimitExceeded):
            rows(session, f"SELECT id FROM bank.customers WHERE phone = '{A}'")
        assert rows(session, "SELECT phone FROM bank.customers WHERE id = 7") == [("138****0007",)]


def test_the_person_counts_and_not_the_application(proxy: ProxyProcess) -> None:
    with connect(proxy, "f_app") as session:
        for teller in ("t1", "t2"):
            session.execute(f"SET veil.teller = '{teller}'".encode())
            for number in range(BUDGET):
                rows(session, f"SELECT id FROM bank.customers WHERE phone = '{number}'")
            with pytest.raises(psycopg.errors.ConfigurationLimitExceeded):
                rows(session, "SELECT id FROM bank.customers WHERE phone = '99'")


def test_partitions_have_no_budget_of_their_own(proxy: ProxyProcess) -> None:
    with connect(proxy, somebody()) as session:
        for number in range(BUDGET):
            table = ("parted", "parted_1", "parted_2")[number % 3]
            rows(session, f"SELECT id FROM bank.{table} WHERE phone = '{number}'")
        for table in ("parted", "parted_1", "parted_2"):
            with pytest.raises(psycopg.errors.ConfigurationLimitExceeded):
                rows(session, f"SELECT id FROM bank.{table} WHERE phone = '99'")


def test_a_change_of_policy_gives_nothing_back(proxy: ProxyProcess) -> None:
    user = somebody()
    with connect(proxy, user) as session:
        for number in range(BUDGET):
            rows(session, "SELECT id FROM bank.customers WHERE phone = %s", str(number), prepare=True)
        text = proxy.policy.read_text()
        try:
            proxy.policy.write_text(text + "# changed\n")
            proxy.signal(signal.SIGHUP)
            until(lambda: proxy.text().count("event=policy_loaded") >= 2, "the policy is read again by both workers")
            for one in (session, connect(proxy, user)):
                with one, pytest.raises(psycopg.errors.ConfigurationLimitExceeded):
                    rows(one, "SELECT id FROM bank.customers WHERE phone = %s", "99", prepare=True)
        finally:
            proxy.policy.write_text(text)


def test_the_record_says_so(proxy: ProxyProcess) -> None:
    user = somebody()
    with connect(proxy, user) as session:
        rows(session, f"SELECT name FROM bank.customers WHERE phone = '{A}' AND id_card LIKE '9%'")
        with pytest.raises(psycopg.errors.ConfigurationLimitExceeded):
            rows(session, "SELECT id FROM bank.customers WHERE phone = ANY('{1,2,3,4,5,6,7}')")
    records = [json.loads(line) for line in proxy.trail().splitlines()]
    mine = [r for r in records if r.get("login") == user and r["kind"] == "decision"]
    touches = {(t["column"], t["use"], t["show"]) for r in mine for t in r["touches"]}
    assert touches == {("phone", "filter", "raw"), ("id_card", "filter", "mask"), ("name", "output", "mask")}
    (event,) = [r for r in records if r.get("event") == "probing_budget_exceeded" and user in json.dumps(r)]
    assert event["detail"] == {
        "person": user, "column": "bank.customers.phone", "limit": BUDGET, "values": 7, "until": "",
    }, event  # fmt: skip
    assert A not in json.dumps([r for r in records if r.get("login") == user])


def test_a_column_that_refuses_comparisons(proxy: ProxyProcess) -> None:
    with connect(proxy) as session:
        assert rows(session, "SELECT email FROM bank.customers WHERE id = 7") == [("*******",)]
        for text in (
            "SELECT id FROM bank.customers WHERE email = 'x'",
            "SELECT id FROM bank.customers WHERE email LIKE 'x%'",
            "SELECT email FROM bank.customers ORDER BY email",
            "SELECT email AS e FROM bank.customers ORDER BY e",
            "SELECT email FROM bank.customers ORDER BY 1",
            "SELECT email, count(*) FROM bank.customers GROUP BY 1",
            "SELECT count(*) FROM bank.customers GROUP BY email",
            "SELECT DISTINCT email FROM bank.customers",
            "SELECT DISTINCT * FROM bank.customers",
            "SELECT email FROM bank.customers UNION SELECT 'x'",
            "SELECT count(DISTINCT email) FROM bank.customers",
            "SELECT rank() OVER (ORDER BY email) FROM bank.customers",
            "SELECT string_agg(name, ',' ORDER BY email) FROM bank.customers",
            "SELECT count(*) FILTER (WHERE email > 'x') FROM bank.customers",
            "SELECT a.id FROM bank.customers a JOIN bank.customers b ON a.email = b.email",
            "SELECT a.id FROM bank.customers a JOIN bank.customers b USING (email)",
            "SELECT a.id FROM bank.customers a NATURAL JOIN bank.customers b",
            "SELECT id FROM bank.customers c WHERE c = c",
            "SELECT id FROM bank.customers c ORDER BY c",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"filters: refuse"):
                rows(session, text)


def test_both_workers_count_together(proxy: ProxyProcess) -> None:
    user = somebody()
    accepted = 0
    for number in range(40):
        with connect(proxy, user) as session:
            try:
                rows(session, f"SELECT id FROM bank.customers WHERE phone = '{number}'")
                accepted += 1
            except psycopg.errors.ConfigurationLimitExceeded:
                assert accepted == BUDGET
        workers = {r["worker"] for r in map(json.loads, proxy.trail().splitlines()) if r.get("login") == user}
        if len(workers) == 2 and number >= BUDGET:
            break
    assert accepted == BUDGET
    assert len(workers) == 2


# -- where a condition may move -------------------------------------------------------------------------------------------


def joined(random: Random, aliases: list[str]) -> str:
    """A random FROM clause over the aliases. LOOK(alias, value) stands for a look-up."""
    if len(aliases) == 1:
        return f"TABLE {aliases[0]}"
    at = random.randrange(1, len(aliases))
    left, right = joined(random, aliases[:at]), joined(random, aliases[at:])
    kind = random.choice(["JOIN", "JOIN", "LEFT JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"])
    on = [f"{random.choice(aliases[:at])}.id = {random.choice(aliases[at:])}.id"]
    if kind != "FULL JOIN" and random.random() < 0.6:
        on.append(condition(random, aliases))
    return f"({left} {kind} {right} ON {' AND '.join(on)})"


def condition(random: Random, aliases: list[str]) -> str:
    alias = random.choice(aliases)
    look = f"LOOK({alias},{random.choice(['13800000001', '13800000002', '139', 'x'])})"
    return random.choice([look, look, f"({look} AND {alias}.id > 1)", f"{alias}.id < 5", f"{alias}.phone LIKE '138*%'"])


def test_a_condition_means_the_same_where_it_has_moved(proxy: ProxyProcess, server: TestServer) -> None:
    """Compared with a copy that has the masked values beside the stored ones, on which the condition stays where it is."""
    random = Random(7)
    ran = found = 0
    direct = psycopg.connect(server.dsn(dbname="world_a"), autocommit=True)
    with direct, connect(proxy) as session:
        for _ in range(400):
            aliases = ["a", "b", "c", "d"][: random.randrange(1, 5)]
            source = joined(random, aliases)
            where = " AND ".join(condition(random, aliases) for _ in range(random.randrange(3)))
            shape = f"SELECT {', '.join(f'{x}.id, {x}.phone' for x in aliases)} FROM {source}" + (
                f" WHERE {where}" if where else ""
            )
            try:
                got = rows(session, re.sub(r"LOOK\((\w),(\w+)\)", r"\1.phone = '\2'", shape.replace("TABLE ", "bank.few ")))
            except psycopg.errors.FeatureNotSupported:
                continue
            expected = rows(direct, re.sub(r"LOOK\((\w),(\w+)\)", r"\1.raw = '\2'", shape.replace("TABLE ", "copy.few ")))
            assert Counter(got) == Counter(expected), shape
            ran += 1
            found += bool(got)
    assert ran > 200
    assert found > 50


# -- the protocol ---------------------------------------------------------------------------------------------------------

LOOK_UP = b"SELECT id FROM bank.customers WHERE phone = $1"
HARMLESS = b"SELECT 1 WHERE $1::text IS NOT NULL"


def answers(connection: pq.PGconn, syncs: int) -> list[str]:
    """Until so many Syncs have been answered: results as OK, errors by their SQLSTATE."""
    out: list[str] = []
    while syncs:
        result = connection.get_result()
        if result is None:
            continue
        if result.status == pq.ExecStatus.PIPELINE_SYNC:
            syncs -= 1
        elif result.status == pq.ExecStatus.TUPLES_OK:
            out.append(f"{result.ntuples} rows")
        elif result.status == pq.ExecStatus.FATAL_ERROR:
            out.append((result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode())
    return out


@pytest.mark.parametrize("flood", [False, True])
def test_a_parse_that_fails_does_not_hide_what_bind_means(proxy: ProxyProcess, flood: bool) -> None:
    """The name still stands for what was prepared before, though the latest Parse with it was harmless."""
    with connect(proxy, somebody()) as session:
        raw = session.pgconn
        raw.prepare(b"s", LOOK_UP)
        raw.enter_pipeline_mode()
        found = []
        for number in range(BUDGET + 2):
            raw.send_prepare(b"s", HARMLESS)
            raw.pipeline_sync()
            raw.send_query_prepared(b"s", [b"%d" % number])
            raw.pipeline_sync()
            if not flood:
                found += answers(raw, 2)
        if flood:
            found = answers(raw, 2 * (BUDGET + 2))
        assert [f for f in found if f != "42P05"] == ["0 rows"] * BUDGET + ["53400"] * 2
        raw.exit_pipeline_mode()


def test_a_refusal_in_a_pipeline(proxy: ProxyProcess) -> None:
    """What stands before it has run, what stands behind it up to the Sync is skipped, and the session goes on."""
    with connect(proxy, somebody()) as session:
        raw = session.pgconn
        raw.prepare(b"s", LOOK_UP)
        raw.enter_pipeline_mode()
        for number in range(BUDGET + 3):
            raw.send_query_prepared(b"s", [b"%d" % number])
        raw.pipeline_sync()
        raw.send_query_prepared(b"s", [b"3"])
        raw.pipeline_sync()
        found = []
        for _ in range(2):
            found.append(answers(raw, 1))
        assert found == [["0 rows"] * BUDGET + ["53400"], ["0 rows"]]
        raw.exit_pipeline_mode()


def test_execute_of_what_parse_has_made(proxy: ProxyProcess) -> None:
    with connect(proxy, somebody()) as session:
        session.pgconn.prepare(b"s", LOOK_UP)
        for number in range(BUDGET):
            session.execute(f"EXECUTE s('{number}')".encode())
        with pytest.raises(psycopg.errors.ConfigurationLimitExceeded):
            session.execute("EXECUTE s('99')")
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            session.execute("EXECUTE s(lower('99'))")
        for text in (b"EXECUTE s('99')", b"CREATE TEMP TABLE t AS EXECUTE s('99')"):
            result = session.pgconn.exec_params(text, None)
            assert result.error_field(pq.DiagnosticField.SQLSTATE) in (b"53400", b"0A000")


def test_bind_to_what_sql_has_prepared(proxy: ProxyProcess) -> None:
    with connect(proxy, somebody()) as session:
        session.execute("PREPARE s (text) AS SELECT id FROM bank.customers WHERE phone = $1 OR false AND $1 = 'x'")
        session.execute("PREPARE t (text) AS SELECT id FROM bank.customers WHERE phone = $1")
        for number in range(BUDGET):
            session.pgconn.exec_prepared(b"t", [b"%d" % number])
        result = session.pgconn.exec_prepared(b"t", [b"99"])
        assert result.error_field(pq.DiagnosticField.SQLSTATE) == b"53400"


@pytest.mark.parametrize(
    ("oid", "column", "value", "state"),
    [
        (701, "card", b"6222020000000000007", b"0A000"),
        (700, "acct", b"7", b"0A000"),
        (25, "acct", b"7", b"42883"),
        (1184, "born", b"1980-01-08", b"0A000"),
        (1082, "born", b"1980-01-08", None),
        (1082, "born", b"08.01.1980", b"0A000"),
        (23, "acct", b"7", None),
        (1700, "acct", b"7.0", None),
        (1043, "phone", A.encode(), None),
        (18, "phone", A.encode(), b"0A000"),
        (0, "phone", A.encode(), None),
    ],
)
def test_types_of_parameters(proxy: ProxyProcess, oid: int, column: str, value: bytes, state: bytes | None) -> None:
    with connect(proxy) as session:
        text = f"SELECT id FROM bank.customers WHERE {column} = $1".encode()
        result = session.pgconn.exec_params(text, [value], [oid])
        assert result.error_field(pq.DiagnosticField.SQLSTATE) == state
        if state is None:
            assert result.get_value(0, 0) == b"7"


def test_a_parameter_that_is_used_elsewhere_needs_a_type(proxy: ProxyProcess) -> None:
    text = b"SELECT id FROM bank.customers WHERE phone = $1 AND ($1 = '' OR true)"
    with connect(proxy) as session:
        result = session.pgconn.exec_params(text, [A.encode()])
        assert result.error_field(pq.DiagnosticField.SQLSTATE) == b"0A000"
        assert b"text" in (result.error_field(pq.DiagnosticField.MESSAGE_HINT) or b"")
        assert session.pgconn.exec_params(text, [A.encode()], [25]).get_value(0, 0) == b"7"


@pytest.mark.parametrize("size", [4000, 4096, 5000, 70_000, 1_100_000])
def test_long_parameters_beside_a_look_up(proxy: ProxyProcess, size: int) -> None:
    """A Bind that comes in pieces is read as a whole, or refused."""
    text = b"SELECT id, length($2) FROM bank.customers WHERE phone = $1"
    user = somebody()
    with connect(proxy, user) as session:
        result = session.pgconn.exec_params(text, [A.encode(), b"x" * size], [25, 25])
        if size > 1 << 20:
            assert result.error_field(pq.DiagnosticField.SQLSTATE) == b"0A000"
        else:
            assert result.get_value(0, 1) == str(size).encode()
        big = session.pgconn.exec_params(b"SELECT length($1)", [b"x" * size], [25])
        assert big.get_value(0, 0) == str(size).encode()
    assert spent(proxy, user, "world_a") == (size <= 1 << 20)


def test_bytes_that_come_one_by_one(proxy: ProxyProcess) -> None:
    def message(tag: bytes, body: bytes) -> bytes:
        return tag + (len(body) + 4).to_bytes(4, "big") + body

    def number(value: int) -> bytes:
        return value.to_bytes(2, "big")

    user = somebody()
    start = b"\0\3\0\0user\0" + user.encode() + b"\0database\0world_a\0\0"
    with socket.create_connection(("127.0.0.1", proxy.port)) as client, client.makefile("rb") as stream:
        client.sendall((len(start) + 4).to_bytes(4, "big") + start)

        def until_ready() -> bytes:
            seen = b""
            while True:
                tag, length = stream.read(1), int.from_bytes(stream.read(4), "big")
                seen += tag + stream.read(length - 4)
                if tag == b"Z":
                    return seen

        until_ready()
        for n in range(BUDGET + 1):
            value = b"1380000000%d" % n
            bind = b"\0\0" + number(0) + number(1) + len(value).to_bytes(4, "big") + value + number(0)
            data = message(b"P", b"\0" + LOOK_UP + b"\0" + number(0)) + message(b"B", bind)
            data += message(b"E", b"\0" + bytes(4)) + message(b"S", b"")
            for at in range(len(data)):
                client.sendall(data[at : at + 1])
            assert (b"C53400" in until_ready()) == (n == BUDGET)


# -- ways around the cost -------------------------------------------------------------------------------------------------

ATTACKS: list[tuple[int, str]] = [
    # what the column is compared with is no constant
    (0, "SELECT id FROM bank.customers WHERE phone = (SELECT '{A}')"),
    (0, "SELECT id FROM bank.customers WHERE phone IN (SELECT '{A}')"),
    (0, "SELECT id FROM bank.customers WHERE phone = ANY (SELECT '{A}')"),
    (0, "SELECT id FROM bank.customers WHERE phone = ANY (ARRAY(SELECT '{A}'))"),
    (0, "SELECT id FROM bank.customers WHERE phone = ANY (ARRAY[lower('{A}')])"),
    (0, "SELECT id FROM bank.customers WHERE phone = ANY (string_to_array('{A},{B}', ','))"),
    (0, "SELECT id FROM bank.customers WHERE phone = lower('{A}')"),
    (0, "SELECT id FROM bank.customers WHERE phone = '{A}' || ''"),
    (0, "SELECT id FROM bank.customers WHERE phone = COALESCE(NULL, '{A}')"),
    (0, "SELECT id FROM bank.customers WHERE phone = CASE WHEN true THEN '{A}' END"),
    (0, "SELECT id FROM bank.customers WHERE phone = '{A}' COLLATE \"C\""),
    (0, "SELECT c.id FROM bank.customers c JOIN (VALUES ('{A}'), ('{B}')) v (p) ON c.phone = v.p"),
    (0, "SELECT c.id FROM bank.customers c, LATERAL (SELECT '{A}' AS p) v WHERE c.phone = v.p"),
    (0, "SELECT c.id FROM bank.customers c, generate_series(0, 9) i WHERE c.phone = '138' || lpad(i::text, 8, '0')"),
    (0, "SELECT count(*) FROM generate_series(13800000000, 13800000009) i JOIN bank.customers ON phone = i::text"),
    (0, "SELECT id FROM bank.customers c WHERE phone = (SELECT d.phone FROM bank.customers d WHERE d.id = 7)"),
    (0, "SELECT a.id FROM bank.customers a JOIN bank.customers b ON a.phone = b.phone AND a.id < 3"),
    (0, "WITH x (p) AS (VALUES ('{A}')) SELECT id FROM bank.customers, x WHERE phone = p"),
    (0, "WITH x AS (SELECT * FROM bank.customers) SELECT id FROM x WHERE phone = '{A}'"),
    (0, "SELECT * FROM (SELECT id, phone FROM bank.customers) s WHERE s.phone = '{A}'"),
    (0, "SELECT * FROM (SELECT id, phone FROM bank.customers OFFSET 0) s WHERE s.phone IN ('{A}', '{B}')"),
    (0, "SELECT label FROM bank.labels WHERE label = 'name 7/{A}'"),
    (0, "SELECT id FROM bank.labels WHERE phone = '{A}'"),
    # it is compared otherwise
    (0, "SELECT id FROM bank.customers WHERE phone <> '{A}' ORDER BY 1"),
    (0, "SELECT id FROM bank.customers WHERE phone < '1381' ORDER BY 1"),
    (0, "SELECT id FROM bank.customers WHERE phone BETWEEN '13800000000' AND '13800000009'"),
    (0, "SELECT id FROM bank.customers WHERE phone >= '{A}' AND phone <= '{A}'"),
    (0, "SELECT id FROM bank.customers WHERE phone LIKE '{A}'"),
    (0, "SELECT id FROM bank.customers WHERE phone LIKE '1380000%'"),
    (0, "SELECT id FROM bank.customers WHERE phone ~ '^1380000'"),
    (0, "SELECT id FROM bank.customers WHERE phone SIMILAR TO '1380000%'"),
    (0, "SELECT id FROM bank.customers WHERE phone ^@ '1380000'"),
    (0, "SELECT id FROM bank.customers WHERE starts_with(phone, '1380000')"),
    (0, "SELECT id FROM bank.customers WHERE phone IS NOT DISTINCT FROM '{A}'"),
    (0, "SELECT id FROM bank.customers WHERE phone IS DISTINCT FROM '{A}' AND id < 9"),
    (0, "SELECT id FROM bank.customers WHERE phone OPERATOR(pg_catalog.~~) '1380000%'"),
    (0, "SELECT id FROM bank.customers WHERE phone > ANY ('{1380000}')"),
    (0, "SELECT id FROM bank.customers WHERE phone = ALL ('{{A}}')"),
    (0, "SELECT id FROM bank.customers WHERE phone NOT IN ('{A}') ORDER BY 1"),
    (0, "SELECT id FROM bank.customers WHERE NOT phone = '{A}' ORDER BY 1"),
    (0, "SELECT id FROM bank.customers WHERE (phone = '{A}') IS TRUE"),
    (0, "SELECT id FROM bank.customers WHERE (phone = '{A}') = true"),
    (0, "SELECT id FROM bank.customers WHERE phone = '{A}' OR phone = '{B}'"),
    (0, "SELECT id FROM bank.customers WHERE phone = '{A}' OR false"),
    (0, "SELECT id FROM bank.customers WHERE CASE WHEN phone = '{A}' THEN true END"),
    (0, "SELECT id FROM bank.customers WHERE COALESCE(phone = '{A}', false)"),
    (0, "SELECT id FROM bank.customers WHERE NULLIF(phone, '{A}') IS NULL"),
    (0, "SELECT id FROM bank.customers WHERE phone::char(7) = '1380000'"),
    (0, "SELECT id FROM bank.customers WHERE phone::text = '{A}'"),
    (0, "SELECT id FROM bank.customers WHERE phone::bytea = '{A}'"),
    (0, "SELECT id FROM bank.customers WHERE left(phone, 7) = '1380000'"),
    (0, "SELECT id FROM bank.customers WHERE lower(phone) = '{A}'"),
    (0, "SELECT id FROM bank.customers WHERE (phone, name) = ('{A}', 'name 7')"),
    (0, "SELECT id FROM bank.customers WHERE ROW(phone) = ROW('{A}')"),
    (0, "SELECT id FROM bank.customers WHERE (phone, id) IN (('{A}', 7))"),
    (0, "SELECT id FROM bank.customers WHERE (id, phone) < (7, '{A}') AND id = 7"),
    (0, "SELECT id FROM bank.customers c WHERE c.* = c.* AND to_jsonb(c)->>'phone' = '{A}'"),
    (0, "SELECT phone = '{A}' FROM bank.customers WHERE id = 7"),
    (0, "SELECT count(*) FILTER (WHERE phone = '{A}') FROM bank.customers"),
    (0, "SELECT phone FROM bank.customers GROUP BY phone HAVING phone = '{A}'"),
    (0, "SELECT id FROM bank.customers ORDER BY phone = '{A}' DESC, id LIMIT 1"),
    (0, "SELECT DISTINCT ON (phone = '{A}') phone = '{A}' FROM bank.customers WHERE id = 7"),
    (0, "SELECT bool_or(phone = '{A}') OVER () FROM bank.customers LIMIT 1"),
    (0, "SELECT array_agg(phone) @> ARRAY['{A}'] FROM bank.customers"),
    (0, "SELECT id FROM bank.customers WHERE card = 6222020000000000007::float8"),
    (0, "SELECT id FROM bank.customers WHERE card = 6.22202e18::real"),
    (0, "SELECT id FROM bank.customers WHERE card = '6222020000000000007'::money"),
    (0, "SELECT id FROM bank.customers WHERE acct > 0 AND acct < 1000"),
    (0, "SELECT id FROM bank.customers WHERE born = '1980-01-08'::timestamp"),
    (0, "SELECT id FROM bank.customers WHERE born = to_date('1980-01-08', 'YYYY-MM-DD')"),
    # where it means something else, or is not sure to mean the column
    (0, "SELECT c.id FROM bank.orders o LEFT JOIN bank.customers c ON c.id = o.customer WHERE c.phone = '{A}'"),
    (0, "SELECT c.id FROM bank.customers c FULL JOIN bank.orders o ON c.id = o.customer AND c.phone = '{A}' WHERE o.id < 3"),
    (0, "SELECT c.id FROM bank.customers c LEFT JOIN bank.orders o ON c.id = o.customer AND c.phone = '{A}' WHERE c.id < 9"),
    (0, "SELECT j.id FROM (bank.customers c JOIN bank.orders o ON c.id = o.customer) AS j (id, name, phone) WHERE phone = '{A}'"),
    (0, "SELECT 1 FROM bank.customers a NATURAL JOIN bank.customers b WHERE phone = '{A}'"),
    (0, "SELECT 1 FROM bank.customers a JOIN bank.customers b USING (phone) WHERE phone = '{A}'"),
    (0, "SELECT c.id FROM bank.customers c, (SELECT '{A}'::text AS phone) s WHERE s.phone = '{A}' AND c.phone = s.phone"),
    (0, "SELECT id FROM bank.customers AS c (id, phone, name) WHERE phone = '{A}' ORDER BY 1"),
    # other statements
    (0, "DELETE FROM bank.orders USING bank.customers c WHERE c.id = customer AND (c.phone = '{A}' OR c.phone = '{B}')"),
    (0, "UPDATE bank.customers SET note = 'x' WHERE phone LIKE '1380000%'"),
    (0, "UPDATE bank.customers SET note = 'x' WHERE phone = '{A}' OR phone = '{B}'"),
    (0, "UPDATE bank.customers SET note = phone WHERE phone = '{A}'"),
    (0, "UPDATE bank.customers SET phone = '{A}' WHERE id = 7"),
    (0, "UPDATE bank.customers SET note = 'x' FROM (VALUES ('{A}'), ('{B}')) v (p) WHERE phone = v.p"),
    (0, "UPDATE bank.customers SET note = 'x' WHERE id = 7 RETURNING phone = '{A}'"),
    (0, "INSERT INTO bank.customers (id, phone) VALUES (7, 'x') ON CONFLICT (id) DO UPDATE SET note = 'x' "
        "WHERE bank.customers.phone = '{A}' RETURNING id"),
    (0, "INSERT INTO bank.orders SELECT 9, id FROM bank.customers WHERE phone LIKE '1380000%'"),
    (0, "MERGE INTO bank.orders o USING bank.customers c ON o.customer = c.id AND c.phone = '{A}' WHEN MATCHED THEN DELETE"),
    (0, "MERGE INTO bank.customers c USING bank.orders o ON c.phone = '{A}' WHEN MATCHED THEN UPDATE SET note = 'x'"),
    (0, "MERGE INTO bank.customers c USING bank.orders o ON c.id = o.id WHEN MATCHED AND c.phone = '{A}' THEN DELETE"),
    (0, "COPY bank.customers FROM STDIN WHERE phone = '{A}'"),
    (0, "DO $$ BEGIN UPDATE bank.customers SET note = 'x' WHERE phone = '{A}'; END $$"),
    (0, "DO $$ BEGIN IF EXISTS (SELECT FROM bank.customers WHERE phone = '{A}') THEN RAISE 'there'; END IF; END $$"),
    (0, "CREATE FUNCTION pg_temp.f(t text) RETURNS bigint LANGUAGE sql AS "
        "$$ SELECT count(*) FROM bank.customers WHERE phone = $1 $$; SELECT pg_temp.f('{A}'), pg_temp.f('{B}')"),
    (0, "CREATE TEMP VIEW v AS SELECT id FROM bank.customers WHERE phone = '{A}'; SELECT * FROM v"),
    (0, "PREPARE p (text) AS SELECT id FROM bank.customers WHERE phone = $1; EXECUTE p(lower('{A}'))"),
    (0, "PREPARE p (text) AS SELECT id FROM bank.customers WHERE phone = $1; EXECUTE p((SELECT '{A}'))"),
    (0, "PREPARE p (text) AS SELECT id FROM bank.customers WHERE phone = $1; CREATE TEMP TABLE t AS EXECUTE p('{A}' || '')"),
    (0, "PREPARE p (float8) AS SELECT id FROM bank.customers WHERE card = $1; EXECUTE p(6222020000000000007)"),
    (0, "PREPARE p AS SELECT id FROM bank.customers WHERE card = $1 AND $1 > 1.5::float8; EXECUTE p(6222020000000000007)"),
    (0, "PREPARE p (varchar(7)) AS SELECT id FROM bank.customers WHERE phone = $1; EXECUTE p('{A}')"),
    (0, "EXPLAIN SELECT id FROM bank.customers WHERE phone LIKE '1380000%'"),
    (0, "EXPLAIN SELECT id FROM bank.customers WHERE phone < '1380000'"),
    (0, "EXPLAIN SELECT id FROM bank.customers WHERE phone = '{A}' OR phone = '{B}'"),
    (0, "EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF) SELECT id FROM bank.customers WHERE phone <> '{A}'"),
    (0, "SELECT most_common_vals, histogram_bounds FROM pg_stats WHERE tablename = 'customers' AND attname = 'phone'"),
    (0, "SET datestyle = 'DMY'; SELECT id FROM bank.customers WHERE born = '08/01/1980'"),
    (0, "SELECT id FROM bank.customers WHERE born = 'yesterday'"),
    (0, "SELECT id FROM bank.customers WHERE phone = U&'!0031380000' UESCAPE '!'"),
    # what is counted
    (1, "SELECT id FROM bank.customers WHERE phone = '138'\n'00000007'"),
    (1, "SELECT id FROM bank.customers WHERE phone = '{A}'"),
    (1, "SELECT id FROM bank.customers WHERE phone = '{A}' AND phone = '{A}'"),
    (2, "SELECT id FROM bank.customers WHERE phone IN ('{A}', '{B}')"),
    (2, "SELECT id FROM bank.customers WHERE phone = '{A}' UNION ALL SELECT id FROM bank.customers WHERE phone = '{B}'"),
    (2, "SELECT id FROM bank.customers WHERE phone = '{A}'; SELECT id FROM bank.customers WHERE phone = '{B}'"),
    (2, "SELECT EXISTS (SELECT FROM bank.customers WHERE phone = '{A}') "
        "OR EXISTS (SELECT FROM bank.customers WHERE phone = '{B}')"),
    (2, "SELECT CASE WHEN i = 1 THEN (SELECT id FROM bank.customers WHERE phone = '{A}') ELSE "
        "(SELECT id FROM bank.customers WHERE phone = '{B}') END FROM generate_series(1, 2) i"),
    (1, "SELECT id FROM bank.customers WHERE false AND phone = '{A}'"),
    (1, "SELECT count(*) FROM bank.customers WHERE phone = '{A}' LIMIT 0"),
    (1, "EXPLAIN SELECT id FROM bank.customers WHERE phone = '{A}'"),
    (1, "EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF) SELECT id FROM bank.customers WHERE phone = '{A}'"),
    (1, "PREPARE p AS SELECT id FROM bank.customers WHERE phone = $1; EXECUTE p('{A}')"),
    (2, "PREPARE p AS SELECT id FROM bank.customers WHERE phone = $1; EXECUTE p('{A}'); EXPLAIN EXECUTE p('{B}')"),
    (1, "PREPARE p AS SELECT id FROM bank.customers WHERE phone = $1; CREATE TEMP TABLE t AS EXECUTE p('{A}'); TABLE t"),
    (2, "PREPARE p (text[]) AS SELECT id FROM bank.customers WHERE phone = ANY ($1); EXECUTE p('{{A},{B}}')"),
    (1, "PREPARE p AS SELECT id FROM bank.customers WHERE phone = '{A}'"),
    (1, "BEGIN; DECLARE c CURSOR FOR SELECT id FROM bank.customers WHERE phone = '{A}'; FETCH ALL c; COMMIT"),
    (1, "UPDATE bank.customers SET note = 'x' WHERE phone = '{A}'"),
    (1, "UPDATE bank.customers SET note = 'x' WHERE phone = '{A}' RETURNING id"),
    (2, "BEGIN; DELETE FROM bank.customers WHERE phone IN ('{A}', '{B}'); ROLLBACK"),
    (1, "BEGIN; INSERT INTO bank.orders SELECT 9, id FROM bank.customers WHERE phone = '{A}'; ROLLBACK"),
    (1, "BEGIN; DELETE FROM bank.orders USING bank.customers c WHERE c.id = customer AND c.phone = '{A}'; ROLLBACK"),
    (1, "CREATE TEMP TABLE t AS SELECT id FROM bank.customers WHERE phone = '{A}'; TABLE t"),
    (2, "SELECT id FROM bank.customers WHERE phone = '{A}'::varchar(3) "
        "UNION SELECT 1 FROM bank.customers WHERE phone = '{A}'::char(4)"),
    (1, "SELECT tel FROM bank.contacts WHERE tel = '{A}'"),
    (1, "SELECT id FROM bank.customers TABLESAMPLE bernoulli (100) WHERE phone = '{A}'"),
    (2, "SELECT id FROM bank.customers WHERE phone = '{A}'; SELECT id FROM bank.customers WHERE phone = '{B}'; SELECT no_such"),
    (1, "SELECT id FROM bank.customers WHERE phone = '{A}' AND 1 / (id - id) = 0"),
    (1, "SELECT id FROM bank.customers WHERE phone = '{A}'; SELECT pg_read_file('x')"),
    (1, "SELECT id FROM bank.customers WHERE phone = '{A}'; SELECT email FROM bank.customers ORDER BY email"),
]  # fmt: skip


def outcome(session: Session, text: str) -> list[object]:
    """All that a client gets: rows of each statement, or the error."""
    out: list[object] = []
    try:
        cursor = session.execute(text.encode())
        while True:
            out.append((cursor.statusmessage, cursor.fetchall() if cursor.description else None))
            if not cursor.nextset():
                return out
    except psycopg.Error as error:
        session.rollback()
        return [*out, error.sqlstate, error.diag.message_primary]


@pytest.mark.parametrize(("cost", "text"), ATTACKS, ids=[text for _, text in ATTACKS])
def test_what_costs_nothing_cannot_tell_two_worlds_apart(proxy: ProxyProcess, cost: int, text: str) -> None:
    """In one database all telephones and cards differ from the other's, but what is shown of them does not."""
    user = somebody()
    statement = text.replace("{A}", A).replace("{B}", B)
    found = []
    for world in WORLDS:
        with connect(proxy, user, world) as session:
            session.execute("BEGIN")
            found.append(outcome(session, statement))
            session.execute("ROLLBACK")
    assert found[0] == found[1] or cost, text
    assert {spent(proxy, user, world) for world in WORLDS} == {cost}, found
