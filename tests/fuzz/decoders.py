"""Every decoder of proxy/wire on bytes that are almost right: an answer or the module's own error, and text forms that read back.

Bodies come from the recordings and are changed; so the decoders get beyond their first length.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable

from proxy.session import auth, probe, scrub
from proxy.session.state import CLIENT_CLASSES, SERVER_CLASSES
from proxy.wire import codec, encodings, startup, tags, trace
from proxy.wire._scan import ScanError, Scanner
from tests.fuzz.mutate import Event, mutate
from tests.fuzz.recording import CLIENT, all_recordings

DECODERS: tuple[Callable[[bytes], object], ...] = (
    *(f for name, f in sorted(vars(codec).items()) if name.startswith("decode_")),
    startup.decode, startup.take, probe.read, auth.strip_channel_binding, auth.could_have_bound,
)  # fmt: skip
EXPECTED = (codec.CodecError, startup.StartupError)
ANSWER = json.dumps(
    {"path": ["a"], "setting": "a", "temp": {"t": "1"}, "temp_schema": "pg_temp_3", "encoding": "UTF8", "strings": "on"}
)
CODECS = ("utf-8", "gbk", "gb18030", "big5", "latin-1", "ascii", None)


def _packets() -> list[bytes]:
    opening = [data for r in all_recordings() for _, data in r.opening]
    opening += [startup.encode(startup.CancelRequest(7, b"\1\2\3\4")), startup.encode(startup.SSLRequest())]
    probed = codec.encode_data_row([ANSWER.encode().hex().encode()])
    return [*opening, probed]


def run(seed: str) -> str | None:
    """One round; what went wrong, or None."""
    rng = random.Random(seed)
    recording = rng.choice(all_recordings())
    pool = [Event(side, data) for side, data in recording.messages] + [Event(CLIENT, p) for p in _packets()]
    for event in mutate([rng.choice(pool)], rng, pool, rng.choice((1, 2, 4))):
        data = event.data
        if not data:
            continue
        for body in (data, data[5:]):
            for decode in DECODERS:
                try:
                    decode(body)
                except EXPECTED:
                    pass
                except Exception as error:
                    return f"{getattr(decode, '__name__', decode)} of {body!r}: {type(error).__name__}: {error}"
        from_client = event.kind == CLIENT
        message = data[:1] + (len(data[5:]) + 4).to_bytes(4, "big") + data[5:]
        for problem in (_scanned(data, rng), _text_form(message, from_client), _cleaned(message), _decoded(data[5:], rng)):
            if problem is not None:
                return problem
    return None


def _text_form(message: bytes, from_client: bool) -> str | None:
    shown = trace.show(message, from_client)
    try:
        again = trace.read(shown, from_client)
    except Exception as error:
        return f"{shown!r} does not read back: {type(error).__name__}: {error}"
    return None if again == message else f"{shown!r} reads back as {again!r}, was {message!r}"


def _scanned(data: bytes, rng: random.Random) -> str | None:
    for classes in (CLIENT_CLASSES, SERVER_CLASSES):
        scan = Scanner(classes, {tags.QUERY: 100}, 1000)
        try:
            for piece in (data[: (at := rng.randrange(len(data) + 1))], data[at:]):
                scan.feed(piece)
                while scan.next():
                    if not scan.start <= scan.body <= scan.end <= len(scan.buf):
                        return f"the scanner is lost in {data!r}"
                scan.release()
                if scan.held > 5000:
                    return f"the scanner holds {scan.held} bytes of {data!r}"
        except ScanError:
            continue
        except Exception as error:
            return f"the scanner fails on {data!r}: {type(error).__name__}: {error}"
    return None


def _cleaned(message: bytes) -> str | None:
    try:
        fields = codec.decode_fields(message[5:])
    except codec.CodecError:
        return None
    try:
        for clean in (scrub.clean_error, scrub.clean_notice):
            codec.encode_error(clean(fields, None))
    except Exception as error:
        return f"cleaning of {message!r}: {type(error).__name__}: {error}"
    return None


def _decoded(body: bytes, rng: random.Random) -> str | None:
    name = rng.choice(CODECS)
    try:
        text = encodings.decode(body, name)
        if text is not None and encodings.encode(text, name) != body:
            return f"{body!r} is not what it was after {name}"
    except Exception as error:
        return f"{name} of {body!r}: {type(error).__name__}: {error}"
    return None
