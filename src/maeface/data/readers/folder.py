"""Any folder of photos and videos, as a source for pre-training: reads every file below it."""

from pathlib import Path

from maeface import config
from maeface.data.ingest.inputs import find_inputs
from maeface.data.readers.raw_dataset import RawDataset


class Options(config.Settings):
    """Options of the reader; of videos, ``every`` and ``fps`` of the preparation choose the frames."""

    videos: bool = True
    """Videos too, not only photos."""


def read(root: Path, options: Options) -> RawDataset:
    """Read the folder.

    Raises:
        DataError: there is no file in it.
    """
    files = find_inputs([root])
    photos = [item for item in files if not item.video]
    videos = len(files) - len(photos)
    note = f"any folder: {len(photos):,} photos and other files, {videos:,} videos"
    if options.videos:
        return RawDataset(tuple(files), None, (note,))
    return RawDataset(tuple(photos), None, (f"{note} left out",))
