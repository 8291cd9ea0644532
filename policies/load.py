"""From YAML files to a Policy. Everything that is not understood is refused, with file, line and key.

Several files make one policy. A class of a later file replaces that of an earlier one; dictionary and rules are taken in the
order of the files; what `unclassified`, `functions`, `limits`, `alerts` and `on_failure` say in several files holds together;
`attributes`, which say who is believed, stand in one file, and each rule's name is there once (docs/policy.md tells it people).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from policies.alerts import ALERT, parse_alerts
from policies.approvals import APPROVAL, CHANGES_KEYS, GRANT, parse_approvals, parse_changes
from policies.attributes import KEYS, Attributes, parse_attributes
from policies.document import DocumentError, Entry, Section, parse_document, read_text
from policies.failure import ON_FAILURE, Exemption, parse_failure
from policies.filters import FILTERS, MASKED, parse_filters
from policies.keywords import (
    COLUMN_PATTERN,
    FLAG,
    MASK,
    PLAIN_NAME,
    RELATION,
    SCALAR,
    TEXT,
    Key,
    either,
    listed,
    mapping,
    named,
    optional,
    several,
    words,
)
from policies.language import (
    PUBLIC,
    UNCLASSIFIED,
    Alert,
    Approval,
    ColumnEntry,
    DataClass,
    Override,
    Policy,
    PolicyChanges,
    Rule,
    Unclassified,
)
from policies.limits import LIMIT, Limit, parse_limits
from policies.masks.base import BaseMask
from policies.masks.basic import Null
from policies.masks.parse import parse_mask
from policies.model import Show
from policies.names import Part, split_name
from policies.rules import RULE, Scope, parse_pattern, parse_rule
from policies.standards import PREFIX, called

CLASS_KEYS = {
    "level": Key("How sensitive: C1, C2 … or 1, 2 …; compared in natural order.", SCALAR, needed=True),
    "mask": Key("What people see for whom no rule says otherwise.", MASK, needed=True),
}
COLUMN_KEYS = {
    "class": Key("A class of `classes`.", TEXT, needed=True),
    "mask": Key("Replaces the mask of the class for these columns.", MASK),
    "filters": FILTERS,
}
UNCLASSIFIED_KEYS = {
    "new_columns_of": Key(
        "Tables as schema.table, with wildcards: columns of theirs that the dictionary does not mention are sensitive.",
        several(RELATION),
        needed=True,
    ),
    "show": Key("mask (shows NULL) or deny.", words(("mask", "deny"))),
}
FUNCTION_KEYS = {
    "allow": Key("Functions as schema.function that read no sensitive table.", optional(several(PLAIN_NAME))),
    "trust_extensions": Key("Extensions all of whose functions are harmless.", optional(several(TEXT))),
}
TOP_KEYS = {
    "version": Key("Always 1.", {"const": 1}, needed=True),
    "classes": Key(
        "Kinds of sensitive data: a level, and what people see without a rule of their own.", named(mapping(CLASS_KEYS))
    ),
    "columns": Key(
        "The dictionary: schema.table.column (with wildcards) and its class, or `public` for what is harmless.",
        named(either(TEXT, mapping(COLUMN_KEYS)), COLUMN_PATTERN),
    ),
    "unclassified": Key("What happens to columns that the dictionary does not mention.", mapping(UNCLASSIFIED_KEYS)),
    "rules": Key("Who sees what, and when. For each column the first rule that matches decides.", optional(listed(RULE))),
    "functions": Key("Functions outside pg_catalog that masked people may call.", mapping(FUNCTION_KEYS)),
    "attributes": Key("What is known of the person behind a session.", mapping(KEYS)),
    "approvals": Key("Who may ask to see columns in clear for a while, and who has to agree.", listed(APPROVAL)),
    "policy_changes": Key("Who has to agree before another policy takes effect.", mapping(CHANGES_KEYS)),
    "notice": Key("Whether the first masked result of a session says so, by one NOTICE; true without it.", FLAG),
    "limits": Key("How much somebody may learn.", listed(LIMIT)),
    "alerts": Key("What somebody has to be told of at once.", listed(ALERT)),
    "on_failure": Key("Logins whose statements pass unmasked, and flagged, when pgveil cannot read them.", ON_FAILURE),
}
"""`policies.keywords` says how a key is added."""


def load_policy(paths: Sequence[Path]) -> Policy:
    """Read the policy in these files. Raises DocumentError."""
    return load_texts([(called(path), read_text(path)) for path in paths])


def load_texts(texts: Sequence[tuple[str, str]]) -> Policy:
    """The policy in these texts, each with the name that messages call it by. Raises DocumentError."""
    digest = hashlib.blake2b(digest_size=16)
    for _, text in texts:
        data = text.encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    documents = [parse_document(text, name) for name, text in texts]
    return replace(build_policy(documents, digest.hexdigest()), texts=tuple(texts))


def build_policy(documents: Sequence[Entry], version: str) -> Policy:
    """The policy in these parsed documents."""
    reader = _Reader()
    sections = [_top(document) for document in documents]
    for section in sections:
        reader.announce(section)
    for section in sections:
        reader.read(section)
    return Policy(
        version=version,
        classes=reader.classes,
        entries=tuple(reader.entries),
        unclassified=reader.unclassified,
        rules=tuple(reader.rules),
        functions=frozenset(reader.functions),
        extensions=frozenset(reader.extensions),
        attributes=reader.attributes,
        limits=tuple(reader.limits),
        on_failure=reader.on_failure,
        alerts=tuple(reader.alerts),
        overrides=(*reader.overrides, *_replaced_lines(reader.entries)),
        approvals=tuple(reader.approvals),
        notice=reader.notice,
        changes=reader.changes,
    )


def _top(document: Entry) -> Section:
    section = document.mapping()
    section.only(TOP_KEYS)
    version = section.require("version")
    if version.int() != 1:
        raise version.wrong("1")
    return section


class _Reader:
    def __init__(self) -> None:
        self.classes: dict[str, DataClass] = {}
        self.entries: list[ColumnEntry] = []
        self.unclassified: Unclassified | None = None
        self.rules: list[Rule] = []
        self.functions: set[str] = set()
        self.extensions: set[str] = set()
        self.attributes = Attributes()
        self.limits: list[Limit] = []
        self.approvals: list[Approval] = []
        self.changes: PolicyChanges | None = None
        self.notice = True
        self.on_failure: dict[str, Exemption] = {}
        self.alerts: list[Alert] = []
        self._attributes: Entry | None = None
        self._sources: dict[str, Entry] = {}
        self._pending: list[str] = []
        self.overrides: list[Override] = []

    def announce(self, section: Section) -> None:
        """Note the names of classes and attributes first: they may be named further up, or in another file."""
        found = section.section("attributes")
        if found is not None:
            if self._attributes is not None:
                raise section.key_error("attributes", f"is also at {self._attributes.place}", "attributes once")
            self._attributes = found.entry
            self.attributes = parse_attributes(found)
        classes = section.section("classes")
        for name, entry in classes or ():
            assert classes is not None
            if name in (PUBLIC, UNCLASSIFIED):
                raise classes.key_error(name, "is a word of the language", "another name for the class")
            if (before := self._sources.get(name)) is not None:
                if _is_standard(before) and _is_standard(entry):
                    raise classes.key_error(name, f"is also at {before.place}", "one standard, or a copy of what is needed")
                self.overrides.append(Override(f"class '{name}'", entry.place, before.place))
            self._sources[name] = entry

    def read(self, section: Section) -> None:
        for name in self._sources:
            self._class(name)
        for source, entry in section.section("columns") or ():
            self.entries.append(self._column(source, entry))
        if (new := section.section("unclassified", UNCLASSIFIED_KEYS)) is not None:
            self.unclassified = _unclassified(new, self.unclassified)
        rules = section.get("rules")
        for entry in rules.items() if rules is not None and not rules.is_null else ():
            rule = parse_rule(entry.mapping(), Scope(self._sources, self.attributes, self._mask))
            same = next((r for r in self.rules if r.name == rule.name), None)
            if same is not None:
                raise entry.mapping().require("name").error(f"is also the name at {same.place}", "each rule name once")
            if rule.name.startswith(GRANT):
                raise entry.mapping().require("name").wrong(f"a name that does not begin with '{GRANT}'")
            self.rules.append(rule)
        if (approvals := section.get("approvals")) is not None and not approvals.is_null:
            self.approvals += parse_approvals(approvals, self._sources)
        if (changes := section.section("policy_changes")) is not None:
            self.changes = parse_changes(changes)
        self.notice = section.bool("notice", self.notice)
        functions = section.section("functions", FUNCTION_KEYS)
        if functions is not None:
            self.functions.update(_function(e) for e in _list(functions, "allow"))
            self.extensions.update(e.string() for e in _list(functions, "trust_extensions"))
        if "alerts" in section:
            self.alerts += parse_alerts(section.entries["alerts"], self._sources, self.alerts)
        if (failure := section.section("on_failure")) is not None:
            self.on_failure |= parse_failure(failure, self.on_failure)
        if "limits" in section:
            self.limits += parse_limits(section.entries["limits"], self.limits)

    def _class(self, name: str) -> DataClass:
        if name in self.classes:
            return self.classes[name]
        section = self._sources[name].mapping(CLASS_KEYS)
        if name in self._pending:
            raise section.require("mask").error(f"goes round in circles: {' → '.join([*self._pending, name])}")
        self._pending.append(name)
        mask = parse_mask(section.require("mask"), self._inner_lookup(section.require("mask")))
        self._pending.pop()
        made = DataClass(name, section.require("level").text(), mask, section.entry.place)
        self.classes[name] = made
        return made

    def _inner_lookup(self, entry: Entry) -> _Lookup | None:
        """Classes may be named inside json and each, not in place of the mask itself."""
        return _Lookup(self) if entry.is_mapping else None

    def class_mask(self, name: str) -> BaseMask | None:
        return self._class(name).mask if name in self._sources else None

    def _known(self, entry: Entry, extra: tuple[str, ...] = ()) -> str:
        if entry.is_scalar and entry.node.value in (*self._sources, *extra):
            return entry.text()
        entry.choice([*self._sources, *extra])
        raise AssertionError

    def _mask(self, entry: Entry) -> BaseMask:
        return parse_mask(entry, self._inner_lookup(entry))

    def _column(self, source: str, entry: Entry) -> ColumnEntry:
        pattern = parse_pattern(source, 3, entry, "schema.table.column, each part a name or a pattern such as *")
        if not entry.is_mapping:
            return ColumnEntry(pattern, self._known(entry, (PUBLIC,)), None, entry.place, len(self.entries))
        section = entry.mapping()
        section.only(COLUMN_KEYS)
        name = self._known(section.require("class"))
        mask = self._mask(section.entries["mask"]) if "mask" in section else None
        filters = parse_filters(section.entries["filters"]) if "filters" in section else MASKED
        return ColumnEntry(pattern, name, mask, entry.place, len(self.entries), filters)


class _Lookup:
    """Finds the masks of classes for json and each."""

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader

    def __call__(self, name: str) -> BaseMask | None:
        return self._reader.class_mask(name)


def _replaced_lines(entries: Sequence[ColumnEntry]) -> list[Override]:
    """Lines of the dictionary with the same pattern and something else to say."""
    last: dict[tuple[Part, ...], ColumnEntry] = {}
    out = []
    for entry in entries:
        before = last.get(entry.pattern.parts)
        if before is not None and (before.data_class, before.mask) != (entry.data_class, entry.mask):
            out.append(Override(f"{entry.pattern.source}: {entry.data_class}", entry.place, before.place))
        last[entry.pattern.parts] = entry
    return out


def _list(section: Section, key: str) -> tuple[Entry, ...]:
    entry = section.get(key)
    return () if entry is None or entry.is_null else entry.items_or_one()


def _is_standard(entry: Entry) -> bool:
    return entry.path.startswith(PREFIX)


def _unclassified(section: Section, before: Unclassified | None) -> Unclassified:
    """Together with what earlier files say: all their tables, and refused where one of them says so."""
    wanted = "schema.table, each part a name or a pattern such as *"
    relations = tuple(parse_pattern(e.string(), 2, e, wanted) for e in section.require("new_columns_of").items_or_one())
    show = Show(section.choice("show", ("mask", "deny"), "mask"))
    if before is not None:
        relations = (*before.relations, *relations)
        show = Show.DENY if before.data_class.show is Show.DENY else show
    made = DataClass(UNCLASSIFIED, UNCLASSIFIED, Null(), section.entry.place, show)
    return Unclassified(relations, made, section.entry.place)


def _function(entry: Entry) -> str:
    parts = split_name(entry.string())
    if parts is None or len(parts) != 2 or any(p.wildcards for p in parts):
        raise entry.wrong("schema.function")
    return ".".join(p.text for p in parts)


PolicyError = DocumentError
