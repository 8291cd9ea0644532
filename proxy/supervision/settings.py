"""The section `supervision` of the configuration: whether the auditor runs, and where alerts go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from policies.alerts import SEVERITIES
from policies.document import Entry, Section
from proxy.configkeys import ADDRESS, TARGET

WAYS = ("webhook", "alertmanager", "command")
DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where alerts go."""

    name: str
    way: str
    """webhook, alertmanager or command."""
    address: str = field(default="", repr=False)
    """Of the first two; it may hold a secret."""
    command: tuple[str, ...] = ()
    secret: bytes | None = field(default=None, repr=False)
    """Signs what goes to the webhook."""
    severity: str = "info"
    """And above."""
    alerts: tuple[str, ...] = ()
    """Patterns of names; empty: all."""
    timeout: float = 10.0
    give_up: float = DAY
    """Seconds after which an alert that could not be delivered is dropped."""


@dataclass(frozen=True, slots=True)
class Supervision:
    directory: Path | None = None
    """Where state and the auditor's own trail are; None: with the trails it reads."""
    http: tuple[str, int] | None = None
    targets: tuple[Target, ...] = ()


def parse_supervision(section: Section | None, base: Path, environment: Mapping[str, str]) -> Supervision | None:
    """Raises DocumentError."""
    if section is None:
        return None
    http = section.section("http", ADDRESS)
    targets = section.section("targets")
    return Supervision(
        directory=base / section.require("directory").string() if "directory" in section else None,
        http=None if http is None else (http.string("host", "127.0.0.1"), http.int("port", 9629, 0, 65535)),
        targets=() if targets is None else tuple(_target(name, entry, base, environment) for name, entry in targets),
    )


def _target(name: str, entry: Entry, base: Path, environment: Mapping[str, str]) -> Target:
    section = entry.mapping(TARGET)
    ways = [way for way in WAYS if way in section]
    if len(ways) != 1:
        where = section.require(ways[1]) if ways else entry
        raise where.error(f"found {len(ways)} ways to deliver", "one of webhook, alertmanager and command")
    way = ways[0]
    for key in ("secret_file", "secret_env"):
        if key in section and way != "webhook":
            raise section.key_error(key, f"found with {way}", "a webhook, which is what it signs")
    if "secret_file" in section and "secret_env" in section:
        raise section.key_error("secret_env", "found a second way to give the secret", "only 'secret_file'")
    timeout = section.duration("timeout", 10.0)
    if timeout <= 0:
        raise section.require("timeout").wrong("a duration above zero")
    patterns = section.get("alerts")
    return Target(
        name=name,
        way=way,
        address="" if way == "command" else _address(section.require(way)),
        command=section.require("command").strings() if way == "command" else (),
        secret=_secret(section, base, environment),
        severity=section.choice("severity", SEVERITIES, "info"),
        alerts=() if patterns is None else tuple(e.string() for e in patterns.items_or_one()),
        timeout=timeout,
        give_up=section.duration("give_up", DAY),
    )


def _address(entry: Entry) -> str:
    text = entry.string()
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise entry.error("found something else", "an address that begins with http:// or https://")
    return text.rstrip("/") if parts.query == "" else text


def _secret(section: Section, base: Path, environment: Mapping[str, str]) -> bytes | None:
    if "secret_env" in section:
        entry = section.require("secret_env")
        value = environment.get(entry.string())
        if not value:
            raise entry.error(f"the environment variable {entry.string()} is not set", "a variable that holds the secret")
        return value.encode()
    if "secret_file" not in section:
        return None
    entry = section.require("secret_file")
    try:
        secret = (base / entry.string()).read_bytes().strip()
    except OSError:
        raise entry.error(f"the file {base / entry.string()} cannot be read", "a file with the secret in it") from None
    if not secret:
        raise entry.error("the file is empty", "a file with the secret in it")
    return secret
