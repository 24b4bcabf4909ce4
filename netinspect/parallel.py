"""Do the same for many things at once, in threads that never keep the program from ending."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar, cast

T = TypeVar("T")
R = TypeVar("R")
_WAIT = 0.2


def each(items: Sequence[T], work: Callable[[T], R], workers: int) -> Iterator[tuple[T, R]]:
    """Give each item with its result, as they come; raise the first error."""
    todo: queue.SimpleQueue[T] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[T, R | None, BaseException | None]] = queue.SimpleQueue()
    for item in items:
        todo.put(item)

    def run() -> None:
        while True:
            try:
                item = todo.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((item, work(item), None))
            except BaseException as error:
                done.put((item, None, error))

    for _ in range(min(workers, len(items))):
        threading.Thread(target=run, daemon=True).start()
    left = len(items)
    while left:
        try:
            # With a time-out, because on Windows Ctrl-C does not end a wait without one.
            item, result, error = done.get(timeout=_WAIT)
        except queue.Empty:
            continue
        left -= 1
        if error is not None:
            raise error
        yield item, cast("R", result)
