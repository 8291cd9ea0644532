"""Which Python codec reads a text the way PostgreSQL reads it under a given client_encoding and server_encoding.

What is read must be what the server reads, character by character: a name that we take for another, or a quote that we do not
see, is a hole. `tests/e2e/test_client_encodings.py` compares every character of every codec with a server's own conversion.
Where the two differ, the characters are in REFUSED and a text that holds one cannot be read: in SHIFT_JIS_2004 Python has the
yen sign where the server has the backslash. EUC_KR is read by cp949, because Python's euc_kr makes one syllable of eight bytes
that are four letters to the server. EUC_TW and MULE_INTERNAL have no codec; under these only pure ASCII text can be understood.

Under a server_encoding other than UTF8 the server's own conversions come in between, several Unicode characters may be one
character of the database, and a name in the catalog is known by one of them alone. There a text has to survive the way into the
database's encoding and back (`narrow`). SQL_ASCII, on either side, means "no conversion".
"""

from __future__ import annotations

from typing import Final

CODECS: Final[dict[str, str]] = {
    "UTF8": "utf-8",
    "UNICODE": "utf-8",
    "GBK": "gbk",
    "WIN936": "gbk",
    "GB18030": "gb18030",
    "BIG5": "big5",
    "WIN950": "big5",
    "SJIS": "cp932",
    "WIN932": "cp932",
    "EUC_CN": "gb2312",
    "EUC_JP": "euc_jp",
    "EUC_KR": "cp949",
    "EUC_JIS_2004": "euc_jis_2004",
    "SHIFT_JIS_2004": "shift_jis_2004",
    "JOHAB": "johab",
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


REFUSED: Final[dict[str, frozenset[str]]] = {
    "big5": frozenset("\u02cd\u2574\uffe3"),
    "euc_jp": frozenset("\xa2\xa3\xa6\xac\u2016\u2212\u301c"),
    "euc_jis_2004": frozenset("\u2015\u2985\u2986\uffe3\uffe5"),
    "shift_jis_2004": frozenset("\\~\xa5\u2015\u203e\u2985\u2986"),
}
"""Characters that the codec and PostgreSQL's conversion have in different places."""

_COMPOSING: Final = frozenset({"euc_jis_2004", "shift_jis_2004"})
"""Codecs in which one code may stand for two characters, a letter and its mark. Such texts are not read."""

_NOT_CONVERTED: Final = "SQL_ASCII"
NAME_LENGTH: Final = 63
"""NAMEDATALEN - 1."""


def codec(client_encoding: str, server_encoding: str = "UTF8") -> str | None:
    """The codec for a value of client_encoding as the server reports it; None when there is none we trust."""
    client, server = client_encoding.upper(), server_encoding.upper()
    if server == _NOT_CONVERTED:  # bytes go through as they come; the control connection reads them as UTF-8
        return "utf-8" if client in ("UTF8", "UNICODE", _NOT_CONVERTED) else None
    if client == _NOT_CONVERTED:
        client = server
    if client != server and "UTF8" not in (client, server) and "UNICODE" not in (client, server):
        return None  # a conversion between two of the old encodings: not one that we know
    return CODECS.get(client)


def narrow(server_encoding: str) -> str | None:
    """The codec that every text has to survive as well, because the database stores what it can hold; None when there is none."""
    server = server_encoding.upper()
    if server in ("UTF8", "UNICODE", _NOT_CONVERTED):
        return None
    return CODECS.get(server, "ascii")


def server_name(raw: bytes, client_encoding: str, server_encoding: str) -> bytes | None:
    """The name of a statement or portal in a message as the server keeps it; None when we cannot be sure.

    It is converted to the database's encoding and cut to 63 bytes, within a character if it so happens (dynahash.c).
    """
    client, server = client_encoding.upper(), server_encoding.upper()
    if raw.isascii() or client == server or _NOT_CONVERTED in (client, server):
        return raw[:NAME_LENGTH]
    text = decode(raw, codec(client, server))
    kept = encode(text, CODECS.get(server)) if text is not None else None
    return None if kept is None else kept[:NAME_LENGTH]


def decode(data: bytes, name: str | None, within: str | None = None) -> str | None:
    """Client text as the server will read it; None when we cannot be sure that we read the same.

    Encoding the result again gives the same bytes; otherwise two byte strings would share one plan. `within`: see `narrow`.
    """
    if data.isascii():
        return data.decode("ascii")
    if name is None:
        return None
    try:
        text = data.decode(name)
    except UnicodeDecodeError:
        return None
    if name != "utf-8" and _strict(text, name) != data:
        return None
    if within is not None and within != name and _strict(text, within) is None:
        return None
    return text


def encode(text: str, name: str | None) -> bytes | None:
    """Text for the server; None when the session's encoding has no such character."""
    if text.isascii():
        return text.encode("ascii")
    if name == "utf-8":
        try:
            return text.encode()
        except UnicodeEncodeError:
            return None
    return None if name is None else _strict(text, name)


def _strict(text: str, name: str) -> bytes | None:
    """The bytes of a text, when PostgreSQL reads them as that text."""
    refused = REFUSED.get(name)
    if refused is not None and not refused.isdisjoint(text):
        return None
    try:
        data = b"".join([c.encode(name) for c in text]) if name in _COMPOSING else text.encode(name)
        return data if data.decode(name) == text else None
    except (UnicodeEncodeError, UnicodeDecodeError):
        return None
