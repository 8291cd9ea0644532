"""Long texts are planned in a process of their own, so that no other session has to wait for them.

A script of a megabyte takes seconds to read, and a process that plans does nothing else. So a copy of this process is made
for each such text (fork: it has the policy, the catalog and the caches without being given them), plans it, answers on a
pipe and is gone, with all the memory it took. It has closed every other file before it begins. One that takes too long is
killed, and the statement is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import pickle
import resource
import signal
import time
import warnings
from typing import Final, NoReturn

from proxy.logs import event
from proxy.session.effects import PlanRequest
from rewrite.plan import Plan, Refusal, Verdict

log = logging.getLogger("pgveil.aside")

AT_ONCE: Final = 2
"""Texts that are planned at the same time; others wait for their turn."""
PATIENCE: Final = 60.0
"""Seconds after which a text is given up."""
_MEMORY: Final = 2 << 30
"""Bytes that reading a text may take."""
_CHUNK: Final = 1 << 20
_GIVEN_UP: Final = Refusal(
    "54000",
    "the statement takes too long to be read",
    "Send data as parameters, by COPY, or in several statements.",
    failure=True,
)
_TOO_HARD: Final = Plan(Verdict.REFUSE, "", refusal=_GIVEN_UP)


class Aside:
    """Plans long texts, a few at a time. One per process."""

    def __init__(self, at_once: int = AT_ONCE, patience: float = PATIENCE) -> None:
        self._turns = asyncio.Semaphore(at_once)
        self._patience = patience
        self._reaping: set[asyncio.Task[None]] = set()

    async def plan(self, asked: PlanRequest) -> Plan:
        """The plan; a refusal when it cannot be had. Cancelled: the process that makes it is killed."""
        async with self._turns:
            began = time.perf_counter()
            try:
                plan: Plan = pickle.loads(await self._ask(asked))
            except (OSError, EOFError, pickle.UnpicklingError) as error:  # TimeoutError is an OSError
                event(log, "plan_given_up", logging.WARNING, characters=len(asked.text), reason=type(error).__name__)
                return _TOO_HARD
            asked.planner.keep(asked.text, asked.context, plan, time.perf_counter() - began)
            return plan

    async def _ask(self, asked: PlanRequest) -> bytes:
        """What the process answers; nothing when it has died."""
        ours, theirs = os.pipe()
        with os.fdopen(ours, "rb", buffering=0) as pipe:
            try:
                pid = _fork(asked, theirs, self._patience)
            finally:
                os.close(theirs)
            try:
                async with asyncio.timeout(self._patience):
                    return await _read(pipe.fileno())
            finally:
                os.kill(pid, signal.SIGKILL)  # it has answered, or is not wanted any more
                task = asyncio.create_task(_reap(pid))
                self._reaping.add(task)
                task.add_done_callback(self._reaping.discard)


async def _reap(pid: int) -> None:
    """A process with much memory takes a while to die."""
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        await asyncio.sleep(0.02)


async def _read(fd: int) -> bytes:
    """All that comes until the other end is closed."""
    os.set_blocking(fd, False)
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    answer = bytearray()
    try:
        while True:
            await ready.wait()
            ready.clear()
            with contextlib.suppress(BlockingIOError):
                data = os.read(fd, _CHUNK)
                if not data:
                    return bytes(answer)
                answer += data
                ready.set()
    finally:
        loop.remove_reader(fd)


def _fork(asked: PlanRequest, pipe: int, patience: float) -> int:
    with warnings.catch_warnings():
        # The resolver's threads hold no lock that the copy needs; should one do so after all, patience ends it.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        _work(asked, pipe, patience)
    return pid


def _work(asked: PlanRequest, pipe: int, patience: float) -> NoReturn:
    """In the copy: nothing of the original is touched, and nothing is tidied up."""
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.closerange(3, pipe)
        os.closerange(pipe + 1, os.sysconf("SC_OPEN_MAX"))
        seconds = int(patience) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + _MEMORY
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
        os.nice(5)
        gc.disable()
        answer = memoryview(pickle.dumps(asked.planner.plan(asked.text, asked.context), pickle.HIGHEST_PROTOCOL))
        while answer:
            answer = answer[os.write(pipe, answer) :]
        os._exit(0)
    finally:
        os._exit(1)
