"""Exceptions of the proxy's edge: a broken configuration, a peer that cannot be reached or speaks nonsense.

A normal refusal is a value (`rewrite.plan.Refusal`), never one of these. Each exception carries the SQLSTATE that
PostgreSQL itself would use, so that one place can turn it into an ErrorResponse. Texts hold no row data and no secrets.
"""

from __future__ import annotations


class PgveilError(Exception):
    """Anything that stops what a person or a client asked for, with a text fit for both."""

    sqlstate = "XX000"
    untagged = False
    """The client speaks a protocol so old that its messages have another form."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(PgveilError):
    """A configuration that cannot be used; the text names file, line, key and what was expected."""

    sqlstate = "F0000"


class UpstreamUnavailable(PgveilError):
    """The PostgreSQL server behind us cannot be reached or refuses our TLS."""

    sqlstate = "08001"


class ProtocolViolation(PgveilError):
    """A client that does not speak the protocol before its session begins."""

    sqlstate = "08P01"


class InvalidAuthorization(PgveilError):
    """A client that may not log in at all: plain text where TLS is required, or no user name."""

    sqlstate = "28000"


class TooManyConnections(PgveilError):
    sqlstate = "53300"


class ShuttingDown(PgveilError):
    """PostgreSQL's 57P01 or, before a session began, 57P03."""

    sqlstate = "57P03"
