"""Round trips of every message, and the refusal of everything that is not one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.wire import codec, tags, trace

name = st.binary(max_size=12).filter(lambda b: 0 not in b)
i16 = st.integers(-(2**15), 2**15 - 1)
u16 = st.integers(0, 2**16 - 1)
i32 = st.integers(-(2**31), 2**31 - 1)
u32 = st.integers(0, 2**32 - 1)
value = st.none() | st.binary(max_size=20)
few = {"max_size": 4}
values = st.lists(value, **few).map(tuple)
formats = st.lists(i16, **few).map(tuple)
target = st.builds(codec.Target, st.sampled_from(b"SP"), name)
field = st.builds(codec.Field, name, u32, i16, u32, i16, i32, i16)
fields = st.lists(st.tuples(st.sampled_from("SVCMDHPWstcdn"), name), **few).map(tuple)
copy = st.builds(codec.Copy, st.integers(0, 255), st.lists(u16, **few).map(tuple))

CASES: dict[str, tuple[st.SearchStrategy[object], Callable[..., bytes], Callable[[bytes], object]]] = {
    "query": (name, codec.encode_query, codec.decode_query),
    "parse": (
        st.builds(codec.Parse, name, name, st.lists(u32, **few).map(tuple)), codec.encode_parse, codec.decode_parse
    ),
    "bind": (
        st.builds(codec.Bind, name, name, formats, values, formats), codec.encode_bind, codec.decode_bind
    ),
    "execute": (st.builds(codec.Execute, name, i32), codec.encode_execute, codec.decode_execute),
    "describe": (target, codec.encode_describe, codec.decode_target),
    "close": (target, codec.encode_close, codec.decode_target),
    "copy_fail": (name, codec.encode_copy_fail, codec.decode_copy_fail),
    "call": (
        st.builds(codec.FunctionCall, u32, formats, values, i16), codec.encode_function_call, codec.decode_function_call
    ),
    "row_description": (
        st.lists(field, **few).map(tuple), codec.encode_row_description, codec.decode_row_description
    ),
    "data_row": (values, codec.encode_data_row, codec.decode_data_row),
    "command_complete": (name, codec.encode_command_complete, codec.decode_command_complete),
    "error": (fields, codec.encode_error, codec.decode_fields),
    "notice": (fields, codec.encode_notice, codec.decode_fields),
    "ready": (st.sampled_from(b"ITE"), codec.encode_ready, codec.decode_ready),
    "notification": (
        st.builds(codec.Notification, u32, name, name), codec.encode_notification, codec.decode_notification
    ),
    "parameter_description": (
        st.lists(u32, **few).map(tuple), codec.encode_parameter_description, codec.decode_parameter_description
    ),
    "function_result": (value, codec.encode_function_result, codec.decode_function_result),
    "negotiation": (
        st.builds(codec.Negotiation, u32, st.lists(name, **few).map(tuple)),
        codec.encode_negotiation, codec.decode_negotiation,
    ),
    "copy": (copy, lambda c: codec.encode_copy(tags.COPY_IN_RESPONSE, c), codec.decode_copy),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_round_trip_and_truncation(case: str) -> None:
    strategy, encode, decode = CASES[case]

    @given(strategy)
    @settings(max_examples=40, deadline=None)
    def check(original: object) -> None:
        whole = encode(original)
        assert int.from_bytes(whole[1:5], "big") == len(whole) - 1
        body = whole[5:]
        assert decode(body) == original
        for cut in range(len(body)):
            try:
                shorter = decode(body[:cut])
            except codec.CodecError:
                continue
            assert shorter != original
        with pytest.raises(codec.CodecError):
            decode(body + b"\1")

    check()


@given(st.binary(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_bytes_decode_or_raise_codec_error(body: bytes) -> None:
    others = [
        codec.decode_authentication, codec.decode_sasl, codec.decode_parameter_status, codec.decode_backend_key,
        codec.decode_bind_names,
    ]  # fmt: skip
    for decode in [case[2] for case in CASES.values()] + others:
        with contextlib.suppress(codec.CodecError):
            decode(body)


@given(st.sampled_from(sorted(tags.CLIENT_NAMES)), st.booleans(), st.binary(max_size=40))
@settings(max_examples=300, deadline=None)
def test_trace_reads_back_what_it_shows(tag: int, from_client: bool, body: bytes) -> None:
    whole = codec.message(tag, body)
    assert trace.read(trace.show(whole, from_client), from_client) == whole


@pytest.mark.parametrize(
    "text",
    [
        'Parse "s1" "select $1" [23 25]',
        'Bind "" "s1" [0] ["7" NULL "\\x00\\xff"] [1]',
        'FunctionCall 100 [] ["a"] 0',
        'Query "张三\\n\\"\\\\"',
        "Sync",
    ],
)
def test_client_text_form(text: str) -> None:
    assert trace.show(trace.read(text, True), True) == text


@pytest.mark.parametrize(
    "text",
    [
        'RowDescription ["id" 16384 1 23 4 -1 0] ["姓名" 0 0 25 -1 -1 1]',
        'DataRow "1" NULL',
        'ErrorResponse S "ERROR" C "42601" M "x"',
        "ReadyForQuery T",
        'BackendKeyData 7 "\\x00\\x01\\x02\\x03"',
    ],
)
def test_server_text_form(text: str) -> None:
    assert trace.show(trace.read(text, False), False) == text


@pytest.mark.parametrize("text", ["", "[", "Nonsense", 'Query 1 "x"', "Query", 'Sync "x"', 'Parse "a"', '"x"', "]"])
def test_text_that_is_no_message(text: str) -> None:
    with pytest.raises(trace.TraceError):
        trace.read(text, True)
