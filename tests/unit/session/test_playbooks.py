"""Every playbook, whole, byte by byte and in random cuts: the transcript must not depend on how the streams are cut."""

from __future__ import annotations

from pathlib import Path

import playbook
import pytest

BOOKS = sorted((Path(__file__).parents[2] / "playbooks").glob("*.play"))


def test_there_are_playbooks() -> None:
    assert len(BOOKS) >= 20


@pytest.mark.parametrize("path", BOOKS, ids=lambda p: p.stem)
@pytest.mark.parametrize("cut", ["whole", "bytes", 1, 2, 3], ids=str)
def test_playbook(path: Path, cut: str | int) -> None:
    how = {"whole": playbook.whole, "bytes": playbook.single_bytes}
    book = playbook.load(path)
    assert book.title
    assert any(direction.startswith(">") for _, direction, _ in book.parts)
    playbook.Player(book, playbook.random_cuts(cut) if isinstance(cut, int) else how[cut]).play()
