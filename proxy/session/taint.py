"""Which temporary relations of the session may hold masked values.

Masked values in a temporary table are as good as any, but copied into a permanent one they would pass for real. Noted when the
statement is sent, whether it succeeds or not, and never taken back: a rollback, a rename or a savepoint brings a relation back
under any name. What counts is the OID; until a probe has told it, the name. A name that the probe does not find any more may have
become another: then every relation that is new since the last probe counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from rewrite.plan import Resolution


@dataclass(slots=True)
class Taint:
    oids: set[int] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    """Since the last probe."""
    known: Mapping[str, int] = field(default_factory=dict)
    """The temporary relations at the last probe."""
    kin: tuple[tuple[int, int], ...] = ()
    """Inheritance among them: rows of one may be rows of the other."""

    def add(self, names: Iterable[str]) -> bool:
        """Whether any of them is news."""
        new = {n for n in names if n not in self.names and self.known.get(n) not in self.oids}
        self.names |= new
        self.oids |= {self.known[n] for n in new if n in self.known}
        self._spread()
        return bool(new)

    def probed(self, relations: Mapping[str, int], kin: tuple[tuple[int, int], ...]) -> None:
        before = set(self.known.values())
        for name in self.names:
            if name in relations:
                self.oids.add(relations[name])
            else:
                self.oids |= set(relations.values()) - before
        self.names.clear()
        self.known, self.kin = relations, kin
        self._spread()

    def mark(self, resolution: Resolution) -> Resolution:
        """The resolution with the names of the relations that count."""
        names = frozenset(name for name, oid in self.known.items() if oid in self.oids) | self.names
        return resolution if names == resolution.tainted else replace(resolution, tainted=frozenset(names))

    def _spread(self) -> None:
        size = -1
        while size != len(self.oids):
            size = len(self.oids)
            for one, other in self.kin:
                if one in self.oids or other in self.oids:
                    self.oids |= {one, other}
