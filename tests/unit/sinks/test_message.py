"""Syslog messages: one record is one message, whatever stands in it, and fits."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sinks.message import encode, severity

RECORD = {
    "v": 1, "seq": 7, "kind": "decision", "time": "2026-11-22T10:00:00.123456Z", "worker": "worker-1", "session": "ab",
    "login": "li", "person": "core/wang", "clear": "C3", "database": "bank", "client": "10.1.2.3", "client_port": 5000,
    "application": "psql",
    "tls": True, "asserted": {}, "roles": ["teller"], "profile": "p", "policy": "v1", "protocol": "simple", "statement": "SELECT",
    "part": 1, "parts": 1, "verdict": "pass", "touches_more": 0, "refusal": None, "on_failure": None, "placed_by": "",
    "touches": [{"relation": "bank.people", "column": "phone", "class": "phone", "level": "C3", "use": "output", "show": "clear",
                 "rule": "r|1", "grant": None, "others": []}],
    "text": "SELECT phone FROM bank.people WHERE id = ?", "text_digest": "00", "values": [], "binds": [], "mac": "0" * 64,
}  # fmt: skip
HEAD = re.compile(
    rb'<(\d+)>1 (\S+) (\S+) pgveil (\S+) (\S+) \[pgveil@32473 worker="((?:[^"\\\]]|\\.)*)" seq="(\d+)"\] (.*)', re.DOTALL
)
texts = st.text(st.characters(exclude_categories=["Cs"]))


def line(**changed: object) -> bytes:
    return json.dumps({**RECORD, **changed}, ensure_ascii=False).encode()


def made(form: str = "json", max_size: int = 60_000, **changed: object) -> tuple[bytes, ...]:
    message = encode(line(**changed), form, 13, "db host", "1.0", max_size)
    assert len(message) <= max_size
    found = HEAD.fullmatch(message)
    assert found is not None, message
    return found.groups()


def test_the_header() -> None:
    assert made()[:7] == (b"109", b"2026-11-22T10:00:00.123456Z", b"db?host", b"worker-1", b"decision", b"worker-1", b"7")


def test_json_is_the_record_byte_for_byte() -> None:
    assert made()[7] == line()


def test_severities() -> None:
    assert severity({**RECORD, "clear": None}) == 6
    assert severity(RECORD) == 5
    assert severity({"kind": "refused"}) == 4
    assert severity({"kind": "event", "event": "alert", "detail": {"severity": "critical"}}) == 2


def fields(cef: str) -> tuple[list[str], dict[str, str]]:
    """Header and extension, read as the specification says."""
    parts = re.split(r"(?<!\\)(?:\\\\)*\|", cef, maxsplit=7)
    found = re.findall(r"(?:^| )(\w+)=((?:[^\\=]|\\.)*?)(?= \w+=|$)", parts[7])
    return parts[:7], {k: re.sub(r"\\(.)", lambda m: {"n": "\n", "r": "\r"}.get(m[1], m[1]), v) for k, v in found}


def test_cef() -> None:
    head, extension = fields(made("cef")[7].decode())
    assert head == ["CEF:0", "pgveil", "pgveil", "1.0", "decision", "Statement", "4"]
    assert extension | {
        "rt": "1795341600123", "suser": "li", "duid": "core/wang", "src": "10.1.2.3", "spt": "5000", "act": "pass", "cs1": "bank",
        "cs1Label": "database", "cs3": "bank.people.phone output clear", "cs5": "r|1", "flexString2": "C3", "externalId": "7",
    } == extension  # fmt: skip


def test_ipv6_has_a_field_of_its_own() -> None:
    _, extension = fields(made("cef", client="fd00::1")[7].decode())
    assert "src" not in extension
    assert extension["c6a2"] == "fd00::1"


@given(texts, texts)
def test_nothing_ends_a_field_or_a_message(application: str, text: str) -> None:
    body = made("cef", application=application, text=text or "x")[7].decode()
    assert re.search(r"[\x00-\x1f\x7f]", body) is None
    plain = re.sub(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f]", " ", application)
    _, extension = fields(body.replace("\u2028", " "))
    if not re.search(r"(^| )\w+=", plain) and plain == plain.strip() and plain and "=" not in plain:
        assert extension["requestClientApplication"] == plain.replace("\u2028", " ")
    assert re.search(r"(?<!\\)(\\\\)*=", application) is None or extension["suser"] == "li"


@pytest.mark.parametrize("form", ["json", "cef"])
def test_a_long_record_is_shortened_and_says_so(form: str) -> None:
    body = made(form, 4096, text="x" * 9000, touches=RECORD["touches"] * 500)[7]  # type: ignore[operator]
    if form == "json":
        record = json.loads(body)
        assert record["shortened"] is True
        assert record["touches_more"] == 480
        assert record["login"] == "li"
    else:
        assert fields(body.decode())[1]["shortened"] == "true"
    assert made(form, 1024, roles=["r" * 2000], text="x" * 9000)[6] == b"7"
