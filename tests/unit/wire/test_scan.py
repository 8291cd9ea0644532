"""The scanner against a naive reference, under any cutting, and its limits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.wire._scan import HEAD, ScanError, Scanner, table
from proxy.wire.codec import message

CLASSES = table(relay="Dd", inspect="TCZ", head="B")
bodies = st.binary(max_size=40) | st.integers(0, 3 * HEAD).map(bytes)
streams = st.lists(st.tuples(st.sampled_from(b"DdTCZB"), bodies), max_size=12)


def scan(stream: bytes, cuts: list[int]) -> tuple[list[tuple[int, bytes]], bytes]:
    """Inspected messages, and everything that was reported, put together again."""
    scanner = Scanner(CLASSES, {}, 1 << 20)
    inspected: list[tuple[int, bytes]] = []
    reported = b""
    at = 0
    for end in [*cuts, len(stream)]:
        if end <= at:
            continue
        scanner.feed(stream[at:end])
        at = end
        while tag := scanner.next():
            assert scanner.buf[scanner.start : scanner.end]
            reported += scanner.buf[scanner.start : scanner.end]
            if chr(tag) in "TCZ":
                inspected.append((tag, scanner.buf[scanner.body : scanner.end]))
        scanner.release()
        assert scanner.held <= max(HEAD + 1, 3 * HEAD + 5)
    assert scanner.held == 0
    assert not scanner.inside
    return inspected, reported


@given(streams, st.data())
@settings(max_examples=150, deadline=None)
def test_equals_reference_under_any_cut(messages: list[tuple[int, bytes]], data: st.DataObject) -> None:
    stream = b"".join(message(tag, body) for tag, body in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    inspected, reported = scan(stream, cuts)
    assert reported == stream
    assert inspected == [(tag, body) for tag, body in messages if chr(tag) in "TCZ"]


@given(streams)
@settings(max_examples=60, deadline=None)
def test_counts_every_relayed_message_once(messages: list[tuple[int, bytes]]) -> None:
    stream = b"".join(message(tag, body) for tag, body in messages)
    scanner = Scanner(CLASSES, {}, 1 << 20)
    count = 0
    for i in range(0, len(stream), 7):
        scanner.feed(stream[i : i + 7])
        while scanner.next():
            count += scanner.count
    assert count == len(messages)


def test_run_of_rows_is_one_event() -> None:
    scanner = Scanner(CLASSES, {}, 1 << 20)
    scanner.feed(message(68, b"row") * 1000 + message(67, b"done"))
    assert scanner.next() == 68
    assert (scanner.count, scanner.start, scanner.end) == (1000, 0, 8000)
    assert scanner.next() == 67
    assert scanner.next() == 0


def test_message_of_a_gigabyte_is_never_held() -> None:
    scanner = Scanner(CLASSES, {}, 1 << 20)
    size = 0x3FFFFFFF
    scanner.feed(b"D" + (size + 4).to_bytes(4, "big"))
    assert scanner.next() == 68
    assert scanner.count == 1
    left = size
    chunk = bytes(1 << 24)
    while left:
        piece = chunk[: min(len(chunk), left)]
        scanner.feed(piece)
        assert scanner.next() == 68
        assert scanner.count == 0
        assert scanner.end == len(piece)
        assert scanner.next() == 0
        assert scanner.held == 0
        left -= len(piece)
    assert not scanner.inside


def test_head_of_a_large_message_comes_early_and_small_ones_whole() -> None:
    scanner = Scanner(CLASSES, {}, 1 << 20)
    big = message(66, b"portal\0name\0" + bytes(10 * HEAD))
    scanner.feed(big[:100])
    assert scanner.next() == 0
    scanner.feed(big[100 : HEAD + 50])
    assert scanner.next() == 66
    assert scanner.count == 1
    assert scanner.buf[scanner.body : scanner.end].startswith(b"portal\0name\0")
    scanner.feed(big[HEAD + 50 :] + message(66, b"x"))
    assert scanner.next() == 66
    assert scanner.count == 0
    assert scanner.next() == 66
    assert scanner.count == 1
    assert scanner.next() == 0


def test_rewind_reports_the_message_again() -> None:
    scanner = Scanner(CLASSES, {}, 1 << 20)
    scanner.feed(message(84, b"one") + message(66, bytes(3 * HEAD))[: 2 * HEAD])
    assert scanner.next() == 84
    scanner.rewind()
    assert scanner.next() == 84
    assert scanner.next() == 66
    scanner.rewind()
    assert scanner.next() == 66
    assert scanner.count == 1
    assert scanner.inside


@pytest.mark.parametrize(
    "stream",
    [b"!", b"!\0\0\0\4", b"T\0\0\0\3", b"D\0\0\0\0", b"D\xff\xff\xff\xff", b"B\x7f\xff\xff\xff", b"T\0\x20\0\0"],
)
def test_what_cannot_be_believed_is_an_error(stream: bytes) -> None:
    scanner = Scanner(CLASSES, {}, 1 << 20)
    scanner.feed(stream)
    with pytest.raises(ScanError):
        scanner.next()


def test_limit_of_a_tag() -> None:
    scanner = Scanner(CLASSES, {84: 10}, 1 << 20)
    scanner.feed(message(84, b"123456"))
    assert scanner.next() == 84
    scanner.feed(message(84, b"1234567"))
    with pytest.raises(ScanError) as error:
        scanner.next()
    assert error.value.too_long
