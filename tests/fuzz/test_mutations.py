"""Fixed rounds of the mutation fuzzers, and what they once found. `python -m tests.fuzz` goes on from there."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.tls import ClientTls, client_context
from tests.fuzz import decoders, files, greetings, sessions
from tests.fuzz.recording import Recording, all_recordings, parse
from tests.support.certificates import Authority

CORPUS = Path(__file__).parent / "corpus"


def test_recordings_read_back() -> None:
    assert len(all_recordings()) >= 10
    for recording in all_recordings():
        assert parse(recording.dump()) == recording


@pytest.mark.parametrize("recording", all_recordings(), ids=lambda r: r.title)
def test_recordings_as_they_are(recording: Recording) -> None:
    """What real clients and servers say is taken in a clear session without a complaint, in any chunks."""
    if not recording.messages:
        return
    events = [sessions.Event(side, data) for side, data in recording.messages]
    outcome = sessions.play(events, "clear")
    assert outcome.broken is None
    assert "event protocol_error" not in outcome.evidence
    from_client, from_server = (b"".join(d for side, d in recording.messages if side == s) for s in "CS")
    assert outcome.to_server.startswith(from_client)
    assert outcome.to_client.startswith(from_server)
    assert sessions.check(events, "clear", 17) is None


@pytest.mark.parametrize("part", range(8))
def test_mutated_conversations(part: int) -> None:
    for i in range(150):
        found = sessions.run(f"fixed/{part}/{i}")
        assert found is None, f"{found[1]}\n{found[0].dump(found[1])}"


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.case")), ids=lambda p: p.stem)
def test_found_before(path: Path) -> None:
    case = sessions.load(path.read_text("utf-8"))
    assert sessions.check(case.events, case.profile, case.cut) is None


def test_a_broken_property_is_seen() -> None:
    """The harness itself: a record without an outcome, a description that should not have been relayed."""
    stage = sessions.Stage("masked")
    stage.audit.open.add(99)
    with pytest.raises(sessions.Broken):
        stage.finish()
    assert sessions.shown_raw(sessions.codec.encode_row_description([sessions.MASKED_FIELD])) is not None


def test_decoders() -> None:
    assert [found for i in range(120) if (found := decoders.run(f"fixed/{i}"))] == []


def test_configurations(tmp_path: Path) -> None:
    assert [found for i in range(150) if (found := files.run_config(f"fixed/{i}", tmp_path))] == []


def test_policies(tmp_path: Path) -> None:
    assert [found for i in range(80) if (found := files.run_policy(f"fixed/{i}", tmp_path))] == []


def test_audit_trails(tmp_path: Path) -> None:
    original = tmp_path / "original"
    files.make_trail(original)
    rounds = [*range(120), 542]
    assert [found for i in rounds if (found := files.run_audit(f"a/{i}", tmp_path, original))] == []


def test_greetings(tmp_path: Path) -> None:
    context = client_context(ClientTls(*Authority(tmp_path).issue("localhost")))
    assert [found for i in range(200) if (found := greetings.run(f"fixed/{i}", context))] == []
