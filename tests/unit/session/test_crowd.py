"""Many statements under way at once: an answer costs the same for each."""

from __future__ import annotations

import playbook
import scripted

from proxy.wire import codec, tags

PARSE = codec.encode_parse(codec.Parse(b"", b"select 1"))
DONE = codec.message(tags.PARSE_COMPLETE)


def test_many_statements_of_one_name_under_two_stamps() -> None:
    session, authority, _ = scripted.make_session()
    session.server_data(playbook.LOGIN)
    session.client_data(PARSE * 4_000)
    authority.change(profile="lax")
    session.client_data(PARSE * 4_000)
    slot = session.statements.find(b"")
    assert slot is not None
    assert slot.stamp != session.stamp
    session.server_data(DONE * 4_000)
    assert slot.stamp != session.stamp
    session.server_data(DONE * 3_999)
    assert len(slot.candidates()) == 2
    assert slot.stamp == session.stamp
    session.server_data(DONE)
    assert slot.confirmed is slot.latest
