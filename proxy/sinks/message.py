"""A record as a syslog message: RFC 5424 around it, JSON or CEF inside. Pure. docs/audit-sinks.md lists what goes where.

Whatever a client may have put into a record (an application name, a statement) is escaped: no field can end another one, and no
record can look like two.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

_ENTERPRISE: Final = "32473"
"""The number for examples (RFC 5612): pgveil has none of its own."""
_LEVELS: Final = {"refused": 4, "login_failed": 4, "decision": 6, "outcome": 6, "policy": 5, "start": 5, "stop": 5, "event": 5}
"""Severities of syslog by kind: 4 warning, 5 notice, 6 informational."""
_ALERTS: Final = {"critical": 2, "warning": 4, "info": 5}
_CEF: Final = {2: 10, 3: 8, 4: 6, 5: 4, 6: 2}
"""Severity of CEF, 0 to 10, by that of syslog."""
_NAMES: Final = {
    "decision": "Statement", "refused": "Statement refused", "outcome": "Statement ended", "login": "Login", "logout": "Logout",
    "login_failed": "Login failed", "policy": "Policy", "start": "Proxy started", "stop": "Proxy stopped",
    "segment": "Segment of the trail",
}  # fmt: skip
_MOST: Final = 20
"""Touches that a shortened record keeps."""

Body = Callable[[Mapping[str, Any], bytes, int], str]
"""(record, its line, severity) -> what comes behind the header."""


def severity(record: Mapping[str, Any]) -> int:
    kind = str(record["kind"])
    if kind == "event" and record.get("event") == "alert":
        detail = record.get("detail")
        return _ALERTS.get(str(detail.get("severity")) if isinstance(detail, Mapping) else "", 4)
    if kind == "decision" and record.get("clear") is not None:
        return 5
    return _LEVELS.get(kind, 6)


def encode(line: bytes, form: str, facility: int, host: str, version: str, max_size: int) -> bytes:
    """The message for a record, at most `max_size` bytes. Raises ValueError for a line that is no record."""
    record = json.loads(line)
    level = severity(record)
    head = (
        f"<{facility * 8 + level}>1 {record['time']} {_name(host, 255)} pgveil {_name(record['worker'], 128)} "
        f'{_name(record["kind"], 32)} [pgveil@{_ENTERPRISE} worker="{_param(record["worker"])}" seq="{record["seq"]}"] '
    ).encode()

    def body(of: Mapping[str, Any]) -> bytes:
        text = cef(of, level, version) if form == "cef" else json.dumps(of, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "replace")

    whole = head + (body(record) if form == "cef" else line)
    if len(whole) <= max_size:
        return whole
    for smaller in _shorter(record):
        whole = head + body(smaller)
        if len(whole) <= max_size:
            return whole
    return whole[:max_size].decode("utf-8", "ignore").encode()


def _shorter(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The record with less and less in it, and `shortened` to say so."""
    less = {k: v for k, v in record.items() if k not in ("text", "values", "binds")} | {"shortened": True}
    yield less
    touches = record.get("touches")
    if isinstance(touches, list):
        more = int(record.get("touches_more") or 0) + max(0, len(touches) - _MOST)
        less = less | {"touches": touches[:_MOST], "touches_more": more}
        yield less
    yield {k: v for k, v in less.items() if k not in ("touches", "detail", "roles", "asserted", "files", "torn")}


def _name(text: object, most: int) -> str:
    """RFC 5424, 6: PRINTUSASCII, at least one."""
    return re.sub(r"[^\x21-\x7e]", "?", str(text))[:most] or "-"


def _param(text: object) -> str:
    """RFC 5424, 6.3.3."""
    return re.sub(r'(["\\\]])', r"\\\1", str(text))


# CEF.


def cef(record: Mapping[str, Any], level: int, version: str) -> str:
    """`CEF:0|…` of a record, on one line."""
    kind = str(record["kind"])
    event = str(record.get("event") or "")
    signature = f"event:{event}" if kind == "event" else kind
    name = f"Event {event}" if kind == "event" else _NAMES.get(kind, kind)
    head = "|".join(_header(text) for text in ("pgveil", "pgveil", version, signature, name, str(_CEF.get(level, 4))))
    return f"CEF:0|{head}|" + " ".join(f"{key}={_value(value)}" for key, value in _extension(record))


def _extension(r: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    yield "rt", int(datetime.fromisoformat(str(r["time"])).timestamp() * 1000)
    yield "deviceExternalId", r["worker"]
    yield "externalId", r["seq"]
    client = str(r.get("client") or "")
    touches = r.get("touches") or ()
    refusal = r.get("refusal") or {}
    state = r.get("sqlstate") or refusal.get("sqlstate")
    given: tuple[tuple[str, str, object], ...] = (
        ("suser", "", r.get("login")),
        ("src", "", client if client and ":" not in client else None),
        ("c6a2", "Source IPv6 Address", client if ":" in client else None),
        ("spt", "", r.get("client_port")),
        ("requestClientApplication", "", r.get("application")),
        ("act", "", r.get("verdict")),
        ("outcome", "", _outcome(r, state)),
        ("reason", "", r.get("reason") or refusal.get("message")),
        ("cs1", "database", r.get("database")),
        ("cs2", "statement", r.get("statement") or r.get("tag")),
        ("cs3", "columns", "; ".join(f"{t['relation']}.{t['column']} {t['use']} {t['show']}" for t in touches)),
        ("cs4", "levels", ", ".join(sorted({f"{t['class']} {t['level']}" for t in touches}))),
        ("cs5", "rules", "; ".join(sorted({str(t["rule"]) for t in touches if t.get("rule")}))),
        ("cs6", "policy", r.get("policy")),
        ("cn1", "rows", r.get("rows")),
        ("cn2", "decision", r.get("decision")),
        ("out", "", r.get("bytes")),
        ("duid", "", r.get("person") if r.get("person") != r.get("login") else None),
        ("cfp1", "seconds", r.get("seconds")),
        ("flexString1", "sqlstate", state),
        ("flexString2", "clear", r.get("clear")),
        ("sessionId", "", r.get("session")),
        ("msg", "", r.get("text") or (json.dumps(r["detail"], ensure_ascii=False) if r.get("detail") else None)),
        ("shortened", "", "true" if r.get("shortened") else None),
    )
    for key, label, value in given:
        if value is None or value == "":
            continue
        if label:
            yield f"{key}Label", label
        yield key, value


def _outcome(record: Mapping[str, Any], state: object) -> str | None:
    if record["kind"] == "outcome" or (record["kind"] == "decision" and record.get("seconds") is not None):
        return "failure" if state else "success"
    if record["kind"] in ("refused", "login_failed"):
        return "failure"
    return "success" if record["kind"] == "login" else None


def _header(text: str) -> str:
    return re.sub(r"[\r\n]", " ", text.replace("\\", "\\\\").replace("|", "\\|"))


def _value(value: object) -> str:
    text = str(value).replace("\\", "\\\\").replace("=", "\\=").replace("\r", "\\r").replace("\n", "\\n")
    return re.sub(r"[\x00-\x1f\x7f]", " ", text)
