"""One case, run on both sides, and the verdict.

*equal*: the same rows, column names, types, command tags, or an error of the same class. *refused*: pgveil says no, with
SQLSTATE and
reason, where the masked copy answers. Everything else is a failure: *leak* (a raw value in any byte that came back), *differs*,
*unclear* (a refusal that says pgveil could not understand), *died*.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import ahocorasick
import psycopg
from psycopg import pq

from tests.generate.banks import Bank
from tests.generate.statements import Case, Step

FIRST_USER_TYPE = 16384
_ROWS = {2249, 2287}  # record, record[]: the type of a whole row is record instead of the table's row type
_REFUSALS = ("42501", "0A000")
_UNCLEAR = re.compile(r"could not be (read|confirmed)|is not supported in a session")
_FIELDS = (
    pq.DiagnosticField.MESSAGE_PRIMARY, pq.DiagnosticField.MESSAGE_DETAIL, pq.DiagnosticField.MESSAGE_HINT,
    pq.DiagnosticField.CONTEXT,
    pq.DiagnosticField.INTERNAL_QUERY, pq.DiagnosticField.COLUMN_NAME, pq.DiagnosticField.CONSTRAINT_NAME,
)  # fmt: skip
TIMEOUT = "4s"


class Verdict(enum.Enum):
    EQUAL = "equal"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    LEAK = "leak"
    BARE = "bare"
    DIFFERS = "differs"
    UNCLEAR = "unclear"
    DIED = "died"

    @property
    def failed(self) -> bool:
        return self not in (Verdict.EQUAL, Verdict.REFUSED, Verdict.TIMEOUT)


@dataclass(slots=True)
class Answer:
    """What a client sees of one text it sent."""

    columns: list[list[tuple[str, int, int]]] = field(default_factory=list)
    rows: list[list[tuple[bytes | None, ...]]] = field(default_factory=list)
    tags: list[bytes] = field(default_factory=list)
    error: str | None = None
    message: str = ""
    text: bytes = b""
    """Every byte of data, errors and notices."""


@dataclass(frozen=True, slots=True)
class Outcome:
    verdict: Verdict
    reason: str = ""
    succeeded: bool = False
    """The masked copy answered every step."""


class Side:
    """A connection that is opened again when it is lost."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._notices: list[bytes] = []
        self.connection = self._open()

    def _open(self) -> psycopg.Connection:
        connection = psycopg.connect(self._dsn, autocommit=True, prepare_threshold=None, client_encoding="utf8")
        connection.add_notice_handler(
            lambda d: self._notices.append(str(d.message_primary).encode() + str(d.message_detail).encode())
        )
        self.send(Step(f"SET statement_timeout = '{TIMEOUT}'"), connection)
        return connection

    def send(self, step: Step, connection: psycopg.Connection | None = None) -> Answer:
        pg = (connection or self.connection).pgconn
        answer = Answer()
        if step.parameters is None:
            pg.send_query(step.text.encode())
        else:
            pg.send_query_params(step.text.encode(), [p.encode() for p in step.parameters])
        while (result := pg.get_result()) is not None:
            _collect(pg, result, answer)
        answer.text += b"\n".join(v for rows in answer.rows for row in rows for v in row if v is not None)
        answer.text += b"\n".join(self._notices)
        self._notices.clear()
        return answer

    def run(self, case: Case) -> list[Answer]:
        """The answers up to the first error; the transaction is rolled back."""
        try:
            self.send(Step("BEGIN"))
            if case.path:
                self.send(Step(f"SET LOCAL search_path = {', '.join(case.path)}"))
            answers = []
            for step in case.steps:
                answers.append(self.send(step))
                if answers[-1].error is not None:
                    break
            self.send(Step("ROLLBACK"))
            for reset in ("CLOSE ALL", "DEALLOCATE ALL") if case.origin != "plain" else ():
                self.send(Step(reset))
            return answers
        finally:
            if self.connection.pgconn.status != pq.ConnStatus.OK:
                self.connection.close()
                self.connection = self._open()

    @property
    def lost(self) -> bool:
        return bool(self.connection.pgconn.status != pq.ConnStatus.OK)

    def close(self) -> None:
        self.connection.close()


def _collect(pg: pq.abc.PGconn, result: pq.abc.PGresult, answer: Answer) -> None:
    if result.status == pq.ExecStatus.COPY_OUT:
        rows: list[tuple[bytes | None, ...]] = []
        while True:
            size, data = pg.get_copy_data(0)
            if size <= 0:
                break
            rows.append((bytes(data),))
        answer.rows.append(rows)
    elif result.status == pq.ExecStatus.COPY_IN:
        pg.put_copy_end()
    elif result.status == pq.ExecStatus.FATAL_ERROR:
        answer.error = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode() or "lost"
        answer.message = (result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b"").decode()
        answer.text += b"\n".join(result.error_field(f) or b"" for f in _FIELDS)
    else:
        answer.tags.append(result.command_status or b"")
        if result.status == pq.ExecStatus.TUPLES_OK:
            width = range(result.nfields)
            answer.columns.append([((result.fname(i) or b"").decode(), result.ftype(i), result.fmod(i)) for i in width])
            answer.rows.append([tuple(result.get_value(r, i) for i in width) for r in range(result.ntuples)])


class Trial:
    """Runs cases on both sides of a bank."""

    def __init__(self, bank: Bank) -> None:
        self.bank = bank
        self._canaries = Canaries(bank.canaries)
        self.ours = Side(bank.proxy)
        self.theirs = Side(bank.direct)

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, *_: object) -> None:
        self.ours.close()
        self.theirs.close()

    def run(self, case: Case) -> Outcome:
        theirs = self.theirs.run(case)
        try:
            ours = self.ours.run(case)
        except psycopg.OperationalError as error:
            return Outcome(Verdict.DIED, str(error))
        return judge(case, ours, theirs, self._canaries)


def unclear(message: str) -> bool:
    """A refusal that says no more than that pgveil did not understand: always a defect."""
    return bool(_UNCLEAR.search(message))


class Canaries:
    """Raw values, looked for all at once."""

    def __init__(self, values: Iterable[bytes]) -> None:
        self._search = ahocorasick.Automaton()
        for value in values:
            self._search.add_word(value.decode(), value)
        self._search.make_automaton()

    def found(self, answers: list[Answer]) -> set[bytes]:
        if self._search.kind != ahocorasick.AHOCORASICK:  # there are none
            return set()
        text = b"\n".join(a.text for a in answers).decode("utf-8", "replace")
        return {value for _, value in self._search.iter(text)}


def judge(case: Case, ours: list[Answer], theirs: list[Answer], canaries: Canaries) -> Outcome:
    leaked = canaries.found(ours)
    if leaked and (leaked := leaked - canaries.found(theirs)):  # what the masked copy says too was computed from something else
        return Outcome(Verdict.LEAK, f"the raw value {min(leaked).decode()} came back")
    done = len(theirs) == len(case.steps) and theirs[-1].error is None
    for step, mine, other in zip(case.steps, ours, theirs, strict=False):
        if mine.error == "lost":
            return Outcome(Verdict.DIED, mine.message, done)
        if "57014" in (mine.error, other.error):
            return Outcome(Verdict.TIMEOUT, "", done)
        if mine.error in _REFUSALS and other.error != mine.error:
            if unclear(mine.message):
                return Outcome(Verdict.UNCLEAR, mine.message, done)
            return Outcome(Verdict.REFUSED, mine.message, done)
        for problem in _differences(step, mine, other):
            return Outcome(Verdict.DIFFERS, f"{step.text}\n  {problem}", done)
    return Outcome(Verdict.EQUAL, theirs[-1].error or "", done)


def _differences(step: Step, ours: Answer, theirs: Answer) -> Iterator[str]:
    if (ours.error or "")[:2] != (theirs.error or "")[:2]:
        yield f"error {ours.error} {ours.message} instead of {theirs.error} {theirs.message}"
        return
    if ours.error is not None:
        return
    if step.values and ours.tags != theirs.tags:
        yield f"tags {ours.tags} instead of {theirs.tags}"
    for mine, other in zip(ours.columns, theirs.columns, strict=True):
        if [n for n, _, _ in mine] != [n for n, _, _ in other]:
            yield f"columns {[n for n, _, _ in mine]} instead of {[n for n, _, _ in other]}"
        for (name, a, x), (_, b, y) in zip(mine, other, strict=False):
            known = not (_own(a) or _own(b))
            if known and a != b:
                yield f"column {name} has type {a} instead of {b}"
            if known and x != y:
                yield f"column {name} has type modifier {x} instead of {y}"
    if not step.values:
        return
    for mine_rows, other_rows in zip(ours.rows, theirs.rows, strict=True):
        a_rows, b_rows = (mine_rows, other_rows) if step.ordered else (sorted(mine_rows, key=repr), sorted(other_rows, key=repr))
        if a_rows != b_rows:
            pair = next((p for p in zip(a_rows, b_rows, strict=False) if p[0] != p[1]), ("-", "-"))
            yield f"{len(a_rows)} rows instead of {len(b_rows)}; the first difference: {pair[0]!r} instead of {pair[1]!r}"


def _own(oid: int) -> bool:
    """A type whose number differs between databases, or stands for a whole row or a domain that the mask does not fit."""
    return oid >= FIRST_USER_TYPE or oid in _ROWS
