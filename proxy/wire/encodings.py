"""Which Python codec reads a text the way PostgreSQL reads it under a given client_encoding.

A codec qualifies only when it maps the ASCII bytes to themselves: the lexer's special characters must be found where
the server finds them. JOHAB, SHIFT_JIS_2004 and EUC_JIS_2004 do not (in Python's tables 0x5C is not a backslash),
MULE_INTERNAL and EUC_TW have no codec; under these only pure ASCII text can be understood. SQL_ASCII means "bytes":
UTF-8 or nothing.
"""

from __future__ import annotations

from typing import Final

CODECS: Final[dict[str, str]] = {
    "UTF8": "utf-8",
    "UNICODE": "utf-8",
    "SQL_ASCII": "utf-8",
    "GBK": "gbk",
    "WIN936": "gbk",
    "GB18030": "gb18030",
    "BIG5": "big5",
    "WIN950": "big5",
    "SJIS": "cp932",
    "WIN932": "cp932",
    "EUC_CN": "gb2312",
    "EUC_JP": "euc_jp",
    "EUC_KR": "euc_kr",
    "UHC": "cp949",
    "WIN949": "cp949",
    "LATIN1": "iso8859-1",
    "LATIN2": "iso8859-2",
    "LATIN3": "iso8859-3",
    "LATIN4": "iso8859-4",
    "LATIN5": "iso8859-9",
    "LATIN6": "iso8859-10",
    "LATIN7": "iso8859-13",
    "LATIN8": "iso8859-14",
    "LATIN9": "iso8859-15",
    "LATIN10": "iso8859-16",
    "ISO_8859_5": "iso8859-5",
    "ISO_8859_6": "iso8859-6",
    "ISO_8859_7": "iso8859-7",
    "ISO_8859_8": "iso8859-8",
    "KOI8R": "koi8-r",
    "KOI8U": "koi8-u",
    "WIN866": "cp866",
    "WIN874": "cp874",
    "WIN1250": "cp1250",
    "WIN1251": "cp1251",
    "WIN1252": "cp1252",
    "WIN1253": "cp1253",
    "WIN1254": "cp1254",
    "WIN1255": "cp1255",
    "WIN1256": "cp1256",
    "WIN1257": "cp1257",
    "WIN1258": "cp1258",
}


def codec(client_encoding: str) -> str | None:
    """The codec for a value of client_encoding as the server reports it; None when there is none we trust."""
    return CODECS.get(client_encoding.upper())


def decode(data: bytes, name: str | None) -> str | None:
    """Client text as the server will read it; None when we cannot be sure that we read the same.

    Encoding the result again gives the same bytes; otherwise two byte strings would share one plan.
    """
    if data.isascii():
        return data.decode("ascii")
    if name is None:
        return None
    try:
        text = data.decode(name)
        if name != "utf-8" and text.encode(name) != data:
            return None
    except (UnicodeDecodeError, UnicodeEncodeError):
        return None
    return text


def encode(text: str, name: str | None) -> bytes | None:
    """Text for the server; None when the session's encoding has no such character."""
    try:
        return text.encode(name or "ascii")
    except UnicodeEncodeError:
        return None
