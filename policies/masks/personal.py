"""Masks that know a kind of personal data: names, e-mail addresses, postal addresses, IP addresses."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from policies.masks.base import BaseMask, TextMask, as_text, call, concat, literal, matches, op, plain
from policies.model import ColumnType

HIDDEN = "***"

_SPACE = r"\u0009-\u000d\u0020\u00a0\u2000-\u200b\u3000"
_LATIN = r"A-Za-z\u00c0-\u024f"
_NAME_HIDES = rf"(?<=.)(?:[^{_SPACE}{_LATIN}]|(?<=[^{_SPACE}])[{_LATIN}])"


@dataclass(frozen=True, slots=True)
class Name(TextMask):
    """A person's name: the first character, and in Latin script the initial of each word: 张** / J*** S****.

    A name of which nothing would be hidden (one character, bare initials) is hidden altogether.
    """

    def sql(self, column: str, column_type: ColumnType) -> str:
        value = as_text(column)
        hidden = call("repeat", literal("*"), call("length", value))
        masked = call("regexp_replace", value, literal(_NAME_HIDES), literal("*"), literal("g"))
        return f"(CASE WHEN {matches(value, _NAME_HIDES)} THEN {masked} ELSE {hidden} END)"

    def text(self, value: str) -> str:
        masked, count = re.subn(_NAME_HIDES, "*", value, flags=re.DOTALL)
        return masked if count else "*" * len(value)


# A domain is what e-mail systems take for one: no spaces, no ASCII punctuation but dot and hyphen.
_DOMAIN = r"@[^\u0001-\u002c\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00a0\u2000-\u206f\u3000-\u303f\uff00-\uffef]+$"


@dataclass(frozen=True, slots=True)
class Email(TextMask):
    """The first character and the domain: z***@example.com. Text that is not one address shows as ***."""

    def sql(self, column: str, column_type: ColumnType) -> str:
        value = as_text(column)
        at_start = op(plain(call("left", value, "1")), "=", literal("@"))
        initial = call("left", value, f"(CASE WHEN {at_start} THEN 0 ELSE 1 END)")
        at = call("strpos", plain(call("reverse", value)), literal("@"))
        masked = concat(initial, literal(HIDDEN), call("right", value, at))
        other = f"(CASE WHEN {value} IS NULL THEN NULL ELSE {literal(HIDDEN)} END)"
        return f"(CASE WHEN {matches(value, _DOMAIN)} THEN {masked} ELSE {other} END)"

    def text(self, value: str) -> str:
        found = re.search(_DOMAIN.replace("$", r"\Z"), value)
        if found is None:
            return HIDDEN
        return ("" if value.startswith("@") else value[:1]) + HIDDEN + found[0]


# Chinese place names: characters that are none of ASCII, Latin, punctuation and full-width forms, and none of the four
# that end a unit (province 省, city 市, district 区, county 县).
_ENDS = r"\u7701\u5e02\u533a\u53bf"
_PLACE = rf"[^\u0001-\u02ff\u2000-\u206f\u3000-\u303f\uff00-\uffef{_ENDS}]"
_PREFIX = (
    # 省, 市, 自治区, 特别行政区
    rf"^{_PLACE}{{1,10}}(?:[\u7701\u5e02]|(?<=\u81ea\u6cbb|\u884c\u653f)\u533a)"
    # 市, 县, 区, but not 小区, 社区, 园区, 校区, 厂区
    rf"(?:{_PLACE}{{1,9}}(?:[\u5e02\u53bf]|(?<![\u5c0f\u793e\u56ed\u6821\u5382])\u533a))?"
)


@dataclass(frozen=True, slots=True)
class Address(TextMask):
    """A postal address: a Chinese one keeps province and city (or city and district), anything else shows as ***.

    广东省深圳市南山区科技路1号 → 广东省深圳市*** ; 北京市朝阳区建国路88号 → 北京市朝阳区***
    """

    def sql(self, column: str, column_type: ColumnType) -> str:
        value = as_text(column)
        kept = concat(call("substring", value, literal(_PREFIX)), literal(HIDDEN))
        return f"COALESCE({kept}, (CASE WHEN {value} IS NOT NULL THEN {literal(HIDDEN)} END))"

    def text(self, value: str) -> str:
        found = re.match(_PREFIX, value)
        return (found[0] if found else "") + HIDDEN


_V4_TEXT = r"^[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(?:[/:][0-9]{1,5})?$"
_V4_KEPT = r"^[0-9]{1,3}\.[0-9]{1,3}\."
_V6_TEXT = r"^[0-9a-fA-F]{1,4}:[0-9a-fA-F]{1,4}:[0-9a-fA-F:.]+(?:/[0-9]{1,3})?$"
_V6_KEPT = r"^[0-9a-fA-F]{1,4}:[0-9a-fA-F]{1,4}:"
_V4_BITS = 16
_V6_BITS = 32


@dataclass(frozen=True, slots=True)
class Ip(BaseMask):
    """The network part of an IP address: /16 of IPv4, /32 of IPv6.

    inet and cidr columns show the network (10.1.0.0/16), text columns 10.1.*.* or 2001:db8:*; text that does not begin
    with two written-out groups shows as ***.
    """

    def accepts(self, column: ColumnType) -> str | None:
        if column.category == "S" or column.base_type in ("inet", "cidr"):
            return None
        return f"ip masks inet, cidr and text, not {column.base_type}"

    def sql(self, column: str, column_type: ColumnType) -> str:
        if column_type.category != "S":
            value = f"(({column})::pg_catalog.inet)"
            v4 = call("network", call("set_masklen", value, str(_V4_BITS)))
            v6 = call("network", call("set_masklen", value, str(_V6_BITS)))
            return f"(CASE WHEN {op(call('family', value), '=', '4')} THEN {v4} ELSE {v6} END)"
        value = as_text(column)
        v4 = concat(call("substring", value, literal(_V4_KEPT)), literal("*.*"))
        v6 = concat(call("substring", value, literal(_V6_KEPT)), literal("*"))
        return (
            f"(CASE WHEN {value} IS NULL THEN NULL WHEN {matches(value, _V4_TEXT)} THEN {v4} "
            f"WHEN {matches(value, _V6_TEXT)} THEN {v6} ELSE {literal(HIDDEN)} END)"
        )

    def apply(self, value: object) -> object:
        if value is None:
            return None
        if isinstance(value, str):
            for whole, kept, rest in ((_V4_TEXT, _V4_KEPT, "*.*"), (_V6_TEXT, _V6_KEPT, "*")):
                found = re.match(kept, value)
                if found and re.search(whole.replace("$", r"\Z"), value):
                    return found[0] + rest
            return HIDDEN
        if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network):
            return ipaddress.ip_network((value.network_address, _bits(value.version)), strict=False)
        if isinstance(value, ipaddress.IPv4Address | ipaddress.IPv6Address):  # interfaces are addresses too
            return ipaddress.ip_interface(ipaddress.ip_network((value.packed, _bits(value.version)), strict=False).with_prefixlen)
        raise TypeError(f"expected an IP address, got {type(value).__name__}")


def _bits(version: int) -> int:
    return _V4_BITS if version == 4 else _V6_BITS
