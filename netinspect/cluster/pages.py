"""The pages of one list, of which the next is asked for before the last has arrived.

The API server writes the token that asks for the next page before the items of this one (ListMeta stands before Items
in every list type). So the next request can leave as soon as a page begins: the server encodes one page while another
is on its way, and a distant server costs its round trip once, not once a page.
"""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Callable

Get = Callable[[str, Callable[[bytes], None]], bytes]

# Pages that are under way or wait to be read, so that a slow reader does not pile them up.
_UNDER_WAY = 2
_TOKEN = re.compile(rb'"continue":"([^"\\]+)"')


class _Page:
    """One page under way; ``following`` is the next, once that has been asked for."""

    def __init__(self) -> None:
        self.arrived: queue.SimpleQueue[bytes | BaseException] = queue.SimpleQueue()
        self.following: _Page | None = None


class Pages:
    """Read with ``read`` and ``goes_on`` in turn. ``get`` reads the page of a token, the first where it is empty."""

    def __init__(self, get: Get) -> None:
        self._get = get
        self._slots = threading.Semaphore(_UNDER_WAY)
        self._abandoned = threading.Event()
        self._current: _Page | None = None

    def __enter__(self) -> Pages:
        self._current = self._ask("")
        return self

    def __exit__(self, *_: object) -> None:
        # What is under way ends by itself; what waits for its turn must not begin.
        self._abandoned.set()
        self._slots.release(_UNDER_WAY)

    def read(self) -> bytes | None:
        """Give the current page, or None after the last; raise what went wrong on its way."""
        if self._current is None:
            return None
        page = self._current.arrived.get()
        self._slots.release()
        if isinstance(page, BaseException):
            raise page
        return page

    def goes_on(self, token: str) -> None:
        """Turn to the page of the token, which may be here already; an empty one says that there is none."""
        if self._current is not None:
            self._current = (self._current.following or self._ask(token)) if token else None

    def _ask(self, token: str) -> _Page:
        page = _Page()

        def on_head(head: bytes) -> None:
            # Only what stands before the items is the list's own; a page that is tried again begins twice.
            own, items, _ = head.partition(b'"items"')
            found = _TOKEN.search(own) if items else None
            if found is not None and page.following is None:
                page.following = self._ask(found.group(1).decode())

        def fetch() -> None:
            self._slots.acquire()
            if self._abandoned.is_set():
                return
            try:
                page.arrived.put(self._get(token, on_head))
            except BaseException as error:
                page.arrived.put(error)

        threading.Thread(target=fetch, daemon=True).start()
        return page
