"""What the control plane cannot do, as errors for clients."""

from __future__ import annotations

from proxy.errors import PgveilError


class ControlUnavailable(PgveilError):
    """Catalog, roles or policy of the database cannot be had; no statement can be judged without them."""

    sqlstate = "57P03"

    def __init__(self, database: str, reason: str, message: str | None = None) -> None:
        super().__init__(
            message or f'pgveil cannot read the catalog of database "{database}" at the moment',
            hint=None if message else "Statements are refused until it can. Try again; if it stays so, tell the administrator.",
        )
        self.reason = reason
        """For the log, not for clients."""


class UnknownDatabase(ControlUnavailable):
    """The server says that there is no such database; we say so in its words."""

    sqlstate = "3D000"

    def __init__(self, database: str, reason: str) -> None:
        super().__init__(database, reason, f'database "{database}" does not exist')
