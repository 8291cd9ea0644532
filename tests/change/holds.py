"""What a client may hold while the world changes: each is made before a change and used after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from proxy.wire import codec, tags
from tests.change.wire import FLUSH, READY, SYNC, Answer, Wire, bind, describe, execute, parse, read

Use = Callable[[Wire, str], list[Answer]]


@dataclass(frozen=True, slots=True)
class Hold:
    """`make` runs before the change, `use` after it; `use` answers what the client saw, in order."""

    name: str
    make: Callable[[Wire, str], None]
    use: Use
    renews: bool = True
    """The client may expect today's rows where PostgreSQL itself would go on; otherwise an error is right as well."""
    begun: bool = False
    """Rows of before are right: the statement was running."""
    locks: bool = False
    """Its transaction has the table open."""


def _ok(answer: Answer) -> None:
    assert answer.kind == "ok", answer


def _bound(w: Wire, name: str) -> Answer:
    return w.ask(bind("", name), execute(""), SYNC)


def _parsed(name: str, described: bool = False) -> Callable[[Wire, str], None]:
    def make(w: Wire, sql: str) -> None:
        _ok(w.ask(parse(name, sql), *([describe("S", name)] if described else []), SYNC))

    return make


def _used(w: Wire, sql: str) -> Answer:
    return _bound(w, "s")


def _in_transaction(make: Callable[[Wire, str], None]) -> Callable[[Wire, str], None]:
    def begin(w: Wire, sql: str) -> None:
        _ok(w.query("BEGIN"))
        make(w, sql)

    return begin


def _and_over(use: Callable[[Wire], Answer]) -> Use:
    return lambda w, sql: _over(w, use(w))


def _more(w: Wire) -> Answer:
    return w.ask(execute("c", 1), SYNC)


def _fetch(w: Wire) -> Answer:
    return w.query("FETCH 1 FROM c")


def _over(w: Wire, answer: Answer) -> list[Answer]:
    _ok(w.query("ROLLBACK"))
    return [answer]


def _open_portal(rows: int) -> Callable[[Wire, str], None]:
    def make(w: Wire, sql: str) -> None:
        more = [execute("c", rows)] if rows else []
        _ok(w.ask(parse("s", sql), bind("c", "s"), describe("P", "c"), *more, SYNC))

    return make


def _cursor(options: str = "") -> Callable[[Wire, str], None]:
    def make(w: Wire, sql: str) -> None:
        _ok(w.query(f"DECLARE c CURSOR {options} FOR {sql}"))
        _ok(w.query("FETCH 1 FROM c"))

    return make


def _described_cursor(w: Wire, sql: str) -> None:
    """As psycopg's server-side cursors do: DECLARE by the extended protocol, then a Describe of the portal."""
    _ok(w.ask(parse("", f"DECLARE c CURSOR FOR {sql}"), bind("", ""), execute(""), SYNC))
    _ok(w.ask(describe("P", "c"), SYNC))


def _half_pipeline(w: Wire, sql: str) -> None:
    """The first half of a batch, answered; its Sync is still to come."""
    w.send(parse("s", sql), bind("", "s"), execute(""), FLUSH)
    _ok(read(w.until(tags.COMMAND_COMPLETE, tags.ERROR_RESPONSE)))


def _rest_of_pipeline(w: Wire, sql: str) -> list[Answer]:
    w.send(bind("", "s"), execute(""), SYNC)
    return [read(w.until(READY))]


def _pipeline(w: Wire, sql: str) -> list[Answer]:
    w.send(*(bind("", "s") + execute("") + SYNC for _ in range(5)))
    return [read(w.until(READY)) for _ in range(5)]


def _failed(w: Wire, sql: str) -> None:
    _parsed("s")(w, sql)
    _ok(w.query("BEGIN"))
    assert w.query("SELECT 1/0").error == "22012"


def _out_of_failed(w: Wire, sql: str) -> list[Answer]:
    first = _bound(w, "s")
    assert first.error in ("25P02", "0A000"), first
    return [*_over(w, first)[1:], _bound(w, "s")]


def _sql_prepared(w: Wire, sql: str) -> None:
    _ok(w.query(f"PREPARE p AS {sql}"))
    _ok(w.query("EXECUTE p"))


def _copying(w: Wire, sql: str) -> None:
    """More than any buffer holds, and nothing read but the beginning."""
    w.send(
        codec.encode_query(
            f"COPY (SELECT x.* FROM (SELECT * FROM ({sql}) y LIMIT 1) x, generate_series(1, 400000)) TO STDOUT".encode()
        )
    )
    tag, body = w.message()
    if tag != tags.COPY_OUT_RESPONSE:
        _ok(read([(tag, body)]))


def _copied(w: Wire, sql: str) -> list[Answer]:
    lines = set()
    while (message := w.message())[0] != READY:
        if message[0] == tags.COPY_DATA:
            lines.add(message[1])
        else:
            assert message[0] in (tags.COPY_DONE, tags.COMMAND_COMPLETE), message
    assert len(lines) == 1, "one decision for the whole of it"
    return [w.query(sql)]


def _one(use: Callable[[Wire], Answer]) -> Use:
    return lambda w, sql: [use(w)]


def _in_separate_batches(w: Wire, sql: str) -> list[Answer]:
    first = w.ask(bind("d", "s"), SYNC)
    if first.error:
        return _over(w, first)
    return _over(w, w.ask(execute("d"), SYNC))


HOLDS = (
    Hold("nothing", lambda w, sql: None, lambda w, sql: [w.query(sql)]),
    Hold("parsed", _parsed("s"), _one(lambda w: _bound(w, "s"))),
    Hold("described", _parsed("s", True), _one(lambda w: _bound(w, "s"))),
    Hold("described again", _parsed("s", True), _one(lambda w: w.ask(describe("S", "s"), bind("", "s"), execute(""), SYNC))),
    Hold("unnamed", _parsed("", True), _one(lambda w: _bound(w, ""))),
    Hold("in a transaction", _in_transaction(_parsed("s", True)), _and_over(lambda w: _bound(w, "s")), locks=True),
    Hold("in a failed transaction", _failed, _out_of_failed),
    Hold("bind and execute apart", _in_transaction(_parsed("s")), _in_separate_batches, locks=True),
    Hold("pipeline", _parsed("s", True), _pipeline),
    Hold("middle of a pipeline", _half_pipeline, _rest_of_pipeline, locks=True),
    Hold("portal bound", _in_transaction(_open_portal(0)), _and_over(_more), renews=False, locks=True),
    Hold("portal suspended", _in_transaction(_open_portal(1)), _and_over(_more), renews=False, locks=True),
    Hold("PREPARE", _sql_prepared, _one(lambda w: w.query("EXECUTE p"))),
    Hold("cursor", _in_transaction(_cursor()), _and_over(_fetch), renews=False, locks=True),
    Hold("cursor, by Execute", _in_transaction(_described_cursor), _and_over(_more), renews=False, locks=True),
    Hold("cursor with hold", _cursor("WITH HOLD"), _one(_fetch), renews=False),
    Hold("COPY under way", _copying, _copied, begun=True, locks=True),
)
