"""BP4D+: 140 subjects, occurrence by frame number, frames in videos or as images.

    AUCoding/AU_OCC/F001_T1.csv   a header with the frame and the action units, in another order than BP4D's
    Videos/F001_T1.mp4            the first frame of a video is frame 1; or images F001/T1/0001.jpg

Columns are identified by the names in the header, not by position. 9 is a missing label.
"""

from pathlib import Path

from maeface import facts
from maeface.data.formats import clips, listing
from maeface.data.formats.clips import ClipOptions
from maeface.data.readers import bp4d
from maeface.data.readers.raw_dataset import RawDataset

PICTURES = (".", "Videos", "videos", "raw_video", "2D+3D", "BP4D+", "Images", "images")


class Options(ClipOptions):
    """Options of the reader."""


def read(root: Path, options: Options) -> RawDataset:
    """Read BP4D+; see ``bp4d.assemble``."""
    dataset = facts.dataset("bp4dplus")
    codings = bp4d.read_occurrence(listing.first_folder(root, bp4d.OCCURRENCE, "occurrence files"), dataset)
    bp4d.refuse_incomplete(root, list(codings), dataset.subject_names, options.partial)
    frames = clips.find_clips(root, options.pictures or PICTURES, list(codings))
    return bp4d.assemble(root, codings, frames, options)
