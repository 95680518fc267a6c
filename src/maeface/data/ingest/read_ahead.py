"""Reading in a thread while the last item is worked on, and an early end of reading."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


def read_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Yield items; while one is used, the next one is made in another thread.

    Errors are raised where the item would come. When this generator ends or is closed, the thread has ended,
    after the item that it was making, and ``items`` are closed.
    """
    end = object()
    with closed(items), ThreadPoolExecutor(1, "read-ahead") as pool:
        iterator = iter(items)
        coming = pool.submit(next, iterator, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, iterator, end)
            yield item  # type: ignore[misc] # it is not the end


@contextmanager
def closed(items: Iterable[Item]) -> Iterator[Iterable[Item]]:
    """Yield items, and close them at the end of the block if they are a generator.

    Without it a generator would keep its files open for as long as the traceback of an error holds it.
    """
    try:
        yield items
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()
