"""The two clusters and the proxy of all client tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.world import KINDS, Pair, World


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World.started(tmp_path_factory.mktemp("clients")) as world:
        yield world


@pytest.fixture(params=KINDS)
def pair(world: World, request: pytest.FixtureRequest) -> Pair:
    return world.pair(request.param)
