"""The words of masks: which there are and what they take. `policies.keywords` says how a key is added."""

from __future__ import annotations

from policies.keywords import INNER_MASK, SCALAR, Key, either, mapping, named, one_of, whole, words
from policies.masks.dates import UNITS

ALPHABETS = {
    "digits": "0123456789",
    "lower": "abcdefghijklmnopqrstuvwxyz",
    "upper": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "hex": "0123456789abcdef",
    "alnum": "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "upper_alnum": "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
}
"""Of fpe, by name."""

_KEY = Key(
    "A key of `pgveil keygen`: `customers` for its newest version, `customers@2` for that one. Without it, `default`.",
    {"type": "string", "pattern": r"^[A-Za-z_][A-Za-z0-9_.-]{0,62}(@[1-9][0-9]{0,5})?$"},
)
_COUNT = whole(0, 10_000)
_POSITIVE = {"type": "number", "exclusiveMinimum": 0}

KEEP_KEYS = {
    "first": Key("How many characters at the beginning stay.", _COUNT),
    "last": Key("How many characters at the end stay.", _COUNT),
    "fill": Key("What stands for a hidden character; `*` without it.", {"type": "string", "minLength": 1, "maxLength": 1}),
    "fill_length": Key("Always so many of them, which hides the length too.", whole(1, 1000)),
}
REDACT_KEYS = {"text": Key("What is shown instead.", {"type": "string"}, needed=True)}
CONSTANT_KEYS = {"value": Key("What is shown instead.", SCALAR, needed=True)}
ROUND_KEYS = {"to": Key("Multiples of this.", _POSITIVE, needed=True)}
BUCKET_KEYS = {"size": Key("Multiples of this.", _POSITIVE, needed=True)}
TOKEN_KEYS = {
    "key": _KEY,
    "length": Key("Hexadecimal digits; 32 without it.", whole(16, 64)),
    "prefix": Key("Text in front of each token.", {"type": "string", "minLength": 1, "maxLength": 20}),
}
FPE_KEEP_KEYS = {
    "first": Key("How many characters at the beginning stay.", _COUNT),
    "last": Key("How many characters at the end stay.", _COUNT),
}
FPE_KEYS = {
    "key": _KEY,
    "alphabet": Key(
        f"The characters that are encrypted together: {', '.join(ALPHABETS)}, or the characters themselves.",
        {"type": ["string", "number"], "minLength": 2},
    ),
    "keep": Key("What stays.", mapping(FPE_KEEP_KEYS)),
    "tweak": Key("Columns with different tweaks show equal values differently.", {"type": "string", "minLength": 1}),
}
SHIFT_KEYS = {"key": _KEY, "days": Key("At most so many days; 30 without it.", whole(1, 36_500))}

BARE_KEYS = {
    "null": Key("NULL.", {}),
    "redact": Key("Always `***`.", {}),
    "email": Key("The first character and the domain: z***@example.com.", {}),
    "name": Key("The first character, and initials in Latin script.", {}),
    "address": Key("Chinese addresses: province and city; others ***.", {}),
    "ip": Key("The network.", {}),
    "scrub": Key("Prose without phone, ID and card numbers and e-mail addresses.", {}),
    "token": Key("A keyed digest: equal values have equal tokens everywhere.", {}),
    "fpe": Key("Another number of as many digits, keyed.", {}),
    "shift": Key("A date nearby, keyed.", {}),
}
"""Masks that may be written as a bare word."""
MASK_KEYS = {
    "keep": Key("The first and last characters, stars between.", mapping(KEEP_KEYS)),
    "redact": Key("Always the same text.", either({"type": "string"}, mapping(REDACT_KEYS))),
    "constant": Key("Always the same value.", either(SCALAR, mapping(CONSTANT_KEYS))),
    "round": Key("The nearest multiple.", either(_POSITIVE, mapping(ROUND_KEYS))),
    "bucket": Key("The next lower multiple.", either(_POSITIVE, mapping(BUCKET_KEYS))),
    "truncate": Key("The beginning of the year, month, …", words(UNITS)),
    "json": Key(
        "The document with the values at these paths masked; `remove` takes a key away.",
        named(INNER_MASK, r'^\$(\.("[^"]+"|[^.\s"\[\]*]+))+$'),
    ),
    "each": Key("Every element of an array masked.", INNER_MASK),
    "sql": Key("An SQL expression over $1; builtin functions only.", {"type": "string", "pattern": "^[^;]+$"}),
    "token": Key("A keyed digest: equal values have equal tokens everywhere.", mapping(TOKEN_KEYS)),
    "fpe": Key("Format-preserving encryption.", mapping(FPE_KEYS)),
    "shift": Key("A date nearby, keyed.", either(whole(1, 36_500), mapping(SHIFT_KEYS))),
}
"""Masks that take something: a map with one key."""
MASK_KEYS["json"].shape["minProperties"] = 1
MASK_NAMES = tuple(dict.fromkeys([*BARE_KEYS, *MASK_KEYS]))
WHOLE_MASK = either(
    {"type": "null", "description": "NULL."},
    *({"const": word, "description": key.doc} for word, key in BARE_KEYS.items()),
    one_of(MASK_KEYS),
)
"""What `#/definitions/mask` is."""
