"""The language: what it means, and what it refuses to take."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from policies import DocumentError, attributes, classify, load_policy, problems
from policies.language import SelectorKind, level_key
from policies.masks.basic import Null
from policies.masks.dates import UNITS
from policies.masks.keep import Keep
from policies.masks.words import ALPHABETS, MASK_NAMES
from policies.model import Show
from policies.standards import STANDARDS
from tests.unit.policies.support import policy, relation

ROOT = Path(__file__).resolve().parents[3]
HEAD = "version: 1\nclasses: {phone: {level: C2, mask: {keep: {first: 3, last: 4}}}, name: {level: C1, mask: name}}\n"
RULE = HEAD + "rules: [{name: r, columns: '*', show: clear, %s}]"
MASK = "version: 1\nclasses: {x: {level: C1, mask: %s}}"


def test_everything_at_once() -> None:
    p = policy(
        HEAD
        + """
columns:
  bank.customers.phone: phone
  bank."KYC Records"."姓名": name
  "*.*.*phone*": { class: phone, mask: { keep: { last: 2 } } }
  bank.branches.phone: public
unclassified: { new_columns_of: [bank.*], show: deny }
rules:
  - name: one
    role: teller
    user: [a, b]
    database: bank
    columns: [level<=C2, class=phone, bank.customers.*]
    when: { app: "counter*", network: 10.0.0.0/8, time: "22:00-06:00", days: fri-mon, timezone: Asia/Shanghai }
    rows: branch = :user.branch
    show: null
functions: { allow: [bank.fx], trust_extensions: [x] }
"""
    )
    rule = p.rules[0]
    assert rule.roles == {"teller"}
    assert rule.users == {"a", "b"}
    assert rule.applications == ("counter*",)
    assert [str(n) for n in rule.networks] == ["10.0.0.0/8"]
    assert rule.schedule is not None
    assert (rule.schedule.start, rule.schedule.end, rule.schedule.days) == (1320, 360, {4, 5, 6, 0})
    assert [s.kind for s in rule.columns] == [SelectorKind.LEVEL, SelectorKind.CLASS, SelectorKind.NAME]
    assert rule.rows is not None
    assert rule.rows.attributes == {"branch"}
    assert (rule.show, rule.mask) == (Show.MASK, Null())
    assert rule.place == "p1.yaml:11"
    assert p.entries[2].mask == Keep(last=2)
    assert p.unclassified is not None
    assert p.unclassified.data_class.show is Show.DENY
    assert (p.functions, p.extensions) == ({"bank.fx"}, {"x"})


REFUSED = [
    ("classes: {}", "key 'version'"),
    ("version: 2", "key 'version': found the number '2', expected 1"),
    ("version: 1\nclases: {}", "p1.yaml:2:1: key 'clases': found an unknown key (did you mean 'classes'?)"),
    ("version: 1\napprovals: [{}]", "p1.yaml:2:13: key 'approvals[0]': found no key 'columns'"),
    ("version: 1\napprovals: [{columns: '*', approvers: a, max: 1w}]", "expected a duration"),
    ("version: 1\napprovals: [{columns: '*', approvers: [], max: 1h}]", "expected at least one role"),
    ("version: 1\napprovals: [{columns: [], approvers: a, max: 1h}]", "expected at least one column"),
    ("version: 1\napprovals: [{columns: '*', approvers: a, max: 1h, need: 0}]", "need"),
    ("version: 1\napprovals: [{columns: '*', approvers: a, max: 1h, break_glass: {max: 1h}}]", "found no key 'roles'"),
    ("version: 1\npolicy_changes: {need: 1}", "found no key 'approvers'"),
    ("version: 1\npolicy_changes: {approvers: []}", "expected at least one role"),
    ("version: 1\nrules: [{name: grant 7, columns: '*', show: clear}]", "a name that does not begin with 'grant '"),
    ("version: 1\nclasses: {public: {level: 1, mask: null}}", "key 'classes.public': is a word of the language"),
    ("version: 1\nclasses: {x: {mask: null}}", "found no key 'level'"),
    ("version: 1\nclasses: {x: {level: 1}}", "found no key 'mask'"),
    (HEAD + "columns: {bank.c.p: fone}", "expected one of phone, name, public (did you mean 'phone'?)"),
    (HEAD + "columns: {bank.c: phone}", "found the name 'bank.c', expected schema.table.column"),
    (HEAD + "columns: {'a.\"b.c': phone}", "expected schema.table.column"),
    (HEAD + "columns: {a.b.c: {class: phone, filters: exact}}", "key 'columns.a.b.c.filters': found 'exact', expected one of"),
    (HEAD + "columns: {a.b.c: {class: phone, filters: {equality: {probes_per_hour: 0}}}}", "expected a whole number from 1"),
    (HEAD + "columns: {a.b.c: {class: phone, filters: {refuse: 1}}}", "key 'columns.a.b.c.filters.refuse'"),
    (HEAD + "unclassified: {new_columns_of: [bank], show: mask}", "expected schema.table"),
    (HEAD + "unclassified: {new_columns_of: [b.*], show: clear}", "expected one of mask, deny"),
    (HEAD + "functions: {allow: [fx]}", "expected schema.function"),
    (HEAD + "functions: {allow: ['bank.*']}", "expected schema.function"),
    (HEAD + "rules: [{name: r, show: clear}]", "found no key 'columns'"),
    (HEAD + "rules: [{name: r, columns: [], show: clear}]", "expected at least one column"),
    (HEAD + "rules: [{columns: '*', show: clear}]", "found no key 'name'"),
    (HEAD + "rules: [{name: r, columns: '*'}]", "found no key 'show'"),
    (HEAD + "rules: [{name: r, columns: '*', show: claer}]", "did you mean 'clear'?"),
    (HEAD + "rules: [{name: r, columns: '*', show: phone}]", "expected one of clear, mask, deny"),
    (HEAD + "rules: [{name: r, columns: class=fone, show: clear}]", "found no class 'fone' (did you mean 'phone'?)"),
    (HEAD + "rules: [{name: r, columns: level<=, show: clear}]", "expected a level"),
    (HEAD + "rules: [{name: r, columns: customers, show: clear}]", "expected *, level<=C2, class=phone"),
    (HEAD + 2 * "rules: [{name: r, columns: '*', show: clear}]\n", "found twice"),
    (HEAD + "rules: [" + 2 * "{name: r, columns: '*', show: clear}," + "]", "is also the name at p1.yaml:3"),
    (RULE % "role: a, roles: b", "key 'rules[0].roles': means the same as 'role', expected one of the two"),
    (RULE % "role: []", "expected at least one name"),
    (RULE % "when: {menu: x}", "key 'rules[0].when.menu': found an unknown key"),
    ("version: 1\nattributes: {user: {from: users}}", "expected a table as schema.table"),
    ("version: 1\nattributes: {user: {from: a.b, nmaes: [x]}}", "did you mean 'names'?"),
    ("version: 1\nattributes: {user: {from: a.b, on_behalf: teller}}", "that a trusted application may assert"),
    (
        "version: 1\nattributes: {user: {from: a.b, on_behalf: teller}, trusted_apps: {app: [teller]}, anyone: [teller]}",
        "that only trusted applications may assert",
    ),
    ("version: 1\nattributes: {trusted_apps: {app: [Menu]}}", "expected the name of an attribute: small letters"),
    ("version: 1\nattributes: {trusted_apps: {app: [time]}}", "expected the name of an attribute: small letters"),
    (
        "version: 1\nattributes: {anyone: [purpose], comments: [menu]}",
        "found menu, expected attributes of trusted_apps or anyone",
    ),
    ("version: 1\nattributes: {anyone: [role]}", "a role may be asserted by trusted applications only"),
    (RULE % "when: {tiem: x}", "did you mean 'time'?"),
    (RULE % "when: {app: x}, application_name: y", "means the same as 'application_name'"),
    (RULE % "when: {network: 10.0.0.0/8}, network: 10.0.0.0/8", "stands in the rule as well"),
    (RULE % "network: 10.0.0.1/8", "expected a network such as 10.0.0.0/8 (host bits zero)"),
    (RULE % "when: {timezone: Asia/Shanghai}", "found without time or days"),
    (RULE % "when: {time: '8-17'}", "expected a time of day from and to"),
    (RULE % "when: {time: '08:00-08:00'}", "found an empty window"),
    (RULE % "when: {time: '08:00-24:01'}", "expected a time of day from and to"),
    (RULE % "when: {days: someday}", "expected days such as mon, fri or mon-fri"),
    (RULE % "when: {days: mon, timezone: Asia/Shanghigh}", "a time zone such as Asia/Shanghai (did you mean 'Asia/Shanghai'?)"),
    (RULE % "when: {days: mon, timezone: ../../etc/passwd}", "expected a time zone such as Asia/Shanghai"),
    (RULE % "rows: 'a = 1 -- x'", "'--' cannot be used in a row predicate"),
    (RULE % "rows: 'a = 1; drop table t'", "';' cannot be used in a row predicate"),
    (RULE % "rows: 'a = (1'", "')' is missing"),
    (RULE % "rows: 'true) or (true'", "')' closes nothing"),
    (RULE % 'rows: "a = \'x"', "a ' is not closed"),
    (RULE % "rows: 'a = :branch'", "only :user.<attribute> can follow a colon"),
    (RULE % "rows: 'a in (select 1)'", "a sub-select cannot be used"),
    (MASK % "keeep", "did you mean 'keep'?"),
    (MASK % "keep", "found 'keep' alone, expected { keep: … }"),
    (MASK % "{keep: {first: 0}}", "found nothing to keep"),
    (MASK % "{keep: {first: 1, fill: '**'}}", "expected one character"),
    (MASK % "{keep: {firts: 1}}", "did you mean 'first'?"),
    (MASK % "{keep: {first: -1}}", "expected a whole number from 0"),
    (MASK % "{keep: {first: 1}, redact: x}", "found 2 keys, expected one mask"),
    (MASK % "{token: {key: a b}}", "expected the name of a key such as customers, or customers@2"),
    (MASK % "{token: {key: a@0}}", "expected the name of a key such as customers, or customers@2"),
    (MASK % "{token: {length: 8}}", "expected a whole number from 16 to 64"),
    (MASK % "{token: x}", "expected a mapping"),
    (MASK % "{fpe: {alphabet: aab}}", "expected one of digits, lower, upper"),
    (MASK % "{fpe: {alphabet: '0123456789-'}}", "different characters without separators"),
    (MASK % "{fpe: {keep: {middle: 1}}}", "expected one of first, last"),
    (MASK % "{shift: 0}", "expected a whole number from 1 to 36500"),
    (MASK % "{shift: {days: 99999}}", "expected a whole number from 1 to 36500"),
    (MASK % "{email: 1}", "found an argument for 'email', expected the bare word email"),
    (MASK % "{round: 0}", "expected a number above 0"),
    (MASK % "{truncate: second}", "expected one of year"),
    (MASK % "{json: {}}", "found no paths"),
    (MASK % "{json: {id: redact}}", "found the path 'id'"),
    (MASK % "{json: {'$.a[*].b': redact}}", "found the path '$.a[*].b'"),
    (MASK % "{json: {$.a: redact, $.a.b: redact}}", "found overlapping paths: 'a' is masked as a whole"),
    (MASK % "{json: {$.a: {truncate: year}}}", "expected a mask for text or numbers"),
    (MASK % "{json: {$.a: {sql: '$1'}}}", "expected a mask for a single value"),
    (MASK % "{json: {$.a: x}}", "goes round in circles: x → x"),
    (MASK % "{each: {each: redact}}", "expected a mask for a single value"),
    (MASK % "remove", "found 'remove', expected one of null, redact"),
    (MASK % "{sql: '1; drop table t'}", "found a ';'"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        policy(text)
    assert message in str(caught.value)
    assert re.match(r"p1\.yaml:\d+:\d+: ", str(caught.value))


def test_several_files_make_one_policy() -> None:
    p = policy(HEAD, "version: 1\ncolumns: {a.b.c: phone}", "version: 1\nrules: [{name: r, columns: class=name, show: clear}]")
    assert len(p.entries) == len(p.rules) == 1


OTHER = "version: 1\nclasses: { phone: { level: C3, mask: redact } }\n"


def test_a_later_file_replaces_classes_of_an_earlier_one() -> None:
    p = policy(HEAD + "columns: { a.b.c: phone, a.b.d: name }", OTHER + "columns: { a.b.d: public, a.b.c: phone }")
    assert (p.classes["phone"].level, p.classes["phone"].place) == ("C3", "p2.yaml:2")
    assert p.classes["name"].place == "p1.yaml:2"
    assert [(o.what, o.place, o.replaced) for o in p.overrides] == [
        ("class 'phone'", "p2.yaml:2", "p1.yaml:2"),
        ("a.b.d: public", "p2.yaml:3", "p1.yaml:3"),
    ]
    relations = [relation(1, "a.b", "c:text d:text")]
    assert classify(p, relations).columns.keys() == {(1, 1)}
    assert [x.message for x in problems(p, classify(p, relations), relations)] == [
        "class 'phone' replaces p1.yaml:2",
        "a.b.d: public replaces p1.yaml:3",
    ]


def test_a_business_file_overrides_a_standard(tmp_path: Path) -> None:
    mine = tmp_path / "bank.yaml"
    mine.write_text(OTHER + "columns: { a.b.c: email }")
    p = load_policy([STANDARDS["jrt-0171"], mine])
    assert (p.classes["phone"].level, p.classes["email"].level) == ("C3", "C2")
    assert [o.what for o in p.overrides] == ["class 'phone'"]
    with pytest.raises(DocumentError, match="expected one standard"):
        load_policy([STANDARDS["jrt-0171"], STANDARDS["gdpr"]])


def test_what_several_files_say_of_new_columns_holds_together() -> None:
    parts = [f"version: 1\nunclassified: {{ new_columns_of: {x}.*, show: {y} }}" for x, y in (("a", "deny"), ("b", "mask"))]
    for texts in (parts, parts[::-1]):
        found = policy(*texts).unclassified
        assert found is not None
        assert {r.source for r in found.relations} == {"a.*", "b.*"}
        assert found.data_class.show is Show.DENY


def test_attributes_of_people() -> None:
    text = """version: 1
rules: [{ name: r, columns: "*", when: { menu: ["0412", 7], branch: N }, show: clear }]
attributes:
  user: { from: '"Staff".users', login: name, names: [branch], on_behalf: teller }
  trusted_apps: { app: [teller, menu] }
  anyone: purpose
"""
    p = policy(text)
    assert p.rules[0].claims == (("menu", frozenset({"0412", "7"})), ("branch", frozenset({"N"})))
    table = p.attributes.table
    assert table is not None
    assert (table.schema, table.relation, table.login, table.on_behalf) == ("Staff", "users", "name", "teller")
    assert p.attributes.assertable("app") == {"teller", "menu", "purpose"}
    assert p.attributes.assertable("other") == {"purpose"}
    with pytest.raises(DocumentError, match=r"did you mean 'menu'\?"):
        policy(text.replace("{ menu: [", "{ memu: ["))
    assert policy(text.replace("names: [branch], ", "").replace("branch: N", "region: N"))
    with pytest.raises(DocumentError, match=r"is also at p1\.yaml"):
        policy("version: 1\nattributes: {}", "version: 1\nattributes: {}")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("select 1 /*menu='0412'*/", {"menu": "0412"}),
        ("select 1 /* menu = '0412' , purpose='a%20b%27', x='1' */ ; \n", {"menu": "0412", "purpose": "a b'"}),
        ("select 1\n-- x\n/*menu='3'*/", {"menu": "3"}),
        (r"select 1 /*menu='it\'s'*/", {"menu": "it's"}),
        ("select 1 -- /*menu='1'*/", {}),
        ("select 1 --\r/*menu='1'*/", {"menu": "1"}),
        ("select '/*menu=''1''*/'", {}),
        ("/*menu='1'*/ select 1", {}),
        ("select 1 /*menu=1*/", {}),
        ("select 1 /*menu='1',*/", {}),
        ("select 1 /*menu='1',menu='2'*/", {}),
        ("select 1 /*menu='1'*/ */", {}),
        ("select 1 /**/", {}),
        ("/*/", {}),
        ("*/", {}),
        ("", {}),
    ],
)
def test_comments(text: str, found: dict[str, str]) -> None:
    assert dict(attributes.of_comment(text, frozenset({"menu", "purpose"}))) == found


PEOPLE = {"app": {"branch": "HQ"}, "t1": {"branch": "N", "grade": "A"}}


@pytest.mark.parametrize(
    ("login", "asserted", "known", "roles"),
    [
        ("app", {}, {"branch": "HQ"}, set()),
        ("app", {"teller": "t1"}, {"branch": "N", "grade": "A", "teller": "t1"}, set()),
        ("app", {"teller": "t1", "branch": "S"}, {"branch": "S", "grade": "A", "teller": "t1"}, set()),
        ("app", {"teller": "nobody"}, {"teller": "nobody"}, set()),
        ("t1", {"role": "a, b,,"}, {"branch": "N", "grade": "A", "role": "a, b,,"}, {"a", "b"}),
        ("x", {}, {}, set()),
    ],
)
def test_who_it_is(login: str, asserted: dict[str, str], known: dict[str, str], roles: set[str]) -> None:
    table = attributes.UserTable("s", "t", "login", None, "teller", "")
    found = attributes.person(attributes.Attributes(table), PEOPLE, login, asserted)
    assert found.attributes == {"login": found.name, **known}
    assert found.name == asserted.get("teller", login)
    assert found.roles == roles


def test_classes_may_be_named_before_they_stand() -> None:
    p = policy("version: 1\nclasses: {doc: {level: C1, mask: {json: {$.a: email}}}, email: {level: C1, mask: redact}}")
    assert "Redact" in repr(p.classes["doc"].mask)


def test_levels_are_in_natural_order() -> None:
    assert sorted(["C10", "C2", "unclassified", "C1"], key=level_key) == ["C1", "C2", "C10", "unclassified"]
    assert level_key("2") < level_key("10")


def test_version_is_a_digest_of_the_content(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(HEAD, encoding="utf-8")
    first = load_policy([file]).version
    assert load_policy([file]).version == first
    file.write_text(HEAD + "\n", encoding="utf-8")
    assert load_policy([file]).version != first


def test_the_example_loads() -> None:
    p = load_policy([ROOT / "policies" / "examples" / "bank.yaml"])
    assert len(p.rules) == 7


def test_every_word_is_in_the_manual() -> None:
    """The manual names every word the parser takes; for keys, tests/unit/proxy/test_schema.py looks."""
    manual = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")
    words = {*MASK_NAMES, *ALPHABETS, *UNITS, "public", "unclassified", "remove", "clear", "deny"}
    missing = {w for w in words if not re.search(rf"`[^`\n]*\b{re.escape(w)}\b[^`\n]*`", manual)}
    assert missing == set()


def examples_of_the_manual() -> list[str]:
    """Every YAML block of the manual as a policy; fragments of rules are made one rule."""
    manual = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", manual, re.DOTALL)
    classes = "classes: {phone: {level: C2, mask: null}, id_card: {level: C2, mask: null}}\n"
    out = []
    for block in blocks:
        text = block
        if block.startswith("policy:") or "\ntests:" in block:  # of the configuration, of tests
            continue
        if block.startswith("    "):
            rule = "rules:\n  - name: r\n    columns: '*'\n    show: clear\n"
            text = HEAD + "attributes: {anyone: [menu, channel, grade, purpose]}\n" + rule + block
        elif "version:" not in block:
            text = "version: 1\n" + ("" if "classes:" in block else classes) + block
        out.append(text)
    return out


def test_the_manuals_examples_load() -> None:
    examples = examples_of_the_manual()
    assert len(examples) >= 9
    for text in examples:
        policy(text)
