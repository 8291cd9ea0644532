"""The session's side of the audit trail: turns plans and results into records, cheaply.

What is constant for a session is encoded once per session (and again when its roles or policy change); what is constant
for a plan is encoded once per plan. A statement that was planned before costs two string joins, and a digest for each of its
constants and parameters.
"""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from collections import deque
from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import islice

from policies.approvals import GRANT
from policies.language import level_key
from policies.model import Profile
from proxy.audit.record import MAX_TOUCHES, AuditError, Kind, decimal, encode, quote
from proxy.audit.redact import MAX_VALUES, Redacted, redact, redact_message
from proxy.audit.values import DigestKeys, TextDigest, ValueDigest, is_list, members
from proxy.audit.writer import AuditWriter
from proxy.session.effects import UNTOLD, Binds, Identity
from rewrite.plan import Plan, Touch, Verdict

_PLANS_KEPT = 2048
_TEXT_KEPT = 4096
_DECISION = Kind.DECISION.value
_NO_RESULT = ',"tag":null,"rows":null,"bytes":null,"seconds":null,"sqlstate":null'
SUSPENDED = "SUSPENDED"
"""Tag of a portal that stopped at its row limit: it may go on, and there is no end yet."""
_HELD = 32
"""Decisions of one session that are held back, at most."""
_HELD_LENGTH = 16_384
"""Characters of a decision that is held back, at most."""
_CLEAR = quote("clear")
_FULL_TEXT = 65_536
"""Characters of a text that is kept as it is."""
_FULL_KINDS = frozenset(
    {"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "COPY", "EXPLAIN", "PREPARE", "EXECUTE", "DECLARE CURSOR"}
)
"""Statements that are kept as they are; others may hold passwords, in more ways than can be known."""
_SECRETS = re.compile("passw|pwd|secret|crypt|token", re.IGNORECASE)
"""Nor are those with such a word: dblink_connect('... password=...'), crypt(), pgp_sym_encrypt()."""


class DecisionEncoder:
    """The part of decision records that depends on plan and text only. One per process, shared by its sessions."""

    def __init__(self, keys: DigestKeys, text: str = "redacted", values: bool = True) -> None:
        """`text`: redacted, full, or none for records without it. `values`: with digests of constants and parameters."""
        if text not in ("redacted", "full", "none"):
            raise ValueError(f"audit text: redacted, full or none, not {text}")
        self._digest = TextDigest(keys.text)
        self._value = ValueDigest(keys.value)
        self.values = values
        self._with_text = text != "none"
        self._full = text == "full"
        self._digests: dict[str, str] = {}
        self._last_digest: tuple[str | None, str] = (None, "")
        self._last_shown: tuple[str | None, str] = (None, "")
        self._last_redacted: tuple[str | None, Redacted] = (None, Redacted("", (), True))
        """Of the last long text: a script of many statements is one text with many records."""
        self._kept: dict[tuple[int, int, str, str, str], tuple[Plan, str, str]] = {}
        self._shared: dict[tuple[int, int, str], tuple[Plan, str]] = {}

    def text_digest(self, text: str) -> str:
        """Names an exact statement text; equal texts have equal digests, and only the key's owner can compute them."""
        if text is self._last_digest[0]:
            return self._last_digest[1]
        digest = self._digests.get(text)
        if digest is None:
            digest = self._digest(text.encode("utf-8", "backslashreplace"))
            if len(text) <= _TEXT_KEPT:
                if len(self._digests) >= _PLANS_KEPT:
                    self._digests.clear()
                self._digests[text] = digest
            else:
                self._last_digest = text, digest
        return digest

    def running_digest(self, codec: str | None) -> TextPieces:
        """The same for a text that comes in pieces, in an encoding that Python calls so."""
        return TextPieces(self._digest, codec)

    def encoded(self, kind: str, plan: Plan, index: int, text: str, protocol: str) -> tuple[str, str]:
        """(record kind, encoded fields). The plan is kept with the result, so its id stays its own."""
        shared = plan.shareable and kind != "refusal" and not self._full
        if shared and protocol == "simple":  # with constants that are hardly ever the same again
            fields = self._fields_shared(plan, index, text, protocol)
            return _DECISION, f'{fields}"{self.text_digest(text)}",{self._values(plan, index, text)}'
        key = (id(plan), index, kind, protocol, text)
        kept = self._kept.get(key)
        if kept is None:
            if shared:
                record, fields = _DECISION, self._fields_shared(plan, index, text, protocol)
            else:
                record, fields = self._encode(kind, plan, index, text, protocol)
            kept = (plan, record, f'{fields}"{plan.digest or self.text_digest(text)}",{self._values(plan, index, text)}')
            if len(text) <= _TEXT_KEPT and len(kept[2]) <= 4 * _TEXT_KEPT:
                if len(self._kept) >= _PLANS_KEPT:
                    self._kept.clear()
                self._kept[key] = kept
        return kept[1], kept[2]

    def bound(self, values: Sequence[str | None] | None) -> Binds:
        """Digests of parameters; an empty one where there may be others."""
        if values is None:
            return [""]
        digest = self._value
        out: list[str | None] = []
        for value in values:
            if value is None:
                out.append(None)
            elif value.isalnum():
                out.append(digest(value))
            elif value == UNTOLD:
                out.append("")
            elif is_list(value):
                out += map(digest, members(value))
            else:
                out.append(digest(value))
        if len(out) > MAX_VALUES:
            out[MAX_VALUES:] = [""]
        return out

    def named(self, plan: Plan, index: int, text: str, binds: Binds) -> Set[str] | None:
        """Digests of all that a statement names; None when that may not be all."""
        listed, whole = self._said(plan, index, text)
        if not whole or "" in (binds or ()):
            return None
        return {*listed, *(b for b in binds or () if b)}

    def _values(self, plan: Plan, index: int, text: str) -> str:
        """The fields of the record."""
        if not self.values or plan.digest:
            return '"values":null,"values_whole":null'
        constants = plan.constants
        if constants is not None and len(constants) == 1 and constants[0][0] != "'" and len(plan.statements) == 1:
            return f'"values":["{self._value(constants[0])}"],"values_whole":true'  # a number: the same, faster
        listed, whole = self._said(plan, index, text)
        shown = '","'.join(listed)
        return f'"values":[{chr(34) + shown + chr(34) if listed else ""}],"values_whole":{"true" if whole else "false"}'

    def _said(self, plan: Plan, index: int, text: str) -> tuple[Mapping[str, None], bool]:
        """Digests of what the statement's constants say, and whether these are all. The first statement of a text has everybody's
        where nobody can tell to which of them they belong."""
        digest = self._value
        constants = plan.constants
        if constants is not None and len(plan.statements) == 1:
            out: dict[str, None] = {}
            for c in constants:
                if c[0] != "'":
                    out[digest(c)] = None
                else:
                    said = c[1:-1].replace("''", "'")
                    out.update(dict.fromkeys(map(digest, members(said))) if is_list(said) else {digest(said): None})
            return out, True
        found = self._redacted(text)
        pieces = found.values
        mine: Iterable[str]
        if len(pieces) == len(plan.statements) and found.whole:
            mine = pieces[index] if index < len(pieces) else ()
        elif index:
            return {}, False
        else:
            mine = (value for piece in pieces for value in piece)
        named = list(islice((member for value in mine for member in members(value)), MAX_VALUES + 1))
        return dict.fromkeys(map(digest, named[:MAX_VALUES])), found.whole and len(named) <= MAX_VALUES

    def _redacted(self, text: str) -> Redacted:
        """Once for a text, however many statements are in it."""
        if text is not self._last_redacted[0]:
            self._last_redacted = text, redact(text)
        return self._last_redacted[1]

    def _fields_shared(self, plan: Plan, index: int, text: str, protocol: str) -> str:
        """Texts that differ in constants only have the same fields but for the digest: constants are redacted."""
        key = (id(plan.statements), index, protocol)
        kept = self._shared.get(key)
        if kept is None:
            kept = (plan, self._encode("statement", plan, index, text, protocol)[1])
            if len(self._shared) >= _PLANS_KEPT:
                self._shared.clear()
            self._shared[key] = kept
        return kept[1]

    def _encode(self, kind: str, plan: Plan, index: int, text: str, protocol: str) -> tuple[str, str]:
        """(record kind, encoded fields without the value of the last one, the digest)."""
        refused = kind == "refusal" or plan.verdict is Verdict.REFUSE
        if plan.verdict is Verdict.NEED and not refused:
            raise ValueError("a plan that needs more knowledge is no decision")
        statement = plan.statements[index] if index < len(plan.statements) else None
        touches = statement.touches if statement is not None else ()
        refusal = "null"
        if plan.refusal is not None:
            message = redact_message(plan.refusal.message)
            refusal = f'{{"sqlstate":{quote(plan.refusal.sqlstate)},"message":{quote(message)}}}'
        shown = "null"
        if self._with_text:
            if text is not self._last_shown[0]:
                self._last_shown = text, quote(text if plan.digest or self._is_full(plan, text) else self._redacted(text).text)
            shown = self._last_shown[1]
        listed = ",".join(map(_touch, touches[:MAX_TOUCHES]))
        clear = max((t.level for t in touches if t.is_out), key=level_key, default=None)
        name = quote(statement.kind) if statement is not None else "null"
        verdict = Verdict.REFUSE if refused else plan.verdict
        return (Kind.REFUSED if refused else Kind.DECISION).value, (
            f'"protocol":{quote(protocol)},"statement":{name},"part":{index + 1},'
            f'"parts":{max(index + 1, len(plan.statements))},"verdict":"{verdict.value}","touches":[{listed}],'
            f'"touches_more":{max(0, len(touches) - MAX_TOUCHES)},"clear":{"null" if clear is None else quote(clear)},'
            f'"refusal":{refusal},'
            f'"on_failure":{"null" if refused or plan.failure is None else _CLEAR},'
            f'"placed_by":{quote(plan.placed_by)},"text":{shown},"text_digest":'
        )

    def _is_full(self, plan: Plan, text: str) -> bool:
        return (
            self._full
            and len(text) <= _FULL_TEXT
            and bool(plan.statements)
            and all(s.kind in _FULL_KINDS for s in plan.statements)
            and _SECRETS.search(text) is None
        )


class TextPieces:
    """Computes the `text_digest` of a text that is never there as a whole."""

    def __init__(self, digest: TextDigest, codec: str | None) -> None:
        self._state = digest.begin()
        self._decoder = getincrementaldecoder(codec or "utf-8")("backslashreplace")

    def update(self, data: bytes) -> None:
        self._state.update(self._decoder.decode(data).encode("utf-8", "backslashreplace"))

    def hexdigest(self) -> str:
        self._state.update(self._decoder.decode(b"", final=True).encode("utf-8", "backslashreplace"))
        return self._state.hexdigest()


class Decided:
    """A decision of a session, for its outcome."""

    __slots__ = ("held", "seq")

    def __init__(self, held: str, seq: int) -> None:
        self.held = held
        """The fields of its record, as long as it has none."""
        self.seq = seq


class SessionAudit:
    """What one session tells the auditor. Every method only appends; the transport flushes the writer.

    A decision is held back until its data is to flow (`release`), or its outcome is known and the two are one record. Not a long
    one, nor more than a few, nor any while the trail cannot be written: what waits for room is all in one place then.
    """

    def __init__(self, writer: AuditWriter, encoder: DecisionEncoder, sid: str, identity: Identity) -> None:
        self._writer, self._encoder, self._sid = writer, encoder, sid
        self._running_digest = encoder.running_digest
        self._statements = 0
        self._held: deque[Decided] = deque()
        """Decisions without a record, oldest first."""
        self._plan: Plan | None = None
        """Of the last decision, with its text; `_record` and `_fields` are what it has in common with the same again."""
        self._text = self._record = self._fields = ""
        self._way = "", 0, ""
        self.latest = 0
        """Number of the last decision that has a record."""
        self.values = encoder.values
        self._person = identity.user
        self._context: dict[str, object] = {"roles": [], "profile": None, "policy": None}
        self._outcome = f'"session":{quote(sid)},"decision":'
        self.identity(identity)

    def identity(self, identity: Identity) -> None:
        """Who the session is; call it again when the application name, or what it asserts, changes."""
        self._facts: dict[str, object] = {
            "session": self._sid, "login": identity.user, "person": self._person, "database": identity.database,
            "client": identity.client_address, "client_port": identity.client_port,
            "application": identity.application_name, "tls": identity.tls,
            "asserted": dict(identity.asserted),
        }  # fmt: skip
        self._renew()

    def context(self, profile: Profile, roles: Iterable[str]) -> None:
        """The roles or the policy that hold from here on."""
        self._facts["person"] = self._person = profile.person or self._person
        self._context = {"roles": sorted(roles), "profile": profile.key, "policy": profile.policy_version}
        self._renew()

    def _renew(self) -> None:
        fields = {**self._facts, **self._context}
        self._prefix = "".join(f"{quote(name)}:{encode(value)}," for name, value in fields.items())
        self._plan = None

    def login(self) -> int:
        return self._writer.append(Kind.LOGIN, {**self._facts, **self._context})

    def login_failed(self, sqlstate: str | None, reason: str | None) -> int:
        reason = None if reason is None else redact_message(reason)
        return self._writer.append(Kind.LOGIN_FAILED, {**self._facts, "sqlstate": sqlstate, "reason": reason})

    def logout(self, seconds: float, reason: str) -> int:
        """`seconds`: since log-in."""
        self.release()
        fields = {**self._facts, "statements": self._statements, "seconds": round(seconds, 6), "reason": reason}
        return self._writer.append(Kind.LOGOUT, fields)

    def decision(self, sid: str, kind: str, plan: Plan, index: int, text: str, protocol: str, binds: Binds = None) -> Decided:
        """Statement `index` (from 0) of the plan for the client's `text`; `kind` is statement or refusal; `binds` is what `bound`
        has made of its parameters. The answer is for `outcome`."""
        self._statements += 1
        if plan is not self._plan or text is not self._text or (kind, index, protocol) != self._way:
            self._record, rest = self._encoder.encoded(kind, plan, index, text, protocol)
            self._fields = f'{self._prefix}{rest},"binds":'
            self._plan, self._text, self._way = plan, text, (kind, index, protocol)
        record = self._record
        fields = self._fields + (_listed(binds) if binds is not None and self.values else "null")
        held = self._held
        if record != _DECISION:
            if held:
                self.release()
            self.latest = self._writer.append_encoded(record, fields)
            return Decided("", self.latest)
        if len(fields) <= _HELD_LENGTH and len(held) < _HELD and self._writer.failure is None:
            decided = Decided(fields, 0)
            held.append(decided)
            return decided
        self.release()
        self.latest = self._writer.append_encoded(record, fields, _NO_RESULT)
        return Decided("", self.latest)

    @property
    def holds(self) -> bool:
        """Some decision has no record."""
        return bool(self._held)

    def release(self) -> None:
        """Put what is held back into the trail. Whatever of its data is to flow, and nobody can tell of which it is, does so
        after this and a flush only. Raises AuditError when there is no room; what has got no record then is still held."""
        held = self._held
        while held:
            decided = held[0]
            self.latest = decided.seq = self._writer.append_encoded(_DECISION, decided.held, _NO_RESULT)
            decided.held = ""
            held.popleft()

    def bound(self, values: Sequence[str | None] | None) -> Binds:
        return self._encoder.bound(values)

    def named(self, plan: Plan, index: int, text: str, binds: Binds) -> Set[str] | None:
        return self._encoder.named(plan, index, text, binds)

    def digest(self, codec: str | None) -> TextPieces:
        """For a text too long to be kept; the answer goes into the plan of `decision`."""
        return self._running_digest(codec)

    def outcome(self, decided: object, tag: str | None, rows: int, bytes_: int, seconds: float, sqlstate: str | None) -> None:
        """What became of a decision: command tag, rows and bytes sent to the client, duration, SQLSTATE. Given up where
        there is no room for it; the decision never is."""
        assert isinstance(decided, Decided)
        result = (
            f',"tag":{quote(tag) if tag is not None else "null"},"rows":{rows},"bytes":{bytes_},'
            f'"seconds":{decimal(seconds)},"sqlstate":{quote(sqlstate) if sqlstate is not None else "null"}'
        )
        try:
            if decided.held and (tag == SUSPENDED or self._held[0] is not decided):
                self.release()
            if decided.held:
                self.latest = decided.seq = self._writer.append_encoded(_DECISION, decided.held, result)
                decided.held = ""
                self._held.popleft()
            else:
                self._writer.append_encoded("outcome", f"{self._outcome}{decided.seq}", result)
        except AuditError:
            self._writer.lose()

    def event(self, kind: str, fields: Mapping[str, str | int | bool]) -> None:
        """Something that is not a statement: guard, protocol_error, replication. `fields` holds no data."""
        self.release()
        detail = {name: value for name, value in fields.items() if name != "sid"}
        self._writer.append(Kind.EVENT, {"event": kind, "session": self._sid, "detail": detail})


def _listed(binds: Sequence[str | None]) -> str:
    if len(binds) == 1 and (only := binds[0]) is not None:
        return f'["{only}"]'
    return f"[{','.join(['null' if b is None else f'{chr(34)}{b}{chr(34)}' for b in binds])}]"


def _touch(touch: Touch) -> str:
    rule = quote(touch.rule) if touch.rule is not None else "null"
    others = ",".join(map(quote, touch.others))
    grant = touch.rule.removeprefix(GRANT) if touch.rule is not None and touch.rule.startswith(GRANT) else "null"
    return (
        f'{{"relation":{quote(touch.relation)},"column":{quote(touch.column)},"class":{quote(touch.data_class)},'
        f'"level":{quote(touch.level)},"use":{quote(touch.use)},"show":{quote(touch.show)},"rule":{rule},'
        f'"grant":{grant},"others":[{others}]}}'
    )
