"""What the control plane cannot do, as an error for clients."""

from __future__ import annotations

from proxy.errors import PgveilError


class ControlUnavailable(PgveilError):
    """Catalog, roles or policy of the database cannot be had; no statement can be judged without them."""

    sqlstate = "57P03"

    def __init__(self, database: str, reason: str) -> None:
        super().__init__(
            f'pgveil cannot read the catalog of database "{database}" at the moment',
            hint="Statements are refused until it can. Try again; if it stays so, tell the administrator of pgveil.",
        )
        self.reason = reason
        """For the log, not for clients."""
