"""Keys of the masks that need one: what is derived from a secret, and the ring in which the Python face looks them up.

A secret is 32 random bytes. For each use a key of its own is derived from it (HMAC-SHA256 with the use as the message), so
that a token says nothing about an encryption under the same name. A secret has a name and a version; a mask names a key as
`customers` (the newest version) or `customers@2`. Masks hold names only: nothing that is printed, cached or logged has a
secret in it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

SECRET_BYTES = 32
DEFAULT = "default"
_REFERENCE = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]{0,62})(?:@([1-9][0-9]{0,5}))?")


class NoKey(LookupError):
    """The ring has no such key."""


@dataclass(frozen=True, slots=True)
class KeyRef:
    """A key as a policy names it."""

    name: str = DEFAULT
    version: int | None = None
    """None: the newest."""

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name}@{self.version}"


def parse_reference(text: str) -> KeyRef | None:
    """`customers` or `customers@2`; None for anything else."""
    found = _REFERENCE.fullmatch(text)
    return KeyRef(found[1], int(found[2]) if found[2] else None) if found else None


@dataclass(frozen=True, slots=True)
class Key:
    """What is derived from one version of a secret."""

    token: bytes = field(repr=False)
    """Of HMAC-SHA256, for tokens and shifts: 32 bytes."""
    cipher: bytes = field(repr=False)
    """Of AES-256, for format-preserving encryption: 32 bytes."""

    @staticmethod
    def of(secret: bytes) -> Key:
        """Raises ValueError for a secret that is too short to be one."""
        if len(secret) < 16:
            raise ValueError("a secret has at least 16 bytes")
        return Key(_derive(secret, b"pgveil token"), _derive(secret, b"pgveil fpe"))

    def digest(self, value: str) -> bytes:
        """HMAC-SHA256 of the value's UTF-8 text: 32 bytes. The SQL twin is `pgveil.digest`."""
        return hmac.digest(self.token, value.encode(), "sha256")

    @property
    def fingerprint(self) -> str:
        """Tells keys apart without telling them: 16 hexadecimal digits."""
        return hashlib.sha256(b"pgveil fingerprint" + self.token + self.cipher).hexdigest()[:16]


def _derive(secret: bytes, use: bytes) -> bytes:
    return hmac.digest(secret, use, "sha256")


class Keyring:
    """Secrets by name and version."""

    def __init__(self, secrets: Mapping[str, Mapping[int, bytes]]) -> None:
        self._keys = {name: {v: Key.of(s) for v, s in versions.items()} for name, versions in secrets.items() if versions}

    def get(self, reference: KeyRef) -> Key:
        """Raises NoKey."""
        versions = self._keys.get(reference.name)
        if versions is None:
            raise NoKey(f"there is no key {reference.name}")
        version = max(versions) if reference.version is None else reference.version
        if version not in versions:
            raise NoKey(f"there is no version {version} of key {reference.name}")
        return versions[version]

    def versions(self) -> dict[str, dict[int, Key]]:
        return {name: dict(versions) for name, versions in self._keys.items()}
