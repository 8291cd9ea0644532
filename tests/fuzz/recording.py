"""A recorded conversation: what client and server really said to each other, message by message, and its text form.

    # title: psql
    C! "\\x00\\x00\\x00…"            a packet without a tag: SSLRequest, StartupMessage, CancelRequest
    S! "N"                          its answer
    C> Query "select 1"             from the client, as `proxy.wire.trace` writes it
    S> ReadyForQuery I              from the server

Long results are shortened: what matters is the order of messages, not the thousandth row.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from proxy.wire import tags, trace

DIRECTORY = Path(__file__).parent / "recordings"
CLIENT = "C"
SERVER = "S"
_ROWS_KEPT = 3
_LONG = 2000


@dataclass(frozen=True, slots=True)
class Recording:
    title: str
    opening: tuple[tuple[str, bytes], ...]
    """Side and bytes, before the server has sent its first message."""
    messages: tuple[tuple[str, bytes], ...]
    """Side and message, in the order in which a relay between them saw them."""

    def dump(self) -> str:
        lines = [f"# title: {self.title}"]
        lines += [f"{side}! {trace.quote(data)}" for side, data in self.opening]
        lines += [f"{side}> {trace.show(data, side == CLIENT)}" for side, data in self.messages]
        return "\n".join(lines) + "\n"

    def shortened(self) -> Recording:
        out: list[tuple[str, bytes]] = []
        run = 0
        for side, data in self.messages:
            is_row = side == SERVER and data[0] in (tags.DATA_ROW, tags.COPY_DATA)
            run = run + 1 if is_row else 0
            if run <= _ROWS_KEPT and not (is_row and len(data) > _LONG):
                out.append((side, data))
        return Recording(self.title, self.opening, tuple(out))


def parse(text: str) -> Recording:
    title = ""
    opening: list[tuple[str, bytes]] = []
    messages: list[tuple[str, bytes]] = []
    for line in text.splitlines():
        if line.startswith("# title:"):
            title = line.partition(":")[2].strip()
        elif line[1:3] == "! ":
            opening.append((line[0], trace.read("CopyData " + line[3:], True)[5:]))
        elif line[1:3] == "> ":
            messages.append((line[0], trace.read(line[3:], line[0] == CLIENT)))
    return Recording(title, tuple(opening), tuple(messages))


@cache
def all_recordings() -> tuple[Recording, ...]:
    return tuple(parse(path.read_text("utf-8")) for path in sorted(DIRECTORY.glob("*.rec")))
