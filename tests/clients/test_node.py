"""node-postgres with pg-cursor, pg-query-stream and pg-copy-streams, from npm: `node/scenes.js`.

The packages are looked for in the directory that PGVEIL_TEST_NODE_MODULES names (.ci/run installs them there), or below `node`.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.clients.world import Pair, missing, program, run

HERE = Path(__file__).parent / "node"


def test_scenes(pair: Pair) -> None:
    node = program("node")
    modules = Path(os.environ.get("PGVEIL_TEST_NODE_MODULES") or HERE / "node_modules")
    if not (modules / "pg").is_dir():
        missing("the npm package pg (npm install --prefix tests/clients/node)")
    text = pair.compare(lambda place: run([node, HERE / "scenes.js"], place, NODE_PATH=str(modules), NODE_NO_WARNINGS="1"))
    assert "died" not in text
    assert ("139****7919" if pair.is_masked else "13900007919") in text
