"""Every mask says the same in SQL and in Python, on a real server, whatever the search_path holds.

Values go to the server as text and are cast to the column's type there; one query brings back the value as the driver reads it
and the masked value cast to the column's type, as a generated derived table would give it.
"""

from __future__ import annotations

import functools
import json
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg.types.json import set_json_loads

from policies.document import parse_document
from policies.keys import Keyring
from policies.masks.base import BaseMask
from policies.masks.keyed import use_keys
from policies.masks.parse import parse_mask
from policies.model import ColumnType
from tests.support.keys import install
from tests.support.postgres import TestServer

RING = Keyring({"default": {1: b"a secret for the tests, 32 bytes."[:32], 2: bytes(range(32))}, "other": {1: bytes(32)}})
CATEGORY = {
    **dict.fromkeys(("text", "varchar", "bpchar", "name"), "S"),
    **dict.fromkeys(("int2", "int4", "int8", "numeric", "float4", "float8"), "N"),
    **dict.fromkeys(("date", "time", "timestamp", "timestamptz"), "D"),
    **dict.fromkeys(("inet", "cidr"), "I"),
    **dict.fromkeys(("json", "jsonb"), "U"),
    "bool": "B",
    "uuid": "U",
}


def column(written: str) -> ColumnType:
    """`bpchar(18)`, `numeric(18,2)`, `text[]` as the catalog would describe them."""
    base = written.partition("(")[0].removesuffix("[]")
    if written.endswith("[]"):
        return ColumnType("_" + base, "A", f"pg_catalog.{written}")
    return ColumnType(base, CATEGORY[base], f"pg_catalog.{written}")


def mask(yaml: str) -> BaseMask:
    return parse_mask(parse_document(yaml))


# -- values ------------------------------------------------------------------------------------------------------------

characters = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
any_text = st.text(characters, max_size=30)
pieces = st.sampled_from(
    "张 三丰 欧阳 Müller Smith O'Brien jean-luc A B. 👨‍👩‍👧 é \u3000 \u200b \n \t , ， 。 @ ＠ . - ( ) （ ） + % _ "
    "\\ ' \" * X x Ｘ "
    "0 1 13812345678 １３８１２３４５６７８ 138-1234-5678 110101199003074514 11010119900307451X 6222 0212 3456 7890 "
    "010-12345678 0755 2024-01-15 10:30 555-123-4567 1234567.89 zhang@example.com a.b+c@mail.bank.cn 银行.中国 "
    "广东省 深圳市 南山区 北京市 内蒙古自治区 呼和浩特市 香港特别行政区 中西区 幸福小区 科技路1号 3-402 浦东新区 某县 "
    "10.1.2.3 192.168.100.200/24 ::1 2001:db8::1 2001:db8:85a3::8a2e:370:7334 fe80::1%eth0 256.1".split(" ")
)
composed = st.lists(pieces, max_size=8).map("".join) | st.lists(pieces, max_size=6).map(" ".join)
long_text = st.integers(0, 3000).map(lambda n: "张a1 " * (n // 4))
texts = any_text | composed | composed | long_text
integers = st.integers(-(2**63), 2**63 - 1)
decimals = st.decimals(-(10**16) + 1, 10**16 - 1, places=2) | st.sampled_from([5000, -5000, 15000, 25000, 4999]).map(Decimal)
wide_decimals = (
    st.decimals(allow_nan=True, allow_infinity=False)
    .filter(lambda d: not d.is_snan() and (d.is_nan() or abs(d.adjusted()) < 400))
    .map(lambda d: d.copy_abs() if d.is_nan() else d)
)
floats = st.floats() | st.integers(-(10**6), 10**6).map(lambda n: n / 2)
dates = st.dates(min_value=date(1, 2, 1))
stamps = st.datetimes(min_value=datetime(1, 2, 1))
v4 = st.ip_addresses(v=4)
v6 = st.ip_addresses(v=6)
addresses = st.tuples(v4, st.integers(0, 32)).map(lambda t: f"{t[0]}/{t[1]}") | st.tuples(v6, st.integers(0, 128)).map(
    lambda t: f"{t[0]}/{t[1]}"
)
scalars = st.none() | st.booleans() | st.integers(-(10**15), 10**15) | decimals.map(float) | composed | any_text
json_keys = st.sampled_from(["id", "mobile", "contact", "home", "secret", "amount", "other", "姓名", ""])
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(json_keys, inner, max_size=5),
    max_leaves=12,
)


def array_text(values: list[Any] | None) -> str | None:
    """An array in PostgreSQL's own text form."""
    if values is None:
        return None
    return "{" + ",".join("NULL" if v is None else json_quoted(str(v)) for v in values) + "}"


def json_quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@dataclass(frozen=True)
class Case:
    mask: str
    type: str
    values: st.SearchStrategy[str | None]

    def __str__(self) -> str:
        return f"{self.mask}-{self.type}"


def written(values: st.SearchStrategy[Any]) -> st.SearchStrategy[str | None]:
    return st.none() | values.map(str)


TEXT_MASKS = [
    "{ keep: { first: 1 } }",
    "{ keep: { last: 4 } }",
    "{ keep: { first: 3, last: 4 } }",
    "{ keep: { first: 6, last: 4, fill: '#' } }",
    "{ keep: { first: 1, fill_length: 2 } }",
    "redact",
    "{ redact: '[已隐藏]' }",
    "name",
    "email",
    "address",
    "ip",
    "scrub",
    '{ constant: "it\'s" }',
    "null",
]
bounded = texts.map(lambda s: s[:18])
JSON_MASK = (
    "{ json: { $.id: { keep: { first: 2, last: 2 } }, $.mobile: scrub, $.contact.home: name, $.contact.secret: remove,"
    " $.secret: null, $.amount: { round: 100 }, $.姓名: name, '$.other.id': { constant: x } } }"
)
CASES = [
    *[Case(m, t, written(texts)) for m in TEXT_MASKS for t in ("text", "varchar")],
    *[Case(m, t, written(bounded)) for m in TEXT_MASKS for t in ("varchar(18)", "bpchar(18)")],
    Case("name", "name", written(st.text("abc 张", max_size=15))),
    *[
        Case(m, t, written(v))
        for m in ("{ round: 10000 }", "{ round: 7 }", "{ bucket: 10000 }", "{ bucket: 7 }")
        for t, v in (
            ("int2", st.integers(-(2**15), 2**15 - 1)),
            ("int4", st.integers(-(2**31), 2**31 - 1) | st.integers(-50000, 50000)),
            ("int8", integers),
            ("numeric", wide_decimals | decimals),
            ("numeric(18,2)", decimals),
            ("numeric(5,2)", st.decimals(Decimal("-999.99"), Decimal("999.99"), places=2)),
            ("float4", st.floats(width=32) | st.integers(-50000, 50000).map(float)),
            ("float8", floats),
        )
    ],
    Case("{ round: 0.25 }", "numeric(18,4)", written(st.decimals(-1000, 1000, places=4))),
    Case("{ round: 0.1 }", "numeric", written(st.decimals(-1000, 1000, places=3))),
    Case("{ constant: 12.5 }", "numeric(18,2)", written(decimals)),
    Case("{ constant: 7 }", "int4", written(st.integers(-5, 5))),
    Case("{ constant: 1.5 }", "float8", written(floats)),
    Case("{ constant: true }", "bool", written(st.booleans())),
    Case("{ constant: '1970-01-01' }", "date", written(dates)),
    *[Case(f"{{ truncate: {u} }}", "date", written(dates)) for u in ("year", "quarter", "month", "week")],
    *[
        Case(f"{{ truncate: {u} }}", t, written(stamps))
        for u in ("year", "quarter", "month", "week", "day", "hour", "minute")
        for t in ("timestamp", "timestamptz")
    ],
    *[Case(f"{{ truncate: {u} }}", "time", written(st.times())) for u in ("hour", "minute")],
    Case("ip", "inet", written(addresses | v4 | v6)),
    Case("ip", "cidr", written(v4 | v6)),
    *[Case(JSON_MASK, t, st.none() | documents.map(lambda d: json.dumps(d))) for t in ("json", "jsonb")],
    *[
        Case(f"{{ each: {m} }}", t, (st.none() | st.lists(st.none() | v, max_size=5)).map(array_text))
        for m, t, v in (
            ("{ keep: { first: 3, last: 4 } }", "text[]", texts),
            ("scrub", "varchar(18)[]", bounded),
            ("name", "bpchar(18)[]", bounded),
            ("{ round: 1000 }", "int4[]", st.integers(-(2**31), 2**31 - 1)),
            ("{ truncate: year }", "date[]", dates),
            ("ip", "inet[]", v4 | v6),
            ("token", "text[]", texts),
            ("{ fpe: { keep: { first: 3 } } }", "text[]", texts),
        )
    ],
    *[
        Case(m, t, written(texts if t == "text" else bounded))
        for m in (
            "token",
            "{ token: { key: other, length: 20 } }",
            "fpe",
            "{ fpe: { key: default@1, alphabet: alnum, tweak: 客户 } }",
            "{ fpe: { alphabet: 零一二三四五六七八九张丰欧阳, keep: { first: 1, last: 2 } } }",
        )
        for t in ("text", "varchar(18)", "bpchar(18)")
    ],
    Case("{ token: { prefix: 'c-', length: 18 } }", "text", written(texts)),
    Case("token", "int8", written(integers)),
    Case("token", "numeric(20,0)", written(integers)),
    Case("token", "uuid", written(st.uuids())),
    Case("fpe", "int4", written(st.integers(-(2**31) + 1, 2**31 - 1) | st.integers(-(10**6), 10**6))),
    Case("{ fpe: { tweak: a } }", "int8", written(st.integers(-(2**63) + 1, 2**63 - 1))),
    Case("fpe", "numeric(30,0)", written(st.integers(-(10**30) + 1, 10**30 - 1) | st.just("NaN"))),
    *[
        Case(m, t, written(v))
        for m in ("shift", "{ shift: { days: 3650, key: other } }", "{ shift: 1 }")
        for t, v in (
            ("date", st.dates(date(12, 1, 1), date(9980, 1, 1))),
            ("timestamp", st.datetimes(datetime(12, 1, 1), datetime(9980, 1, 1))),
            ("timestamptz", st.datetimes(datetime(12, 1, 1), datetime(9980, 1, 1))),
        )
    ],
]


# -- the two faces -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def connection(postgres: TestServer, module_database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres.dsn("postgres", module_database), autocommit=True) as conn:
        install(postgres, module_database, RING)
        set_json_loads(functools.partial(json.loads, parse_float=Decimal), conn)
        conn.execute("SET TimeZone TO 'Asia/Shanghai'")
        yield conn


def both(conn: psycopg.Connection[Any], case: Case, values: list[str | None]) -> tuple[list[object], list[object], list[object]]:
    """The values as the driver reads them, the SQL face and the Python face."""
    kind = column(case.type)
    masking = mask(case.mask)
    assert masking.accepts(kind) is None
    query = (
        f"SELECT c, ({masking.sql('c', kind)})::{kind.base_sql} FROM (SELECT (t.v)::{kind.base_sql} AS c, t.n "
        "FROM pg_catalog.unnest(%s::pg_catalog.text[]) WITH ORDINALITY AS t(v, n) OFFSET 0) AS s ORDER BY s.n"
    )
    query = query.replace("%", "%%").replace("%%s::pg_catalog.text[]", "%s::pg_catalog.text[]")
    rows = conn.execute(query, [values]).fetchall()
    raw = [r[0] for r in rows]
    single = kind.base_type == "float4"
    with use_keys(RING):
        by_python = [comparable(masking.apply_as(v, kind), single) for v in raw]
    return raw, [comparable(r[1], single) for r in rows], by_python


def comparable(value: object, single: bool = False) -> object:
    """NaN equals NaN here; blanks at the end of char(n) are padding; float4 is read in its shortest form."""
    if isinstance(value, float) and single and math.isfinite(value):
        return struct.unpack("f", struct.pack("f", value))[0]
    if isinstance(value, float | Decimal) and math.isnan(value):
        return "NaN"
    if isinstance(value, str):
        return value.rstrip(" ")
    if isinstance(value, list):
        return [comparable(v) for v in value]
    return value


@pytest.mark.parametrize("case", CASES, ids=str)
def test_faces_agree(connection: psycopg.Connection[Any], case: Case) -> None:
    @settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.lists(case.values, min_size=1, max_size=60))
    @example([None])
    def check(values: list[str | None]) -> None:
        raw, by_server, by_python = both(connection, case, values)
        for value, server, python in zip(raw, by_server, by_python, strict=True):
            assert server == python, f"{value!r}"
            assert type(server) is type(python), f"{value!r}: {server!r} against {python!r}"
            if value is None:
                assert server is None

    check()


EXAMPLES = [
    ("{ keep: { first: 1 } }", "text", "张三丰", "张**"),
    ("{ keep: { first: 3, last: 4 } }", "text", "13812345678", "138****5678"),
    ("{ keep: { first: 3, last: 4 } }", "text", "1381234", "*******"),
    ("{ keep: { last: 4 } }", "bpchar(18)", "12345", "*2345"),
    ("{ keep: { first: 1, fill_length: 2 } }", "text", "欧阳娜娜", "欧**"),
    ("name", "text", "张三", "张*"),
    ("name", "text", "John  Smith", "J***  S****"),
    ("name", "text", "Jean-Luc O'Brien", "J******* O******"),
    ("name", "text", "J", "*"),
    ("email", "text", "zhang.san@example.com", "z***@example.com"),
    ("email", "text", "call 138 at a@b.cn or so", "***"),
    ("email", "text", "not an address", "***"),
    ("address", "text", "广东省深圳市南山区科技路1号", "广东省深圳市***"),
    ("address", "text", "北京市朝阳区建国路88号", "北京市朝阳区***"),
    ("address", "text", "内蒙古自治区呼和浩特市新城区1号", "内蒙古自治区呼和浩特市***"),
    ("address", "text", "北京市幸福小区5号", "北京市***"),
    ("address", "text", "12 High Street, London", "***"),
    ("ip", "text", "10.1.2.3", "10.1.*.*"),
    ("ip", "text", "2001:db8:85a3::8a2e:370:7334", "2001:db8:*"),
    ("ip", "text", "::1", "***"),
    ("scrub", "text", "电话 138-1234-5678，证 11010119900307451X。", "电话 ***，证 ***。"),
    ("scrub", "text", "卡号６２２２０２１２３４５６７８９０，邮箱a.b@bank.cn", "卡号***，邮箱***"),
    ("scrub", "text", "座机(0755)12345678 转 8", "座机*** 转 8"),
    ("scrub", "text", "本人（13812345678）", "本人（***）"),
    ("scrub", "text", "电话010-1234567，0755 1234567", "电话***，***"),
    ("scrub", "text", "2024-01-15 10:30 金额 1234567.89 元", "2024-01-15 10:30 金额 1234567.89 元"),
    ("scrub", "text", "call +1 (555) 123-4567 or 555-123-4567", "call +1 *** or ***"),
    ("{ round: 10000 }", "int4", "15000", 20000),
    ("{ round: 10000 }", "int4", "-15000", -20000),
    ("{ round: 10000 }", "int2", "32767", 30000),
    ("{ round: 1000000000 }", "int4", "2147483647", 2000000000),
    ("{ round: 1000 }", "numeric(5,2)", "999.99", Decimal(0)),
    ("{ bucket: 10 }", "int4", "-1", -10),
    ("{ bucket: 10000 }", "int2", "-32768", -30000),
    (JSON_MASK, "jsonb", '{"id": [1], "contact": [{"home": "x"}], "n": 1}', {"id": None, "contact": None, "n": 1}),
    (
        JSON_MASK,
        "jsonb",
        '{"id": 123456, "contact": {"home": "张三", "secret": 1}}',
        {"id": "12**56", "contact": {"home": "张*"}},
    ),
    (JSON_MASK, "json", '[{"id": "123456"}]', None),
    ("{ each: { keep: { first: 1 } } }", "text[]", "{张三,NULL,李四}", ["张*", None, "李*"]),
    ("{ each: { keep: { first: 1 } } }", "text[]", "{}", []),
]


@pytest.mark.parametrize(("written_mask", "kind", "value", "expected"), EXAMPLES)
def test_examples(connection: psycopg.Connection[Any], written_mask: str, kind: str, value: str, expected: object) -> None:
    _, by_server, by_python = both(connection, Case(written_mask, kind, st.none()), [value])
    assert by_server == [expected]
    assert by_python == [expected]


EVIL = """
CREATE SCHEMA IF NOT EXISTS evil;
DO $do$
DECLARE f record;
BEGIN
  FOR f IN SELECT p.oid, p.proname, pg_get_function_identity_arguments(p.oid) AS args, pg_get_function_result(p.oid) AS res
           FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND NOT p.proretset
             AND p.proname IN ('left','right','length','repeat','strpos','reverse','regexp_replace','substring','network',
               'set_masklen','family','round','mod','abs','sign','date_trunc','timezone','isfinite','jsonb_typeof','jsonb_set')
             AND pg_get_function_identity_arguments(p.oid) !~ 'VARIADIC|internal|any'
  LOOP
    EXECUTE format('CREATE OR REPLACE FUNCTION evil.%I(%s) RETURNS %s LANGUAGE sql AS %L',
                   f.proname, f.args, f.res, 'SELECT NULL::' || f.res);
  END LOOP;
  FOR f IN SELECT o.oprname, o.oprleft::regtype AS l, o.oprright::regtype AS r, o.oprresult::regtype AS res
           FROM pg_operator o WHERE o.oprnamespace = 'pg_catalog'::regnamespace AND o.oprleft <> 0
             AND o.oprname IN ('||','=','<=','>=','<','>','-','+','*','~','->','#>>')
             AND o.oprleft::regtype::text !~ 'any' AND o.oprright::regtype::text !~ 'any'
             AND o.oprleft IN (SELECT oid FROM pg_type WHERE typname IN
               ('text','int4','numeric','float8','jsonb','date','inet','bpchar','varchar','bool'))
  LOOP
    BEGIN
      EXECUTE format('CREATE FUNCTION evil.op(%s, %s) RETURNS %s LANGUAGE sql AS %L', f.l, f.r, f.res, 'SELECT NULL::' || f.res);
    EXCEPTION WHEN duplicate_function THEN
      CONTINUE WHEN false;
    END;
    BEGIN
      EXECUTE format('CREATE OPERATOR evil.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = evil.op)', f.oprname, f.l, f.r);
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
  END LOOP;
END $do$;
"""


@pytest.fixture(scope="module")
def hostile(postgres: TestServer, module_database: str) -> Iterator[psycopg.Connection[Any]]:
    """A session in which every function and operator the masks use is shadowed by one that answers NULL."""
    with psycopg.connect(postgres.dsn("postgres", module_database), autocommit=True) as conn:
        set_json_loads(functools.partial(json.loads, parse_float=Decimal), conn)
        conn.execute(EVIL)
        conn.execute("SET search_path = evil, pg_catalog")
        yield conn


def test_the_hostile_path_is_hostile(hostile: psycopg.Connection[Any]) -> None:
    row = hostile.execute("SELECT left('abc'::text, 2), 'a'::text || 'b'::text, 1 = 1, 'a'::text ~ 'a'::text").fetchone()
    assert row == (None, None, None, None)


@pytest.mark.parametrize(("written_mask", "kind", "value", "expected"), EXAMPLES)
def test_search_path_changes_nothing(
    hostile: psycopg.Connection[Any], written_mask: str, kind: str, value: str, expected: object
) -> None:
    _, by_server, _ = both(hostile, Case(written_mask, kind, st.none()), [value])
    assert by_server == [expected]


def test_collation_of_the_column_stays(connection: psycopg.Connection[Any]) -> None:
    """A masked column sorts and compares as the column does: the mask brings no collation of its own."""
    for written_mask in TEXT_MASKS:
        masking = mask(written_mask)
        if masking.name in ("null", "redact", "constant"):
            continue
        kind = column("text")
        query = (
            "SELECT pg_catalog.pg_collation_for(m) FROM (SELECT c, "
            f"({masking.sql('c', kind)})::pg_catalog.text AS m "
            "FROM (SELECT 'a@b.cn'::pg_catalog.text COLLATE \"POSIX\" AS c) AS t) AS s"
        )
        assert connection.execute(query).fetchone() == ('"POSIX"',), written_mask
