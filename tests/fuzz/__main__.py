"""Fuzzing for as long as you like.

    python -m tests.fuzz [--minutes 10] [--seed NAME] [--only differential,sessions,…] [--keep DIRECTORY]

Kinds: differential (random conversations played directly and through pgveil on a real PostgreSQL, equal message by message),
sessions (recorded conversations, mutated, into the session core), decoders, config, policy, audit, greetings, vandals (mutated
clients before a live pgveil), servers (a live pgveil before a server whose answers are mutated). They take turns; the same seed
gives the same conversations. What is found is shrunk, printed and kept in tests/fuzz/corpus, where pytest replays it. The exit
status is 1 if anything was.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from proxy.tls import ClientTls, client_context
from tests.fuzz import decoders, files, greetings, lab, live, sessions
from tests.fuzz.differential import Arena, shrink
from tests.fuzz.grammar import Generator
from tests.support.certificates import Authority
from tests.support.proxy import ProxyProcess

KINDS = ("differential", "sessions", "decoders", "config", "policy", "audit", "greetings", "vandals", "servers")
TURN = {
    "differential": 40,
    "sessions": 400,
    "decoders": 20,
    "config": 60,
    "policy": 30,
    "audit": 40,
    "greetings": 100,
    "vandals": 40,
    "servers": 6,
}
CORPUS = Path(__file__).parent / "corpus"
Round = Callable[[str], "str | None"]


class Run:
    """The rounds of each kind, made as they are needed."""

    def __init__(self, home: Path, keep: Path, stack: ExitStack) -> None:
        self._home = home
        self._keep = keep
        self._stack = stack
        self._lab: lab.Lab | None = None
        self.own_words: Counter[str] = Counter()
        self.messages = 0

    def round(self, kind: str) -> Round:
        if kind == "differential":
            arena = Arena(self._servers())
            return lambda seed: self._differential(arena, seed)
        if kind == "sessions":
            return self._sessions
        if kind == "decoders":
            return decoders.run
        if kind == "config":
            return lambda seed: files.run_config(seed, self._home)
        if kind == "policy":
            return lambda seed: files.run_policy(seed, self._home)
        if kind == "audit":
            original = self._home / "trail"
            files.make_trail(original)
            return lambda seed: files.run_audit(seed, self._home, original)
        if kind == "greetings":
            context = client_context(ClientTls(*Authority(self._home).issue("localhost")))
            return lambda seed: greetings.run(seed, context)
        return self._live(kind)

    def _servers(self) -> lab.Lab:
        if self._lab is None:
            home = self._home / "lab"
            self._lab = self._stack.enter_context(lab.running(home))
        return self._lab

    def _differential(self, arena: Arena, seed: str) -> str | None:
        trial = arena.check(Generator(seed).conversation())
        self.own_words.update(trial.own_words)
        self.messages += trial.messages
        if trial.found is None:
            return None
        trial = shrink(trial, arena.check)
        lines = (trial.found or "").splitlines()
        why = next((line for line in lines if not line.startswith("  both")), "").strip()[:160]
        text = replace(trial.conversation, why=f"seed {seed}: {why}").dump()
        return self._kept(seed, ".conv", text, trial.found or "")

    def _sessions(self, seed: str) -> str | None:
        found = sessions.run(seed)
        return None if found is None else self._kept(seed, ".case", found[0].dump(f"seed {seed}: {found[1]}"), found[1])

    def _kept(self, seed: str, suffix: str, text: str, why: str) -> str:
        self._keep.mkdir(parents=True, exist_ok=True)
        path = self._keep / f"{seed.replace('/', '_')}{suffix}"
        path.write_text(text, "utf-8")
        return f"{why}\nkept as {path}\n{text}"

    def _live(self, kind: str) -> Round:
        place = self._servers()
        proxy = place.proxy
        if kind == "servers":
            meddler = live.Meddler(place.server.port, tuple(lab.USERS.values()))
            self._stack.callback(meddler.close)
            second = ProxyProcess(
                self._home / "second", place.server, database=lab.RAW, policy=lab.POLICY, server_port=meddler.port
            )
            proxy = self._stack.enter_context(second)
        assert proxy.process is not None
        watch = live.Watch(place, proxy.port, proxy.process.pid)
        self._stack.callback(watch.close)
        numbers = itertools.count()

        def one(seed: str) -> str | None:
            if kind == "servers":
                found = live.victim(proxy.port, seed)
            else:
                found = live.vandal(proxy.port, seed) or live.odd_startup(proxy.port, seed)
                live.startups(proxy.port, seed)
            number = next(numbers)
            if found is None and number % 20 == 0:
                found = watch.look()
            if found is None and number >= 200 and number % 200 == 0:
                found = watch.memory()
            return found

        return one


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", default=time.strftime("%Y%m%d%H%M%S"))
    parser.add_argument("--only", default=",".join(KINDS), help="kinds, separated by commas (default: all)")
    parser.add_argument("--keep", type=Path, default=CORPUS, help="where found inputs go (%(default)s)")
    options = parser.parse_args()
    kinds = options.only.split(",")
    if unknown := sorted(set(kinds) - set(KINDS)):
        parser.error(f"no such kind: {', '.join(unknown)}")
    with tempfile.TemporaryDirectory(prefix="pgveil-fuzz-") as home, ExitStack() as stack:
        return _run(Run(Path(home), options.keep, stack), kinds, options.seed, options.minutes * 60)


def _run(run: Run, kinds: list[str], seed: str, seconds: float) -> int:
    print(f"seed {seed}", flush=True)
    rounds = {kind: run.round(kind) for kind in kinds}
    done: Counter[str] = Counter()
    found: Counter[str] = Counter()
    spent: Counter[str] = Counter()
    end = time.monotonic() + seconds
    for kind in itertools.cycle(kinds):
        begun = time.monotonic()
        if begun > end:
            break
        for _ in range(TURN[kind]):
            name = f"{seed}/{kind}/{done[kind]}"
            done[kind] += 1
            problem = rounds[kind](name)
            if problem is not None:
                found[kind] += 1
                print(f"\n== {name}\n{problem}", flush=True)
        spent[kind] += int((time.monotonic() - begun) * 1000)
    print("\nkind            rounds  found  seconds")
    for kind in kinds:
        print(f"{kind:14}{done[kind]:8}{found[kind]:7}{spent[kind] / 1000:9.1f}")
    if run.messages:
        print(f"\n{run.messages} messages of the server compared. Errors that pgveil gave in words of its own:")
        for text, count in run.own_words.most_common(20):
            print(f"{count:6}  {text[:220]}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
