"""Do texts kept in the system catalogs give data away?

Defaults, index predicates, check constraints and comments are readable to every role, and people write values into
them: `CREATE INDEX … WHERE phone = '13800001234'`. This module decides, from the text alone, whether one does. It
errs on the side of "yes", but a `yes` for every `'active'` would make `\\d` useless, so words that look like codes
pass. What `embeds_data` cannot see: a value that looks like a code, such as a single Latin surname or a number of up to
five digits. Next to a masked column those count as well: that is `holds_literal`.
"""

from __future__ import annotations

import re
import sys

MIN_DIGITS = 6
"""A run of this many digits may be a phone, card, account or ID number."""
MIN_HAN = 6
"""A literal with this many Chinese characters may be an address or prose about a person."""

_TOKEN = re.compile(
    r"""
    "(?:[^"]|"")*"                                                   # a quoted identifier
  | '(?P<string>(?:[^']|'')*)'(?P<object>\s*::\s*(?:pg_catalog\.)?reg[a-z]+\b)?
  | (?P<word>[^\W\d]\w*)
  | (?P<number>\d+(?:\.\d+)?)
    """,
    re.VERBOSE,
)
_DIGIT_RUN = re.compile(r"\d(?:[ .\-/()+:]{0,2}\d)*")
_EMAIL = re.compile(r"[^\s@'\"<>()\[\]{}^$*?|\\]+@[^\s@'\"<>()\[\]{}^$*?|\\]+\.\w")
_FULL_NAME = re.compile(r"\b[A-Z][A-Za-z'’-]+\s+[A-Z][A-Za-z'’-]+\b")
_HEX = re.compile(r"^\\{1,2}x[0-9a-fA-F]{12,}$")
_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_HAN_NAME = re.compile(r"^[\u3400-\u9fff][\u3400-\u9fff·]{1,3}$")
_DATE = re.compile(r"^(?:0001|1900|1970|2000|2099|9999)-(?:01-01|12-31)(?:[ T]00:00:00(?:\.0+)?(?:[+-]00(?::?00)?)?)?$")

_CONSTANT = re.compile(
    r":consttype (?P<type>\d+) .*?:constisnull (?P<null>\w+) .*?:constvalue (?:\d+ \[ (?P<bytes>[-\d ]*) ?\]|<>)", re.DOTALL
)
_TEXT_TYPES = frozenset({18, 19, 25, 114, 142, 1042, 1043, 4072, 705, 2275})  # char, name, text, json, xml, ..., unknown
_INTEGER_TYPES = frozenset({20, 21, 23})
_PLAIN_TYPES = frozenset({16, 24, 26, 2202, 2203, 2204, 2205, 2206, 3734, 3769, 4089, 4096, 1186})
"""bool, oid and the reg* types, interval: never anybody's data."""
_PATTERN_PARTS = re.compile(r"\[[^\]]*\]|\{[\d,]*\}|\\.|[(?:|)^$.*+%_]")
_WORD = re.compile(r'"((?:[^"]|"")*)"|([^\W\d][\w$]*)')

_SURNAMES = frozenset(
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余潘杜戴夏钟汪"
    "田任姜范方石姚谭廖邹熊金陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易常武乔贺赖龚文欧阮"
)
_WORDS_NOT_NAMES = frozenset(
    [
        "高级",
        "高等",
        "中文",
        "白色",
        "金额",
        "金卡",
        "黄金",
        "黄色",
        "任意",
        "常规",
        "常用",
        "方便",
        "文本",
        "钱包",
        "万元",
    ]
)
_SENTINELS = frozenset({2147483647, 9223372036854775807, 4294967295})


def embeds_data(text: str) -> bool:
    """True when a definition (`pg_get_expr` and its like) holds a literal that could be somebody's data.

    Looked at: string literals (but not names of objects, `'bank.seq'::regclass`) and bare numbers. Counted as data: six
    or more digits in a row, separators between them allowed (round amounts, all nines, integer limits and calendar
    sentinels are not); e-mail addresses; two capitalised words side by side; long binary strings; a Chinese personal
    name; six and more Chinese characters.
    """
    for token in _TOKEN.finditer(text):
        string, number = token["string"], token["number"]
        if string is not None:
            if token["object"] is None and _literal_is_data(string.replace("''", "'")):
                return True
        elif number is not None and _number_is_data(number):
            return True
    return False


def comment_embeds_data(text: str) -> bool:
    """True when a comment holds digits or an e-mail address that could be somebody's data.

    Comments are prose about tables; names in them cannot be told from any other words.
    """
    return _has_digits(text) or _EMAIL.search(text) is not None


def body_embeds_data(text: str) -> bool:
    """True when the body of a function, in whatever language, holds what could be somebody's data."""
    return embeds_data(text) or comment_embeds_data(text)


def tree_embeds_data(tree: str, *, only_texts: bool = False) -> bool:
    """The same for an expression as the catalogs store it (pg_node_tree as text).

    Constants are there in the server's own binary form: texts and integers are read, a value of any other type (a date, a
    numeric, a composite) counts as data, unless `only_texts`.
    """
    for constant in _CONSTANT.finditer(tree):
        if constant["null"] == "true" or constant["bytes"] is None:
            continue
        kind = int(constant["type"])
        raw = bytes(int(b) & 0xFF for b in constant["bytes"].split())
        if kind in _PLAIN_TYPES or (only_texts and kind not in _TEXT_TYPES):
            continue
        if kind in _INTEGER_TYPES:
            if _number_is_data(str(abs(int.from_bytes(raw, sys.byteorder, signed=True)))):
                return True
        elif kind not in _TEXT_TYPES or _literal_is_data(_stored_text(kind, raw)):
            return True
    return False


def _stored_text(kind: int, raw: bytes) -> str:
    if kind in (18, 19, 705, 2275):  # fixed or NUL-terminated
        return raw.split(b"\0")[0].decode("utf-8", "replace")
    header = 1 if raw[:1] and raw[0] & 1 else 4  # varlena: short or long length word
    return raw[header:].decode("utf-8", "replace")


def holds_literal(text: str) -> bool:
    """True when a definition holds any literal of its own: more than one letter, three significant digits.

    Far stricter than `embeds_data`: meant for definitions about a masked column, where `'Smith'` is somebody. Patterns count
    by what they spell out: `'^1[0-9]{10}$'` spells out one digit.
    """
    for token in _TOKEN.finditer(text):
        string, number = token["string"], token["number"]
        if string is not None and token["object"] is None:
            plain = _PATTERN_PARTS.sub("", string)
            if sum(c.isalnum() for c in plain) > 1 or _HAN.search(plain):
                return True
        elif number is not None:
            digits = "".join(c for c in number if c.isdigit())
            if len(digits.strip("0")) > 2 and int(digits) not in _SENTINELS:
                return True
    return False


def words(text: str) -> frozenset[str]:
    """Identifiers in a text: what it may refer to."""
    return frozenset(quoted.replace('""', '"') if quoted else plain.lower() for quoted, plain in _WORD.findall(text))


def _literal_is_data(value: str) -> bool:
    if _DATE.match(value):
        return False
    if _has_digits(value) or _EMAIL.search(value) or _FULL_NAME.search(value) or _HEX.match(value):
        return True
    if _HAN_NAME.match(value) and value[0] in _SURNAMES and value not in _WORDS_NOT_NAMES:
        return True
    return len(_HAN.findall(value)) >= MIN_HAN


def _has_digits(value: str) -> bool:
    return any(_number_is_data(run) for run in _DIGIT_RUN.findall(value))


def _number_is_data(run: str) -> bool:
    digits = "".join(c for c in run if c.isdigit())
    if len(digits) < MIN_DIGITS or set(digits) <= {"9"}:
        return False
    significant = digits.strip("0")
    return len(significant) > 2 and int(digits) not in _SENTINELS
