"""Reads and plays playbooks: conversations in the codec's text form, with what each side must see.

    # title: …        # profile: masked | clear | …        # pooling: session | transaction        # login: no (it does it itself)
    # failures: 2 (profile exempt: as many texts that cannot be read pass)
    # rows: 3 (profile counted: as many rows of statements with phone)      # cancels: slowly (until DO cancelled)
    C> message            from the client          >S message     the server must get it
    S> message            from the server          >C message     the client must get it
    AU line               evidence, in order (checked in playbooks that have any)
    DO catalog NAME | refresh | policy PROFILE | client eof | server eof | refuse CODE TEXT | cancelled     what happens outside
    IS held | free | close | idle | busy | ddl | wants_catalog | cancelled      what the transport must see

Inputs that follow each other are one step; after a step all outputs of both directions must be what the lines below it say.
ErrorResponse and NoticeResponse may be written short, with SQLSTATE and message: `ErrorResponse 42501 "text"`; `*` stands for
any text. `Probe` is the resolution probe without its last message (`ProbeFirst`: in front of a pooled transaction),
`ProbeAnswer ["a" "b"] ["t" 17000] ["c"]` its replies (search path, temporary relations, cursors older than the transaction).
Several parts may stand on one line, three or more blanks apart.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import scripted

from proxy.session import probe
from proxy.session.effects import Pooling
from proxy.session.machine import Session
from proxy.wire import codec, tags, trace

Cut = Callable[[bytes], Iterator[bytes]]

_PART = re.compile(r"\s{3,}(?=(?:C>|S>|>C|>S|AU|DO|IS)\s)")


@dataclass
class Playbook:
    path: Path
    title: str = ""
    profile: str = "masked"
    pooling: Pooling = Pooling.NONE
    login: bool = True
    rows: int | None = None
    failures: int | None = None
    cancels_at_once: bool = True
    parts: list[tuple[int, str, str]] = field(default_factory=list)
    """Line number, direction, text."""


def load(path: Path) -> Playbook:
    book = Playbook(path)
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        line = line.strip()
        if line.startswith("#"):
            key, _, value = line[1:].partition(":")
            if key.strip() == "title":
                book.title = value.strip()
            elif key.strip() == "profile":
                book.profile = value.strip()
            elif key.strip() == "pooling":
                book.pooling = Pooling(value.strip())
            elif key.strip() == "rows":
                book.rows = int(value)
            elif key.strip() == "failures":
                book.failures = int(value)
            elif key.strip() == "cancels":
                book.cancels_at_once = value.strip() != "slowly"
            elif key.strip() == "login":
                book.login = value.strip() != "no"
        elif line:
            for part in _PART.split(line):
                book.parts.append((number, part[:2], part[2:].strip()))
    return book


def whole(data: bytes) -> Iterator[bytes]:
    yield data


def single_bytes(data: bytes) -> Iterator[bytes]:
    for i in range(len(data)):
        yield data[i : i + 1]


def random_cuts(seed: int) -> Cut:
    rng = random.Random(seed)

    def cut(data: bytes) -> Iterator[bytes]:
        at = 0
        while at < len(data):
            end = at + rng.choice((1, 2, 4, 5, 6, 7, 11, 23, 60, 300))
            yield data[at:end]
            at = end

    return cut


LOGIN = b"".join(
    (
        codec.encode_authentication(0),
        codec.encode_parameter_status(b"client_encoding", b"UTF8"),
        codec.encode_parameter_status(b"standard_conforming_strings", b"on"),
        codec.encode_backend_key(7, b"\1\2\3\4"),
        codec.encode_ready(tags.IDLE),
    )
)
_SHORT = ("ErrorResponse", "NoticeResponse")


def encode(text: str, from_client: bool) -> bytes:
    """A message in text form, short forms included."""
    if text == "Probe":
        return probe.question(False, False)[: -len(codec.SYNC)]
    if text.startswith("ProbeAnswer"):
        return _probe_answer(text)
    short = re.match(r'(ErrorResponse|NoticeResponse) (\w{5}) ("(?:[^"\\]|\\.)*")(.*)', text)
    if short:
        name, code, message, more = short.groups()
        severity = "ERROR" if name == "ErrorResponse" else "NOTICE"
        text = f'{name} S "{severity}" V "{severity}" C "{code}" M {message}{more}'
    return trace.read(text, from_client)


def _probe_answer(text: str) -> bytes:
    path, *rest = re.findall(r"\[(.*?)\]", text)
    temp = dict(re.findall(r'"(\w+)" (\d+)', rest[0])) if rest else {}
    held = re.findall(r'"(\w+)"', rest[1]) if len(rest) > 1 else None
    answer = {
        "path": re.findall(r'"(\w+)"', path),
        "temp": temp or None,
        "temp_schema": "pg_temp_3" if temp else None,
        "held": held,
        "encoding": "UTF8",
        "strings": "on",
        "origin": ["7", "5"],
        "user": ["ana", "ana"],
        "nulls": "off",
        "types": False,
        "creates": "bank",
    }
    return b"".join(
        (
            codec.message(tags.CLOSE_COMPLETE),
            codec.message(tags.PARSE_COMPLETE),
            codec.message(tags.BIND_COMPLETE),
            codec.encode_data_row([json.dumps(answer).encode().hex().encode()]),
            codec.encode_command_complete(b"SELECT 1"),
            codec.message(tags.CLOSE_COMPLETE),
            codec.message(tags.CLOSE_COMPLETE),
        )
    )


def matches(expected: str, message: bytes, from_client: bool) -> bool:
    if "*" not in expected and expected.split(" ")[0] not in _SHORT:
        return encode(expected, from_client) == message
    shown = trace.show(message, from_client)
    pattern = ".*".join(map(re.escape, expected.split("*")))
    if re.fullmatch(pattern, shown, re.S):
        return True
    if message[0] in (tags.ERROR_RESPONSE, tags.NOTICE_RESPONSE) and not from_client:
        fields = dict(codec.decode_fields(message[5:]))
        extra = [f" {k} {trace.quote(v)}" for k, v in fields.items() if k not in "SVCM"]
        name = tags.SERVER_NAMES[message[0]]
        severity = fields["S"].decode() + " " if fields["S"] not in (b"ERROR", b"NOTICE") else ""
        short = f"{name} {severity}{fields['C'].decode()} {trace.quote(fields['M'])}"
        return bool(re.fullmatch(pattern, short + "".join(extra), re.S))
    return False


class Player:
    def __init__(self, book: Playbook, cut: Cut) -> None:
        self.book = book
        self.cut = cut
        meter = None
        if book.rows is not None or book.failures is not None:
            meter = scripted.PhoneMeter(book.rows or 0, 1000 if book.failures is None else book.failures)
        self.session, self.authority, self.audit = scripted.make_session(book.profile, pooling=book.pooling, meter=meter)
        self.cancelled = False
        self.got: dict[str, list[bytes]] = {">S": [], ">C": []}
        self.audited = any(direction == "AU" for _, direction, _ in book.parts)

    def play(self) -> None:
        if self.book.login:
            self.feed(self.session.server_data, LOGIN)
            self.got[">C"].clear()
        parts = self.book.parts
        at = 0
        while at < len(parts):
            while at < len(parts) and parts[at][1] in ("C>", "S>", "DO"):
                at = self.give(at)
            expected: dict[str, list[tuple[int, str]]] = {">S": [], ">C": [], "AU": [], "IS": []}
            while at < len(parts) and parts[at][1] in expected:
                number, direction, text = parts[at]
                expected[direction].append((number, text))
                at += 1
            self.check(expected, at)

    def give(self, at: int) -> int:
        """One run of inputs of one side, as one stream."""
        _, direction, text = self.book.parts[at]
        if direction == "DO":
            self.do(text)
            self.collect()
            return at + 1
        stream = b""
        while at < len(self.book.parts) and self.book.parts[at][1] == direction:
            stream += encode(self.book.parts[at][2], direction == "C>")
            at += 1
        self.feed(self.session.client_data if direction == "C>" else self.session.server_data, stream)
        return at

    def feed(self, side: Callable[[bytes], None], stream: bytes) -> None:
        for chunk in self.cut(stream):
            side(chunk)
            self.collect()

    def collect(self) -> None:
        """What a transport does after each call."""
        session = self.session
        self.got[">S"] += session.to_server
        self.got[">C"] += session.to_client
        session.to_server.clear()
        session.to_client.clear()
        if session.wants_cancel:
            session.wants_cancel = False
            self.cancelled = True
            if self.book.cancels_at_once:
                session.cancel_sent()
                self.collect()

    def do(self, text: str) -> None:
        what, _, rest = text.partition(" ")
        session: Session = self.session
        if what == "catalog":
            self.authority.change(catalog=rest)
        elif what == "refresh":
            session.ddl = False
            session.catalog_refreshed()
        elif what == "policy":
            self.authority.change(profile=rest)
        elif text == "cancelled":
            session.cancel_sent()
        elif text == "client eof":
            session.client_eof()
        elif text == "server eof":
            session.server_eof()
        elif what == "refuse":
            session.refuse(*rest.split(" ", 1))
        else:
            raise ValueError(text)

    def check(self, expected: dict[str, list[tuple[int, str]]], at: int) -> None:
        for direction in (">S", ">C"):
            from_client = direction == ">S"
            messages = trace.split(b"".join(self.got[direction]))
            self.got[direction].clear()
            lines = []
            for number, text in expected[direction]:
                if text in ("Probe", "ProbeFirst"):
                    pooled = self.book.pooling is not Pooling.NONE
                    question = probe.question(False, pooled, first=text == "ProbeFirst")[: -len(codec.SYNC)]
                    lines += [(number, trace.show(m, True)) for m in trace.split(question)]
                else:
                    lines.append((number, text))
            shown = [trace.show(m, from_client) for m in messages]
            wanted = [text for _, text in lines]
            where = f"{self.book.path.name}:{lines[0][0] if lines else self.book.parts[at - 1][0]} {direction}"
            assert len(shown) == len(wanted), f"{where}\n got  {shown}\n want {wanted}"
            for (number, text), message in zip(lines, messages, strict=True):
                assert matches(text, message, from_client), (
                    f"{self.book.path.name}:{number} {direction}\n got  {trace.show(message, from_client)}\n want {text}"
                )
        if self.audited:
            got, self.audit.lines = self.audit.lines, []
            wanted = [text for _, text in expected["AU"]]
            assert got == wanted, f"{self.book.path.name} before line {self.book.parts[min(at, len(self.book.parts) - 1)][0]}"
        for number, text in expected["IS"]:
            session = self.session
            state = {
                "held": session.held, "free": not session.held, "close": session.close, "open": not session.close,
                "idle": session.idle, "busy": not session.idle, "ddl": session.ddl,
                "wants_catalog": session.wants_catalog, "cancelled": self.cancelled,
            }  # fmt: skip
            assert state[text], f"{self.book.path.name}:{number} not {text}"
            self.cancelled = self.cancelled and text != "cancelled"
