"""Which keys a writing process holds: the present segment's, so that the initial key can be taken off its host.

`<worker>.state` beside the trail (mode 0600) holds the key of the segment that is being written, where that segment began,
and the keys of the digests. It is replaced before the first record of a segment; the file before it is overwritten with zeros
and gone. Segment keys are one-way: whoever takes the state file can go on with the trail, and write nothing that was before.
With the state the process starts without the initial key, which only those who verify and search need (`pgveil audit seal`).

    K1 of a worker       HMAC(initial key, "pgveil audit 1 worker " + name)
    text_key, value_key  HMAC(initial key, "pgveil audit 1 text" or "… value"); the same for all workers, all the time

Contract, on which `recover` stands: when the state names segment n, the head names the last record before it, and no complete
record is behind that but in segment n or later.

A new initial key takes over (`heir`) at a start: the old chain's last record names it, the next segment is under it. On a host
that has no initial key the state carries the new worker key until then.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from proxy.audit.chain import (
    GENESIS,
    InitialKeys,
    Keys,
    head_path,
    key_id,
    next_key,
    segment_path,
    worker_key,
)
from proxy.audit.key import load_or_create_key
from proxy.audit.record import AuditError
from proxy.audit.recover import recover
from proxy.audit.values import DigestKeys
from proxy.audit.walk import Joint


def state_path(directory: Path, worker: str) -> Path:
    return directory / f"{worker}.state"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a worker's chain of segment keys begins."""

    key_id: str
    first: bytes
    """K1."""
    digests: DigestKeys

    @staticmethod
    def of(initial: bytes, worker: str) -> Origin:
        return Origin(key_id(initial), worker_key(initial, worker), DigestKeys.of(initial))

    def segment(self, number: int) -> bytes:
        key = self.first
        for _ in range(number - 1):
            key = next_key(key)
        return key


@dataclass(frozen=True, slots=True)
class State:
    worker: str
    key_id: str
    segment: int
    """The segment that is being written, or the first to be written."""
    key: bytes
    """Its key."""
    seq: int
    """Number of the last record before it."""
    previous: bytes
    """And its mac."""
    digests: DigestKeys
    heir: Origin | None = None
    """The key that is to take over at the next start."""

    def encode(self) -> bytes:
        heir = self.heir
        fields: dict[str, object] = {
            "v": 1, "worker": self.worker, "key_id": self.key_id, "segment": self.segment, "key": self.key.hex(),
            "seq": self.seq, "previous": self.previous.hex(), **_digests(self.digests),
            "heir": None if heir is None else {"key_id": heir.key_id, "key": heir.first.hex(), **_digests(heir.digests)},
        }  # fmt: skip
        return json.dumps(fields).encode() + b"\n"


def _digests(keys: DigestKeys) -> Mapping[str, str]:
    return {"text_key": keys.text.hex(), "value_key": keys.value.hex()}


def decode_state(data: bytes, worker: str) -> State:
    """Raises ValueError, KeyError or TypeError when it is not one."""
    fields: dict[str, Any] = json.loads(data)
    if fields["v"] != 1 or fields["worker"] != worker:
        raise ValueError("another worker's")
    heir = fields["heir"]
    state = State(
        worker, str(fields["key_id"]), int(fields["segment"]), _key(fields["key"]), int(fields["seq"]), _key(fields["previous"]),
        DigestKeys(_key(fields["text_key"]), _key(fields["value_key"])),
        None if heir is None else Origin(
            str(heir["key_id"]), _key(heir["key"]), DigestKeys(_key(heir["text_key"]), _key(heir["value_key"]))),
    )  # fmt: skip
    if state.segment < 1 or state.seq < 0:
        raise ValueError("out of range")
    return state


def _key(text: str) -> bytes:
    key = bytes.fromhex(text)
    if len(key) != 32:
        raise ValueError("not a key")
    return key


def load_state(path: Path, worker: str) -> State | None:
    """The state in `path`; None when there is none. Raises AuditError when it is readable by others, or not a state."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        with open(fd, "rb") as file:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077:
                raise AuditError(f"audit state {path} can be read or changed by other users", hint=f"chmod 600 {path}")
            data = file.read(65536)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AuditError(f"cannot read audit state {path}: {error.strerror}") from None
    try:
        return decode_state(data, worker)
    except (ValueError, KeyError, TypeError):
        raise AuditError(f"audit state {path} is damaged", hint="with the audit key in its place, remove it") from None


def save_state(path: Path, state: State, sync: Callable[[int], None] = os.fsync) -> None:
    """Replace the state at once and for good; the old one's bytes are overwritten. Raises OSError."""
    draft = path.with_name(f".{path.name}.new")  # always the same: what a crash leaves of it is overwritten, too
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(fd, 0o600)
        data = state.encode()
        while data:
            data = data[os.write(fd, data) :]
        sync(fd)
    finally:
        os.close(fd)
    old = os.open(path, os.O_RDWR | os.O_CLOEXEC) if path.exists() else -1
    try:
        os.replace(draft, path)
        # It is replaced now: who is told otherwise would go on where the state no longer is.
        with contextlib.suppress(OSError):
            _sync_directory(path.parent, sync)
        if old >= 0:
            with contextlib.suppress(OSError):
                os.pwrite(old, bytes(os.fstat(old).st_size), 0)
                sync(old)
    finally:
        if old >= 0:
            os.close(old)


def _sync_directory(directory: Path, sync: Callable[[int], None]) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync(fd)
    finally:
        os.close(fd)


class _StateKeys:
    """The keys that follow from a state: of its segment and later ones, under its key only."""

    def __init__(self, state: State) -> None:
        self._state = state

    @property
    def ids(self) -> Sequence[str]:
        return (self._state.key_id,)

    def segment(self, key_id: str, number: int) -> bytes | None:
        state = self._state
        number = max(1, number)
        if key_id != state.key_id or number < state.segment:
            return None
        key = state.key
        for _ in range(number - state.segment):
            key = next_key(key)
        return key


class Custody:
    """The keys of one writing worker. Made when its trail is locked."""

    def __init__(self, worker: str, initial: bytes | None, path: Path | None = None) -> None:
        """`initial`: the initial key, where it is at hand. `path`: of the state; None keeps it in memory only.

        Raises AuditError when neither is there, or the state cannot be read."""
        self._worker, self._path = worker, path
        state = load_state(path, worker) if path is not None else None
        if state is None:
            if initial is None:
                raise AuditError(
                    f"there is neither an audit key nor the state of worker {worker}",
                    hint=f"with the key at hand: pgveil audit seal --worker {worker}",
                )
            origin = Origin.of(initial, worker)
            state = State(worker, origin.key_id, 1, origin.first, 0, GENESIS, origin.digests)
            self.joint: Joint | None = None
            """Where the segment began whose key the state holds; None when there was no state."""
        else:
            self.joint = Joint(state.segment - 1, state.seq, state.previous)
        self._state = state
        self.heir = state.heir
        """The key that is to take over."""
        if initial is not None:
            name = key_id(initial)
            self.heir = None if name == state.key_id else Origin.of(initial, worker)
        at_hand = initial is not None and self.heir is None
        self.keys: Keys = InitialKeys([initial], worker) if initial is not None and at_hand else _StateKeys(state)

    @property
    def key_id(self) -> str:
        return self._state.key_id

    @property
    def digests(self) -> DigestKeys:
        """Of the key that is in force, or will be when the start is over."""
        return self._state.digests if self.heir is None else self.heir.digests

    def begin(self, segment: int, seq: int, previous: bytes, sync: Callable[[int], None] = os.fsync) -> bytes:
        """The key of the segment that begins behind record `seq`; those before it are gone when this returns. Raises OSError."""
        key = self.keys.segment(self.key_id, segment)
        if key is None:
            raise OSError(f"the key of segment {segment} is gone")
        self._hold(replace(self._state, segment=segment, key=key, seq=seq, previous=previous, heir=self.heir), sync)
        return key

    def begin_heir(self, segment: int, seq: int, previous: bytes, sync: Callable[[int], None] = os.fsync) -> bytes:
        """The same under the heir, which is in force then."""
        heir = self.heir
        assert heir is not None
        key = heir.segment(segment)
        self._hold(State(self._worker, heir.key_id, segment, key, seq, previous, heir.digests), sync)
        self.heir = None
        return key

    def _hold(self, state: State, sync: Callable[[int], None]) -> None:
        if self._path is not None:
            save_state(self._path, state, sync)
        self._state = state
        self.keys = _StateKeys(state)


def take_custody(directory: Path, key_file: Path, worker: str) -> Custody:
    """For the process that writes as `worker`: with the initial key where it is at hand, otherwise with the state alone. A
    key is made only where there is no trail yet. Raises AuditError."""
    path = state_path(directory, worker)
    if not key_file.exists() and directory.is_dir():
        names = os.listdir(directory)
        if path.name in names:
            return Custody(worker, None, path)
        if any(name.endswith((".state", ".head", ".jsonl")) for name in names):
            raise AuditError(
                f"audit key {key_file} is not there, nor the state of worker {worker}",
                hint=f"with the key at hand: pgveil audit seal --worker {worker}",
            )
    initial = load_or_create_key(key_file)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Custody(worker, initial, path)


def seal(directory: Path, worker: str, initial: bytes) -> str:
    """Prepare the worker's state, so that it starts without the initial key. Answers what was done, in a word: `made`, `kept`, or
    `heir` when a state of another key is there, which this one will take over from. Raises AuditError, OSError."""
    path = state_path(directory, worker)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    state = load_state(path, worker)
    if state is not None and state.key_id == key_id(initial) and state.heir is None:
        return "kept"
    with _nobody_writes(directory, worker):
        if state is None:
            save_state(path, _sealed(directory, worker, initial))
            return "made"
        origin = Origin.of(initial, worker)
        save_state(path, replace(state, heir=None if origin.key_id == state.key_id else origin))
        return "heir"


@contextlib.contextmanager
def _nobody_writes(directory: Path, worker: str) -> Iterator[None]:
    """While the worker's process cannot start. Raises AuditError when it runs."""
    try:
        fd = os.open(head_path(directory, worker), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise AuditError(f"worker {worker} is running", hint="stop the proxy first") from None
    finally:
        os.close(fd)


def _sealed(directory: Path, worker: str, initial: bytes) -> State:
    """The state of a trail that has none: from its end as it is now."""
    origin = Origin.of(initial, worker)
    found = recover(directory, worker, InitialKeys([initial], worker))
    if found.damage is not None:
        raise AuditError(f"the trail of worker {worker} is damaged: {found.damage}", hint="pgveil audit verify says more")
    if found.end is None or found.end[0].segment == 0:
        return State(worker, origin.key_id, 1, origin.first, 0, GENESIS, origin.digests)
    segment = found.end[0].segment
    with open(segment_path(directory, worker, segment), "rb") as file:
        header = json.loads(file.readline())
    seq, previous = header["seq"] - 1, bytes.fromhex(header["previous"])
    return State(worker, origin.key_id, segment, origin.segment(segment), seq, previous, origin.digests)
