"""How well discovery does: `python -m tests.discovery [--set NAME] [--rows N] [--seed N] [--wrong]` on the labelled sets of this
directory, `--schema FILE.sql` (again and again) on whole schemas in a PostgreSQL, with labels beside them: see `live`."""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.discovery import live
from tests.discovery.generate import read_set
from tests.discovery.measure import EVIDENCE, Score, run, score


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.discovery", description=__doc__)
    parser.add_argument("--set", choices=["dev", "heldout", "sealed", "fresh", "terse"], action="append", dest="sets")
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--wrong", action="store_true", help="list the columns that came out wrong")
    parser.add_argument("--schema", type=Path, action="append", help="a SQL script; NAME.labels and NAME.doubt beside NAME.sql")
    parser.add_argument("--labels", type=Path, help="labels that lie elsewhere")
    parser.add_argument("--doubt", type=Path, help="columns that do not count, in a file that lies elsewhere")
    options = parser.parse_args()
    if options.schema:
        _schemas(options)
        return
    for name in options.sets or ["dev", "heldout", "sealed", "fresh", "terse"]:
        tables = read_set(name)
        columns = sum(len(t.columns) for t in tables)
        print(f"== {name}: {len(tables)} tables, {columns} columns, {options.rows} rows, seed {options.seed}")
        for evidence, (names, values) in EVIDENCE.items():
            outcomes = run(tables, rows=options.rows, seed=options.seed, names=names, values=values)
            total = score(outcomes)
            print(f"{evidence:18} {_line(total)}")
            if names and values:
                _classes(total)
                for o in outcomes if options.wrong else ():
                    if o.column.counted and (o.proposed not in o.column.labels if o.column.labels else o.proposed):
                        wanted = "|".join(sorted(o.column.labels)) or "harmless"
                        found = f"{o.finding.kind} {o.finding.confidence} ({o.finding.reason})" if o.finding else "nothing"
                        print(f"    {o.where} [{o.column.generator}]: {wanted}, found {found}")


def _schemas(options: argparse.Namespace) -> None:
    with live.server() as server:
        for script in options.schema:
            doubt = options.doubt or script.with_suffix(".doubt")
            labels = options.labels or script.with_suffix(".labels")
            got, _ = live.measure(server, script, labels, doubt if doubt.exists() else None)
            print(f"{script.stem:18} {got}")
            if options.wrong:
                for title, lines in (
                    ("missed", got.missed),
                    ("review", [f"{name}: {says}" for name, says in got.review.items()]),
                    ("wrong", [f"{name}: {says}" for name, says in got.wrong.items()]),
                ):
                    for line in lines:
                        print(f"    {title}: {line}")


def _line(s: Score) -> str:
    return (
        f"sensitive: precision {s.precision:.3f} recall {s.recall:.3f}   with the right class: precision {s.class_precision:.3f} "
        f"recall {s.class_recall:.3f}   ({s.right} right, {s.wrong} wrong, {s.missed} missed)"
    )


def _classes(s: Score) -> None:
    for kind, counts in sorted(s.by_class.items()):
        right, wrong, missed = counts["right"], counts["wrong"], counts["missed"]
        precision = right / (right + wrong) if right + wrong else 1.0
        recall = right / (right + missed) if right + missed else 1.0
        print(f"    {kind:16} precision {precision:.2f}  recall {recall:.2f}   ({right} right, {wrong} wrong, {missed} missed)")


if __name__ == "__main__":
    main()
