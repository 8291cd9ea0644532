"""The door (proxy/greeting.py) and what stands behind it (proxy/arrival.py), over socket pairs, with start-ups that were changed.

Whatever a client says before its session begins, and however it cuts it: a greeting, one of the documented errors, or the
connection is gone. The server is told nothing that the client has not said.
"""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from contextlib import closing

from proxy.arrival import read_arrival
from proxy.errors import PgveilError
from proxy.greeting import Door, Visitor
from proxy.tls import ClientMode
from proxy.wire import startup
from tests.fuzz.recording import CLIENT, all_recordings

PATIENCE = 5.0
_HELLO = bytes.fromhex("16030100a5010000a10303") + bytes(range(158))
"""The beginning of a TLS handshake, and then nonsense."""


def openings() -> list[bytes]:
    out = [data for r in all_recordings() for side, data in r.opening if side == CLIENT]
    pairs = ((b"user", b"a"), (b"database", b"b"), (b"options", b"-c x=y"), (b"_pq_.long", b"1"))
    out += [
        startup.encode(startup.SSLRequest()), startup.encode(startup.GSSENCRequest()),
        startup.encode(startup.CancelRequest(7, b"\1\2\3\4")), startup.encode(startup.CancelRequest(7, bytes(range(32)))),
        startup.encode(startup.StartupMessage(3, 2, pairs)), startup.encode(startup.StartupMessage(2, 0, pairs)), _HELLO,
    ]  # fmt: skip
    return out


def stream(rng: random.Random) -> bytes:
    parts = [bytearray(rng.choice(openings())) for _ in range(rng.choice((1, 2, 2, 3)))]
    for part in parts:
        for _ in range(rng.choice((0, 0, 1, 3))):
            roll = rng.randrange(5)
            at = rng.randrange(len(part) + 1)
            if roll == 0 and part:
                part[rng.randrange(len(part))] ^= 1 << rng.randrange(8)
            elif roll == 1:
                part[:4] = rng.choice((0, 4, 7, 8, 9, 10_000, 10_001, 0x7FFFFFFF, 0xFFFFFFFF)).to_bytes(4, "big")
            elif roll == 2:
                del part[at:]
            elif roll == 3:
                part[at:at] = rng.choice((b"\0", b"\0\0", b"user\0", b"x" * 9000, rng.randbytes(9)))
            else:
                part[4:8] = rng.choice((80877102, 80877103, 80877104, 0x30000, 0x30002, 0x30001, 0)).to_bytes(4, "big")
    return b"".join(parts)


async def _visit(door: Door, said: bytes, rng: random.Random) -> str | None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    known: list[Visitor] = []
    loop = asyncio.get_running_loop()

    async def talk() -> None:
        at = 0
        try:
            while at < len(said):
                end = at + rng.choice((1, 3, 4, 8, 50, 20_000))
                await loop.sock_sendall(theirs, said[at:end])
                at = end
                await asyncio.sleep(0)
            theirs.shutdown(socket.SHUT_WR)
        except OSError:
            return

    with closing(ours), closing(theirs):
        talking = asyncio.ensure_future(talk())
        try:
            async with asyncio.timeout(PATIENCE):
                greeting = await door.receive(ours, known.append)
            if len(greeting.packet) > startup.MAX_PACKET:
                return "a packet that is too long"
            if not greeting.is_cancel:
                arrival = read_arrival(
                    greeting.packet, ("127.0.0.1", 1), tls=False, server_database=lambda name: name, common_database="common"
                )
                asked = startup.decode(greeting.packet)
                told = startup.decode(arrival.packet)
                assert isinstance(asked, startup.StartupMessage)
                assert isinstance(told, startup.StartupMessage)
                if [pair for pair in told.raw if pair not in asked.raw]:
                    return "the server is told what the client has not said"
                if arrival.identity.user.encode("utf-8", "surrogateescape") not in greeting.packet:
                    return "a user that nobody named"
        except TimeoutError:
            return "it waits for a client that has gone"
        except (PgveilError, OSError):
            return None
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        finally:
            talking.cancel()
            await asyncio.wait([talking])
            if known:
                known[-1].close()
            await asyncio.sleep(0)
    return None


def run(seed: str, context: ssl.SSLContext | None) -> str | None:
    """One client; what went wrong, or None."""
    rng = random.Random(seed)
    said = stream(rng)
    mode = rng.choice((ClientMode.ALLOW, ClientMode.REQUIRE))
    unexpected: list[str] = []

    async def scene() -> str | None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, told: unexpected.append(str(told.get("exception") or told["message"])))
        return await _visit(Door(context if rng.random() < 0.7 else None, mode), said, rng)

    found = asyncio.run(scene())
    unexpected = [u for u in unexpected if "SSL" not in u and "Connection" not in u and "transport" not in u.lower()]
    if found is None and unexpected:
        found = f"the loop complains: {unexpected[0]}"
    return None if found is None else f"{found}\n{said!r}"
