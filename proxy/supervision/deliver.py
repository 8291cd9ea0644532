"""Delivers alerts: to a webhook, to an Alertmanager, to a command. One at a time for each target, so a target that hangs holds up
only itself; what cannot be delivered waits in the state file, over restarts, and is tried again ever more rarely.

Delivered at least once: an auditor that is killed between a delivery and its note of it delivers again, with the same id.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import os
import signal
import socket
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp

from proxy.logs import event
from proxy.supervision.consumer import waited
from proxy.supervision.settings import Target

log = logging.getLogger("pgveil.auditor")

FIRST: Final = 1.0
LONGEST: Final = 300.0
"""Seconds between two attempts; doubles in between."""
MOST: Final = 10_000
"""Alerts that wait for one target; beyond it the oldest is dropped, and counted."""
LOOK: Final = 0.2
LASTS: Final = 3600.0
"""Seconds after which Alertmanager takes an alert for resolved."""


Http = aiohttp.ClientSession
Database = Callable[[], sqlite3.Connection]


class Undelivered(Exception):
    """Why an attempt failed."""


class Deliverer:
    """All targets of a state file, which is opened by `database`."""

    def __init__(
        self, targets: list[Target], database: Callable[[], sqlite3.Connection], clock: Callable[[], float] = time.time
    ) -> None:
        self._targets = targets
        self._database = database
        self._clock = clock
        self._host = socket.gethostname()

    async def run(self, stop: asyncio.Event) -> None:
        if not self._targets:
            return
        db = self._database()
        try:
            async with aiohttp.ClientSession(auto_decompress=False) as http:
                await asyncio.gather(*(self._serve(target, db, http, stop) for target in self._targets))
        finally:
            db.close()

    async def _serve(self, target: Target, db: sqlite3.Connection, http: Http, stop: asyncio.Event) -> None:
        while True:
            try:
                if not await self.once(target, db, http) and (stop.is_set() or await waited(stop, LOOK)):
                    return
            except sqlite3.Error as error:
                event(log, "delivery_failed", logging.ERROR, target=target.name, reason=str(error))
                if await waited(stop, 1.0):
                    return
            if stop.is_set():
                return

    async def once(self, target: Target, db: sqlite3.Connection, http: Http) -> bool:
        """Whether there was anything to do."""
        now = self._clock()
        self._drop(target, db, now)
        row = db.execute(
            "SELECT d.number, d.since, d.tries, a.body FROM deliveries d JOIN alerts a USING (number) "
            "WHERE d.target = ? AND d.due <= ? ORDER BY d.number LIMIT 1", (target.name, now),
        ).fetchone()  # fmt: skip
        if row is None:
            return False
        number, _, tries, body = row
        try:
            await self._attempt(target, json.loads(body), http)
        except (Undelivered, aiohttp.ClientError, OSError, TimeoutError) as error:
            pause = min(FIRST * 2 ** min(tries, 20), LONGEST)
            reason = str(error) if isinstance(error, Undelivered) else type(error).__name__
            event(log, "alert_not_delivered", logging.WARNING, target=target.name, reason=reason, tries=tries + 1, again_in=pause)
            db.execute(
                "UPDATE deliveries SET tries = tries + 1, due = ? WHERE target = ? AND number = ?",
                (self._clock() + pause, target.name, number),
            )
            self._count(db, target, "failed", 1)
            return True
        db.execute("DELETE FROM deliveries WHERE target = ? AND number = ?", (target.name, number))
        self._count(db, target, "delivered", 1)
        return True

    def _drop(self, target: Target, db: sqlite3.Connection, now: float) -> None:
        gone = db.execute(
            "DELETE FROM deliveries WHERE target = ? AND tries > 0 AND since < ?", (target.name, now - target.give_up)
        ).rowcount
        (there,) = db.execute("SELECT count(*) FROM deliveries WHERE target = ?", (target.name,)).fetchone()
        if there > MOST:
            gone += db.execute(
                "DELETE FROM deliveries WHERE target = ? AND number IN "
                "(SELECT number FROM deliveries WHERE target = ? ORDER BY number LIMIT ?)",
                (target.name, target.name, there - MOST),
            ).rowcount  # fmt: skip
        if gone:
            event(log, "alerts_dropped", logging.ERROR, target=target.name, alerts=gone)
            self._count(db, target, "dropped", gone)

    def _count(self, db: sqlite3.Connection, target: Target, what: str, amount: int) -> None:
        db.execute(
            "INSERT INTO counters VALUES (?, ?, ?) ON CONFLICT (target, what) DO UPDATE SET amount = amount + excluded.amount",
            (target.name, what, amount),
        )

    async def _attempt(self, target: Target, alert: dict[str, Any], http: Http) -> None:
        if target.way == "command":
            await run_command(target, alert)
        elif target.way == "webhook":
            body = json.dumps(alert).encode()
            await self._post(target, target.address, body, self._signed(target, alert, body), http)
        else:
            address = target.address if target.address.endswith("/api/v2/alerts") else f"{target.address}/api/v2/alerts"
            await self._post(target, address, json.dumps([self._for_alertmanager(alert)]).encode(), {}, http)

    async def _post(self, target: Target, address: str, body: bytes, headers: dict[str, str], http: Http) -> None:
        sent = {"Content-Type": "application/json", "User-Agent": "pgveil", **headers}
        timeout = aiohttp.ClientTimeout(total=target.timeout)
        async with http.post(address, data=body, headers=sent, timeout=timeout, allow_redirects=False) as answer:
            if not 200 <= answer.status < 300:
                raise Undelivered(f"status {answer.status}")

    def _signed(self, target: Target, alert: dict[str, Any], body: bytes) -> dict[str, str]:
        moment = str(int(self._clock()))
        headers = {"Pgveil-Alert": str(alert["id"]), "Pgveil-Timestamp": moment}
        if target.secret is not None:
            headers["Pgveil-Signature"] = "sha256=" + signature(target.secret, moment, body)
        return headers

    def _for_alertmanager(self, alert: dict[str, Any]) -> dict[str, object]:
        per = str(alert["per"])
        ends = datetime.fromtimestamp(self._clock() + LASTS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        labels = {
            "alertname": str(alert["alert"]), "severity": str(alert["severity"]), "kind": str(alert["on"]), per: str(alert[per]),
            "job": "pgveil", "instance": self._host,
        }  # fmt: skip
        notes = {"summary": str(alert["text"]), "first": str(alert["first"]), "last": str(alert["last"]), "id": str(alert["id"])}
        return {"labels": labels, "annotations": notes, "startsAt": alert["time"], "endsAt": ends}


def signature(secret: bytes, moment: str, body: bytes) -> str:
    """HMAC-SHA256 over the time of sending, a dot and the body, as hexadecimal digits."""
    return hmac.new(secret, moment.encode() + b"." + body, hashlib.sha256).hexdigest()


async def run_command(target: Target, alert: dict[str, Any]) -> None:
    """Raises Undelivered when it does not end with status 0 in time. No shell, and nothing of our environment but PATH."""
    try:
        process = await asyncio.create_subprocess_exec(
            *target.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", os.defpath)},
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise Undelivered(f"the command cannot be run: {getattr(error, 'strerror', None) or error}") from None
    try:
        async with asyncio.timeout(target.timeout):
            await process.communicate(json.dumps(alert).encode() + b"\n")
    except TimeoutError:
        raise Undelivered("the command took too long") from None
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # and what it has left running
        await process.wait()
    if process.returncode:
        raise Undelivered(f"exit status {process.returncode}")
