"""BP4D+: 140 subjects, occurrence by frame number, frames in videos or as images.

    AUCoding/AU_OCC/F001_T1.csv   a header with the frame and the action units, in another order than BP4D's
    Videos/F001_T1.mp4            the first frame of a video is frame 1; or images F001/T1/0001.jpg

Columns are found by the header's names, never by place. 9 is not known.
"""

from pathlib import Path

from maeface import facts
from maeface.data.formats import clips, parsing
from maeface.data.formats.clips import Choices
from maeface.data.readers import bp4d
from maeface.data.readers.reading import Reading

PICTURES = (".", "Videos", "videos", "raw_video", "2D+3D", "BP4D+", "Images", "images")


class Options(Choices):
    """What may be chosen of BP4D+."""


def read(root: Path, options: Options) -> Reading:
    """Read BP4D+; see ``readers.reading``."""
    known = facts.dataset("bp4dplus")
    codings = bp4d.occurrences(root, parsing.first_folder(root, bp4d.OCCURRENCE, "occurrence files"), known)
    bp4d.complete(root, list(codings), known.subject_names, options.partial)
    pictures = clips.find(root, options.pictures or PICTURES, list(codings))
    return bp4d.assemble(root, codings, pictures, options)
