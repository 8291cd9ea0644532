"""Whose evidence is not in the trail yet is asked about again before more data flows."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from proxy.transport import Link


class Keeper:
    def __init__(self) -> None:
        self.asked = 0

    def on_evidence(self, link: Link) -> None:
        self.asked += 1


@pytest.mark.parametrize("holds", [False, True])
def test_evidence_that_is_held_back_stays_wanted(holds: bool) -> None:
    session = SimpleNamespace(
        to_client=[b"data"], to_server=[], evidence=True, whole=True, held=False, close=False, wants_catalog=False, ddl=False,
        wants_plan=None, wants_cancel=False, wants_answer=None,
    )  # fmt: skip
    keeper, released = Keeper(), []
    audit = SimpleNamespace(holds=holds, latest=0, release=lambda: released.append(1))
    link = Link(session, keeper, audit)  # type: ignore[arg-type]
    link.pump()
    assert keeper.asked == 1
    link.release()
    assert released == [1]
    link.deliver()
    assert session.to_client == []
    session.to_client.append(b"more")
    link.pump()
    assert keeper.asked == (2 if holds else 1)


@pytest.mark.parametrize("latest", [7, 8])
def test_what_was_decided_while_the_evidence_was_on_its_way_is_asked_about(latest: int) -> None:
    session = SimpleNamespace(to_client=[b"data"], evidence=True, whole=True, close=False)
    link = Link(session, Keeper(), SimpleNamespace(holds=False, latest=latest))  # type: ignore[arg-type]
    link.needs = 7
    link.deliver()
    assert session.evidence is (latest == 8)


@pytest.mark.parametrize("side", ["client", "server"])
def test_a_side_that_is_lost_in_trouble_takes_the_other_with_it(side: str) -> None:
    def trouble() -> None:
        raise RuntimeError

    session = SimpleNamespace(client_eof=trouble, server_eof=trouble, leaving=False, client_gone=False)
    closed, aborted = [], []
    keeper = SimpleNamespace(on_closed=closed.append)
    link = Link(session, keeper, SimpleNamespace())  # type: ignore[arg-type]
    sides = {"client": link.client, "server": link.server}
    for one in sides.values():
        one.connection_made(
            SimpleNamespace(set_write_buffer_limits=lambda *_: None, abort=lambda: aborted.append(1))  # type: ignore[arg-type]
        )
    with pytest.raises(RuntimeError):
        sides.pop(side).connection_lost(None)
    assert aborted
    assert not closed
    sides.popitem()[1].connection_lost(None)
    assert closed == [link]
