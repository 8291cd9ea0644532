"""The key of the audit chain: 32 random bytes, written as 64 hexadecimal digits in a file that only its owner can read.

Whoever has the key can forge a trail. Keep a copy on the host where trails are verified; see docs/audit.md.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from pathlib import Path

from proxy.audit.record import AuditError

_HEX = re.compile(rb"[0-9a-fA-F]{64}\s*")


def load_key(path: Path) -> bytes:
    """The key in `path`. Raises AuditError when it is missing, readable by others, or not a key."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(fd, "rb") as file:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise AuditError(f"audit key {path} is not a regular file")
            if found.st_mode & 0o077:
                raise AuditError(
                    f"audit key {path} can be read or changed by other users (mode {found.st_mode & 0o777:04o})",
                    hint=f"chmod 600 {path}",
                )
            if found.st_uid not in (os.geteuid(), 0):
                raise AuditError(f"audit key {path} belongs to another user")
            data = file.read(128)
    except OSError as error:
        raise AuditError(f"cannot read audit key {path}: {error.strerror}") from None
    if not _HEX.fullmatch(data):
        raise AuditError(f"audit key {path} does not hold 64 hexadecimal digits")
    return bytes.fromhex(data.decode())


def load_or_create_key(path: Path) -> bytes:
    """As load_key; a missing file is made, with mode 0600 and a new random key."""
    try:
        create_whole(path, secrets.token_hex(32).encode() + b"\n")
    except FileExistsError:
        pass
    except OSError as error:
        raise AuditError(f"cannot make audit key {path}: {error.strerror}") from None
    return load_key(path)


def create_whole(path: Path, data: bytes) -> None:
    """Make a file that is never seen half written. Raises FileExistsError when it is there already."""
    if path.exists():
        raise FileExistsError(path)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            while data:
                data = data[os.write(fd, data) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        os.link(draft, path)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(draft)
