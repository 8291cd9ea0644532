"""The entrance: what a server says before it is ready, whole, byte by byte and in random cuts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.entrance import MAX_KEPT, Entrance, Stage


def message(tag: bytes, body: bytes) -> bytes:
    return tag + (len(body) + 4).to_bytes(4, "big") + body


SASL = message(b"R", b"\0\0\0\x0aSCRAM-SHA-256\0\0")
OK = message(b"R", b"\0\0\0\0")
STATUS = message(b"S", b"client_encoding\0UTF8\0")
KEY = message(b"K", b"12345678")
READY = message(b"Z", b"I")
FATAL = message(b"E", b"SFATAL\0C3D000\0Mno\0\0")


def play(data: bytes, cuts: list[int]) -> tuple[bytes, Entrance]:
    entrance = Entrance()
    out = b""
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        out += entrance.feed(data[start:end])
    return out, entrance


SCENES = [
    (SASL + OK + STATUS + KEY + READY, SASL, OK + STATUS + KEY + READY, Stage.ENTERED),
    (OK + READY + STATUS, b"", OK + READY + STATUS, Stage.ENTERED),
    (message(b"R", b"\0\0\0\0more") + READY, b"", message(b"R", b"\0\0\0\0more") + READY, Stage.ENTERED),
    (SASL + SASL + OK + STATUS, SASL + SASL, OK + STATUS, Stage.ADMITTED),
    (SASL + FATAL, SASL + FATAL, b"", Stage.ASKED),
    (SASL + OK + STATUS + FATAL + STATUS, SASL + OK + STATUS + FATAL + STATUS, b"", Stage.OVER),
    (OK + STATUS + b"S\0\0\0\x01more", b"S\0\0\0\x01more", b"", Stage.OVER),
    (b"H\xff\xff\xff\xffTTP", b"H\xff\xff\xff\xffTTP", b"", Stage.OVER),
]


@pytest.mark.parametrize(("said", "passed", "kept", "stage"), SCENES)
@given(data=st.data())
def test_scenes(said: bytes, passed: bytes, kept: bytes, stage: Stage, data: st.DataObject) -> None:
    cuts = data.draw(st.one_of(st.just(list(range(1, len(said)))), st.lists(st.integers(0, len(said))).map(sorted)))
    out, entrance = play(said, cuts)
    assert (out, entrance.kept, entrance.stage) == (passed, kept, stage)


def test_what_is_kept_has_a_limit() -> None:
    entrance = Entrance()
    entrance.feed(OK)
    notice = message(b"N", b"x" * 65536)
    for _ in range(MAX_KEPT // len(notice) + 1):
        entrance.feed(notice)
    assert entrance.stage is Stage.OVER
    assert entrance.kept == b""
