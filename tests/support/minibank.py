"""The bank of `minibank.sql` as the planner sees it: catalog, masks, profile, context, without a server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from policies.model import Branch, ColumnType, Decision, Profile, Show
from rewrite.catalog import Catalog, Column, Function, Literal, Operator, Reference, Relation, TypeName
from rewrite.plan import Plan, PlanContext, Resolution
from rewrite.planner import Planner

SCRIPT = (Path(__file__).parent / "minibank.sql").read_text("utf-8")
ALLOWED = frozenset({"bank.band"})
PATH = ("pg_catalog", "public")
LONG = "emergency_contacts_of_customers_kept_for_the_regulatory_reporti"


@dataclass(frozen=True, slots=True)
class SqlMask:
    """A mask that is an SQL expression over $1, for planner and masked copy alike."""

    text: str
    name: str = "sql"
    is_expression: bool = True
    companions: frozenset[str] = frozenset()

    def accepts(self, column: ColumnType) -> str | None:
        return None

    def sql(self, column: str, column_type: ColumnType) -> str:
        return self.text

    def apply(self, value: object) -> object:
        raise NotImplementedError


NAME = "left($1, 1) || '**'"
PHONE = "overlay($1 placing '****' from 4 for 4)"
CARD = "left($1, 6) || '************'"
EMAIL = "left($1, 1) || '***'"
YEAR = "date_trunc('year', $1)::date"
ROUND = "round($1, -4)"
NUMBER = "left($1, 7) || '****'"
NO_SSN = "$1 - 'ssn'"
CONTACT = "CASE WHEN $1 IS NULL THEN NULL ELSE ROW('hidden', NULL)::bank.contact_t END"
STARS = "CASE WHEN $1 IS NULL THEN NULL ELSE '***' END"

_CUSTOMERS = {
    "name": NAME,
    "phone": PHONE,
    "id_card": CARD,
    "email": EMAIL,
    "birthday": YEAR,
    "balance": ROUND,
    "profile": NO_SSN,
    "contact": CONTACT,
    "email_lower": EMAIL,
}
MASKS: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("bank", "customers"): _CUSTOMERS,
    ("bank", "corporate"): _CUSTOMERS,
    ("bank", "accounts"): {"number": NUMBER, "balance": ROUND},
    ("bank", "transactions"): {"memo": STARS},
    ("bank", "transactions_1"): {"memo": STARS},
    ("bank", "transactions_2"): {"memo": STARS},
    ("bank", "wealth"): {"amount": ROUND},
    ("bank", "wealth_low"): {"amount": ROUND},
    ("bank", "wealth_high"): {"amount": ROUND},
    ("bank", "Customers"): {"Phone": PHONE},
    ("bank", "watchlist"): {"hotline": PHONE},
    ("bank", LONG): {"phone": PHONE},
    ("archive", "customers"): {"name": NAME, "phone": PHONE},
    ("零售", "客户 表"): {"姓名": NAME, "手机号": PHONE},
}
"""What is masked and how."""

LITERALS = ("15900001111", "15911112222", "15922223333")
"""Masked values that are in the system catalogs: a default, an index predicate, a comment."""

DENIED = {("bank", "accounts"): ("pin",)}
CLEAR_ROWS = {("bank", "transactions", "memo"): "amount < 100"}
"""Row predicates for which a column shows in clear (partitions as their parent)."""

_TYPES = {
    "int4": ("pg_catalog.int4", "N"),
    "text": ("pg_catalog.text", "S"),
    "bool": ("pg_catalog.bool", "B"),
    "date": ("pg_catalog.date", "D"),
    "jsonb": ("pg_catalog.jsonb", "U"),
    "name": ("pg_catalog.name", "S"),
    "oid": ("pg_catalog.oid", "N"),
    "float4": ("pg_catalog.float4", "N"),
    "anyarray": ("pg_catalog.anyarray", "P"),
    "bpchar18": ("pg_catalog.bpchar(18)", "S"),
    "numeric18": ("pg_catalog.numeric(18,2)", "N"),
    "numeric12": ("pg_catalog.numeric(12,2)", "N"),
    "contact_t": ("bank.contact_t", "C"),
    "customers": ("bank.customers", "C"),
}


def _column(number: int, text: str) -> Column:
    name, kind = text.rsplit(" ", 1)
    generated = name.endswith("*")
    name = name.removesuffix("*")
    if kind == "phone_t":
        return Column(number, name, 90001, -1, "bank.phone_t", "pg_catalog.text", "text", "S", domain_checked=True)
    sql, category = _TYPES[kind]
    if kind == "contact_t":
        return Column(number, name, 90002, -1, sql, sql, kind, category)
    return Column(number, name, 25, -1, sql, sql, kind.rstrip("0123456789") or kind, category, generated=generated)


def _relation(
    oid: int,
    name: str,
    columns: str,
    *,
    kind: str = "r",
    parents: tuple[int, ...] = (),
    key: Iterable[int] = (),
    unique: Iterable[int] = (),
    partition_key: Iterable[int] = (),
    view: str | None = None,
    literals: bool = False,
    references: tuple[Reference, ...] = (),
) -> Relation:
    schema, _, relation = name.partition(".")
    return Relation(
        oid,
        schema,
        relation,
        kind,
        "owner",
        tuple(_column(i, c.strip()) for i, c in enumerate(columns.split(","), 1)),
        parents,
        tuple(key),
        frozenset((*key, *unique)),
        frozenset(partition_key),
        view,
        literals=literals,
        references=references,
    )


_CUSTOMER_COLUMNS = (
    "id int4, name text, phone phone_t, id_card bpchar18, email text, birthday date, balance numeric18, branch text, vip bool, "
    "profile jsonb, contact contact_t, email_lower* text"
)
_TRANSACTION_COLUMNS = "id int4, day date, account_id int4, amount numeric12, memo text"

RELATIONS = (
    _relation(1, "bank.branches", "code text, name text", key=[1]),
    _relation(2, "bank.customers", _CUSTOMER_COLUMNS, key=[1], unique=[3], references=(Reference(8, 1, 1),)),
    _relation(3, "bank.corporate", _CUSTOMER_COLUMNS + ", tax_no text", parents=(2,), key=[1]),
    _relation(
        4,
        "bank.accounts",
        "id int4, customer_id int4, number text, balance numeric18, status text, pin text",
        key=[1],
        unique=[3],
    ),
    _relation(5, "bank.transactions", _TRANSACTION_COLUMNS, kind="p", key=[1, 2], partition_key=[2]),
    _relation(6, "bank.transactions_1", _TRANSACTION_COLUMNS, parents=(5,), key=[1, 2]),
    _relation(7, "bank.transactions_2", _TRANSACTION_COLUMNS, parents=(5,), key=[1, 2]),
    _relation(8, "bank.wealth", "id int4, amount numeric18", kind="p", partition_key=[2]),
    _relation(9, "bank.wealth_low", "id int4, amount numeric18", parents=(8,)),
    _relation(10, "bank.wealth_high", "id int4, amount numeric18", parents=(8,)),
    _relation(11, "bank.Customers", "ID int4, Phone text, phone text", key=[1]),
    _relation(12, "bank.watchlist", "id int4, reason text, hotline text", key=[1], literals=True),
    _relation(13, "bank." + LONG, "id int4, phone text", key=[1]),
    _relation(14, "archive.customers", "id int4, name text, phone text", key=[1]),
    _relation(15, "public.customers", "id int4, name text, phone text", key=[1]),
    _relation(16, "零售.客户 表", "编号 int4, 姓名 text, 手机号 text, select text", key=[1]),
    _relation(
        20,
        "bank.v_contact",
        "id int4, name text, phone phone_t, email text",
        kind="v",
        view=" SELECT customers.id,\n    customers.name,\n    customers.phone,\n    customers.email\n   FROM bank.customers;",
    ),
    _relation(
        21,
        "bank.v_again",
        "cid int4, tel phone_t",
        kind="v",
        view=" SELECT v_contact.id AS cid,\n    v_contact.phone AS tel\n   FROM bank.v_contact;",
    ),
    _relation(
        22,
        "bank.v_label",
        "id int4, label text",
        kind="v",
        view=" SELECT customers.id,\n    ((customers.name || '/'::text) || (customers.phone)::text) AS label\n"
        "   FROM bank.customers;",
    ),
    _relation(
        23,
        "bank.v_totals",
        "branch text, n int4, top numeric18",
        kind="v",
        view=" SELECT customers.branch,\n    count(*) AS n,\n    max(customers.balance) AS top\n   FROM bank.customers\n"
        "  GROUP BY customers.branch;",
    ),
    _relation(
        24,
        "bank.v_by_key",
        "id int4, name text, accounts int4",
        kind="v",
        view=" SELECT c.id,\n    c.name,\n    count(a.id) AS accounts\n   FROM (bank.customers c\n"
        "     LEFT JOIN bank.accounts a ON ((a.customer_id = c.id)))\n  GROUP BY c.id;",
    ),
    _relation(25, "bank.v_branches", "code text", kind="v", view=" SELECT branches.code\n   FROM bank.branches;"),
    _relation(
        26,
        "bank.mv_phones",
        "id int4, phone text",
        kind="m",
        view=" SELECT customers.id,\n    (customers.phone)::text AS phone\n   FROM bank.customers;",
    ),
    _relation(
        50,
        "bank.v_join",
        "id int4, no text, name text, Branch text",
        kind="v",
        view=' SELECT a.id,\n    a.number AS no,\n    c.name,\n    c.branch AS "Branch"\n   FROM (bank.accounts a\n'
        "     JOIN bank.customers c ON ((c.id = a.customer_id)));",
    ),
    _relation(
        51,
        "bank.v_outer",
        "code text, name text",
        kind="v",
        view=" SELECT b.code,\n    c.name\n   FROM (bank.branches b\n"
        "     LEFT JOIN bank.customers c ON (((c.branch = b.code) AND c.vip)));",
    ),
    _relation(
        52,
        "bank.v_rich",
        "id int4, branch text",
        kind="v",
        view=" SELECT customers.id,\n    customers.branch\n   FROM bank.customers\n"
        "  WHERE (customers.balance > (500000)::numeric);",
    ),
    _relation(53, "bank.v_rich_count", "n int4", kind="v", view=" SELECT count(*) AS n\n   FROM bank.v_rich;"),
    _relation(
        54,
        "bank.v_memo",
        "tid int4, sum numeric12, note text",
        kind="v",
        view=" SELECT transactions.id AS tid,\n    transactions.amount AS sum,\n    transactions.memo AS note\n"
        "   FROM bank.transactions;",
    ),
    _relation(
        55,
        "bank.v_memo_alone",
        "id int4, memo text",
        kind="v",
        view=" SELECT transactions.id,\n    transactions.memo\n   FROM bank.transactions;",
    ),
    _relation(56, "bank.v_names", "name text", kind="v", view=" SELECT DISTINCT customers.name\n   FROM bank.customers;"),
    _relation(
        57,
        "bank.v_pins",
        "id int4, customer_id int4, status text, pin text",
        kind="v",
        view=" SELECT accounts.id,\n    accounts.customer_id,\n    accounts.status,\n    accounts.pin\n   FROM bank.accounts;",
    ),
    _relation(
        58,
        "bank.v_vip",
        "id int4, name text, branch text, vip bool",
        kind="v",
        view=" SELECT customers.id,\n    customers.name,\n    customers.branch,\n    customers.vip\n   FROM bank.customers\n"
        "  WHERE customers.vip;",
    ),
    _relation(
        59,
        "bank.v_probe",
        "id int4, name text, x numeric18",
        kind="v",
        view=" SELECT DISTINCT ON (customers.id) customers.id,\n    customers.name,\n"
        "    ((1)::numeric / (customers.balance - 55322.28)) AS x\n   FROM bank.customers\n  ORDER BY customers.id;",
    ),
    _relation(
        62,
        "bank.v_row",
        "id int4, customer customers",
        kind="v",
        view=" SELECT c.id,\n    c.*::bank.customers AS customer\n   FROM bank.customers c;",
    ),
    _relation(
        60,
        "bank.mv_report",
        "id int4, name text, tel phone_t, accounts int4, total numeric18",
        kind="m",
        view=" SELECT c.id,\n    c.name,\n    c.phone AS tel,\n    count(a.id) AS accounts,\n    sum(a.balance) AS total\n"
        "   FROM (bank.customers c\n     LEFT JOIN bank.accounts a ON ((a.customer_id = c.id)))\n  GROUP BY c.id;",
    ),
    _relation(
        61,
        "bank.mv_rich",
        "id int4",
        kind="m",
        view=" SELECT customers.id\n   FROM bank.customers\n  WHERE (customers.balance > (500000)::numeric);",
    ),
    _relation(30, "bank.watchlist_hot", "id int4", kind="i"),
    _relation(40, "pg_catalog.pg_class", "oid oid, relname name, relnamespace oid, relkind text"),
    _relation(41, "pg_catalog.pg_attribute", "attrelid oid, attname name, attmissingval anyarray"),
    _relation(
        42,
        "pg_catalog.pg_stats",
        "schemaname name, tablename name, attname name, null_frac float4, histogram_bounds anyarray",
        kind="v",
    ),
    _relation(
        43, "pg_catalog.pg_stat_activity", "pid int4, usename name, application_name text, query text, state text", kind="v"
    ),
    _relation(44, "pg_catalog.pg_statistic", "starelid oid, stavalues1 anyarray"),
    _relation(45, "pg_catalog.pg_settings", "name text, setting text", kind="v"),
    _relation(46, "pg_catalog.pg_prepared_xacts", "gid text, owner name", kind="v"),
)

_BUILTIN = {
    "i": """abs bpchar ceil concat left length lower lpad md5 nullif overlay regexp_replace replace right round row_to_json rpad
        split_part substr substring to_jsonb upper jsonb_build_object jsonb_populate_record unnest generate_series power
        array_length timezone jsonb_path_query_array jsonb_to_record
        jsonb_to_recordset jsonb_each_text jsonb_path_query_first xmlcomment xpath regexp_split_to_table overlaps btrim ltrim
        rtrim similar_to_escape like_escape position normalize is_normalized xmlexists""",
    "s": """age concat_ws current_setting current_schemas current_schema date_part date_trunc extract format json_build_object
        now pg_get_expr pg_get_indexdef obj_description to_char to_json to_regclass version pg_get_viewdef has_table_privilege
        pg_column_size pg_typeof xmlelement json_populate_record jsonb_each""",
    "v": """clock_timestamp lo_get nextval pg_advisory_lock pg_notify pg_read_file pg_sleep query_to_xml random set_config setval
        table_to_xml ts_stat pg_terminate_backend""",
}
_AGGREGATES = "any_value mode xmlagg array_agg avg bool_or count json_agg jsonb_agg max min percentile_cont string_agg sum"
_WINDOW = "dense_rank first_value lag lead ntile rank row_number"


def _functions() -> dict[int, Function]:
    out = []
    for volatility, names in _BUILTIN.items():
        out += [("pg_catalog", n, "f", volatility) for n in names.split()]
    out += [("pg_catalog", n, "a", "i") for n in _AGGREGATES.split()]
    out += [("pg_catalog", n, "w", "i") for n in _WINDOW.split()]
    out += [("bank", "get_phone", "f", "s"), ("bank", "band", "f", "i"), ("bank", "attr", "f", "s")]
    return {i: Function(i, *f) for i, f in enumerate(out, 1000)}


_FUNCTIONS = _functions()
_ATTR = next(f.oid for f in _FUNCTIONS.values() if f.name == "attr")

CATALOG = Catalog(
    "minibank",
    "v1",
    150000,
    {r.oid: r for r in RELATIONS},
    _FUNCTIONS,
    (Operator("bank", "~>", _ATTR),),
    (TypeName(90001, "bank", "phone_t"), TypeName(90002, "bank", "contact_t"), TypeName(90003, "bank", "hooked_t", (_ATTR,))),
    frozenset({"pg_catalog", "information_schema", "public", "bank", "archive", "零售"}),
    frozenset({"plpgsql"}),
    (
        Literal("pg_index", 30, "bank", "watchlist_hot", frozenset({12})),
        Literal("pg_description", 12, "", "", frozenset({12})),
        Literal("pg_attrdef", 12, "bank", "watchlist", frozenset({12})),
    ),
)


def profile(catalog: Catalog = CATALOG, key: str = "masked") -> Profile:
    """What an analyst sees: MASKS, DENIED and CLEAR_ROWS applied to the relations of the catalog."""
    decisions: dict[int, dict[int, Decision]] = {}
    for (schema, name), columns in MASKS.items():
        relation = catalog.by_name[(schema, name)]
        numbers = {c.name: c.attnum for c in relation.columns}
        for column, text in columns.items():
            branches = [Branch(None, Show.MASK, SqlMask(text), "analysts")]
            parent = name.removesuffix("_1").removesuffix("_2")
            rows = CLEAR_ROWS.get((schema, parent, column))
            if rows is not None:
                branches.insert(0, Branch(rows, Show.CLEAR, None, "small amounts"))
            decisions.setdefault(relation.oid, {})[numbers[column]] = Decision("data", "C2", tuple(branches))
        for column in DENIED.get((schema, name), ()):
            decision = Decision("secret", "C3", (Branch(None, Show.DENY, None, "nobody"),))
            decisions.setdefault(relation.oid, {})[numbers[column]] = decision
    return Profile(key, "p1", decisions, ALLOWED, masked=True)


CLEAR = Profile("clear", "p1", {}, ALLOWED, masked=False)


def context(
    *,
    catalog: Catalog = CATALOG,
    of: Profile | None = None,
    path: tuple[str, ...] | None = PATH,
    temp: Iterable[str] = (),
    standard_strings: bool = True,
) -> PlanContext:
    """`path` None stands for a resolution that is not known."""
    resolution = None if path is None else Resolution(path, frozenset(temp))
    return PlanContext(catalog, of or profile(catalog), resolution, standard_strings)


MASKED = context()


def plan(text: str, given: PlanContext = MASKED) -> Plan:
    """A plan made afresh."""
    return Planner().plan(text, given)
