"""The file that says where the secrets of keyed masks come from, and a new secret for it.

    keys:
      default: { file: default.key }                        # one version
      customers:
        1: { env: CUSTOMERS_KEY }                           # several: masks use the newest unless they name one
        2: { command: [vault, read, -field=key, secret/pgveil] }

A secret is 32 bytes, written in base64 or hexadecimal. Only `pgveil install` reads them; a running proxy knows no key.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import subprocess
from collections.abc import Mapping
from pathlib import Path

from policies.document import DocumentError, Entry, read_document
from policies.keys import SECRET_BYTES, Keyring, parse_reference
from proxy.errors import ConfigError

_SOURCES = ("file", "env", "command")
_PATIENCE = 60.0
"""Seconds that a command may take."""


def read_keys(path: Path, environment: Mapping[str, str] = os.environ) -> Keyring:
    """Raises ConfigError, which never repeats anything of a secret."""
    try:
        section = read_document(path).mapping(allowed=("keys",)).require("keys").mapping()
        out: dict[str, dict[int, bytes]] = {}
        for name, entry in section:
            reference = parse_reference(name)
            if reference is None or reference.version is not None:
                raise section.key_error(name, f"found the name {name!r}", "letters, digits, _, . and -, at most 63")
            out[name] = _versions(entry, path.parent, environment)
        return Keyring(out)
    except DocumentError as error:
        raise ConfigError(str(error)) from None


def _versions(entry: Entry, base: Path, environment: Mapping[str, str]) -> dict[int, bytes]:
    section = entry.mapping()
    if any(k in _SOURCES for k, _ in section):
        return {1: _secret(entry, base, environment)}
    out = {}
    for key, source in section:
        if not key.isascii() or not key.isdigit() or not 1 <= int(key) <= 999_999:
            raise section.key_error(key, f"found the version {key!r}", "1, 2, 3 …, or one of " + ", ".join(_SOURCES))
        out[int(key)] = _secret(source, base, environment)
    if not out:
        raise entry.error("found no version", "one of " + ", ".join(_SOURCES))
    return out


def _secret(entry: Entry, base: Path, environment: Mapping[str, str]) -> bytes:
    section = entry.mapping(allowed=_SOURCES)
    if len(section) != 1:
        raise entry.error(f"found {len(section)} sources", "one of " + ", ".join(_SOURCES))
    ((source, value),) = section
    text = _READERS[source](value, base, environment)
    found = decode(text)
    if found is None:
        raise value.error(
            "what is there is no secret", f"{SECRET_BYTES} bytes in base64 or hexadecimal (pgveil keygen makes one)"
        )
    return found


def decode(text: str) -> bytes | None:
    """A secret as it is written; None when it is not one."""
    word = text.strip()
    for read in (bytes.fromhex, lambda t: base64.b64decode(t, validate=True)):
        try:
            found = read(word)
        except (ValueError, binascii.Error):
            continue
        if len(found) == SECRET_BYTES:
            return found
    return None


def _of_file(entry: Entry, base: Path, environment: Mapping[str, str]) -> str:
    path = base / entry.string()
    try:
        if path.stat().st_mode & 0o077:
            raise entry.error("the file can be read or written by others than its owner", f"chmod 600 {path}")
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        raise entry.error("the file cannot be read", "a file with a secret in it") from None


def _of_environment(entry: Entry, base: Path, environment: Mapping[str, str]) -> str:
    value = environment.get(entry.string())
    if value is None:
        raise entry.error(f"the environment variable {entry.string()} is not set", "a variable that holds a secret")
    return value


def _of_command(entry: Entry, base: Path, environment: Mapping[str, str]) -> str:
    words = [e.text() for e in entry.items_or_one()]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_PATIENCE, cwd=base, check=False)
    except (OSError, ValueError, subprocess.TimeoutExpired) as problem:
        raise entry.error(f"the command cannot be run ({type(problem).__name__})", "a program and its arguments") from None
    if done.returncode:
        raise entry.error(f"the command ended with status {done.returncode}", "one that prints a secret")
    return done.stdout


_READERS = {"file": _of_file, "env": _of_environment, "command": _of_command}


def write_new(path: Path) -> None:
    """A new secret in a new file that only its owner can read. Raises OSError, FileExistsError above all."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode() + "\n")
