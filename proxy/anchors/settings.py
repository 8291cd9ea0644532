"""Where anchors go: `audit.anchors` of the configuration, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from proxy.tls import ServerTls


@dataclass(frozen=True, slots=True)
class FileTarget:
    path: Path

    @property
    def name(self) -> str:
        return f"file {self.path.name}"


@dataclass(frozen=True, slots=True)
class PostgresTarget:
    host: str
    port: int
    user: str
    password: str | None = field(repr=False)
    database: str
    table: tuple[str, ...]
    tls: ServerTls = field(default_factory=ServerTls)

    @property
    def name(self) -> str:
        return f"postgres {self.host}"


@dataclass(frozen=True, slots=True)
class HttpTarget:
    url: str = field(repr=False)
    token_file: Path | None = None
    ca: Path | None = None

    @property
    def name(self) -> str:
        """Without what may be secret in the URL."""
        return f"http {urlsplit(self.url).hostname}"


@dataclass(frozen=True, slots=True)
class S3Target:
    bucket: str
    prefix: str = "pgveil"
    region: str = "us-east-1"
    endpoint: str | None = None
    access_key_id: str | None = None
    secret_key_file: Path | None = None

    @property
    def name(self) -> str:
        return f"s3 {self.bucket}"


AnchorTarget = FileTarget | PostgresTarget | HttpTarget | S3Target
