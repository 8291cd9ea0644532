"""One connection and what a statement brings back on it: everything that a client could compare, and every byte to search."""

from __future__ import annotations

import select
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import pq

TIMEOUT = 60.0
_OK = pq.ExecStatus.COMMAND_OK
_ROWS = pq.ExecStatus.TUPLES_OK
_FIELD = pq.DiagnosticField


@dataclass(frozen=True, slots=True)
class Result:
    """One result of a statement: rows, a command tag or an error."""

    columns: tuple[bytes, ...] = ()
    rows: tuple[tuple[bytes | None, ...], ...] = ()
    tag: bytes = b""
    sqlstate: str = ""
    message: str = ""
    others: str = ""
    """Further fields of an error: not compared, but searched."""
    position: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    results: tuple[Result, ...]
    notices: tuple[str, ...] = ()
    transaction: int = 0
    died: str = ""
    """Why the connection is no more."""

    @property
    def error(self) -> Result | None:
        return next((r for r in self.results if r.sqlstate), None)

    @property
    def refused(self) -> bool:
        return self.error is not None and self.error.message.startswith("pgveil: ")

    def everything(self) -> str:
        """All that was received, as text."""
        parts: list[str] = list(self.notices)
        for r in self.results:
            parts += [c.decode("latin-1") for c in r.columns]
            parts += [v.decode("latin-1") for row in r.rows for v in row if v is not None]
            parts += [r.message, r.others]
        return "\n".join(parts)


class Connection:
    """A connection through libpq, simple query protocol (or extended, with no parameters)."""

    def __init__(self, port: int, user: str, database: str, options: str = "", *, extended: bool = False) -> None:
        text = f"host=127.0.0.1 port={port} user={user} dbname={database} connect_timeout=20"
        if options:
            text += f" options='{options}'"
        self.problem = ""
        self._extended = extended
        self._notices: list[str] = []
        self._pg = pq.PGconn.connect(text.encode())
        if self._pg.status != pq.ConnStatus.OK:
            self.problem = self._pg.get_error_message()
        self._pg.notice_handler = self._on_notice
        self._pg.notify_handler = lambda n: self._notices.append(f"{n.relname!r} {n.extra!r}")

    def _on_notice(self, result: Any) -> None:
        self._notices.append("\n".join(_field(result, f) for f in _SEARCHED))

    @property
    def standard_strings(self) -> bool:
        return self._pg.parameter_status(b"standard_conforming_strings") != b"off"

    @property
    def transaction(self) -> int:
        return int(self._pg.transaction_status)

    def close(self) -> None:
        self._pg.finish()

    def run(self, sql: str, data: Sequence[str] | None = None) -> Outcome:
        """Send a text and collect all it brings. `data` answers COPY FROM STDIN."""
        if self.problem:
            return Outcome((), died=self.problem)
        self._notices.clear()
        results: list[Result] = []
        try:
            encoded = sql.encode("utf-8", "surrogateescape")
            if self._extended:
                self._pg.send_query_params(encoded, [])
            else:
                self._pg.send_query(encoded)
            end = time.monotonic() + TIMEOUT
            while (result := self._next(end)) is not None:
                if result.status == pq.ExecStatus.COPY_IN:
                    for line in data or ():
                        self._pg.put_copy_data(line.encode("utf-8", "surrogateescape") + b"\n")
                    self._pg.put_copy_end()
                elif result.status == pq.ExecStatus.COPY_OUT:
                    results.append(Result(rows=self._copied(end)))
                else:
                    results.append(_read(result))
        except TimeoutError as error:
            self.problem = str(error)
        except Exception as error:
            self.problem = f"{type(error).__name__}: {error}"
        if self._pg.status != pq.ConnStatus.OK and not self.problem:
            self.problem = self._pg.get_error_message()
        state = 0 if self.problem else self.transaction
        return Outcome(tuple(results), tuple(self._notices), state, self.problem)

    def _next(self, end: float) -> Any:
        while self._pg.is_busy():
            ready, _, _ = select.select([self._pg.socket], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                self._pg.get_cancel().cancel()
                raise TimeoutError("no answer in time")
            self._pg.consume_input()
        return self._pg.get_result()

    def _copied(self, end: float) -> tuple[tuple[bytes], ...]:
        rows = []
        while True:
            length, row = self._pg.get_copy_data(1)
            if length > 0:
                rows.append((bytes(row),))
            elif length == 0:
                select.select([self._pg.socket], [], [], max(0.0, end - time.monotonic()))
                self._pg.consume_input()
            else:
                return tuple(rows)


_SEARCHED = (_FIELD.MESSAGE_PRIMARY, _FIELD.MESSAGE_DETAIL, _FIELD.MESSAGE_HINT, _FIELD.CONTEXT, _FIELD.INTERNAL_QUERY)


def _field(result: Any, field: Any) -> str:
    return (result.error_field(field) or b"").decode("utf-8", "replace")


def _read(result: Any) -> Result:
    if result.status == _ROWS:
        columns = tuple(result.fname(i) or b"" for i in range(result.nfields))
        rows = tuple(tuple(result.get_value(r, c) for c in range(result.nfields)) for r in range(result.ntuples))
        return Result(columns, rows, result.command_status or b"")
    if result.status in (_OK, pq.ExecStatus.EMPTY_QUERY):
        return Result(tag=result.command_status or b"")
    others = "\n".join(_field(result, f) for f in _SEARCHED[1:])
    return Result(
        sqlstate=_field(result, _FIELD.SQLSTATE) or "?????",
        message=_field(result, _FIELD.MESSAGE_PRIMARY),
        others=others,
        position=_field(result, _FIELD.STATEMENT_POSITION),
    )
