"""Codecs must find the lexer's characters where PostgreSQL finds them."""

from __future__ import annotations

import pytest

from proxy.wire import encodings

ASCII = bytes(range(1, 128))


@pytest.mark.parametrize("name", sorted(set(encodings.CODECS.values())))
def test_every_codec_keeps_ascii(name: str) -> None:
    assert ASCII.decode(name) == ASCII.decode("ascii")
    assert ASCII.decode("ascii").encode(name) == ASCII


@pytest.mark.parametrize("name", ["JOHAB", "SHIFT_JIS_2004", "EUC_JIS_2004", "MULE_INTERNAL", "EUC_TW", "nonsense"])
def test_codecs_we_do_not_trust(name: str) -> None:
    assert encodings.codec(name) is None
    assert encodings.decode(b"select 1", None) == "select 1"
    assert encodings.decode(b"select '\xe5'", None) is None


@pytest.mark.parametrize("name", ["gbk", "gb18030", "big5", "cp932", "euc_kr"])
def test_backslash_as_second_byte_is_part_of_the_character(name: str) -> None:
    for lead in range(0x81, 0xFF):
        text = encodings.decode(bytes([lead, 0x5C]), name)
        assert text is None or "\\" not in text or len(text) == 2


def test_one_text_has_one_byte_form() -> None:
    assert encodings.decode("张三".encode("gbk"), "gbk") == "张三"
    assert encodings.decode(b"\xff\xff", "gbk") is None
    assert encodings.decode(b"\xc0\x80", "utf-8") is None
    assert encodings.encode("张三", "iso8859-1") is None
