"""Batches of images for the face detector: large enough for a GPU, and bounded in memory."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Entry = TypeVar("Entry")

IMAGES_TOGETHER = 32
PIXELS_TOGETHER = 50_000_000


def image_batches(entries: Iterable[Entry], count_pixels: Callable[[Entry], int]) -> Iterator[list[Entry]]:
    """Yield images in batches, in their order, which end at 32 entries or with 50 million pixels.

    Args:
        entries: images, and whatever takes the place of an image that cannot be read.
        count_pixels: the pixels of an entry; 0 if it is not an image.
    """
    batch: list[Entry] = []
    pixels = 0
    for entry in entries:
        batch.append(entry)
        pixels += count_pixels(entry)
        if len(batch) >= IMAGES_TOGETHER or pixels >= PIXELS_TOGETHER:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch
