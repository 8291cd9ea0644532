"""Reading YAML: what is refused, and whether the message says where and what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from policies.document import DocumentError, Entry, parse_document, read_document


def entry(text: str) -> Entry:
    return parse_document(text, "p.yaml").mapping().require("a")


REFUSED = [
    ("a: 1\na: 2", "p.yaml:2:1: key 'a': found twice (first on line 1), expected each key once"),
    ("a: !x 1", "p.yaml:1:4: found the tag '!x', expected a plain value without a tag"),
    ("a: &b 1", "p.yaml:1:4: found an anchor"),
    ("a: [1, *b]", "p.yaml:1:8: found an alias, expected a plain value (quote names that begin with '*')"),
    ("a: *.x", "p.yaml:1:5: cannot be read as YAML"),
    ("a: 1\n---\nb: 2", "p.yaml:2:1: cannot be read as YAML"),
    ("? [x]\n: 1", "p.yaml:1:3: found a list or mapping as a key, expected a name"),
    ("<<: {b: 1}", "p.yaml:1:1: key '<<': found a merge key"),
    ("", "p.yaml:1:1: found an empty document, expected a mapping (key: value)"),
    ("a: \x01", "p.yaml:1:1: found a character that YAML does not allow"),
    ("[" * 500, "p.yaml:1:41: found values nested too deeply"),
    ("a:\n\tb: 1", "p.yaml:2:1: cannot be read as YAML"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse_document(text, "p.yaml")
    assert str(caught.value).startswith(message)


WRONG: list[tuple[str, Callable[[Entry], object], str]] = [
    ("12", Entry.string, "p.yaml:1:4: key 'a': found the number '12', expected text"),
    ("", Entry.string, "p.yaml:1:3: key 'a': found nothing, expected text"),
    ("''", Entry.string, "p.yaml:1:4: key 'a': found '', expected text that is not empty"),
    ("x", Entry.int, "p.yaml:1:4: key 'a': found 'x', expected a whole number"),
    ("0x10", Entry.int, "expected a whole number in decimal digits"),
    ("9" * 5000, Entry.int, "expected a whole number in decimal digits"),
    ("7", lambda e: e.int(1, 5), "found the number '7', expected a whole number from 1 to 5"),
    (".inf", Entry.number, "expected a number"),
    ("1", Entry.bool, "expected true or false"),
    ("[1]", Entry.mapping, "found a list, expected a mapping (key: value)"),
    ("{b: 1}", Entry.items, "found a mapping, expected a list"),
    ("5 parsecs", Entry.duration, "expected a duration such as 500ms, 30s, 5m, 2h or 1d"),
    ("claer", lambda e: e.choice(["clear", "mask"]), "expected one of clear, mask (did you mean 'clear'?)"),
    ("{lissen: 1}", lambda e: e.mapping(("listen",)), "p.yaml:1:5: key 'a.lissen': found an unknown key"),
    ("{lissen: 1}", lambda e: e.mapping(("listen",)), "(did you mean 'listen'?), expected one of listen"),
    ("{b: 1}", lambda e: e.mapping().require("c"), "key 'a': found no key 'c', expected 'c' here"),
    ("[x, 1]", Entry.strings, "key 'a[1]': found the number '1', expected text"),
]


@pytest.mark.parametrize(("value", "read", "message"), WRONG)
def test_wrong_value(value: str, read: Callable[[Entry], object], message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        read(entry(f"a: {value}"))
    assert message in str(caught.value)
    assert str(caught.value).startswith("p.yaml:1:")


def test_values() -> None:
    section = parse_document(
        "text: x\nint: 5\nnumber: 1.5\nyes: true\ntime: 17:30\nlist: [a, b]\none: a\nwait: 1.5h\nseconds: 3\non: {off: 1}"
    ).mapping()
    assert section.string("text", "") == "x"
    assert section.int("int", 0) == 5
    assert section.number("number", 0) == 1.5
    assert section.bool("yes", False) is True
    assert section.require("time").text() == "17:30"
    assert section.strings("list") == ("a", "b")
    assert section.strings("one") == ("a",)
    assert section.duration("wait", 0) == 5400
    assert section.duration("seconds", 0) == 3
    assert section.section("on", allowed=("off",)) is not None
    assert section.string("absent", "default") == "default"


def test_files(tmp_path: Path) -> None:
    missing = tmp_path / "none.yaml"
    with pytest.raises(DocumentError, match=r"none\.yaml:1:1: cannot be read: No such file"):
        read_document(missing)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a: 1\nb: \xff")
    with pytest.raises(DocumentError, match=r"latin\.yaml:2:1: found bytes that are not UTF-8"):
        read_document(latin)
    with_mark = tmp_path / "bom.yaml"
    with_mark.write_bytes(b"\xef\xbb\xbfa: 1")
    assert read_document(with_mark).mapping().int("a", 0) == 1
