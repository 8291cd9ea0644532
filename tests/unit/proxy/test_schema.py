"""The schemas for editors say what the loaders say: same keys, everything valid accepted, typical mistakes refused by both."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from jsonschema import Draft7Validator

from policies.document import DocumentError, Entry, Section, parse_document
from policies.keywords import mapping
from policies.load import build_policy
from policies.masks.words import WHOLE_MASK
from policies.schema import policy_schema
from policies.standards import STANDARDS
from policies.trials import FILE_KEYS, parse_trials, schema_of_tests
from policies.values import plain
from proxy.cli import cli
from proxy.config import load_config
from proxy.errors import ConfigError
from proxy.schema import SCHEMAS, config_schema, text_of
from tests.unit.policies.test_load import HEAD, REFUSED, examples_of_the_manual

ROOT = Path(__file__).resolve().parents[3]
POLICIES = [
    *STANDARDS.values(),
    *(ROOT / name for name in ("policies/examples/bank.yaml", "proxy/demo/policy.yaml", "compose/policy.yaml")),
]
MASKS = """\
version: 1
classes:
  a: { level: 1, mask: { keep: { first: 3, last: 4, fill: x, fill_length: 2 } } }
  b: { level: 1, mask: { token: { key: k@2, length: 16, prefix: "t-" } } }
  c: { level: 1, mask: { fpe: { key: k, alphabet: "0123456789", keep: { first: 1, last: 1 }, tweak: t } } }
  d: { level: 1, mask: { shift: { key: k, days: 3 } } }
  e: { level: 1, mask: { redact: { text: "" } } }
  f: { level: 1, mask: { constant: { value: 0 } } }
  g: { level: 1, mask: { round: { to: 10 } } }
  h: { level: 1, mask: { bucket: { size: 0.5 } } }
  i: { level: 1, mask: { json: { $.a.b: a, '$."odd key"': remove } } }
  j: { level: 1, mask: { each: e } }
  k: { level: 1, mask: { sql: "left($1, 1)" } }
"""
CONFIG = """\
listen: { host: 0.0.0.0, port: 0 }
upstream: { host: h, port: 1, connect_timeout: 3s, tls: { mode: verify-full, ca: f, cert: f, key: f }, pooling: none }
control: { user: c, password: "1", database: d, host: h, port: 1, tls: { mode: require }, interval: 1s, max_stale: 30 }
tls: { cert: f, key: f, mode: require, client_ca: f, client_crl: f }
policy: [f, "standard:gdpr"]
audit:
  { directory: d, key_file: k, mode: strict, text: none, segment_time: 1h, witness: 60s, keep: 180d, on_failure: flow,
    anchors: [
      { file: /mnt/anchors },
      { postgres: { host: h, port: 1, user: u, password_env: X, database: d, table: s.t, tls: { mode: require } } },
      { http: { url: "https://h/a", token_file: f, ca: f } },
      { s3: { bucket: b, prefix: p, region: r, endpoint: "http://h:9000", access_key_id: k, secret_key_file: f } } ],
    sinks: {
      table: { postgres: {
        host: h, port: 1, user: u, password_env: X, database: d, schema: s, source: x, tls: { mode: require } } },
      siem: { syslog: {
        address: "tls://h:6514", format: cef, facility: 13, max_size: 8192, kinds: [event], source: x, ca: f } } } }
http: { host: "::1", port: 9000 }
limits: { connections: 20, login_timeout: 10s, connection_rate: 20/s, failed_logins: 5/m, failed_logins_per_address: 5/h }
tcp: { keepalive: 30s, keepalive_interval: 1s, keepalive_count: 3, user_timeout: 90s }
databases: { bank: bank_prod, crm: }
workers: auto
completeness: { interval: 1m, direct_roles: [monitor] }
supervision:
  directory: d
  http: { host: h, port: 1 }
  targets:
    soc: { webhook: "https://h/x", secret_file: f, severity: warning, alerts: ["a*"], timeout: 5s, give_up: 1d }
    am: { alertmanager: "http://h:9093", severity: info }
    pager: { command: [/bin/x, -y], alerts: bulk }
discovery: { user: u, password_env: X }
"""
CONFIG_WRONG = [
    ("lisen: {}", "lisen"),
    ("listen: { prot: 1 }", "prot"),
    ("listen: { port: 70000 }", "port"),
    ("listen: { port: '6432' }", "port"),
    ("upstream: { port: 1 }", "host"),
    ("upstream: { host: h, tls: { mode: always } }", "mode"),
    ("upstream: { host: h, connect_timeout: 3 weeks }", "connect_timeout"),
    ("control: { user: c, password: a, password_env: b }", "password"),
    ("audit: {}", "directory"),
    ("audit: { directory: d, mode: lax }", "mode"),
    ("audit: { directory: d, keep: for ever }", "keep"),
    ("audit: { directory: d, on_failure: ignore }", "on_failure"),
    ("audit: { directory: d, anchors: [{ ftp: x }] }", "ftp"),
    ("audit: { directory: d, anchors: [{ file: a, http: { url: 'http://h' } }] }", "anchors"),
    ("audit: { directory: d, anchors: [{ http: {} }] }", "url"),
    ("audit: { directory: d, sinks: { a: { syslog: { format: cef } } } }", "address"),
    ("audit: { directory: d, sinks: { a: { syslog: { address: 'udp://h:1', format: leef } } } }", "format"),
    ("audit: { directory: d, sinks: { a: { kafka: {} } } }", "kafka"),
    ("policy: []", "policy"),
    ("tls: { cert: f }", "key"),
    ("limits: { connections: 0 }", "connections"),
    ("limits: { connection_rate: fast }", "connection_rate"),
    ("tcp: { keepalive_count: 0 }", "keepalive_count"),
    ("workers: many", "workers"),
    ("databases: []", "databases"),
    ("discovery: {}", "user"),
]
BEYOND = (
    "goes round in circles", "is also", "is a word of the language", "did you mean 'phone'", "found no class", "a sub-select",
    "host bits zero", "found without time or days", "found an empty window", "00-24:01", "a time zone", "cannot be used in a row",
    "is missing", "closes nothing", "is not closed", "can follow a colon", "nothing to keep", "overlapping paths",
    "a mask for text or numbers", "a mask for a single value", "aab", "separators", "attributes of trusted_apps",
    "a role may be asserted", "that a trusted application may assert", "only trusted applications", "[time]",
    "stands in the rule as well",
    "does not begin with 'grant", "application_name: y", "found twice", "menu: x", "tiem: x",
)  # fmt: skip
"""What a schema cannot say: names that must be known elsewhere, SQL, and what one value means for another."""


def policies() -> Iterator[tuple[str, str]]:
    for path in POLICIES:
        yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
    yield "masks", MASKS
    for number, text in enumerate(examples_of_the_manual()):
        yield f"manual {number}", text


POLICY_TEXTS = dict(policies())


def errors(schema: dict[str, Any], text: str) -> list[str]:
    return [e.message for e in Draft7Validator(schema).iter_errors(plain(parse_document(text)))]


@pytest.mark.parametrize("make", [policy_schema, schema_of_tests, config_schema])
def test_they_are_schemas(make: Any) -> None:
    Draft7Validator.check_schema(make())


@pytest.mark.parametrize("name", POLICY_TEXTS)
def test_what_the_loader_takes_validates(name: str) -> None:
    build_policy([parse_document(POLICY_TEXTS[name])], "v")
    assert errors(policy_schema(), POLICY_TEXTS[name]) == []


def _in_reach(text: str, message: str) -> bool:
    return not any(words in text or words in message for words in BEYOND)


@pytest.mark.parametrize(("text", "message"), [pair for pair in REFUSED if _in_reach(*pair)])
def test_mistakes_are_refused_by_both(text: str, message: str) -> None:
    with pytest.raises(DocumentError):
        build_policy([parse_document(text)], "v")
    assert errors(policy_schema(), text) != []


def test_most_mistakes_are_in_reach() -> None:
    assert sum(_in_reach(*pair) for pair in REFUSED) > len(REFUSED) / 2


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "f").write_text("x")
    return tmp_path


def test_a_configuration_with_everything_validates(home: Path) -> None:
    (home / "c.yaml").write_text(CONFIG)
    load_config(home / "c.yaml", {"X": "y"})
    assert errors(config_schema(), CONFIG) == []
    for name in ("compose/pgveil.yaml", "proxy/demo/pgveil.yaml"):
        text = re.sub(r"@\w+@", "1", (ROOT / name).read_text(encoding="utf-8")).replace("user: 1", "user: u")
        assert errors(config_schema(), text) == [], name


@pytest.mark.parametrize(("text", "word"), CONFIG_WRONG)
def test_mistakes_in_the_configuration_are_refused_by_both(home: Path, text: str, word: str) -> None:
    key = text.partition(":")[0]
    rest = re.sub(rf"(?m)^{key}:.*\n(  .*\n)*", "", CONFIG)
    (home / "c.yaml").write_text(rest + text)
    with pytest.raises(ConfigError, match=word):
        load_config(home / "c.yaml", {"X": "y"})
    assert errors(config_schema(), rest + text) != []


# -- the tables: what the loaders allow where, and what the schemas have there -----------------------------------------------


class Seen:
    """Every `only` of the loaders: the mapping it was asked of, and the keys."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[Entry, frozenset[str]]] = []
        plain_only = Section.only

        def only(section: Section, allowed: Iterable[str]) -> None:
            words = frozenset(allowed)
            self.calls.append((section.entry, words))
            plain_only(section, words)

        monkeypatch.setattr(Section, "only", only)


def _expanded(schema: dict[str, Any], root: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The schema itself and all that it may be instead."""
    if "$ref" in schema:
        schema = root["definitions"][schema["$ref"].rpartition("/")[2]]
    yield schema
    for part in (*schema.get("anyOf", ()), *schema.get("allOf", ())):
        yield from _expanded(part, root)


def _at(root: dict[str, Any], schemas: list[dict[str, Any]], node: yaml.Node, target: yaml.Node) -> list[dict[str, Any]] | None:
    """The schemas that speak of the target, somewhere below the node."""
    whole = [e for s in schemas for e in _expanded(s, root)]
    if node is target:
        return whole
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = []
            for schema in whole:
                if key.value in schema.get("properties", {}):
                    below.append(schema["properties"][key.value])
                elif isinstance(schema.get("additionalProperties"), dict):
                    below.append(schema["additionalProperties"])
            if (found := _at(root, below, value, target)) is not None:
                return found
    if isinstance(node, yaml.SequenceNode):
        below = [s["items"] for s in whole if "items" in s]
        for value in node.value:
            if (found := _at(root, below, value, target)) is not None:
                return found
    return None


def _compare(root: dict[str, Any], document: Entry, calls: list[tuple[Entry, frozenset[str]]]) -> set[frozenset[str]]:
    """Every call against the schema; the sets of keys that were met."""
    met: set[frozenset[str]] = set()
    for entry, allowed in calls:
        found = _at(root, [root], document.node, entry.node)
        assert found is not None, entry.key
        tables = [frozenset(s["properties"]) for s in found if "properties" in s]
        fits = [t for t in tables if t == allowed or ((entry.key or "").endswith(".when") and t <= allowed)]
        assert fits, f"{entry.key}: the loader takes {sorted(allowed)}, the schema has {[sorted(t) for t in tables]}"
        met.update(fits)
    return met


def _tables(schema: Any) -> Iterator[frozenset[str]]:
    if isinstance(schema, dict):
        if "properties" in schema and "type" in schema:
            yield frozenset(schema["properties"])
        for value in schema.values():
            yield from _tables(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _tables(value)


def test_the_loader_of_policies_and_its_schema_have_the_same_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, root, met = Seen(monkeypatch), policy_schema(), set()
    for text in (*POLICY_TEXTS.values(), *(HEAD + text for text in MORE)):
        seen.calls.clear()
        document = parse_document(text)
        build_policy([document], "v")
        met |= _compare(root, document, seen.calls)
    assert set(_tables(root)) == met, "no example has a mapping with these keys: add one to the manual"


MORE = ("columns: { a.b.c: { class: phone, mask: null } }\n",)


def test_the_loader_of_configurations_and_its_schema_have_the_same_keys(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    seen, root = Seen(monkeypatch), config_schema()
    documents: list[Entry] = []

    def read(path: Path) -> Entry:
        documents.append(parse_document(path.read_text()))
        return documents[-1]

    monkeypatch.setattr("proxy.config.read_document", read)
    (home / "c.yaml").write_text(CONFIG)
    load_config(home / "c.yaml", {"X": "y"})
    assert set(_tables(root)) == _compare(root, documents[0], seen.calls)


def test_the_loader_of_tests_and_its_schema_have_the_same_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, root = Seen(monkeypatch), schema_of_tests()
    manual = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```yaml\n(version: 1\ntests:.*?)```", manual, re.DOTALL)
    document = parse_document(text)
    assert len(parse_trials(document)) == 3
    assert errors(root, text) == []
    assert set(_tables(mapping(FILE_KEYS))) - _tables_of_masks() == _compare(root, document, seen.calls)


def _tables_of_masks() -> set[frozenset[str]]:
    return set(_tables(WHOLE_MASK))


# -- what people see ------------------------------------------------------------------------------------------------------


def _keys(schema: Any, path: str = "") -> Iterator[tuple[str, str, dict[str, Any]]]:
    if isinstance(schema, dict):
        for name, below in schema.get("properties", {}).items():
            yield f"{path}.{name}", name, below
        for word, value in schema.items():
            yield from _keys(value, f"{path}.{word}" if word not in ("anyOf", "allOf", "properties") else path)
    elif isinstance(schema, list):
        for value in schema:
            yield from _keys(value, path)


@pytest.mark.parametrize(
    ("make", "manual"),
    [
        (policy_schema, "docs/policy.md"),
        (schema_of_tests, "docs/policy.md"),
        (config_schema, "docs/configuration.md"),
    ],
    ids=["policy", "tests", "config"],
)
def test_every_key_is_described_and_in_the_manual(make: Any, manual: str) -> None:
    text = (ROOT / manual).read_text(encoding="utf-8")
    headings = set(re.findall(r"(?m)^#+ (\w+)$", text))
    for path, name, below in _keys(make()):
        assert len(below.get("description", "")) > 5, path
        assert name in headings or re.search(rf"`[^`\n]*\b{re.escape(name)}\b[^`\n]*`", text), f"{path} is not in {manual}"


def test_every_key_of_the_language_is_in_an_example() -> None:
    used: set[str] = set()
    todo = [parse_document(text).node for text in POLICY_TEXTS.values()]
    while todo:
        node = todo.pop()
        if isinstance(node, yaml.MappingNode):
            used |= {key.value for key, _ in node.value}
            todo += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            todo += node.value
    assert {name for _, name, _ in _keys(policy_schema())} - used == set()


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_files_in_the_package_are_what_the_tables_make(name: str) -> None:
    path, make = SCHEMAS[name]
    assert path.read_text(encoding="utf-8") == text_of(make()), "run: python -m proxy.schema"
    assert CliRunner().invoke(cli, ["schema", name]).output == text_of(make())
    assert CliRunner().invoke(cli, ["schema", name, "--path"]).output == f"{path}\n"
