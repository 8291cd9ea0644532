"""TLS contexts for both sides: certificates towards clients, verification towards the server.

Modes follow libpq (https://www.postgresql.org/docs/current/libpq-ssl.html), so that a DBA can carry an existing sslmode
over: `prefer` uses TLS when the server offers it, `require` insists but checks the certificate only when a CA is given,
`verify-ca` checks the chain and `verify-full` the host name as well.
"""

from __future__ import annotations

import enum
import ssl
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509

from proxy.errors import ConfigError

ALPN = "postgresql"
"""Registered protocol name; a client that starts TLS directly has to offer it (manual: protocol-flow)."""

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


class ClientMode(enum.Enum):
    ALLOW = "allow"  # TLS for those who ask, plain text for the others
    REQUIRE = "require"


class ServerMode(enum.Enum):
    DISABLE = "disable"
    PREFER = "prefer"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"


@dataclass(frozen=True, slots=True)
class ClientTls:
    """The certificate shown to clients; with `client_ca`, clients must show one signed by it and not revoked by `client_crl`."""

    cert: Path
    key: Path
    client_ca: Path | None = None
    mode: ClientMode = ClientMode.REQUIRE
    client_crl: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(filter(None, (self.cert, self.key, self.client_ca, self.client_crl)))


@dataclass(frozen=True, slots=True)
class ServerTls:
    mode: ServerMode = ServerMode.PREFER
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(filter(None, (self.ca, self.cert, self.key)))


_alerts: ContextVar[list[bytes] | None] = ContextVar("alerts", default=None)


class _Handshake(ssl.SSLObject):
    """Keeps the alert of a handshake that fails: the event loops close the connection without having sent it."""

    outgoing: ssl.MemoryBIO
    alerts: list[bytes] | None

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError:
            if self.alerts is not None:
                self.alerts.append(self.outgoing.read())
            raise


class _ClientContext(ssl.SSLContext):
    sslobject_class = _Handshake

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *args: Any, **options: Any) -> ssl.SSLObject:
        made = super().wrap_bio(incoming, outgoing, *args, **options)
        if isinstance(made, _Handshake):
            made.outgoing, made.alerts = outgoing, _alerts.get()
        return made


class Alerts:
    """Around a handshake (`with`): what OpenSSL wanted to tell the client when it failed."""

    def __init__(self) -> None:
        self._kept: list[bytes] = []

    def __enter__(self) -> Alerts:
        self._token = _alerts.set(self._kept)
        return self

    def __exit__(self, *_: object) -> None:
        _alerts.reset(self._token)

    def read(self) -> bytes:
        return b"".join(self._kept)


def client_context(settings: ClientTls) -> ssl.SSLContext:
    """Context for connections that clients open to us. Raises ConfigError when a file cannot be used."""
    context = _ClientContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    context.num_tickets = 0  # no session outlives a change of certificates; nor does PostgreSQL resume any
    _load_certificate(context, settings.cert, settings.key)
    context.set_alpn_protocols([ALPN])
    if settings.client_ca is not None:
        _load_ca(context, settings.client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL  # who shows none is told so in words (greeting.Door)
    if settings.client_crl is not None:
        _load_ca(context, settings.client_crl, "certificate revocation lists")
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    return context


def certificate_bytes(settings: ClientTls) -> bytes:
    """The certificate itself, as DER, without the chain behind it. Raises ConfigError."""
    try:
        text = settings.cert.read_text(encoding="ascii", errors="replace")
        end = text.index(_END) + len(_END)
        return ssl.PEM_cert_to_DER_cert(text[text.index(_BEGIN) : end])
    except (OSError, ValueError):
        raise ConfigError(f"{settings.cert}: not a PEM certificate") from None


def expiry(cert: Path) -> float | None:
    """Unix time at which the first certificate of a PEM file ends; None when there is none to be read."""
    try:
        return x509.load_pem_x509_certificate(cert.read_bytes()).not_valid_after_utc.timestamp()
    except (OSError, ValueError):
        return None


def server_context(settings: ServerTls) -> ssl.SSLContext | None:
    """Context for our connections to PostgreSQL, None when TLS is off. Raises ConfigError for unusable files."""
    if settings.mode is ServerMode.DISABLE:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = settings.mode is ServerMode.VERIFY_FULL
    verified = settings.ca is not None or settings.mode in (ServerMode.VERIFY_CA, ServerMode.VERIFY_FULL)
    context.verify_mode = ssl.CERT_REQUIRED if verified else ssl.CERT_NONE
    if settings.ca is not None:
        _load_ca(context, settings.ca)
    elif verified:
        context.load_default_certs()
    if settings.cert is not None:
        _load_certificate(context, settings.cert, settings.key or settings.cert)
    context.set_alpn_protocols([ALPN])
    return context


def _load_certificate(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    try:
        context.load_cert_chain(cert, key, password=_no_passphrase)
    except FileNotFoundError:
        missing = cert if not cert.exists() else key
        raise ConfigError(f"{missing}: no such file (certificate or key)") from None
    except PermissionError:
        raise ConfigError(f"{cert}, {key}: not readable by this user") from None
    except ssl.SSLError as error:
        reason = error.reason or "not PEM"
        raise ConfigError(f"{cert}, {key}: not a PEM certificate and its key without passphrase ({reason})") from None


def _load_ca(context: ssl.SSLContext, ca: Path, what: str = "CA certificates") -> None:
    try:
        context.load_verify_locations(ca)
    except FileNotFoundError:
        raise ConfigError(f"{ca}: no such file ({what})") from None
    except PermissionError:
        raise ConfigError(f"{ca}: not readable by this user") from None
    except ssl.SSLError:
        raise ConfigError(f"{ca}: no {what} in it, as PEM") from None


def _no_passphrase() -> str:
    """OpenSSL would otherwise ask on the terminal."""
    return ""
