"""Files that a person or a broken disk has changed: configuration, policies, audit segments.

The loaders say what is wrong and where, or load; the verifier names the first bad record. Nothing else may come out of them.
"""

from __future__ import annotations

import random
import re
import shutil
from pathlib import Path

from policies import DocumentError, load_policy
from proxy.audit.record import AuditError, Kind
from proxy.audit.verify import verify_directory
from proxy.audit.writer import AuditWriter, Io, Mode
from proxy.config import load_config
from proxy.errors import ConfigError

ROOT = Path(__file__).parents[2]
CONFIGS = ("compose/pgveil.yaml", "proxy/demo/pgveil.yaml", "tests/conformance/pgveil.yaml")
POLICIES = ("compose/policy.yaml", "proxy/demo/policy.yaml", "tests/conformance/policy.yaml", "policies/examples/bank.yaml")
KEY = bytes(range(32))
_PLACE = re.compile(r"\S+:\d+")
_TOKENS = (
    ":", ": ", "- ", "[", "]", "{", "}", "'", '"', "#", "&a ", "*a", "!!python/object:x ", "|", ">",
    "\n", "\t", "\0", "\ufeff", "null",
    "~", "1e999", "-1", "9999999999999999999999", ".inf", ".nan", "0x1f", "yes", "<<: ", "%", "@", "`", "\u2028",
    "😀", "2001-01-01",
)  # fmt: skip


def _changed(text: str, rng: random.Random) -> bytes:
    """The text with a few lines, words or characters exchanged."""
    lines = text.splitlines(keepends=True)
    for _ in range(rng.choice((1, 1, 2, 4))):
        i = rng.randrange(len(lines))
        line = lines[i]
        roll = rng.randrange(8)
        at = rng.randrange(len(line) + 1)
        if roll == 0:
            del lines[i]
            lines = lines or ["\n"]
        elif roll == 1:
            lines.insert(rng.randrange(len(lines) + 1), line)
        elif roll == 2:
            lines[i] = line[:at] + rng.choice(_TOKENS) + line[at:]
        elif roll == 3:
            lines[i] = line[:at] + line[at + rng.choice((1, 2, 5)) :]
        elif roll == 4:
            words = re.split(r"(\W+)", line)
            words[rng.randrange(len(words))] = rng.choice((*_TOKENS, *re.findall(r"\w+", text)))
            lines[i] = "".join(words)
        elif roll == 5:
            lines[i] = " " * rng.randrange(6) + line
        elif roll == 6:
            lines[i] = line[:at] + rng.choice(("[" * 300, "{a: " * 300, "x" * 5000)) + line[at:]
        else:
            other = rng.randrange(len(lines))
            lines[i], lines[other] = lines[other], lines[i]
    data = bytearray("".join(lines).encode("utf-8", "surrogatepass"))
    if rng.random() < 0.1 and data:
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def run_config(seed: str, home: Path) -> str | None:
    rng = random.Random(seed)
    path = home / "pgveil.yaml"
    path.write_bytes(_changed((ROOT / rng.choice(CONFIGS)).read_text("utf-8"), rng))
    try:
        load_config(path, {})
    except ConfigError as error:
        return None if _PLACE.search(error.message) else f"no file and line in {error.message!r}\n{path.read_bytes()!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error}\n{path.read_bytes()!r}"
    return None


def run_policy(seed: str, home: Path) -> str | None:
    rng = random.Random(seed)
    path = home / "policy.yaml"
    path.write_bytes(_changed((ROOT / rng.choice(POLICIES)).read_text("utf-8"), rng))
    try:
        load_policy([path])
    except DocumentError as error:
        return None if _PLACE.search(str(error)) else f"no file and line in {error}\n{path.read_bytes()!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error}\n{path.read_bytes()!r}"
    return None


def make_trail(directory: Path) -> None:
    """Three segments: one rotated, one of a killed writer, one stopped cleanly."""
    directory.mkdir()
    now = iter(range(1_800_000_000, 1_900_000_000))

    def clock() -> float:
        return float(next(now))

    for stopped in (False, True):
        writer = AuditWriter(directory, "w1", KEY, Mode.BEFORE_RESULT, clock, io=Io(sync=lambda fd: None))
        for i in range(6):
            writer.append(Kind.EVENT, {"event": "seen", "detail": {"n": i}})
        writer.flush()
        if stopped:
            writer.close("test")
        else:
            writer._release()


def run_audit(seed: str, home: Path, original: Path) -> str | None:
    """A damaged trail: verified without an exception, and a writer that starts on it starts or says why not."""
    rng = random.Random(seed)
    directory = home / "audit"
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(original, directory)
    files = sorted(p for p in directory.iterdir() if p.is_file() and p.suffix != ".lock")
    before = {p.name: p.read_bytes() for p in files}
    for _ in range(rng.choice((1, 1, 3))):
        _damage(rng.choice(files), rng, before)
    changed = {p.name: p.read_bytes() for p in directory.iterdir() if p.is_file() and p.name in before} != before
    try:
        report = verify_directory(directory, KEY, ["w1"])
        if (
            changed
            and report.ok
            and any(w.records < 14 for w in report.workers)
            and not any(w.torn_bytes for w in report.workers)
        ):
            return f"verified, with fewer records: {report}"
    except Exception as error:
        return f"verify: {type(error).__name__}: {error}"
    try:
        writer = AuditWriter(directory, "w1", KEY, Mode.BEFORE_RESULT, io=Io(sync=lambda fd: None))
        writer.append(Kind.EVENT, {"event": "again", "detail": {}})
        writer.flush()
        writer.close("test")
        verify_directory(directory, KEY, ["w1"])
    except AuditError:
        pass
    except Exception as error:
        return f"writer: {type(error).__name__}: {error}"
    return None


def _damage(path: Path, rng: random.Random, originals: dict[str, bytes]) -> None:
    data = bytearray(path.read_bytes()) if path.exists() else bytearray()
    roll = rng.randrange(7)
    at = rng.randrange(len(data) + 1)
    if roll == 0 and data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif roll == 1:
        del data[at:]
    elif roll == 2:
        data += rng.choice((b"\0" * 100, b"x", b"{}\n", b'{"seq": 1}\n', b"[" * 3000 + b"\n", rng.randbytes(50)))
    elif roll == 3:
        del data[at : at + rng.choice((1, 10, 400))]
    elif roll == 4:
        lines = bytes(data).split(b"\n")
        rng.shuffle(lines)
        data = bytearray(b"\n".join(lines))
    elif roll == 5:
        data = bytearray(originals[rng.choice(sorted(originals))])
    else:
        path.unlink(missing_ok=True)
        return
    path.write_bytes(data)
