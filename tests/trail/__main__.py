"""`python -m tests.trail --records 10000000 --out DIR`: a trail of so many records, and its key in DIR.key."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from pathlib import Path

from tests.trail.make import DAYS, write_trail

KEY = bytes(range(32))


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m tests.trail")
    options.add_argument("--records", type=int, default=100_000)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--days", type=int, default=DAYS)
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    began = time.monotonic()
    key = given.out.with_name(given.out.name + ".key")
    key.parent.mkdir(parents=True, exist_ok=True)
    key.write_text(KEY.hex() + "\n")
    os.chmod(key, 0o600)
    share = given.records // given.workers
    with multiprocessing.get_context("spawn").Pool(min(given.workers, os.cpu_count() or 1)) as pool:
        jobs = [
            (
                given.out,
                f"worker-{n + 1}",
                KEY,
                share if n else given.records - share * (given.workers - 1),
                given.seed,
                given.days,
            )
            for n in range(given.workers)
        ]
        pool.starmap(write_trail, jobs)
    size = sum(path.stat().st_size for path in given.out.glob("audit-*.jsonl"))
    print(f"{given.records} records, {size / 1e9:.2f} GB, {time.monotonic() - began:.0f} s: {given.out}, key {key}")


if __name__ == "__main__":
    main()
