"""The sink that copies records into a PostgreSQL table: every record once, whatever dies when.

Records and the place up to which the trail has been taken over go into one transaction, and the place is moved only from where
it was thought to be: a commit whose answer was lost, a second writer, a kill of either side neither lose nor double anything. The
mac of the last record is kept with the place, so that another trail under the same name is noticed and not continued.

The table's own columns are for searching; `record` has everything. It is a copy to work with: the proof is in the files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import asyncpg

from proxy.audit.chain import segment_path
from proxy.audit.follow import Batch, Broken, Position
from proxy.control.connection import Target, connect
from proxy.errors import ConfigError
from proxy.sinks.settings import TableSink
from proxy.tls import server_context

COLUMNS: Final = (
    "source", "worker", "seq", "time", "kind", "session", "login", "person", "database", "client", "application", "statement",
    "verdict", "clear", "columns", "classes", "levels", "rules", "grants", "digests", "sqlstate", "decision", "rows", "bytes",
    "seconds", "policy", "event", "record",
)  # fmt: skip
_PLAIN: Final = (
    "session", "login", "person", "database", "client", "application", "statement", "verdict", "clear"
)  # fmt: skip
_MAC: Final = re.compile(rb'"mac":"([0-9a-f]{64})"\}$')
_SUSPECT: Final = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
"""What JSON can say and jsonb cannot: a NUL, half of a surrogate pair."""


class TableConsumer:
    """A consumer of the auditor (`proxy.supervision.consumer`)."""

    def __init__(self, sink: TableSink, directory: Path) -> None:
        """`directory`: of the trail."""
        self.name = sink.name
        self._sink = sink
        self._directory = directory
        self._connection: asyncpg.Connection | None = None
        self._places: dict[str, Position] = {}
        self._ready: set[str] = set()
        """Months that have their partition."""
        tls = sink.tls
        self._target = Target(
            sink.host, sink.port, sink.user, sink.password, tls.mode, server_context(tls), application="pgveil audit sink"
        )
        self._place = f"{_quoted(sink.schema)}.place"

    async def begin(self) -> Mapping[str, Position]:
        await self.close()
        self._connection = connection = await connect(self._target, self._sink.database)
        rows = await connection.fetch(
            f"SELECT worker, segment, byte, seq, mac FROM {self._place} WHERE source = $1", self._sink.source
        )
        self._places = {row["worker"]: Position(row["segment"], row["byte"], row["seq"]) for row in rows}
        for row in rows:
            self._check(row["worker"], self._places[row["worker"]], row["mac"])
        return dict(self._places)

    async def take(self, batches: Sequence[Batch]) -> None:
        connection = self._connected()
        rows = [row_of(line, self._sink.source) for batch in batches for line in batch.lines]
        try:
            async with connection.transaction():
                for month in {row[3].strftime("%Y-%m"): row[3] for row in rows}.items():
                    await self._partition(connection, *month)
                await connection.copy_records_to_table("record", records=rows, columns=COLUMNS, schema_name=self._sink.schema)
                for batch in batches:
                    await self._move(connection, batch)
        except BaseException:
            self._drop()
            raise
        for batch in batches:
            self._places[batch.worker] = batch.after

    async def rest(self) -> None:
        if self._connection is not None and self._connection.is_closed():
            raise ConnectionError("the connection to the server is lost")

    async def tell(self, broken: Broken) -> bool:
        """The gap is written down, and what is behind it is taken over."""
        await self._connected().execute(
            f"INSERT INTO {_quoted(self._sink.schema)}.gap (source, worker, seq, place) VALUES ($1, $2, $3, $4)",
            self._sink.source, broken.worker, broken.seq, str(broken),
        )  # fmt: skip
        return True

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            await connection.close(timeout=2.0)

    async def _partition(self, connection: asyncpg.Connection, month: str, moment: datetime) -> None:
        """Made ahead: the next month's comes along."""
        if month in self._ready:
            return
        for when in (moment, moment.replace(day=28) + timedelta(days=4)):
            if when <= datetime.now(UTC) + timedelta(days=60):
                await connection.execute(f"SELECT {_quoted(self._sink.schema)}.make_partition($1)", when)
        self._ready.add(month)

    async def _move(self, connection: asyncpg.Connection, batch: Batch) -> None:
        """Raises RuntimeError when the place is not where we left it: somebody else writes, too."""
        before, after, sink = self._places.get(batch.worker), batch.after, self._sink
        mac = _mac(batch.lines[-1])
        if before is None:
            text = f"INSERT INTO {self._place} VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING"
            done = await connection.execute(text, sink.source, batch.worker, after.segment, after.offset, after.seq, mac)
        else:
            text = f"UPDATE {self._place} SET segment = $3, byte = $4, seq = $5, mac = $6"
            text += " WHERE source = $1 AND worker = $2 AND seq = $7"
            done = await connection.execute(
                text, sink.source, batch.worker, after.segment, after.offset, after.seq, mac, before.seq
            )
        if not done.endswith(" 1"):
            raise RuntimeError(f"another process writes the records of {sink.source} {batch.worker} into this table, too")

    def _check(self, worker: str, place: Position, mac: str) -> None:
        """The trail here is the one that the place is about. An expired segment cannot be asked."""
        try:
            with open(segment_path(self._directory, worker, place.segment), "rb") as file:
                file.seek(max(0, place.offset - 100))
                found = file.read(min(100, place.offset))
        except FileNotFoundError:
            return
        if place.offset and _mac(found[:-1]) != mac:
            raise ConfigError(
                f"the table has records of another trail under the name {self._sink.source} {worker}",
                hint="give this proxy a 'source' of its own, or the table a new schema",
            )

    def _connected(self) -> asyncpg.Connection:
        if self._connection is None:
            raise ConnectionError("there is no connection to the server")
        return self._connection

    def _drop(self) -> None:
        """What the transaction has done nobody knows; `begin` will ask."""
        connection, self._connection = self._connection, None
        self._ready.clear()
        if connection is not None:
            connection.terminate()


def row_of(line: bytes, source: str) -> tuple[Any, ...]:
    """The table's row for a record."""
    r = json.loads(line)
    text = line.decode("utf-8", "replace")
    if _SUSPECT.search(line):
        r = _clean(r)
        text = json.dumps(r, ensure_ascii=False)
    touches = r.get("touches") or ()
    refusal = r.get("refusal") or {}
    decided = r["kind"] in ("decision", "refused")
    digests = [d for d in (*(r.get("values") or ()), *(r.get("binds") or ())) if d is not None]
    return (
        source, r["worker"], r["seq"], datetime.fromisoformat(r["time"]), r["kind"],
        *(r.get(name) for name in _PLAIN),
        _distinct(f"{t['relation']}.{t['column']}" for t in touches) if decided else None,
        _distinct(t["class"] for t in touches) if decided else None,
        _distinct(t["level"] for t in touches) if decided else None,
        _distinct(t["rule"] for t in touches if t["rule"] is not None) if decided else None,
        _distinct(t["grant"] for t in touches if t.get("grant") is not None) if decided else None,
        _distinct(digests) if decided else None,
        r.get("sqlstate") or refusal.get("sqlstate"),
        r.get("decision"), r.get("rows"), r.get("bytes"), r.get("seconds"), r.get("policy"), r.get("event"), text,
    )  # fmt: skip


def install_sql(schema: str, writer: str) -> str:
    """The script that makes the table, for an administrator."""
    text = files("proxy.sinks").joinpath("table.sql").read_text(encoding="utf-8")
    literal = "'" + schema.replace("'", "''") + "'"
    return text.replace("{schema_text}", literal).replace("{schema}", _quoted(schema)).replace("{writer}", _quoted(writer))


def _distinct(values: Any) -> list[Any]:
    return list(dict.fromkeys(values))


def _clean(value: Any) -> Any:
    """Without what jsonb cannot hold."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_clean(v) for v in value]
    if isinstance(value, dict):
        return {_clean(k): _clean(v) for k, v in value.items()}
    return value


def _mac(line: bytes) -> str:
    found = _MAC.search(line)
    return found[1].decode() if found is not None else ""


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
