"""PostgreSQL's own programs: pgbench in every mode, pg_dump and pg_restore in every format, and the small ones around them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.clients.world import DATABASE, Pair, Place, World, program, run

PEOPLE = "SELECT id, name, phone, balance, mood, home, tags, extra FROM shop.people ORDER BY id"
MODES = [
    *[["-M", mode, *more] for mode in ("simple", "extended", "prepared") for more in ([], ["-S"], ["-N"])],
    ["-S", "-C"], ["-M", "prepared", "-b", "tpcb-like@1", "-b", "select-only@3", "-c", "4", "-j", "2"],
]  # fmt: skip
SCRIPTS = {
    "pipelines": r"""
\set id random(1, 40)
\startpipeline
SELECT phone FROM shop.people WHERE id = :id;
BEGIN;
INSERT INTO play.log VALUES (:id, 'x');
SELECT count(*) FROM play.log WHERE id = :id;
END;
\endpipeline
""",
    "variables": r"""
\set id random(8, 40)
SELECT id AS got, length(phone) AS long FROM shop.people WHERE id = :id \gset
SELECT :got, phone FROM shop.people WHERE id = :got AND length(phone) = :long;
SELECT max(id) AS top FROM shop.people \aset
\if :got <= :top
INSERT INTO play.log VALUES (:got, 'fine');
\endif
""",
}


def pgbench(world: World, place: Place, *options: str) -> str:
    text = run([program("pgbench", world.raw), "-n", "-t", "20", *options], place, PGOPTIONS="-c search_path=play")
    kept = re.findall(
        r"(?m)^(?:query mode|number of (?:clients|threads|transactions actually|failed).*|.*rror.*|exit status.*)$", text
    )
    return "\n".join(kept)


def test_pgbench(world: World, pair: Pair) -> None:
    def play(place: Place) -> str:
        made = run([program("pgbench", world.raw), "-i", "-q"], place, PGOPTIONS="-c search_path=play")
        return "\n".join([made if "error:" in made else "", *(pgbench(world, place, *mode) for mode in MODES)])

    try:
        text = pair.compare(play)
    finally:
        psql = program("psql", world.raw)
        for place in (pair.direct, pair.proxied):
            drop = "DROP TABLE IF EXISTS play.pgbench_accounts, play.pgbench_branches, play.pgbench_history, play.pgbench_tellers"
            run([psql, "-X", "-q"], place, drop)
    assert "rror" not in text


@pytest.mark.parametrize("title", SCRIPTS)
def test_pgbench_scripts(world: World, pair: Pair, title: str, tmp_path: Path) -> None:
    script = tmp_path / "script.sql"
    script.write_text(SCRIPTS[title])
    psql = program("psql", world.raw)
    modes = ("extended", "prepared") if "pipeline" in SCRIPTS[title] else ("simple", "extended", "prepared")

    def play(place: Place) -> list[str]:
        run([psql, "-X", "-q"], place, "CREATE TABLE play.log (id int, text text)")
        out = [pgbench(world, place, "-f", str(script), "-M", mode, "-c", "2") for mode in modes]
        out.append(run([psql, "-XAt"], place, "SELECT count(*) FROM play.log; DROP TABLE play.log"))
        return out

    assert "rror" not in str(pair.compare(play))


def dump(world: World, place: Place, *options: str) -> str:
    text = run([program("pg_dump", world.raw), "-n", "shop", "-T", "shop.secrets", *options], place)
    return re.sub(r"(?m)^\\(un)?restrict .*$|^-- Dumped .*$", "", text)


@pytest.mark.parametrize(
    "options", ["", "--inserts --rows-per-insert=7", "--column-inserts", "--data-only", "--schema-only", "-t *.people"]
)
def test_pg_dump(world: World, pair: Pair, options: str) -> None:
    """A masked dump is that of the masked copy, to the byte."""
    text = pair.compare(lambda place: dump(world, place, "--no-owner", *options.split()))
    if options != "--schema-only":
        assert ("139****7919" if pair.is_masked else "13900007919") in text
        assert not pair.is_masked or "13900007919" not in text


@pytest.mark.parametrize("form", ["custom", "directory", "tar"])
def test_pg_restore(world: World, pair: Pair, form: str, tmp_path: Path) -> None:
    """Dumped through pgveil (in parallel where that is possible), restored through a clear session: the data is the same."""
    archive = tmp_path / "archive"
    parallel = ["-j", "2"] if form == "directory" else []
    made = dump(world, pair.proxied, "-F", form, "-f", str(archive), *parallel)
    assert made == ""
    psql, target = program("psql", world.raw), f"restored_{pair.kind}_{form}"
    world.raw.execute_sql("postgres", f"CREATE DATABASE {target} TEMPLATE template0 OWNER shop_clear")
    try:
        clear = Place(world.proxy.port, "shop_clear")
        parallel = ["-j", "2"] if form != "tar" else []
        done = run([program("pg_restore", world.raw), "--no-owner", "-d", target, *parallel, str(archive)], clear)
        assert done == ""
        there = run([psql, "-XAt", "-d", target], Place(world.raw.port, "postgres"), PEOPLE)
        assert there == run([psql, "-XAt"], pair.direct, PEOPLE)
    finally:
        world.raw.execute_sql("postgres", f"DROP DATABASE {target} WITH (FORCE)")


def test_small_programs(world: World, pair: Pair) -> None:
    psql = program("psql", world.raw)
    assert "accepting connections" in pair.compare(
        lambda place: re.sub(r":\d+", ":N", run([program("pg_isready", world.raw)], place))
    )
    run([psql, "-X", "-q"], pair.proxied, "CREATE TABLE play.small (a int)")
    try:
        for name in ("vacuumdb", "reindexdb"):
            assert "error" not in run([program(name, world.raw), "-t", "play.small", DATABASE], pair.proxied)
    finally:
        run([psql, "-X", "-q"], pair.proxied, "DROP TABLE play.small")
