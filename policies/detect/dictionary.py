"""From findings to a dictionary file: classes that exist already, masks that suit the column's type, YAML that the loader takes.

A proposal never decides a column that the policy decides already, and added to an existing file it leaves its lines as they are.
Uncertain findings are written as comments, which do nothing until somebody takes the `#` away.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from policies.detect.combine import PROPOSE, Finding
from policies.detect.documents import ANY_KEY, ELEMENTS
from policies.detect.kinds import DOCUMENTS, TEXTS
from policies.document import DocumentError, parse_document
from policies.language import DataClass
from policies.masks.parse import Lookup, parse_mask
from policies.model import ColumnType

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "name": ("person_name", "full_name", "customer_name", "姓名"),
    "id_card": ("idcard", "id_no", "id_number", "identity", "cert_no", "resident_id", "身份证"),
    "national_id": ("ssn", "tax_id"),
    "phone": ("mobile", "tel", "telephone", "phone_no", "phone_number", "手机号"),
    "email": ("mail", "e_mail", "email_address"),
    "address": ("addr", "home_address", "地址"),
    "birthday": ("birth_date", "birthdate", "dob", "date_of_birth"),
    "card_no": ("card", "card_number", "pan", "bank_card", "银行卡"),
    "account": ("account_no", "account_number", "acct_no", "bank_account"),
    "uscc": ("credit_code", "org_code"),
    "secret": ("password", "credential", "credentials", "passwd"),
    "salary": ("income", "wage"),
    "plate": ("license_plate", "car_plate"),
    "device_id": ("device",),
    "health": ("medical", "diagnosis"),
    "free_text": ("text", "prose", "memo", "remark"),
    "profile": ("document", "json", "json_profile"),
}
"""What people call the classes that discovery means."""
_PLAIN_PART = re.compile(r'[^".\s*?\[\]]+')
_PLAIN_KEY = re.compile(r"[A-Za-z_\u4e00-\u9fff][\w.\u4e00-\u9fff]*")
_JSON_KEY = re.compile(r'[^."\s\[\]*{},:#&!|>\'%@`\\]+')


@dataclass(frozen=True, slots=True)
class Found:
    """A column with what was found in it."""

    schema: str
    table: str
    column: str
    type: ColumnType
    finding: Finding | None
    rows: int = 0
    """Rows that were looked at."""
    harmless: bool = False
    """Nothing speaks for sensitive data, and enough was looked at to say so."""


def column_key(schema: str, table: str, column: str) -> str:
    """The column as a dictionary names it, as a YAML key."""
    parts = [p if _PLAIN_PART.fullmatch(p) else '"' + p.replace('"', '""') + '"' for p in (schema, table, column)]
    dotted = ".".join(parts)
    return dotted if _PLAIN_KEY.fullmatch(dotted) else "'" + dotted.replace("'", "''") + "'"


def class_for(kind: str, classes: Iterable[str]) -> str | None:
    """The class of a policy that means this kind."""
    known = {c.lower(): c for c in classes}
    return next((known[name] for name in (kind, *SYNONYMS.get(kind, ())) if name in known), None)


class Dictionary:
    """Writes proposals against the classes there are and those of a standard that may be added."""

    def __init__(self, existing: Mapping[str, DataClass], standard: Mapping[str, DataClass], source: str) -> None:
        self._existing = existing
        self._standard = standard
        self._source = source.splitlines()
        self.added: dict[str, None] = {}
        """Classes of the standard that the proposal needs."""

    def class_of(self, kind: str) -> str | None:
        """The class to write for a kind; None when neither the policy nor the standard has one."""
        return class_for(kind, self._existing) or (kind if kind in self._standard else None)

    def level_of(self, kind: str) -> str:
        """The level of that class, or nothing."""
        name = self.class_of(kind)
        return "" if name is None else self._mask_of(name).level

    def _mask_of(self, name: str) -> DataClass:
        return self._existing[name] if name in self._existing else self._standard[name]

    def value(self, found: Found) -> str | None:
        """What stands behind the column's key: a class, or a class with a mask of its own."""
        assert found.finding is not None
        name = self.class_of(found.finding.kind)
        if name is None and found.finding.also is not None:
            name = self.class_of(found.finding.also)
        if name is None:
            return None
        used = [name]
        mask = self._own_mask(found, name, used)
        for each in used:
            if each not in self._existing:
                self.added.setdefault(each)
        return name if mask is None else f"{{ class: {name}, mask: {mask} }}"

    def _own_mask(self, found: Found, name: str, used: list[str]) -> str | None:
        kind, finding = found.type, found.finding
        assert finding is not None
        if finding.paths:
            made = self._json(finding, used) if kind.base_type in DOCUMENTS else "redact"
            return made if self._suits(made, kind) else "null"
        if kind.category == "A":
            return next((m for m in (f"{{ each: {name} }}",) if self._suits(m, kind)), "null")
        if self._mask_of(name).mask.accepts(kind) is None:
            return None
        fallback = "{ keep: { first: 4 } }" if finding.kind == "birthday" and kind.base_type in TEXTS else "null"
        return fallback if self._suits(fallback, kind) else "null"

    def _json(self, finding: Finding, used: list[str]) -> str:
        wanted: dict[str, str] = {}
        for path, inner in sorted(finding.paths.items()):
            keys: list[str] = []
            for step in path:
                if step in (ELEMENTS, ANY_KEY) or '"' in step or "\\" in step or not step.isprintable():
                    break
                keys.append(step)
            if not keys:
                return "null"
            name = self.class_of(inner.kind) if len(keys) == len(path) else None
            if name is not None:
                used.append(name)
            wanted[_json_path(keys)] = name or "null"
        outer = {p: m for p, m in wanted.items() if not any(p != q and p.startswith(q + ".") for q in wanted)}
        return "{ json: { " + ", ".join(f"{_json_key(p)}: {m}" for p, m in outer.items()) + " } }"

    def _suits(self, mask: str, kind: ColumnType) -> bool:
        try:
            entry = parse_document(f"mask: {mask}").mapping().require("mask")
            return parse_mask(entry, self._lookup).accepts(kind) is None
        except DocumentError:
            return False

    @property
    def _lookup(self) -> Lookup:
        return lambda name: self._mask_of(name).mask if name in self._existing or name in self._standard else None

    def class_lines(self) -> list[str]:
        """The added classes, as the standard's file has them, with the clause above each."""
        lines: list[str] = []
        for name in self.added:
            at = next(i for i, line in enumerate(self._source) if line.startswith(f"  {name}:"))
            lines += self._source[at - 1 : at + 1] if self._source[at - 1].startswith("  #") else self._source[at : at + 1]
        return lines


def _json_path(keys: list[str]) -> str:
    return "$" + "".join("." + (k if _JSON_KEY.fullmatch(k) else f'"{k}"') for k in keys)


def _json_key(path: str) -> str:
    return path if '"' not in path else "'" + path.replace("'", "''") + "'"


def column_lines(
    columns: Iterable[Found], dictionary: Dictionary, *, public: bool, known: str = ""
) -> tuple[list[str], list[str]]:
    """(lines of the dictionary, lines to be reviewed), table by table. `known`: text that may mention a column already."""
    sure: list[str] = []
    unsure: list[str] = []
    table = ("", "")
    for found in columns:
        key = column_key(found.schema, found.table, found.column)
        if f"{key}:" in known:
            continue
        if found.finding is None:
            if public and found.harmless:
                sure.append(f"  {key}: public")
            continue
        value = dictionary.value(found) if found.finding.proposed else _tentative(found, dictionary)
        if value is None:
            unsure.append(f"  # {key}: {found.finding.kind} has no class here   # {reason(found.finding)}")
            continue
        if found.finding.proposed:
            if (found.schema, found.table) != table:
                table = (found.schema, found.table)
                sure.append(f"  # {safe(found.schema)}.{safe(found.table)}: {found.rows} rows looked at")
            sure.append(f"  {key}: {value}   # {reason(found.finding)}")
        else:
            unsure.append(f"  # {key}: {value}   # {reason(found.finding)}")
    return sure, unsure


def _tentative(found: Found, dictionary: Dictionary) -> str | None:
    before = dict(dictionary.added)
    value = dictionary.value(found)
    dictionary.added = before
    return value


def reason(finding: Finding) -> str:
    """Confidence and reason in one line."""
    return f"{finding.confidence:.2f} {safe(finding.reason)}"


def safe(text: str) -> str:
    """Names may hold anything; in a comment or a table they stay on their line."""
    return "".join(c if c.isprintable() else "?" for c in text)


def new_file(heading: Iterable[str], dictionary: Dictionary, sure: list[str], unsure: list[str]) -> str:
    """A whole dictionary file."""
    lines = [f"# {h}".rstrip() for h in heading]
    lines.append("version: 1")
    if dictionary.added:
        lines += ["", "classes:", *dictionary.class_lines()]
    if any(not line.lstrip().startswith("#") for line in sure):
        lines += ["", "columns:", *sure]
    if unsure:
        lines += ["", *_review_heading(), *unsure]
    return "\n".join(lines) + "\n"


def _review_heading() -> list[str]:
    return [
        f"  # Less sure (below {PROPOSE:.2f}): not in force. Take the # away from what is right, write `public` for the rest."
    ]


def extend_file(text: str, path: str, when: str, dictionary: Dictionary, sure: list[str], unsure: list[str]) -> str:
    """The file with new lines in it; what was there stays as it was. Raises DocumentError when it has not the form for that."""
    section = parse_document(text, path).mapping()
    lines = text.splitlines()
    if text and not text.endswith("\n"):
        text += "\n"
    order = [str(k.value) for k, _ in section.entry.node.value]
    if "columns" in section:
        if order[-1] != "columns":
            raise section.key_error(
                "columns", "is not the last key of this file", "a file that ends with its columns, or another file"
            )
        node = section.require("columns").node
        if getattr(node, "flow_style", False) or not lines[node.start_mark.line].startswith("  "):
            raise section.key_error(
                "columns", "is not written line by line with an indent of two", "one column a line, or another file"
            )
    active = any(not line.lstrip().startswith("#") for line in sure)
    tail = [f"  # Found on {when}", *sure] if sure else []
    if active and "columns" not in section:
        tail = ["columns:", *tail]
    if unsure:
        tail += [*_review_heading(), *unsure]
    if dictionary.added:
        new = dictionary.class_lines()
        if "classes" in section:
            node = section.require("classes").node
            if getattr(node, "flow_style", False) or not lines[node.start_mark.line].startswith("  "):
                raise section.key_error(
                    "classes", "is not written line by line with an indent of two", "one class a line, or another file"
                )
            at = node.start_mark.line
        else:
            at = section.key_mark("columns").line if "columns" in section else len(lines)
            new = ["classes:", *new]
        lines[at:at] = new
    return "\n".join([*lines, *tail]) + "\n"
