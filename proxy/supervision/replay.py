"""Alert rules over a finished trail, with the trail's own clock: to try rules before they count, and to look back."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from policies.language import Alert
from proxy.audit.follow import Broken, Follower
from proxy.supervision.alarm import Alarm
from proxy.supervision.engine import Engine
from proxy.supervision.state import KEPT, Store
from proxy.supervision.watcher import in_order

OWN = "auditor"
_COMMIT = 200_000
"""Records between two commits, which bound memory."""


class Replay:
    """Iterate for the alarms; then `records`, `unread` and `broken` say how it went."""

    def __init__(self, directory: Path, alerts: Iterable[Alert]) -> None:
        self.records = 0
        self.unread = 0
        self.broken: list[Broken] = []
        self._directory = directory
        self._alerts = tuple(alerts)

    def __iter__(self) -> Iterator[Alarm]:
        with tempfile.TemporaryDirectory(prefix="pgveil-replay-") as place:
            store = Store(Path(place) / "state.sqlite")
            try:
                yield from self._run(store)
            finally:
                store.close()

    def _run(self, store: Store) -> Iterator[Alarm]:
        store.db.execute("PRAGMA synchronous = OFF")
        engine = Engine(store, self._alerts)
        follower = Follower(self._directory, leave_out=[OWN])
        feed = engine.feed
        due = _COMMIT
        while True:
            batches = follower.turn()
            for worker, line in in_order(batches) if batches else ():
                feed(worker, line)
            self.records += sum(len(batch.lines) for batch in batches)
            if engine.alarms:
                yield from engine.alarms
                engine.alarms.clear()
            if self.records >= due or store.size > 2 * KEPT:
                store.commit({})
                due = self.records + _COMMIT
            for broken in follower.broken:
                if broken not in self.broken:
                    self.broken.append(broken)
                if broken.resume is not None:
                    follower.skip(broken)
            if not batches and not follower.broken:
                break
            if not batches and all(b.resume is None for b in follower.broken):
                break
        self.unread = engine.unread
