"""YAML with positions: every value knows its file, line, column and key, so every complaint can name them.

`policies` and `proxy.config` read their files through this module. It takes the plain part of YAML 1.1 only: mappings,
lists and scalars. Tags, anchors, aliases, merge keys, duplicate keys and second documents are refused, because each of
them makes a file mean something other than what it says. Keys are taken as written (`on` is the text "on", no boolean).

    section = read_document(Path("pgveil.yaml")).mapping(allowed=("listen", "drain"))
    listen = section.require("listen").string()
    drain = section.duration("drain", 30.0)
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

T = TypeVar("T")

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 40

_TAG = "tag:yaml.org,2002:"
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_HINTS = (
    ("alias", "a plain value (quote names that begin with '*')"),
    ("character '%'", "a plain value (quote text that begins with '%')"),
    ("character '@'", "a plain value (quote text that begins with '@')"),
    ("character '`'", "a plain value (quote text that begins with '`')"),
    ("character '\\t'", "spaces for indentation, not tabs"),
)


class DocumentError(ValueError):
    """Something in a policy or configuration file is not as it should be.

    `str()` is the whole sentence: `file:line:column: key 'x': found …, expected …`.
    """

    def __init__(self, path: str, line: int, column: int, key: str | None, message: str, expected: str | None = None) -> None:
        self.path = path
        self.line = line
        self.column = column
        self.key = key
        self.message = message
        self.expected = expected
        place = f"{path}:{line}:{column}: "
        subject = f"key '{key}': " if key else ""
        wanted = f", expected {expected}" if expected else ""
        super().__init__(f"{place}{subject}{message}{wanted}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One value of a document. Accessors either return the Python value or raise a DocumentError that says where."""

    path: str
    key: str | None
    """Dotted path of keys from the top: `rules[2].when.time`; None for the whole document."""
    node: yaml.Node

    @property
    def line(self) -> int:
        return int(self.node.start_mark.line) + 1

    @property
    def column(self) -> int:
        return int(self.node.start_mark.column) + 1

    @property
    def place(self) -> str:
        return f"{self.path}:{self.line}"

    def error(self, message: str, expected: str | None = None) -> DocumentError:
        return DocumentError(self.path, self.line, self.column, self.key, message, expected)

    def wrong(self, expected: str) -> DocumentError:
        return self.error(f"found {self.describe()}", expected)

    def describe(self) -> str:
        """What stands here, in words for an error message."""
        if isinstance(self.node, yaml.MappingNode):
            return "a mapping"
        if isinstance(self.node, yaml.SequenceNode):
            return "a list"
        if self.is_null:
            return "nothing"
        text = str(self.node.value)
        shown = text if len(text) <= 40 else text[:37] + "..."
        return f"the {self._kind()} {shown!r}" if self._kind() != "text" else repr(shown)

    def _kind(self) -> str:
        tag = str(self.node.tag).removeprefix(_TAG)
        return {"int": "number", "float": "number", "bool": "boolean", "timestamp": "date", "null": "null"}.get(tag, "text")

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.node, yaml.MappingNode)

    @property
    def is_list(self) -> bool:
        return isinstance(self.node, yaml.SequenceNode)

    @property
    def is_scalar(self) -> bool:
        return isinstance(self.node, yaml.ScalarNode)

    @property
    def is_null(self) -> bool:
        return self.is_scalar and self.node.tag == _TAG + "null"

    def child(self, key: str, node: yaml.Node) -> Entry:
        return Entry(self.path, f"{self.key}.{key}" if self.key else key, node)

    def mapping(self, allowed: Iterable[str] | None = None) -> Section:
        """The mapping here; with `allowed`, any other key is refused with a suggestion."""
        if not isinstance(self.node, yaml.MappingNode):
            raise self.wrong("a mapping (key: value)")
        section = Section(self, {str(k.value): self.child(str(k.value), v) for k, v in self.node.value})
        if allowed is not None:
            section.only(allowed)
        return section

    def items(self) -> tuple[Entry, ...]:
        """The entries of the list here."""
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.wrong("a list")
        return tuple(Entry(self.path, f"{self.key or ''}[{i}]", n) for i, n in enumerate(self.node.value))

    def items_or_one(self) -> tuple[Entry, ...]:
        """The entries of the list here, or this value alone when it is not a list."""
        return self.items() if self.is_list else (self,)

    def string(self, *, empty: bool = False) -> str:
        """Text. A number or boolean must be quoted to count as text."""
        if not self.is_scalar or self._kind() not in ("text", "date"):
            raise self.wrong("text")
        if not self.node.value and not empty:
            raise self.wrong("text that is not empty")
        return str(self.node.value)

    def text(self) -> str:
        """The scalar as it was written, whatever YAML takes it for: `1` is "1", `17:30` is "17:30"."""
        if not self.is_scalar or self.is_null or not self.node.value:
            raise self.wrong("text")
        return str(self.node.value)

    def int(self, minimum: int | None = None, maximum: int | None = None) -> int:
        expected = "a whole number" + _range(minimum, maximum)
        if not self.is_scalar or self.node.tag != _TAG + "int":
            raise self.wrong(expected)
        text = str(self.node.value)
        if not re.fullmatch(r"[+-]?(0|[1-9][0-9_]{0,19})", text):
            raise self.wrong(expected + " in decimal digits")
        value = int(text)
        if (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
            raise self.wrong(expected)
        return value

    def number(self, minimum: float | None = None, maximum: float | None = None) -> float:
        expected = "a number" + _range(minimum, maximum)
        if not self.is_scalar or self._kind() != "number":
            raise self.wrong(expected)
        try:
            value = float(str(self.node.value))
        except ValueError:
            raise self.wrong(expected) from None
        if not (float("-inf") < value < float("inf")):
            raise self.wrong(expected)
        if (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
            raise self.wrong(expected)
        return value

    def bool(self) -> bool:
        if not self.is_scalar or self.node.tag != _TAG + "bool":
            raise self.wrong("true or false")
        return str(self.node.value).lower() in ("true", "yes", "on")

    def choice(self, allowed: Iterable[str]) -> str:
        """One word of a closed set."""
        words = tuple(allowed)
        if not self.is_scalar or self.node.value not in words:
            meant = suggest(str(self.node.value), words) if self.is_scalar else ""
            raise self.wrong(f"one of {', '.join(words)}{meant}")
        return str(self.node.value)

    def duration(self) -> float:
        """Seconds, from `30s`, `500ms`, `5m`, `2h`, `1d` or a bare number of seconds."""
        if self.is_scalar and self._kind() == "number":
            return self.number(minimum=0)
        found = _DURATION.fullmatch(str(self.node.value).strip()) if self.is_scalar else None
        if found is None:
            raise self.wrong("a duration such as 500ms, 30s, 5m, 2h or 1d")
        return float(found[1]) * _SECONDS[found[2]]

    def strings(self) -> tuple[str, ...]:
        """A list of texts; a single text counts as a list of one."""
        return tuple(e.string() for e in self.items_or_one())


@dataclass(frozen=True)
class Section:
    """A mapping: its entries by key, in file order, with typed access to optional keys."""

    entry: Entry
    entries: dict[str, Entry]

    def __contains__(self, key: str) -> bool:
        return key in self.entries

    def __iter__(self) -> Iterator[tuple[str, Entry]]:
        return iter(self.entries.items())

    def __len__(self) -> int:
        return len(self.entries)

    def only(self, allowed: Iterable[str]) -> None:
        """Refuse every key that is not in `allowed`."""
        words = tuple(allowed)
        for key, entry in self.entries.items():
            if key not in words:
                at = self.key_mark(key)
                raise DocumentError(
                    entry.path, at.line + 1, at.column + 1, entry.key,
                    f"found an unknown key{suggest(key, words)}", f"one of {', '.join(words)}",
                )  # fmt: skip

    def key_mark(self, key: str) -> yaml.Mark:
        """Where the key itself (not its value) stands."""
        mark: yaml.Mark = next(k.start_mark for k, _ in self.entry.node.value if k.value == key)
        return mark

    def key_error(self, key: str, message: str, expected: str | None = None) -> DocumentError:
        """An error about the key itself rather than its value."""
        at = self.key_mark(key)
        return DocumentError(self.entry.path, at.line + 1, at.column + 1, self.entries[key].key, message, expected)

    def get(self, key: str) -> Entry | None:
        return self.entries.get(key)

    def require(self, key: str) -> Entry:
        if key not in self.entries:
            raise self.entry.error(f"found no key '{key}'", f"'{key}' here")
        return self.entries[key]

    def _or(self, key: str, read: Callable[[Entry], T], default: T) -> T:
        entry = self.entries.get(key)
        return default if entry is None else read(entry)

    def string(self, key: str, default: str) -> str:
        return self._or(key, Entry.string, default)

    def optional_string(self, key: str) -> str | None:
        entry = self.entries.get(key)
        return None if entry is None else entry.string()

    def int(self, key: str, default: int, minimum: int | None = None, maximum: int | None = None) -> int:
        return self._or(key, lambda e: e.int(minimum, maximum), default)

    def number(self, key: str, default: float, minimum: float | None = None, maximum: float | None = None) -> float:
        return self._or(key, lambda e: e.number(minimum, maximum), default)

    def bool(self, key: str, default: bool) -> bool:
        return self._or(key, Entry.bool, default)

    def choice(self, key: str, allowed: Iterable[str], default: str) -> str:
        return self._or(key, lambda e: e.choice(allowed), default)

    def duration(self, key: str, default: float) -> float:
        return self._or(key, Entry.duration, default)

    def strings(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        return self._or(key, Entry.strings, default)

    def section(self, key: str, allowed: Iterable[str] | None = None) -> Section | None:
        """The mapping under `key`, or None when the key is absent."""
        entry = self.entries.get(key)
        return None if entry is None else entry.mapping(allowed)


def read_document(path: Path) -> Entry:
    """Read a YAML file. Raises DocumentError for anything that cannot be read, an absent file included."""
    return parse_document(read_text(path), str(path))


def read_text(path: Path) -> str:
    """The text of a file of a sensible size. Raises DocumentError."""
    try:
        data = path.read_bytes()
    except OSError as e:
        raise DocumentError(str(path), 1, 1, None, f"cannot be read: {e.strerror or e}") from e
    if len(data) > MAX_BYTES:
        raise DocumentError(str(path), 1, 1, None, f"found {len(data)} bytes", f"at most {MAX_BYTES}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        raise DocumentError(str(path), line, 1, None, "found bytes that are not UTF-8", "UTF-8 text") from e


def parse_document(text: str, path: str = "<text>") -> Entry:
    """Parse YAML text; `path` is only used in messages."""
    loader: _Loader | None = None
    try:
        loader = _Loader(path, text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        problem = e.problem or "not valid YAML"
        about = f"{e.context or ''} {problem}"
        hint = next((h for word, h in _HINTS if word in about), None)
        raise DocumentError(path, line, column, None, f"cannot be read as YAML ({problem})", hint) from None
    except yaml.reader.ReaderError as e:
        line = text.count("\n", 0, e.position) + 1
        raise DocumentError(path, line, 1, None, "found a character that YAML does not allow", "plain text") from None
    except ValueError as e:
        if isinstance(e, DocumentError):
            raise
        raise DocumentError(path, 1, 1, None, f"cannot be read: {e}") from None
    finally:
        if loader is not None:
            loader.dispose()
    if node is None:
        raise DocumentError(path, 1, 1, None, "found an empty document", "a mapping (key: value)")
    return Entry(path, None, node)


class _Loader(yaml.SafeLoader):
    """SafeLoader used as a composer only, and stricter."""

    def __init__(self, path: str, text: str) -> None:
        super().__init__(text)
        self._path = path
        self._depth = 0

    def _refuse(self, mark: yaml.Mark, key: str | None, message: str, expected: str) -> DocumentError:
        return DocumentError(self._path, mark.line + 1, mark.column + 1, key, message, expected)

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        mark = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            raise self._refuse(mark, None, "found an alias", "a plain value (quote names that begin with '*')")
        if event.anchor is not None:
            raise self._refuse(mark, None, "found an anchor", "a plain value (quote text that begins with '&')")
        if event.tag is not None:
            raise self._refuse(mark, None, f"found the tag {event.tag!r}", "a plain value without a tag")
        if self._depth >= MAX_DEPTH:
            raise self._refuse(mark, None, "found values nested too deeply", f"at most {MAX_DEPTH} levels")
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: dict[str, yaml.Mark] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._refuse(key.start_mark, None, "found a list or mapping as a key", "a name")
            if key.tag == _TAG + "merge":
                raise self._refuse(key.start_mark, "<<", "found a merge key", "plain keys")
            if key.value in seen:
                raise self._refuse(
                    key.start_mark,
                    key.value,
                    f"found twice (first on line {seen[key.value].line + 1})",
                    "each key once",
                )
            seen[key.value] = key.start_mark
        return node


def _range(minimum: float | None, maximum: float | None) -> str:
    if minimum is not None and maximum is not None:
        return f" from {minimum} to {maximum}"
    if minimum is not None:
        return f" of at least {minimum}"
    return f" of at most {maximum}" if maximum is not None else ""


def suggest(found: str, words: Iterable[str], cutoff: float = 0.6) -> str:
    """` (did you mean 'x'?)` when one of the words is near, else nothing."""
    near = difflib.get_close_matches(found, list(words), n=1, cutoff=cutoff)
    return f" (did you mean '{near[0]}'?)" if near else ""
