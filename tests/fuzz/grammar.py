"""Random conversations of clients: mostly valid, half-valid where it hurts.

What a real driver does is a template of messages; each template loses, doubles or swaps a message now and then. So errors come at
every place of a pipeline, portals are left open, Syncs are missing, and COPY data comes when nobody asked for it.
"""

from __future__ import annotations

import random

from proxy.wire import codec, tags
from tests.fuzz import texts
from tests.fuzz.conversation import REFUSED, Conversation
from tests.fuzz.texts import INT, Text

STATEMENTS = (b"", b"", b"", b"a", b"b")
PORTALS = (b"", b"", b"", b"p", b"c")
_ROWS = (b"300\tthree hundred\n", b"301\tx\n302\ty\n", b"303,csv,1,\n", b"bad\n", b"304\t", b"\\.\n", b"", b"305\n306\n")


class Generator:
    def __init__(self, seed: str) -> None:
        self.rng = random.Random(seed)

    def conversation(self) -> Conversation:
        r = self.rng
        self.login = r.choice(("clear", "masked"))
        self.groups = texts.GROUPS[self.login]
        theme = r.choice(self.groups) if r.random() < 0.6 else None
        self.theme = theme
        bursts: list[tuple[bytes, ...]] = []
        burst: list[bytes] = []
        waits = r.choice((0.1, 0.5, 0.9))
        self.wild = r.choice((0.0, 0.0, 0.05, 0.2))
        for _ in range(r.choice((2, 4, 8, 14))):
            for message in self.disturb(self.act()):
                burst.append(message)
                if self.wild and r.random() < 0.05:
                    bursts.append(tuple(burst))
                    burst = []
            if burst and r.random() < waits:
                bursts.append(tuple(burst))
                burst = []
        if r.random() < 0.8:
            burst.append(codec.SYNC)
        if burst:
            bursts.append(tuple(burst))
        pace = r.choice((0, 0, r.randint(1, 9999)))
        return Conversation(self.login, tuple(bursts), pace, rush=r.random() < 0.2)

    def text(self) -> Text:
        r = self.rng
        group = self.theme if self.theme is not None and r.random() < 0.5 else r.choice(self.groups)
        return r.choice(group)

    def disturb(self, messages: list[bytes]) -> list[bytes]:
        r = self.rng
        if not self.wild:
            return messages
        out: list[bytes] = []
        for message in messages:
            roll = r.random()
            if roll < self.wild * 0.4:
                continue
            if roll < self.wild * 0.6:
                out += [message, message]
            elif roll < self.wild * 0.75:
                out += [self.loose(), message]
            elif roll < self.wild * 0.8:
                out += [self.malformed(message)]
            elif roll < self.wild and out:
                out.insert(-1, message)
            else:
                out.append(message)
        return out

    def act(self) -> list[bytes]:
        r = self.rng
        acts = (
            (self.simple, 5),
            (self.extended, 6),
            (self.pipeline, 3),
            (self.reuse, 2),
            (self.copy_in, 2),
            (self.copy_out, 1),
            (self.close, 1),
            (self.function, 0.4),
            (lambda: [self.loose()], 0.6 if self.wild else 0),
            (lambda: [codec.TERMINATE], 0.05),
        )
        (act,) = r.choices([a for a, _ in acts], [w for _, w in acts])
        return act()

    def simple(self) -> list[bytes]:
        return [codec.encode_query(self.text().sql.replace("$1", "1").replace("$2", "'2'").encode())]

    def extended(self) -> list[bytes]:
        return [*self.one(self.text()), self.rng.choice((codec.SYNC, codec.SYNC, codec.SYNC, codec.FLUSH))]

    def pipeline(self) -> list[bytes]:
        r = self.rng
        out: list[bytes] = []
        for _ in range(r.choice((2, 3, 5))):
            out += self.one(self.text())
            if r.random() < 0.25:
                out.append(r.choice((codec.SYNC, codec.FLUSH)))
        out.append(codec.SYNC)
        return out

    def one(self, text: Text) -> list[bytes]:
        """A statement as drivers do it."""
        r = self.rng
        statement = r.choice(STATEMENTS)
        types = text.params if r.random() < 0.5 else ()
        if types and r.random() < 0.1:
            types = (0, *types[1:])
        out = []
        if statement and r.random() < 0.5:
            out.append(codec.encode_close(codec.Target(ord("S"), statement)))
        out.append(codec.encode_parse(codec.Parse(statement, text.sql.encode(), types)))
        if r.random() < 0.4:
            out.append(codec.encode_describe(codec.Target(ord("S"), statement)))
            if r.random() < 0.3:
                out.append(r.choice((codec.FLUSH, codec.SYNC)))
        return out + self.use(statement, text)

    def use(self, statement: bytes, text: Text) -> list[bytes]:
        r = self.rng
        portal = r.choice(PORTALS)
        out = [codec.encode_bind(self.bind(portal, statement, text))]
        if r.random() < 0.6:
            out.append(codec.encode_describe(codec.Target(ord("P"), portal)))
        for _ in range(r.choice((1, 1, 1, 2, 3))):
            out.append(codec.encode_execute(codec.Execute(portal, r.choice((0, 0, 0, 1, 2, 5)))))
            if r.random() < 0.1:
                out.append(codec.FLUSH)
        if r.random() < 0.2:
            out.append(codec.encode_close(codec.Target(ord("P"), portal)))
        return out

    def reuse(self) -> list[bytes]:
        """Names that earlier messages may have made, in SQL too."""
        r = self.rng
        return [*self.use(r.choice((b"a", b"b", b"")), Text("", (INT,) if r.random() < 0.5 else ())), codec.SYNC]

    def bind(self, portal: bytes, statement: bytes, text: Text) -> codec.Bind:
        r = self.rng
        values: list[bytes | None] = []
        formats: list[int] = []
        for kind in text.params:
            binary = r.random() < 0.3
            formats.append(int(binary))
            if r.random() < 0.05:
                values.append(None)
            elif kind == INT:
                values.append(r.randint(1, 9).to_bytes(4, "big") if binary else r.choice((b"1", b"4", b"90", b"x")))
            else:
                values.append(r.choice((b"138%", b"two", b"\xc3\xa9", b"%")))
        if r.random() < 0.04:
            values.append(b"1")
        if not any(formats):
            formats = []
        results = r.choice(((), (), (), (0,), (1,), (0, 1)))
        return codec.Bind(portal, statement, tuple(formats), tuple(values), results)

    def copy_in(self) -> list[bytes]:
        r = self.rng
        text = r.choice(texts.COPIES_IN).sql.encode()
        if r.random() < 0.5:
            out = [codec.encode_query(text)]
        else:
            out = [
                codec.encode_parse(codec.Parse(b"", text)),
                codec.encode_bind(codec.Bind(b"", b"")),
                codec.encode_execute(codec.Execute(b"")),
            ]
            if r.random() < 0.3:
                out.append(r.choice((codec.SYNC, codec.FLUSH)))
        for _ in range(r.choice((0, 1, 3))):
            out.append(codec.encode_copy_data(r.choice(_ROWS)))
            if r.random() < 0.1:
                out.append(r.choice((codec.SYNC, codec.FLUSH)))
        out.append(r.choice((codec.encode_copy_done(), codec.encode_copy_done(), codec.encode_copy_fail(b"no more"))))
        if out[0][0] == tags.PARSE or r.random() < 0.1:
            out.append(codec.SYNC)
        return out

    def copy_out(self) -> list[bytes]:
        text = self.rng.choice(texts.COPIES_OUT)
        if self.rng.random() < 0.5:
            return [codec.encode_query(text.sql.encode())]
        return [*self.one(text), codec.SYNC]

    def close(self) -> list[bytes]:
        r = self.rng
        kind = r.choice(b"SP")
        name = r.choice((b"", b"a", b"b", b"p", b"c"))
        return [codec.encode_close(codec.Target(kind, name)), r.choice((codec.SYNC, codec.FLUSH))]

    def function(self) -> list[bytes]:
        r = self.rng
        function = r.choice((177, 177, 1, 99999))  # int4pl
        values = tuple(r.choice((b"4", b"5", b"x", None)) for _ in range(r.choice((2, 2, 1))))
        return [codec.encode_function_call(codec.FunctionCall(function, (), values, 0))]

    def loose(self) -> bytes:
        r = self.rng
        return r.choice(
            (
                codec.SYNC, codec.FLUSH, codec.encode_copy_done(), codec.encode_copy_fail(b"x"), codec.encode_copy_data(b"1\n"),
                codec.encode_execute(codec.Execute(r.choice(PORTALS), r.choice((0, 2)))),
                codec.encode_describe(codec.Target(r.choice(b"SP"), r.choice((b"", b"a", b"p", b"c")))),
                codec.encode_bind(codec.Bind(r.choice(PORTALS), r.choice(STATEMENTS))), self.simple()[0],
                codec.encode_parse(codec.Parse(r.choice(STATEMENTS), self.text().sql.encode())),
            )
        )  # fmt: skip

    def malformed(self, message: bytes) -> bytes:
        """The same message with a body that is not quite right; the frame stays right."""
        r = self.rng
        if REFUSED in message:
            return message
        body = bytearray(message[5:])
        kind = r.randrange(4)
        if kind == 0 and body:
            del body[r.randrange(len(body)) :]
        elif kind == 1:
            body += b"\0"
        elif kind == 2 and body:
            body[r.randrange(len(body))] ^= 1 << r.randrange(7)
        else:
            body += b"xyz"
        return codec.message(message[0], bytes(body))
