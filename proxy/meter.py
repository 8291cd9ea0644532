"""What the policy's `limits` and `on_failure` allow one session: the numbers behind `proxy.session.metering` and `failing`.

Counted are rows of statements that put sensitive data out in clear, wholly or for some rows, and the different constants and
parameters that such statements name: the customers whom somebody looks up, one by one. What a person has seen today is in
`counts`; a person is a login, or somebody for whom a trusted application acts. Rows of grants are in `approvals.ration`. Another
kind of allowance is another class here, and a line in `SessionMeter.allowances`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence, Set

from policies.failure import Exemption
from policies.limits import Cap
from policies.model import Profile
from proxy.approvals.ration import Rations
from proxy.counts import Counts, CountsError
from proxy.session.effects import Allowance, Identity
from rewrite.plan import Refusal, Touch

_DAY = 86400
_NAMED = "clear values"
_HINT = "Ask whoever is responsible for the policy (limits)."


class _Rows:
    """So many rows."""

    def __init__(self, cap: Cap, of: str) -> None:
        self.cap = cap
        self._of = of
        self._taken = 0

    def left(self) -> int:
        return max(0, self.cap.most - self._taken)

    def take(self, rows: int) -> int:
        granted = min(rows, self.left())
        self._taken += granted
        return granted

    def give_back(self, rows: int) -> None:
        self._taken -= rows

    @property
    def lease(self) -> int:
        return 0

    @property
    def refusal(self) -> Refusal:
        told = f"no more than {self.cap.most} rows with data in clear per {self._of} (limit {self.cap.limit.name!r})"
        return Refusal("53400", told, _HINT)

    @property
    def details(self) -> Mapping[str, str | int | bool]:
        return {"limit": self.cap.limit.name, "per": self._of, "most": self.cap.most}


class _RowsOfDay(_Rows):
    """So many rows for a person and day, shared by all sessions. Nothing is left when nothing can be counted."""

    def __init__(self, cap: Cap, person: str, counts: Counts, clock: Callable[[], float]) -> None:
        super().__init__(cap, "day")
        self._person = person
        self._counts = counts
        self._clock = clock

    def left(self) -> int:
        try:
            return self._counts.left("clear rows", self._person, self._today(), self.cap.most)
        except CountsError:
            return 0

    def take(self, rows: int) -> int:
        try:
            return self._counts.take("clear rows", self._person, self._today(), self.cap.most, rows)
        except CountsError:
            return 0

    def give_back(self, rows: int) -> None:
        try:
            self._counts.give_back("clear rows", self._person, self._today(), rows)
        except CountsError:
            return  # they stay counted

    def _today(self) -> int:
        return _today(self._clock)


def _today(clock: Callable[[], float]) -> int:
    return int(clock() // _DAY)


def _too_many(cap: Cap, of: str) -> tuple[Refusal, Mapping[str, str | int | bool]]:
    name = cap.limit.name
    told = f"data in clear may be looked up by no more than {cap.most} different values per {of} (limit {name!r})"
    return Refusal("53400", told, _HINT), {"limit": name, "per": of, "most": cap.most}


class SessionMeter:
    """`effects.Meter` of one session."""

    def __init__(self, counts: Counts, rations: Rations | None = None, clock: Callable[[], float] = time.time) -> None:
        self._counts = counts
        self._rations = rations
        self._clock = clock
        self._sessions: dict[str, _Rows] = {}
        """By person: what this session has shown to each."""
        self._named: dict[str, set[str]] = {}
        """By person: digests of the values by which it was looked up, in this session."""

    def allowances(self, identity: Identity, profile: Profile, touches: Sequence[Touch] | None) -> tuple[Allowance, ...]:
        caps = profile.caps
        out: list[Allowance] = []
        if self._rations is not None:
            out += self._rations.allowances(profile, touches)
        if not caps.rows or (touches is not None and not any(t.is_out for t in touches)):
            return tuple(out)
        if caps.statement is not None:
            out.append(_Rows(caps.statement, "statement"))
        return (*out, *self._lasting(profile))

    def is_spent(self, identity: Identity, profile: Profile) -> bool:
        if any(rows.cap.limit.over == "mask" and not rows.left() for rows in self._lasting(profile)):
            return True
        caps, person = profile.caps, profile.person
        cap = caps.values_session
        if cap is not None and cap.limit.over == "mask" and len(self._named.get(person, ())) >= cap.most:
            return True
        if (cap := caps.values_day) is not None and cap.limit.over == "mask":
            try:
                return self._counts.gathered(_NAMED, person, _today(self._clock)) >= cap.most
            except CountsError:
                return True
        return False

    def named(self, profile: Profile, digests: Set[str] | None) -> tuple[Refusal, Mapping[str, str | int | bool]] | None:
        caps, person = profile.caps, profile.person
        seen = self._named.setdefault(person, set())
        none: Set[str] = frozenset()
        held_to = (
            (caps.values_statement, "statement", none),
            (caps.values_session, "session", seen),
            (caps.values_day, "day", none),
        )
        for cap, of, known in held_to:
            if cap is not None and (digests is None or len(known | digests) > cap.most):
                return _too_many(cap, of)
        assert digests is not None
        if (cap := caps.values_day) is not None:
            try:
                if not self._counts.gather(_NAMED, person, _today(self._clock), cap.most, digests):
                    return _too_many(cap, "day")
            except CountsError:
                return _too_many(cap, "day")
        if caps.values_session is not None:
            seen |= digests
        return None

    def let_through(self, identity: Identity, exemption: Exemption) -> bool:
        if exemption.at_most is None:
            return True
        try:
            return self._counts.admit("on_failure", identity.user, exemption.at_most, exemption.within)
        except CountsError:
            return False

    def _lasting(self, profile: Profile) -> list[_Rows]:
        """What is counted beyond the statement."""
        caps, out = profile.caps, list[_Rows]()
        if caps.session is not None:
            rows = self._sessions.setdefault(profile.person, _Rows(caps.session, "session"))
            rows.cap = caps.session
            out.append(rows)
        if caps.day is not None:
            out.append(_RowsOfDay(caps.day, profile.person, self._counts, self._clock))
        return out
