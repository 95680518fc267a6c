"""Targets of the anchors of an image: the teacher's outputs, corrected by the known pasted faces.

Legend: A anchors, S side of an image in px, V numbers per anchor.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor

from maeface.faces.anchors import CENTRE_VARIANCE, MEAN_BGR, SIZE_VARIANCE, STRIDES
from maeface.faces.retinaface import RetinaFace, decode, make_anchors
from maeface_studio.detector.composition import Composition, PlacedFace

TURNED_ANGLE = 55.0  # degrees; the teacher has learned heads that are turned by less
# Target for a face that is turned by more. It is below that of an upright one, so that the search of an image
# in four orientations (``maeface.faces.search``) can tell which one is right.
TURNED_LOGIT = 2.5
CORRECTED_LOGIT = 3.0  # target for a face that the teacher missed; minus that for one that is not there
MIN_MISSED_SIDE = 16.0  # px; smaller faces are left to the teacher
_MATCH = 0.45  # least overlap (IoU) of an anchor with a face that the teacher missed
_FALSE = 0.15  # a box of the teacher that overlaps no pasted face by more (IoU) is a false detection


@dataclass(frozen=True)
class Targets:
    """Targets of one image.

    Attributes:
        logits: (A,) float16, logit of a face.
        boxes: (A, 4) float16, offsets as ``retinaface.decode`` takes them.
        points: (A, 10) float16, likewise.
    """

    logits: NDArray[np.float16]
    boxes: NDArray[np.float16]
    points: NDArray[np.float16]


@torch.inference_mode()
def make_targets(teacher: RetinaFace, image: Composition) -> Targets:
    """Return the targets of a composed image.

    Args:
        teacher: in evaluation mode.
        image: its side is a multiple of the largest stride.
    """
    outputs = teacher(to_network_input(torch.from_numpy(image.pixels)[None]))
    logits, boxes, points = (output[0] for output in outputs)
    face_logits = (logits[:, 1] - logits[:, 0]).clamp(-12, 12)  # (A,)
    if image.complete:
        grid = make_anchors(*image.pixels.shape[:2])
        detections, _ = decode(grid, boxes, points)
        everyone = [*image.faces, *image.hidden]
        overlaps = _overlaps(detections, everyone)
        _suppress_false_detections(face_logits, overlaps)
        for face, overlap in zip(image.faces, overlaps.unbind(1), strict=False):
            if (face.box[2:] - face.box[:2]).max() < MIN_MISSED_SIDE:
                continue
            if face.angle > TURNED_ANGLE:
                is_nearest = overlap == overlaps.amax(dim=1)
                face_logits[(face_logits > 0) & (overlap >= _FALSE) & is_nearest] = -CORRECTED_LOGIT
                _set_face(face_logits, boxes, points, grid, face, TURNED_LOGIT)
            elif not ((face_logits > 0) & (overlap > 0.4)).any():  # the teacher missed it
                _set_face(face_logits, boxes, points, grid, face, CORRECTED_LOGIT)
    return Targets(*(x.half().numpy() for x in (face_logits, boxes.clamp(-60, 60), points.clamp(-250, 250))))


def to_network_input(pixels: Tensor) -> Tensor:
    """Convert (B, S, S, 3) RGB 0..255 to the network's input, (B, 3, S, S) BGR minus the mean."""
    return pixels.flip(3).float().sub(torch.tensor(MEAN_BGR)).permute(0, 3, 1, 2).contiguous()


def mirror_targets(values: Tensor, size: int) -> Tensor:
    """Return the targets (A, V) of the mirrored image; V is 1 (logit), 4 (box) or 10 (points)."""
    rows, start = [], 0
    for stride in STRIDES:
        cells = size // stride
        level = values[start : start + 2 * cells * cells].view(cells, cells, 2, -1).flip(1)
        rows.append(level.reshape(2 * cells * cells, -1))
        start += 2 * cells * cells
    flipped = torch.cat(rows)
    if flipped.shape[1] == 4:
        return flipped * flipped.new_tensor([-1, 1, 1, 1])
    if flipped.shape[1] == 10:
        order = [2, 3, 0, 1, 4, 5, 8, 9, 6, 7]  # left and right points are swapped
        return flipped[:, order] * flipped.new_tensor([-1, 1] * 5)
    return flipped


def _overlaps(detections: Tensor, faces: list[PlacedFace]) -> Tensor:
    """Return the overlaps (IoU) of the teacher's boxes (A, 4) with F faces, (A, F)."""
    boxes = np.stack([face.box for face in faces]) if faces else np.empty((0, 4))
    overlaps: Tensor = torchvision.ops.box_iou(detections, torch.from_numpy(boxes).float())
    return overlaps


def _suppress_false_detections(logits: Tensor, overlaps: Tensor) -> None:
    """Lower the logits of detections where no face was pasted, in place."""
    false = (overlaps < _FALSE).all(dim=1)  # of all anchors if there is no face
    logits[(logits > 0) & false] = -CORRECTED_LOGIT


def _set_face(
    logits: Tensor, boxes: Tensor, points: Tensor, grid: Tensor, face: PlacedFace, logit: float
) -> None:
    """Set the targets of the anchors of a face, in place, to where it was pasted."""
    box = torch.from_numpy(face.box).float()[None]
    squares = torch.cat([grid[:, :2] - grid[:, 2:] / 2, grid[:, :2] + grid[:, 2:] / 2], dim=1)
    overlap = torchvision.ops.box_iou(squares, box).squeeze(1)
    matched = torch.nonzero(overlap >= min(_MATCH, float(overlap.max()))).squeeze(1)
    centre, side = grid[matched, :2], grid[matched, 2:]
    middle, extent = (box[:, :2] + box[:, 2:]) / 2, box[:, 2:] - box[:, :2]
    logits[matched] = logit
    boxes[matched] = torch.cat(
        [(middle - centre) / (CENTRE_VARIANCE * side), torch.log(extent / side) / SIZE_VARIANCE], dim=1
    )
    face_points = torch.from_numpy(face.points).float()[None]
    offsets = (face_points - centre[:, None]) / (CENTRE_VARIANCE * side[:, None])
    points[matched] = offsets.flatten(1)
