"""Reading in a thread while the last item is worked on."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def read_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Yield items; while one is used, the next one is made in another thread.

    Errors are raised where the item would come.
    """
    end = object()
    with ThreadPoolExecutor(1, "read-ahead") as pool:
        iterator = iter(items)
        coming = pool.submit(next, iterator, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, iterator, end)
            yield item  # type: ignore[misc] # it is not the end
