"""The generator by hand: see the package's own text."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.generate.banks import Bank, open_bank
from tests.generate.mutate import Mutator
from tests.generate.run import Runner
from tests.generate.smith import smith
from tests.generate.statements import Case, generate


def cases(bank: Bank, seed: int, first: int, count: int, mutated: float) -> Iterator[Case]:
    """Cases number `first` and on of a seed; the given share of them are changed fixtures."""
    mutator = Mutator()
    for number in range(first, first + count):
        if mutated and number % 100 < mutated * 100:
            yield mutator.case(seed, number)
        else:
            yield generate(bank.schema, seed, number, bank.paths)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.generate", description="Random statements through pgveil and on a masked copy."
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--conformance", type=Path, help="directory of a conformance set, to use its bank")
    parser.add_argument("--out", type=Path, help="where to write the failures and refusals")
    parser.add_argument("--print", action="store_true", help="only print the cases")
    parser.add_argument("--no-shrink", action="store_true")
    parser.add_argument("--sqlsmith", type=int, metavar="COUNT", help="run so many statements of SQLsmith instead")
    parser.add_argument("--serve", action="store_true", help="only start the bank and print how to reach it, until Ctrl-C")
    options = parser.parse_args()
    with open_bank(options.conformance) as bank:
        if options.serve:
            print(f"through pgveil  {bank.proxy}\nmasked copy     {bank.direct}\nraw             {bank.admin}", flush=True)
            assert bank.process is not None
            try:
                bank.process.process.wait()  # type: ignore[union-attr]
            except KeyboardInterrupt:
                return 0
        mutated = 0.0 if options.conformance else 0.2
        made = cases(bank, options.seed, options.first, options.count, mutated)
        if options.sqlsmith:
            made = smith(bank, options.seed, options.sqlsmith)
        if options.print:
            for case in made:
                print(f"{case}\n")
            return 0
        report = Runner(bank, shrinking=not options.no_shrink, tell=lambda failure: print(failure, flush=True)).run(made)
    print(report.text())
    if options.out is not None:
        details = "\n".join(str(f) for f in report.failures)
        examples = "\n".join(f"-- refused: {reason}\n{case}\n" for reason, case in report.examples.items())
        options.out.write_text(f"{report.text()}\n\n{details}\n{examples}", encoding="utf-8")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
