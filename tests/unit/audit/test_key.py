"""The key file: made once, for its owner only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxy.audit.key import create_whole, load_key, load_or_create_key
from proxy.audit.record import AuditError


def test_a_missing_key_is_made_once(tmp_path: Path) -> None:
    key = load_or_create_key(tmp_path / "k")
    assert len(key) == 32
    assert (tmp_path / "k").stat().st_mode & 0o777 == 0o600
    assert load_or_create_key(tmp_path / "k") == load_key(tmp_path / "k") == key
    assert os.listdir(tmp_path) == ["k"]
    assert load_or_create_key(tmp_path / "other") != key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_key_that_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    load_or_create_key(tmp_path / "k")
    (tmp_path / "k").chmod(mode)
    with pytest.raises(AuditError, match="other users"):
        load_key(tmp_path / "k")


@pytest.mark.parametrize("text", ["", "00", "g" * 64, "0" * 63, "0" * 65, "0" * 64 + "\nx"])
def test_what_is_no_key_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "k").touch(0o600)
    (tmp_path / "k").write_text(text)
    with pytest.raises(AuditError, match="64 hexadecimal"):
        load_key(tmp_path / "k")


def test_unreadable_places_are_named(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="No such file"):
        load_key(tmp_path / "none")
    with pytest.raises(AuditError, match="cannot make"):
        load_or_create_key(tmp_path / "none" / "k")
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(AuditError, match="regular file"):
        load_key(tmp_path / "fifo")


def test_an_existing_file_is_never_replaced(tmp_path: Path) -> None:
    create_whole(tmp_path / "f", b"one")
    with pytest.raises(FileExistsError):
        create_whole(tmp_path / "f", b"two")
    assert (tmp_path / "f").read_bytes() == b"one"
