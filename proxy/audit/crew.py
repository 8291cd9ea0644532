"""Checks the pieces of segments in several processes, in order and with few under way at a time.

Contract: results come in the order of the tasks, each segment's together; memory is bounded by WINDOW pieces in each process.
Small trails are checked in this process: starting others takes longer.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from proxy.audit.pieces import BROKEN, Piece, Task, check_piece

WINDOW = 4
"""Pieces under way for each process."""


def check_all(tasks: Iterable[tuple[Task, ...]], processes: int) -> Iterator[Callable[[], list[Piece]]]:
    """For each segment's tasks, in order, a call that answers what was found. Calls may be left out."""
    if processes <= 1:
        for group in tasks:
            yield lambda group=group: [check_piece(task) for task in group]  # type: ignore[misc]
        return
    # A process that has threads must not be forked; one that has none is forked, which takes no time.
    method = "fork" if threading.active_count() == 1 and "fork" in multiprocessing.get_all_start_methods() else "spawn"
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context(method)) as pool:
        queue: deque[list[Future[Piece]]] = deque()
        under_way = 0
        try:
            for group in tasks:
                while len(queue) > 1 and under_way + len(group) > WINDOW * processes:
                    under_way -= len(queue[0])
                    yield _answer(queue.popleft())
                queue.append([pool.submit(check_piece, task) for task in group])
                under_way += len(group)
            while queue:
                yield _answer(queue.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _answer(futures: list[Future[Piece]]) -> Callable[[], list[Piece]]:
    def answer() -> list[Piece]:
        try:
            return [future.result() for future in futures]
        except BrokenProcessPool:  # one of them was killed: the walk does it again, alone
            return [BROKEN]

    return answer
