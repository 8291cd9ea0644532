"""Where secrets of keyed masks come from, and that complaints about them repeat nothing of them."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from policies.keys import Key, KeyRef, NoKey
from proxy.companion.secrets import read_keys, write_new
from proxy.errors import ConfigError

SECRET = bytes(range(32))
OTHER = bytes(range(1, 33))


def read(tmp_path: Path, text: str, **environment: str) -> dict[str, dict[int, Key]]:
    path = tmp_path / "keys.yaml"
    path.write_text(text, encoding="utf-8")
    return read_keys(path, environment).versions()


def test_all_sources(tmp_path: Path) -> None:
    write_new(tmp_path / "new.key")
    text = """\
keys:
  default: { file: new.key }
  customers:
    1: { env: FIRST }
    3: { command: [sh, -c, "cat other"] }
"""
    (tmp_path / "other").write_text(base64.b64encode(OTHER).decode() + "\n")
    found = read(tmp_path, text, FIRST=SECRET.hex())
    assert sorted(found) == ["customers", "default"]
    assert found["customers"] == {1: Key.of(SECRET), 3: Key.of(OTHER)}
    assert "1f" not in repr(found)


def test_the_newest_unless_named(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text("keys: { k: { 1: { env: A }, 2: { env: B } } }")
    ring = read_keys(path, {"A": SECRET.hex(), "B": OTHER.hex()})
    assert ring.get(KeyRef("k")) == Key.of(OTHER)
    assert ring.get(KeyRef("k", 1)) == Key.of(SECRET)
    for missing in (KeyRef("k", 3), KeyRef("x")):
        with pytest.raises(NoKey):
            ring.get(missing)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{ file: none.key }", "the file cannot be read"),
        ("{ file: open.key }", "can be read or written by others"),
        ("{ env: NOT_SET }", "the environment variable NOT_SET is not set"),
        ("{ env: SHORT }", "what is there is no secret"),
        ("{ env: ODD }", "what is there is no secret"),
        ("{ command: [sh, -c, 'echo hush; exit 3'] }", "the command ended with status 3"),
        ("{ command: /does/not/exist }", "the command cannot be run"),
        ("{ file: a, env: B }", "found 2 sources"),
        ("{ 0: { env: GOOD } }", "found the version '0'"),
        ("{}", "found no version"),
        ("{ vault: x }", "found the version 'vault'"),
    ],
)
def test_refused(tmp_path: Path, source: str, message: str) -> None:
    opened = tmp_path / "open.key"
    opened.write_text(SECRET.hex())
    opened.chmod(0o644)
    environment = {"SHORT": "00ff", "ODD": "hush" * 11, "GOOD": SECRET.hex()}
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, f"keys: {{ k: {source} }}", **environment)
    assert message in str(caught.value)
    assert "hush" not in str(caught.value)
    assert "00ff" not in str(caught.value)
