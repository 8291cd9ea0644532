"""TLS contexts for both sides: certificates towards clients, verification towards the server.

Modes follow libpq (https://www.postgresql.org/docs/current/libpq-ssl.html), so that a DBA can carry an existing sslmode
over: `prefer` uses TLS when the server offers it, `require` insists but checks the certificate only when a CA is given,
`verify-ca` checks the chain and `verify-full` the host name as well.
"""

from __future__ import annotations

import enum
import ssl
from dataclasses import dataclass
from pathlib import Path

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
    """The certificate shown to clients; with `client_ca`, clients must show one signed by it."""

    cert: Path
    key: Path
    client_ca: Path | None = None
    mode: ClientMode = ClientMode.REQUIRE


@dataclass(frozen=True, slots=True)
class ServerTls:
    mode: ServerMode = ServerMode.PREFER
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


def client_context(settings: ClientTls) -> ssl.SSLContext:
    """Context for connections that clients open to us. Raises ConfigError when a file cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    _load_certificate(context, settings.cert, settings.key)
    context.set_alpn_protocols([ALPN])
    if settings.client_ca is not None:
        _load_ca(context, settings.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def certificate_bytes(settings: ClientTls) -> bytes:
    """The certificate itself, as DER, without the chain behind it. Raises ConfigError."""
    try:
        text = settings.cert.read_text(encoding="ascii", errors="replace")
        end = text.index(_END) + len(_END)
        return ssl.PEM_cert_to_DER_cert(text[text.index(_BEGIN) : end])
    except (OSError, ValueError):
        raise ConfigError(f"{settings.cert}: not a PEM certificate") from None


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


def _load_ca(context: ssl.SSLContext, ca: Path) -> None:
    try:
        context.load_verify_locations(ca)
    except FileNotFoundError:
        raise ConfigError(f"{ca}: no such file (CA certificates)") from None
    except PermissionError:
        raise ConfigError(f"{ca}: not readable by this user") from None
    except ssl.SSLError:
        raise ConfigError(f"{ca}: no PEM certificates in it") from None


def _no_passphrase() -> str:
    """OpenSSL would otherwise ask on the terminal."""
    return ""
