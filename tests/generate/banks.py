"""The two databases a case runs on, with pgveil in front of the raw one: over the mini bank, or over the conformance set's
bank."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import yaml

from tests.generate import schema
from tests.support import minibank
from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, ProxyProcess

MORE = (Path(__file__).parent / "more.sql").read_text("utf-8")
LOG_PREFIX = "<%u@%d> "
_SETTINGS = {
    "log_statement": "all", "log_line_prefix": LOG_PREFIX, "timezone": "UTC", "lc_messages": "C", "jit": "off", "autovacuum":
    "off",
    "max_connections": "60", "max_prepared_transactions": "8", "max_parallel_workers_per_gather": "0",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bank:
    proxy: str
    """How to reach the raw database through pgveil, as the masked login (a libpq connection string)."""
    direct: str
    """How the same login reaches the masked copy."""
    admin: str
    """The raw database as superuser."""
    role: str
    database: str
    log: Path
    """The server's log, which holds every statement that reached it."""
    masks: Mapping[tuple[str, str], Mapping[str, str]]
    """relation -> masked column -> mask over $1"""
    canaries: frozenset[bytes]
    schema: schema.Schema
    paths: tuple[tuple[str, ...], ...]
    process: ProxyProcess | None = None


def quoted(*names: str) -> str:
    return ".".join('"' + n.replace('"', '""') + '"' for n in names)


# -- the mini bank ----------------------------------------------------------------------------------------------------------

ROLE, RAW, MASKED = "generate_analyst", "generate_raw", "generate_masked"
MORE_MASKS: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("bank", "deals"): {
        "partner": minibank.NAME,
        "contacts": "CASE WHEN $1 IS NULL THEN NULL ELSE ARRAY[left($1[1], 1) || '**'] END",
        "price": minibank.ROUND,
    },
    ("bank", "staff"): {"phone": minibank.PHONE, "salary": minibank.ROUND},
}
MASKS = {**minibank.MASKS, **MORE_MASKS}
DENIED = frozenset((s, t, c) for (s, t), columns in minibank.DENIED.items() for c in columns) | {("bank", "v_pins", "pin")}
REFUSED = frozenset(
    {("bank", "mv_rich"), ("bank", "mv_report"), ("bank", "mv_phones"), ("bank", "wealth_low"), ("bank", "wealth_high")}
)


LEFT_OUT = frozenset({("bank", "v_probe")})
"""Its definition holds a raw value as a literal, which EXPLAIN shows (a documented limit)."""


def mini_policy() -> str:
    """The mini bank's masks as a policy."""
    classes: dict[str, object] = {}
    columns: dict[str, str] = {}
    by_text: dict[str, str] = {}
    for (schema_, table), masks in MASKS.items():
        for column, mask in masks.items():
            name = by_text.setdefault(mask, f"mask_{len(by_text)}")
            classes[name] = {"level": "C2", "mask": {"sql": mask}}
            columns[quoted(schema_, table, column)] = name
    classes["secret"] = {"level": "C3", "mask": "null"}
    for schema_, table, column in sorted(DENIED):
        columns[quoted(schema_, table, column)] = "secret"
    rules: list[dict[str, object]] = [{"name": "nobody", "role": ROLE, "columns": "class=secret", "show": "deny"}]
    for (schema_, table, column), rows in minibank.CLEAR_ROWS.items():
        same = [f"{s}.{t}.{column}" for s, t in MASKS if s == schema_ and re.sub(r"_\d$", "", t) == table]
        rules.append({"name": f"small {column}", "role": ROLE, "columns": same, "rows": rows, "show": "clear"})
    return yaml.safe_dump(
        {"version": 1, "classes": classes, "columns": columns, "functions": {"allow": sorted(minibank.ALLOWED)}, "rules": rules},
        allow_unicode=True, sort_keys=False,
    )  # fmt: skip


def mask_statements(masks: Mapping[tuple[str, str], Mapping[str, str]]) -> Iterator[str]:
    """What turns the raw mini bank into its masked copy."""
    yield "ALTER DOMAIN bank.phone_t DROP CONSTRAINT phone_format"
    for (schema_, table), columns in masks.items():
        if re.fullmatch(r"(wealth|transactions)_\w+", table):
            continue
        items = []
        for column, mask in columns.items():
            if column == "email_lower":  # generated
                continue
            text = mask.replace("$1", quoted(column))
            rows = minibank.CLEAR_ROWS.get((schema_, table, column))
            items.append(f"{quoted(column)} = " + (f"CASE WHEN {rows} THEN {quoted(column)} ELSE {text} END" if rows else text))
        yield f"UPDATE {'' if table in ('wealth', 'transactions') else 'ONLY '}{quoted(schema_, table)} SET {', '.join(items)}"
    yield f"ALTER TABLE bank.watchlist ALTER hotline SET DEFAULT '{minibank.LITERALS[0][:3]}****{minibank.LITERALS[0][7:]}'"
    for view in ("mv_phones", "mv_report", "mv_rich"):
        yield f"REFRESH MATERIALIZED VIEW bank.{view}"


@contextmanager
def mini_bank(home: Path) -> Iterator[Bank]:
    """A server of its own with the mini bank and its masked copy, and pgveil in front."""
    with ExitStack() as stack:
        server = stack.enter_context(TestServer(_SETTINGS))
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", f"CREATE ROLE {CONTROL} LOGIN PASSWORD 'control'; CREATE ROLE {ROLE} LOGIN PASSWORD 'pw'")
        for name in (RAW, MASKED):
            server.execute_sql("postgres", f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
            script = minibank.SCRIPT + MORE + (";".join(mask_statements(MASKS)) + ";" if name == MASKED else "")
            server.execute_sql(name, script + _grants(name))
        proxy = ProxyProcess(home, server, database=RAW, policy=mini_policy(), extra=f"databases: [{RAW}]")
        stack.enter_context(proxy)
        yield _bank(
            proxy=f"host=127.0.0.1 port={proxy.port} user={ROLE} password=pw dbname={RAW}",
            direct=server.dsn(ROLE, MASKED, "pw"),
            admin=server.dsn("postgres", RAW),
            role=ROLE, database=RAW, log=server.log_file, masks=MASKS, denied=DENIED, refused=REFUSED, left_out=LEFT_OUT,
            rows=minibank.CLEAR_ROWS, more=minibank.LITERALS, process=proxy,
            paths=(("bank", "public"), ("archive", "bank"), ("public", "bank"), ("pg_temp", "bank")),
        )  # fmt: skip


def _grants(database: str) -> str:
    schemas = 'bank, archive, "零售", public'
    return f"""
        GRANT CREATE, TEMP ON DATABASE "{database}" TO {ROLE};
        GRANT USAGE, CREATE ON SCHEMA {schemas} TO {ROLE};
        GRANT ALL ON ALL TABLES IN SCHEMA {schemas} TO {ROLE};
        GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schemas} TO {ROLE};
    """


# -- the conformance bank ---------------------------------------------------------------------------------------------------


@contextmanager
def conformance_bank(home: Path, conformance: Path) -> Iterator[Bank]:
    """The bank of a conformance set, its masked copy, and pgveil with the policy made from the set's intent."""
    from tests.conformance import cluster
    from tests.conformance.policy import generate, with_parameter

    intent = json.loads((conformance / "policy-intent.json").read_text("utf-8"))
    masks: dict[tuple[str, str], dict[str, str]] = {}
    for entry in intent["columns"]:
        masks.setdefault((entry["schema"], entry["table"]), {})[entry["column"]] = with_parameter(
            entry["mask_sql"], entry["column"]
        )
    refused = {("bank", "mv_customer_360"), ("bank", "wealth_low"), ("bank", "wealth_mid"), ("bank", "wealth_high")}
    with ExitStack() as stack:
        cluster.SETTINGS.update({"log_statement": "all", "log_line_prefix": LOG_PREFIX})
        server = stack.enter_context(cluster.server(home / "cluster", None))
        cluster.load(server, conformance)
        policy = generate(conformance)
        upstream = _Upstream(server.port)
        proxy = ProxyProcess(home / "proxy", upstream, database="postgres", policy=policy, extra=f"databases: [{cluster.RAW}]")  # type: ignore[arg-type]
        text = proxy.config.read_text("utf-8").replace(f"user: {CONTROL}", f"user: {cluster.CONTROL_USER}")
        proxy.config.write_text(text, "utf-8")
        stack.enter_context(proxy)
        login = "user=analyst password=analyst_pw"
        yield _bank(
            proxy=f"host=127.0.0.1 port={proxy.port} {login} dbname={cluster.RAW}",
            direct=f"host=127.0.0.1 port={server.port} {login} dbname={cluster.MASKED}",
            admin=cluster.superuser(server.port, cluster.RAW),
            role="analyst", database=cluster.RAW, log=server.log_file, masks=masks, denied=frozenset(),
            refused=frozenset(refused), left_out=frozenset(),
            rows={}, more=(), process=proxy, paths=(("bank", "public"), ("archive", "bank"), ("sandbox", "public", "bank")),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Upstream:
    port: int


# -- both -------------------------------------------------------------------------------------------------------------------


def _bank(
    *, denied: frozenset[tuple[str, str, str]], refused: frozenset[tuple[str, str]], left_out: frozenset[tuple[str, str]],
    rows: Mapping[tuple[str, str, str], str],
    more: tuple[str, ...], **given: object,
) -> Bank:  # fmt: skip
    masks: Mapping[tuple[str, str], Mapping[str, str]] = given["masks"]  # type: ignore[assignment]
    with psycopg.connect(str(given["admin"])) as admin:
        canaries = frozenset((*_canaries(admin, masks, rows), *(m.encode() for m in more)))
    with psycopg.connect(str(given["direct"]), autocommit=True) as direct:
        read = schema.read(direct, masks, denied, refused, left_out)
    return Bank(canaries=canaries, schema=read, **given)  # type: ignore[arg-type]


def _canaries(
    admin: psycopg.Connection, masks: Mapping[tuple[str, str], Mapping[str, str]], rows: Mapping[tuple[str, str, str], str]
) -> Iterator[bytes]:
    """Raw values that differ from their masked form and are long enough to be no accident."""
    for (schema_, table), columns in masks.items():
        for column, mask in columns.items():
            shown = rows.get((schema_, re.sub(r"_\d$", "", table), column), "false")
            name = quoted(column)
            query = (
                f"SELECT DISTINCT {name}::text FROM {quoted(schema_, table)} WHERE NOT ({shown}) "
                f"AND ({mask.replace('$1', name)})::text IS DISTINCT FROM {name}::text AND length({name}::text) >= 7"
            )
            yield from (value.encode() for (value,) in admin.execute(query.encode()).fetchall())


@contextmanager
def open_bank(conformance: Path | None) -> Iterator[Bank]:
    with tempfile.TemporaryDirectory(prefix="pgveil-generate-") as name:
        os.chmod(name, 0o755)
        home = Path(name) / "home"
        home.mkdir()
        with mini_bank(home) if conformance is None else conformance_bank(home, conformance) as bank:
            yield bank
