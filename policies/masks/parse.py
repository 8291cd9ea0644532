"""Masks as they are written in YAML: `email`, `null`, `{ keep: { first: 3, last: 4 } }`, `{ json: { $.id: id_card } }`."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal

from policies.document import Entry, Section, suggest
from policies.keys import KeyRef, parse_reference
from policies.keywords import Keys
from policies.masks.base import TEXT, BaseMask
from policies.masks.basic import Constant, Null, Redact, Sql
from policies.masks.containers import Each, Json, Remove, build_nodes, inner_type
from policies.masks.dates import UNITS, Truncate
from policies.masks.keep import Keep
from policies.masks.keyed import SEPARATORS, Fpe, Shift, Token
from policies.masks.numbers import Bucket, Round
from policies.masks.personal import Address, Email, Ip, Name
from policies.masks.scrub import Scrub
from policies.masks.words import (
    ALPHABETS,
    BARE_KEYS,
    BUCKET_KEYS,
    CONSTANT_KEYS,
    FPE_KEEP_KEYS,
    FPE_KEYS,
    KEEP_KEYS,
    MASK_KEYS,
    MASK_NAMES,
    REDACT_KEYS,
    ROUND_KEYS,
    SHIFT_KEYS,
    TOKEN_KEYS,
)

Lookup = Callable[[str], BaseMask | None]
"""Finds the mask of a class by its name; inside json and each a class may be named instead of a mask."""

_PLAIN: dict[str, BaseMask] = {
    "null": Null(),
    "redact": Redact(),
    "email": Email(),
    "name": Name(),
    "address": Address(),
    "ip": Ip(),
    "scrub": Scrub(),
    "token": Token(),
    "fpe": Fpe(),
    "shift": Shift(),
}
_PATH_KEY = re.compile(r'\.(?:"([^"]+)"|([^.\s"\[\]*]+))')


def parse_mask(entry: Entry, classes: Lookup | None = None) -> BaseMask:
    """The mask written at `entry`. With `classes`, the name of a class stands for its mask."""
    if entry.is_null:
        return Null()
    if entry.is_mapping:
        return _parse_map(entry, classes)
    if not entry.is_scalar:
        raise entry.wrong("a mask")
    word = entry.text()
    if classes is not None:
        found = classes(word)
        if found is not None:
            return found
        if word == "remove":
            return Remove()
    if word in _PLAIN:
        return _PLAIN[word]
    if word in MASK_KEYS:
        raise entry.error(f"found {word!r} alone", f"{{ {word}: … }}")
    if classes is not None:
        raise entry.wrong(f"a class, or one of {', '.join(MASK_NAMES)}{suggest(word, MASK_NAMES)}")
    return _PLAIN[entry.choice(MASK_NAMES)]


def _parse_map(entry: Entry, classes: Lookup | None) -> BaseMask:
    section = entry.mapping()
    if len(section) != 1:
        raise entry.error(f"found {len(section)} keys", "one mask: { name: … }")
    ((word, argument),) = section
    if word in BARE_KEYS and word not in MASK_KEYS:
        raise argument.error(f"found an argument for {word!r}", f"the bare word {word}")
    section.only(MASK_KEYS)
    match word:
        case "keep":
            return _keep(argument)
        case "redact":
            return Redact(_redact_text(argument))
        case "constant":
            return Constant(_constant(argument))
        case "round":
            return Round(_step(argument, ROUND_KEYS))
        case "bucket":
            return Bucket(_step(argument, BUCKET_KEYS))
        case "truncate":
            return Truncate(argument.choice(UNITS))
        case "json":
            return _json(argument, classes)
        case "each":
            return _each(argument, classes)
        case "sql":
            return Sql(_sql(argument))
        case "token":
            return _token(argument.mapping(allowed=TOKEN_KEYS))
        case "fpe":
            return _fpe(argument.mapping(allowed=FPE_KEYS))
        case "shift":
            return _shift(argument)
        case _:
            raise AssertionError(word)


def _token(section: Section) -> Token:
    prefix = section.string("prefix", "")
    if len(prefix) > 20 or not prefix.isprintable():
        raise section.entries["prefix"].wrong("at most 20 printable characters")
    return Token(_key(section), section.int("length", 32, 16, 64), prefix)


def _fpe(section: Section) -> Fpe:
    alphabet = ALPHABETS["digits"]
    if (entry := section.get("alphabet")) is not None:
        alphabet = ALPHABETS.get(entry.text(), entry.text())
        odd = [c for c in alphabet if c in SEPARATORS or not c.isprintable()]
        if len(alphabet) < 2 or len(set(alphabet)) < len(alphabet) or len(alphabet) > 1000 or odd:
            raise entry.wrong(f"one of {', '.join(ALPHABETS)}, or two and more different characters without separators")
    keep = section.section("keep", FPE_KEEP_KEYS)
    first, last = (keep.int(k, 0, 0, 10_000) if keep is not None else 0 for k in ("first", "last"))
    tweak = section.string("tweak", "")
    if len(tweak.encode()) > 64:
        raise section.entries["tweak"].wrong("at most 64 bytes")
    return Fpe(_key(section), alphabet, first, last, tweak)


def _shift(entry: Entry) -> Shift:
    if not entry.is_mapping:
        return Shift(days=entry.int(1, 36_500))
    section = entry.mapping(allowed=SHIFT_KEYS)
    return Shift(_key(section), section.int("days", 30, 1, 36_500))


def _key(section: Section) -> KeyRef:
    entry = section.get("key")
    if entry is None:
        return KeyRef()
    found = parse_reference(entry.text())
    if found is None:
        raise entry.wrong("the name of a key such as customers, or customers@2 for its second version")
    return found


def _keep(entry: Entry) -> Keep:
    section = entry.mapping(allowed=KEEP_KEYS)
    first = section.int("first", 0, 0, 10_000)
    last = section.int("last", 0, 0, 10_000)
    if first + last == 0:
        raise entry.error("found nothing to keep", "first or last above 0 (to hide everything use redact)")
    fill = section.string("fill", "*")
    if len(fill) != 1 or not fill.isprintable():
        raise section.entries["fill"].wrong("one character")
    length = section.int("fill_length", 0, 1, 1000) if "fill_length" in section else None
    return Keep(first, last, fill, length)


def _redact_text(entry: Entry) -> str:
    if entry.is_mapping:
        return _clean(entry.mapping(allowed=REDACT_KEYS).require("text"))
    return _clean(entry)


def _clean(entry: Entry) -> str:
    text = entry.string(empty=True)
    if "\x00" in text:
        raise entry.error("found a zero byte", "text")
    return text


def _constant(entry: Entry) -> str | int | Decimal | bool:
    if entry.is_mapping:
        entry = entry.mapping(allowed=CONSTANT_KEYS).require("value")
    if not entry.is_scalar or entry.is_null:
        raise entry.wrong("text, a number, true or false")
    tag = entry.node.tag.rpartition(":")[2]
    if tag == "bool":
        return entry.bool()
    if tag == "int":
        return entry.int()
    if tag == "float":
        entry.number()
        return Decimal(str(entry.node.value).replace("_", ""))
    return _clean(entry)


def _step(entry: Entry, keys: Keys) -> Decimal:
    if entry.is_mapping:
        (key,) = keys
        entry = entry.mapping(allowed=keys).require(key)
    number = entry.number()
    if not 1e-18 <= number <= 1e30:
        raise entry.wrong("a number above 0")
    return Decimal(str(entry.node.value).replace("_", ""))


def _sql(entry: Entry) -> str:
    text = entry.string()
    if "\x00" in text or ";" in text:
        raise entry.error("found a ';' or zero byte", "one SQL expression over $1")
    return text


def _inner(entry: Entry, classes: Lookup | None, *, json: bool) -> BaseMask:
    """A mask for something inside a json document or an array."""
    mask = parse_mask(entry, classes or (lambda _: None))
    if isinstance(mask, Remove) and json:
        return mask
    if mask.is_expression or isinstance(mask, Json | Each | Remove):
        raise entry.error(f"found {mask.name}", "a mask for a single value")
    if json and inner_type(mask) is None and not isinstance(mask, Null):
        raise entry.error(f"found {mask.name}: {mask.accepts(TEXT)}", "a mask for text or numbers")
    return mask


def _each(entry: Entry, classes: Lookup | None) -> Each:
    return Each(_inner(entry, classes, json=False))


def _json(entry: Entry, classes: Lookup | None) -> Json:
    section = entry.mapping()
    if not len(section):
        raise entry.error("found no paths", "{ $.key: mask, … }")
    paths: list[tuple[tuple[str, ...], BaseMask]] = []
    for source, value in section:
        path = _path(source)
        if path is None:
            raise section.key_error(source, f"found the path {source!r}", '$.key, $.key.key or $."odd key"')
        mask = _inner(value, classes, json=True)
        paths.append((path, mask))
    nodes = build_nodes(paths)
    if isinstance(nodes, str):
        raise entry.error(f"found overlapping paths: {nodes}", "paths apart from each other")
    return Json(nodes)


def _path(source: str) -> tuple[str, ...] | None:
    if not source.startswith("$"):
        return None
    keys: list[str] = []
    at = 1
    while at < len(source):
        found = _PATH_KEY.match(source, at)
        if found is None:
            return None
        keys.append(found[1] or found[2])
        at = found.end()
    return tuple(keys) if keys else None
