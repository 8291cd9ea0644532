"""pgjdbc, from Debian's libpostgresql-jdbc-java: `java/Scenes.java`, compiled and run once for all places."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.world import KINDS, Pair, Place, World, missing, program

JARS = Path("/usr/share/java")
NAMES = ("postgresql.jar", "scram-client.jar", "scram-common.jar", "stringprep.jar", "saslprep.jar")
SOURCE = Path(__file__).parent / "java" / "Scenes.java"


@pytest.fixture(scope="module")
def transcripts(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[Place, str]:
    if not (JARS / NAMES[0]).exists():
        missing("libpostgresql-jdbc-java")
    if shutil.which("javac") is None:
        missing("javac (default-jdk-headless)")
    home = tmp_path_factory.mktemp("jdbc")
    path = ":".join(str(JARS / name) for name in NAMES if (JARS / name).exists())
    command = [program("javac"), "-encoding", "UTF-8", "-nowarn", "-d", home, "-cp", path, SOURCE]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    places = {f"{kind} {side}": getattr(world.pair(kind), side) for kind in KINDS for side in ("direct", "proxied")}
    command = [program("java"), "-XX:TieredStopAtLevel=1", "-cp", f"{path}:{home}", "Scenes", home, world.authority]
    for name, place in places.items():
        command += [name, str(place.port), place.user, place.password]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return {place: (home / name).read_text("utf-8") for name, place in places.items()}


def test_scenes(transcripts: dict[Place, str], pair: Pair) -> None:
    def without_tls(place: Place) -> str:
        """The server itself has none here."""
        return transcripts[place].replace("no TLS\n", "phone text 2147483647,0 | \n" + masked + " | \n1 rows\n")

    masked = "139****7919" if pair.is_masked else "13900007919"
    text = pair.compare(without_tls)
    assert "died of" not in text
    assert masked in text
