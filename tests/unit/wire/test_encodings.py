"""Codecs must find the lexer's characters where PostgreSQL finds them."""

from __future__ import annotations

import pytest

from proxy.wire import encodings

ASCII = bytes(range(1, 128))
ODD = {"shift_jis_2004": "\\~"}
"""ASCII characters that a codec has elsewhere: refused next to other characters."""


@pytest.mark.parametrize("name", sorted(set(encodings.CODECS.values())))
def test_every_codec_keeps_ascii(name: str) -> None:
    for byte in ASCII:
        if chr(byte) in ODD.get(name, ""):
            assert chr(byte) in encodings.REFUSED[name]
        else:
            assert bytes([byte]).decode(name) == chr(byte)
            assert chr(byte).encode(name) == bytes([byte])
    assert encodings.decode(ASCII, name) == ASCII.decode("ascii")
    assert encodings.encode(ASCII.decode("ascii"), name) == ASCII


@pytest.mark.parametrize("name", ["MULE_INTERNAL", "EUC_TW", "nonsense"])
def test_codecs_we_do_not_have(name: str) -> None:
    assert encodings.codec(name) is None
    assert encodings.decode(b"select 1", None) == "select 1"
    assert encodings.decode(b"select '\xe5'", None) is None
    assert encodings.encode("select 'é'", None) is None


@pytest.mark.parametrize("name", sorted({"gbk", "gb18030", "big5", "cp932", "cp949", "johab", "shift_jis_2004"}))
def test_backslash_as_second_byte_is_part_of_the_character(name: str) -> None:
    for lead in range(0x81, 0xFF):
        text = encodings.decode(bytes([lead, 0x5C]), name)
        assert text is None or "\\" not in text or len(text) == 2


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\x81\x60 \\", "shift_jis_2004"),  # a backslash would be read as a yen sign
        (b"\x82\xf5", "shift_jis_2004"),  # one code, two characters
        (b"\xa4\xf7", "euc_jis_2004"),
        (b"\xa1\xc1", "euc_jp"),  # WAVE DASH to Python, FULLWIDTH TILDE to PostgreSQL
        (b"\xa1\x5a", "big5"),  # the replacement character to PostgreSQL
        (b"\x87\x90", "cp932"),  # a second code for a character
        (b"\xff\xff", "gbk"),
        (b"\x80", "gbk"),
        (b"\xc0\x80", "utf-8"),
        (b"\xed\xa0\x80", "utf-8"),
        (b"\xf4\x90\x80\x80", "utf-8"),
        (b"\xe5\xbc", "utf-8"),
    ],
)
def test_not_read(data: bytes, name: str) -> None:
    assert encodings.decode(data, name) is None


def test_letters_are_not_composed() -> None:
    assert encodings.codec("EUC_KR") == "cp949"
    data = bytes.fromhex("a4d4a4a1a4bfa4a2")
    assert encodings.decode(data, "cp949") == "ㅤㄱㅏㄲ"
    assert data.decode("euc_kr") == "갂"


def test_one_text_has_one_byte_form() -> None:
    assert encodings.decode("张三".encode("gbk"), "gbk") == "张三"
    assert encodings.encode("张三", "iso8859-1") is None
    assert encodings.encode("~ 〜", "euc_jp") is None
    assert encodings.encode("\udc80", "utf-8") is None


@pytest.mark.parametrize(
    ("client", "server", "codec"),
    [
        ("GBK", "UTF8", "gbk"),
        ("UTF8", "EUC_CN", "utf-8"),
        ("EUC_CN", "EUC_CN", "gb2312"),
        ("SQL_ASCII", "EUC_CN", "gb2312"),
        ("SQL_ASCII", "UTF8", "utf-8"),
        ("SQL_ASCII", "MULE_INTERNAL", None),
        ("SJIS", "EUC_JP", None),  # converted without Unicode in between
        ("UTF8", "SQL_ASCII", "utf-8"),
        ("SQL_ASCII", "SQL_ASCII", "utf-8"),
        ("LATIN1", "SQL_ASCII", None),  # the server would take the bytes as they are
    ],
)
def test_both_ends_decide(client: str, server: str, codec: str | None) -> None:
    assert encodings.codec(client, server) == codec


def test_a_text_has_to_fit_into_the_database() -> None:
    assert encodings.narrow("UTF8") is None
    assert encodings.narrow("SQL_ASCII") is None
    assert encodings.narrow("MULE_INTERNAL") == "ascii"
    within = encodings.narrow("EUC_JP")
    assert encodings.decode("張三".encode(), "utf-8", within) == "張三"
    for text in ("€", "−", "〜"):  # not there; there, but not the only one that becomes its code
        assert encodings.decode(text.encode(), "utf-8", within) is None
