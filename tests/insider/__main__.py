"""`python -m tests.insider`: years with and without insiders, replayed."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from policies.load import load_policy
from proxy.supervision.replay import Replay
from tests.insider.bank import EXPECTED, INSIDERS, write_year

RULES = Path(__file__).parents[2] / "policies" / "examples" / "alerts.yaml"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--scale", type=float, default=2.0, help="1.0: some 1 million records a year")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--show", action="store_true", help="print every alert")
    options = parser.parse_args()
    alerts = load_policy([RULES]).alerts
    bad = 0
    for seed in range(1, options.seeds + 1):
        for insiders in (INSIDERS, ()) if seed == 1 else ((),):
            with tempfile.TemporaryDirectory(prefix="pgveil-insider-") as place:
                began = time.monotonic()
                records = write_year(Path(place), seed, options.days, options.scale, insiders)
                written = time.monotonic() - began
                run = Replay(Path(place), alerts)
                began = time.monotonic()
                alarms = list(run)
                seconds = time.monotonic() - began
            found = {(alarm.name, alarm.key) for alarm in alarms}
            wanted = EXPECTED if insiders else set()
            bad += found != wanted or run.records != records
            who = "insiders" if insiders else "nobody"
            print(f"seed {seed}, {who}: {records} records written in {written:.0f} s, replayed in {seconds:.0f} s")
            print(f"  {records / seconds:.0f} records/s, {len(alarms)} alerts")
            for what, names in (("missing", wanted - found), ("false", found - wanted)):
                for name, key in sorted(names):
                    print(f"  {what}: {name} {key}")
            if options.show:
                for alarm in alarms:
                    print(f"  {alarm.time} {alarm.name}: {alarm.text}")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
