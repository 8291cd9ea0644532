"""Memory and file descriptors of pgveil's processes over time, and whether they have stayed what they were."""

from __future__ import annotations

import asyncio
import os
import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.proxy import ProxyProcess

MEGABYTE = 1 << 20


def worker_pids(proxy: ProxyProcess) -> list[int]:
    """The processes that serve: the last one of each name in the log."""
    found: dict[str, int] = {}
    for line in proxy.text().splitlines():
        hit = re.search(r"event=starting pid=(\d+)", line)
        if hit:
            name = re.search(r"worker=(\S+)", line)
            found[name[1] if name else "main"] = int(hit[1])
    return list(found.values())


@dataclass(frozen=True, slots=True)
class Sample:
    seconds: float
    rss: float
    """Megabytes, of all processes."""
    files: int
    cpu: float
    """Seconds used."""


@dataclass
class Watch:
    proxy: ProxyProcess
    every: float = 1.0
    samples: list[Sample] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    async def run(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(self.every)

    def look(self) -> Sample:
        rss = cpu = 0.0
        files = 0
        for pid in worker_pids(self.proxy):
            try:
                status = Path(f"/proc/{pid}/status").read_text()
                times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                files += len(os.listdir(f"/proc/{pid}/fd"))
            except (FileNotFoundError, ProcessLookupError):
                continue
            rss += int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]
            cpu += (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")
        sample = Sample(time.monotonic() - self.began, rss, files, cpu)
        self.samples.append(sample)
        return sample

    def lines(self) -> list[str]:
        """One a tenth of the time."""
        out = ["   seconds   RSS MB   files   CPU s"]
        step = max(1, len(self.samples) // 10)
        for part in range(0, len(self.samples), step):
            s = self.samples[min(part + step, len(self.samples)) - 1]
            out.append(f"{s.seconds:10.0f}{s.rss:9.1f}{s.files:8d}{s.cpu:8.1f}")
        settled = self.samples[len(self.samples) // 3 :]
        if len(settled) > 2:
            slope = statistics.linear_regression([s.seconds for s in settled], [s.rss for s in settled]).slope
            out.append(f"trend of the last two thirds: {slope * 60:+.2f} MB a minute")
        return out

    def growth(self) -> float:
        """Megabytes between the second third and the last: medians, so that a peak does not count."""
        third = len(self.samples) // 3
        if not third:
            return 0.0
        return _median(self.samples[2 * third :]) - _median(self.samples[third : 2 * third])


def _median(samples: Sequence[Sample]) -> float:
    return statistics.median(s.rss for s in samples)
