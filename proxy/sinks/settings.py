"""`audit.sinks` of the configuration, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from proxy.tls import ServerTls

SCHEMES = ("udp", "tcp", "tls", "unix")
FORMATS = ("json", "cef")


@dataclass(frozen=True, slots=True)
class TableSink:
    name: str
    host: str
    port: int
    user: str
    password: str | None = field(repr=False)
    database: str
    schema: str
    source: str
    """Names this proxy among those that write into the same table."""
    tls: ServerTls = field(default_factory=ServerTls)


@dataclass(frozen=True, slots=True)
class SyslogSink:
    name: str
    scheme: str
    """udp, tcp, tls or unix."""
    host: str
    """Of a Unix socket: its path."""
    port: int
    form: str
    """json or cef."""
    facility: int
    max_size: int
    """Bytes of a message."""
    source: str
    ca: Path | None = None
    kinds: tuple[str, ...] = ()
    """Of the records that are sent; empty: all."""


Sink = TableSink | SyslogSink
