"""Any folder of photos and videos, as a source for pre-training: everything below it is taken."""

from pathlib import Path

from maeface import config
from maeface.data.ingest import inputs
from maeface.data.readers.reading import Reading


class Options(config.Settings):
    """What to take; of videos, ``every`` and ``fps`` of the preparation choose the frames."""

    videos: bool = True
    """Videos too, not only photos."""


def read(root: Path, options: Options) -> Reading:
    """Read it.

    Raises:
        DataError: no file in it.
    """
    found = inputs.find([root])
    photos = [item for item in found if not item.video]
    videos = len(found) - len(photos)
    note = f"any folder: {len(photos):,} photos and other files, {videos:,} videos"
    if options.videos:
        return Reading(tuple(found), None, (note,))
    return Reading(tuple(photos), None, (f"{note} left out",))
