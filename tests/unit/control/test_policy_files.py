"""When the policy files are due for loading."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from proxy.control.policy import PolicyFiles


def read(paths: Sequence[Path]) -> str:
    text = "".join(p.read_text() for p in paths)
    if "bad" in text:
        raise ValueError("bad policy")
    return text


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text("one")
    return path


@pytest.fixture
def files(path: Path) -> PolicyFiles[str]:
    files = PolicyFiles([path], read)
    assert files.load() == "one"
    return files


def test_nothing_to_do_while_nothing_changes(files: PolicyFiles[str]) -> None:
    assert [files.is_due(), files.is_due()] == [False, False]


def test_a_change_is_due_once_it_holds_still(files: PolicyFiles[str], path: Path) -> None:
    path.write_text("two, half wr")
    assert not files.is_due()
    path.write_text("two, half written no more")
    assert not files.is_due()
    assert files.is_due()
    assert files.load() == "two, half written no more"
    assert not files.is_due()


def test_a_touched_file_is_not_a_change(files: PolicyFiles[str], path: Path) -> None:
    path.with_name("new").write_text("one")
    path.with_name("new").replace(path)
    assert [files.is_due(), files.is_due(), files.is_due()] == [False, False, False]


def test_a_bad_file_is_looked_at_once(files: PolicyFiles[str], path: Path) -> None:
    path.write_text("bad!")
    assert [files.is_due(), files.is_due()] == [False, True]
    with pytest.raises(ValueError, match="bad policy"):
        files.load()
    assert [files.is_due(), files.is_due()] == [False, False]
    path.write_text("good again")
    assert [files.is_due(), files.is_due()] == [False, True]


def test_a_missing_file_is_due_too(files: PolicyFiles[str], path: Path) -> None:
    path.unlink()
    assert [files.is_due(), files.is_due()] == [False, True]
    with pytest.raises(OSError, match="No such file"):
        files.load()
