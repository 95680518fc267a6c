"""Public encoders that have a name here: which file each is, where it comes from, and its licence.

Nothing is downloaded. ``find`` looks in the folders of the face detector's public weights.
"""

from dataclasses import dataclass
from pathlib import Path

from maeface import files
from maeface.errors import WeightsError


@dataclass(frozen=True)
class PublicEncoder:
    """A public encoder.

    Attributes:
        file: its name as its makers publish it.
        page: where to get it.
        licence: of the file; for one that was trained from other weights, with theirs.
        refusal: why training cannot start from it; empty if it can.
    """

    file: str
    page: str
    licence: str
    refusal: str = ""


_FARL = "https://github.com/FacePerceiver/FaRL/releases/tag/pretrained_weights"
_MAE = "https://github.com/facebookresearch/mae#fine-tuning-with-pre-trained-checkpoints"
_MAE_LICENCE = "CC-BY-NC-4.0"

ENCODERS = {
    "farl": PublicEncoder("FaRL-Base-Patch16-LAIONFace20M-ep64.pth", _FARL, "MIT"),
    "farl-ep16": PublicEncoder("FaRL-Base-Patch16-LAIONFace20M-ep16.pth", _FARL, "MIT"),
    "mae-base": PublicEncoder("mae_pretrain_vit_base.pth", _MAE, _MAE_LICENCE),
    "mae-large": PublicEncoder("mae_pretrain_vit_large.pth", _MAE, _MAE_LICENCE),
    # The authors say MIT of their file. They started from the file above, section 4 of their paper.
    "mae-face": PublicEncoder(
        "mae_face_pretrain_vit_base.pth",
        "https://github.com/FuxiVirtualHuman/MAE-Face/releases/tag/model-r1",
        f"MIT, derived from {_MAE_LICENCE}",
    ),
    "svfap": PublicEncoder(
        "",
        "https://github.com/sunlicai/SVFAP",
        "",
        "it reads clips of 16 frames, not single faces, and its makers give no licence",
    ),
}


def find(name: str) -> Path:
    """Return the path of a public encoder: in the folder ``MAEFACE_WEIGHTS``, else in the cache.

    Args:
        name: of ``ENCODERS``.

    Raises:
        WeightsError: training cannot start from it, or the file is in neither folder.
    """
    encoder = ENCODERS[name]
    if encoder.refusal:
        raise WeightsError(f"training cannot start from {name} ({encoder.page}): {encoder.refusal}")
    folders = files.weights_folders()
    for folder in folders:
        if (path := folder / encoder.file).is_file():
            return path
    raise WeightsError(
        f"{name} is the file {encoder.file}, which is not in {' or '.join(map(str, folders))}; get it from "
        f"{encoder.page} (licence: {encoder.licence}) and put it there, set {files.WEIGHTS_VARIABLE} to its "
        "folder, or give its path"
    )


def licence_of(path: Path) -> str:
    """Return the licence of a public encoder, known by the name of its file; empty for any other."""
    return next((one.licence for one in ENCODERS.values() if one.file == path.name), "")
