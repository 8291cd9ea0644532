"""What the generated conversations say in SQL: short statements, chosen for what they do to the session.

`$n` are parameters, with their types. Nothing here depends on the time, on chance or on the process.
"""

from __future__ import annotations

from dataclasses import dataclass

INT = 23
TEXT = 25


@dataclass(frozen=True, slots=True)
class Text:
    sql: str
    params: tuple[int, ...] = ()


READS = (
    Text("select 1"),
    Text("select id, name, phone from bank.people order by id"),
    Text("select * from bank.people where id = $1", (INT,)),
    Text("select phone, count(*), sum(score) from bank.people group by phone order by phone"),
    Text("select name || $1 as x, score from bank.people where phone like $2 order by id", (TEXT, TEXT)),
    Text("select p.phone, w.note from bank.people p join bank.work w on w.id = p.id order by 1, 2"),
    Text("select x from bank.grown x order by id limit 3"),
    Text("with c as (select * from bank.people) select id, phone, born from c where id < $1 order by id", (INT,)),
    Text("table bank.people order by id"),
    Text("select g, repeat('x', 300) from generate_series(1, 40) g"),
    Text("select repeat('y', 70000)"),
    Text("select 10 / (3 - g) from generate_series(1, 6) g"),
    Text("select id, 10 / (3 - id), phone from bank.people order by id"),
    Text("select $1::int + 1, $2::text", (INT, TEXT)),
    Text("values (1, 'a'), (2, null)"),
    Text("select"),
    Text(""),
    Text(";"),
    Text("-- nothing to do"),
    Text("select null::int4[], '{1,2}'::int[], '1 day'::interval"),
    Text("select id, note from bank.work order by id for update"),
    Text("select count(*) from bank.work"),
    Text("show datestyle"),
    Text("show search_path"),
    Text("explain (costs off) select note from bank.work where id = 1"),
    Text("select current_user, current_schemas(false)"),
    Text("select id, phone from people order by id"),
    Text("select note from work where id = $1", (INT,)),
    Text("select * from t1 order by 1"),
    Text("select count(*) from v1"),
    Text("select * from bank.made order by 1"),
)
ERRORS = (
    Text("select 1/0"),
    Text("select nosuch"),
    Text("select id, nosuch from bank.people"),
    Text("select * from bank.nosuch"),
    Text("selec 1"),
    Text("select 'a'::int"),
    Text("select phone::int from bank.people where id = 1"),
    Text("select $1 +", (INT,)),
    Text("select nosuch(phone) from bank.people"),
    Text("insert into bank.work values (1, 'again', 1)"),
    Text("insert into bank.work values (50, 'large', 5000)"),
    Text("update bank.work set n = 5000 where id = $1", (INT,)),
    Text("set datestyle to nonsense"),
    Text("rollback to nosuch"),
    Text("fetch 1 from nosuch"),
    Text("execute nosuch"),
    Text("deallocate nosuch"),
    Text("select 1; select 1/0; select 2"),
    Text("begin; select nosuch; commit"),
)
WRITES = (
    Text("insert into bank.work values ($1, $2, 1)", (INT, TEXT)),
    Text("insert into bank.work (id, note) select g, 'n' || g from generate_series(100, 103) g returning id, note"),
    Text("update bank.work set note = note || '!' where id < 4 returning *"),
    Text("delete from bank.work where id = $1", (INT,)),
    Text("insert into bank.work values (60, 'orphan', 1, 999)"),
    Text("insert into bank.work values (61, 'late', 1, 62); insert into bank.work values (62, 'early', 1)"),
    Text("insert into bank.work values (1, 'up', 2) on conflict (id) do update set n = 3 returning n"),
    Text("with d as (delete from bank.work where id > 100 returning id) select count(*) from d"),
    Text("set constraints all immediate"),
)
TRANSACTIONS = (
    Text("begin"),
    Text("begin"),
    Text("commit"),
    Text("commit"),
    Text("rollback"),
    Text("end"),
    Text("savepoint a"),
    Text("rollback to a"),
    Text("release a"),
    Text("commit and chain"),
    Text("rollback and chain"),
    Text("start transaction read only"),
    Text("begin; select 1; commit"),
    Text("begin; insert into bank.work values (70, 'x', 1)"),
    Text("select 1; begin; select 2"),
    Text("select 1; rollback; select 2"),
    Text("insert into bank.work values (71, 'x', 1); select 1/0"),
)
SETTINGS = (
    Text("set search_path to bank, public"),
    Text("set local search_path to bank"),
    Text("reset search_path"),
    Text("select set_config('search_path', 'bank', false)"),
    Text("set application_name to 'fuzz'"),
    Text("set datestyle to 'ISO, DMY'"),
    Text("set extra_float_digits to 0"),
    Text("set client_encoding to 'LATIN1'"),
    Text("set client_encoding to 'UTF8'"),
    Text("set standard_conforming_strings to on"),
    Text("reset all"),
    Text("discard all"),
    Text("discard plans"),
    Text("discard temp"),
    Text("deallocate all"),
    Text("close all"),
    Text("set role none"),
    Text("set search_path to bank; select id, phone from people order by id"),
)
RELATIONS = (
    Text("create temp table t1 as select id, note from bank.work"),
    Text("create temp table if not exists t1 (a int)"),
    Text("drop table if exists t1"),
    Text("insert into t1 select 9, 'nine'"),
    Text("create temp view v1 as select id from bank.people"),
    Text("create temp table t1 as select id, phone from bank.people"),
    Text("create table bank.made (a int)"),
    Text("create table if not exists bank.made (a int, b text)"),
    Text("drop table if exists bank.made"),
    Text("alter table bank.made add c text"),
    Text("insert into bank.made values (1)"),
    Text("drop view v1"),
    Text("create index on bank.made (a)"),
    Text("create temp table t1 (a int) on commit drop"),
)
CURSORS = (
    Text("declare c cursor for select id, phone from bank.people order by id"),
    Text("fetch 2 from c"),
    Text("fetch all from c"),
    Text("declare c cursor with hold for select id from bank.work order by id"),
    Text("move 1 from c"),
    Text("close c"),
    Text("declare p scroll cursor for select name from bank.people order by id"),
    Text("fetch backward 1 from p"),
    Text("fetch 3 p"),
)
PREPARED = (
    Text("prepare a as select id, phone from bank.people where id < $1 order by id"),
    Text("prepare b (int) as select $1 + 1"),
    Text("execute a (3)"),
    Text("execute b (4)"),
    Text("execute a"),
    Text("deallocate a"),
    Text("deallocate b"),
    Text("prepare a as insert into bank.work values (80, 'p', 1)"),
    Text("prepare b as select 1/0"),
    Text("execute b"),
    Text("create temp table t1 as execute a (4)"),
)
NOTIFICATIONS = (Text("listen n"), Text("notify n, 'said'"), Text("unlisten n"), Text("notify n"), Text("unlisten *"))
COPIES_IN = (
    Text("copy bank.work (id, note) from stdin"),
    Text("copy bank.work from stdin (format csv)"),
    Text("copy t1 from stdin"),
    Text("copy bank.work (id) from stdin; select 1"),
    Text("begin; copy bank.work (id, note) from stdin; commit"),
    Text("copy bank.nosuch from stdin"),
    Text("copy bank.work (id, note) from stdin where id > 200"),
)
COPIES_OUT = (
    Text("copy bank.work to stdout"),
    Text("copy bank.people to stdout"),
    Text("copy (select id, phone from bank.people order by id) to stdout (format csv)"),
    Text("copy (select 10 / (3 - g) from generate_series(1, 6) g) to stdout"),
    Text("copy bank.work to stdout; select 1"),
    Text("copy bank.people (id, phone) to stdout (format binary)"),
)
REFUSED = (
    Text("insert into bank.work (id, note) select 90, phone from bank.people where id = 1 /*refused*/"),
    Text("select pg_read_file('x') /*refused*/"),
    Text("do $$ begin execute 'select 1'; end $$ /*refused*/"),
    Text("set standard_conforming_strings to off /*refused*/"),
    Text("select 1; /*behind*/select pg_ls_dir('.') /*refused*/"),
    Text("update bank.people set name = phone where id = $1 /*refused*/", (INT,)),
)
"""Of masked logins."""
CLEAR_ONLY = (
    Text("explain (costs off) execute b (1)"),
    Text("do $$ begin raise notice 'hello'; end $$"),
    Text("do $$ begin raise exception 'no' using hint = 'ask', detail = 'why'; end $$"),
    Text("select pg_catalog.pg_read_file('nosuch')"),
    Text("do $$ begin commit; end $$"),
    Text("set standard_conforming_strings to off"),
)
GROUPS = {
    "clear": (
        READS,
        READS,
        READS,
        ERRORS,
        WRITES,
        TRANSACTIONS,
        TRANSACTIONS,
        SETTINGS,
        RELATIONS,
        CURSORS,
        PREPARED,
        NOTIFICATIONS,
        CLEAR_ONLY,
    ),
    "masked": (
        READS,
        READS,
        READS,
        ERRORS,
        WRITES,
        TRANSACTIONS,
        TRANSACTIONS,
        SETTINGS,
        RELATIONS,
        CURSORS,
        PREPARED,
        NOTIFICATIONS,
        REFUSED,
    ),
}
