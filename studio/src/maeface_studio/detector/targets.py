"""What each anchor of a canvas shall say: the teacher's answer, mended where the true geometry knows better.

Legend: B canvases, A anchors, S side of a canvas in px.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torchvision
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from maeface.faces.retinaface import (
    CENTRE_VARIANCE,
    MEAN_BGR,
    SIZE_VARIANCE,
    STRIDES,
    RetinaFace,
    anchors,
    decode,
)
from maeface_studio.detector.canvas import Canvas
from maeface_studio.detector.cutouts import Placed

SURE_LOGIT = (
    3.0  # what an anchor shall say of a face that the teacher missed, and minus that where it saw a ghost
)
LEAST_TAUGHT = 16.0  # px; a smaller face that the teacher misses is left alone
_MATCH = 0.45  # least overlap of an anchor with a face that the teacher missed
_GHOST = 0.15  # a teacher's box that overlaps no pasted face by more is a ghost
_LOGIT_RANGE = 7.0
_POSITIVE = 0.3


@dataclass(frozen=True)
class Answers:
    """Targets of one canvas.

    Attributes:
        logits: (A,) float16, logit of a face.
        boxes: (A, 4) float16, offsets as ``retinaface.decode`` takes them.
        points: (A, 10) float16, likewise.
    """

    logits: NDArray[np.float16]
    boxes: NDArray[np.float16]
    points: NDArray[np.float16]


@torch.inference_mode()
def ask(teacher: RetinaFace, canvas: Canvas) -> Answers:
    """The targets of a canvas.

    Args:
        teacher: in evaluation mode.
        canvas: its side must be a multiple of the largest stride.
    """
    logits, boxes, points = (x[0] for x in teacher(network_input(torch.from_numpy(canvas.pixels)[None])))
    face = (logits[:, 1] - logits[:, 0]).clamp(-12, 12)  # (A,)
    if canvas.known:
        place = anchors(*canvas.pixels.shape[:2])
        seen, _ = decode(place, boxes, points)
        everyone = [*canvas.faces, *canvas.hidden]
        _exorcise(face, seen, everyone)
        for one in canvas.faces:
            if (one.box[2:] - one.box[:2]).max() >= LEAST_TAUGHT:
                _teach(face, boxes, points, place, seen, one)
    return Answers(*(x.half().numpy() for x in (face, boxes.clamp(-60, 60), points.clamp(-250, 250))))


def network_input(pixels: Tensor) -> Tensor:
    """(B, S, S, 3) RGB 0..255 to what the network takes, (B, 3, S, S)."""
    return pixels.flip(3).float().sub(torch.tensor(MEAN_BGR)).permute(0, 3, 1, 2).contiguous()


def mirrored(values: Tensor, size: int) -> Tensor:
    """Targets (A, V) of the mirrored canvas: V is 1 (logit), 4 (box) or 10 (points)."""
    rows, start = [], 0
    for stride in STRIDES:
        cells = size // stride
        level = values[start : start + 2 * cells * cells].view(cells, cells, 2, -1).flip(1)
        rows.append(level.reshape(2 * cells * cells, -1))
        start += 2 * cells * cells
    turned = torch.cat(rows)
    if turned.shape[1] == 4:
        return turned * turned.new_tensor([-1, 1, 1, 1])
    if turned.shape[1] == 10:
        order = [2, 3, 0, 1, 4, 5, 8, 9, 6, 7]  # left and right change places
        return turned[:, order] * turned.new_tensor([-1, 1] * 5)
    return turned


def loss(
    outputs: tuple[Tensor, Tensor, Tensor], targets: tuple[Tensor, Tensor, Tensor], corner: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """How far the student is from the targets: (faces, boxes, points), scalars.

    Faces: quality focal loss (Li et al. 2020, arXiv:2006.04388) of the soft answers, and the distance of the
    logits themselves, which also teaches how unlike a face the rest is. Boxes and points: smooth L1, weighted
    by the targets' probability.

    Args:
        outputs: the network's (B, A, 2), (B, A, 4), (B, A, 10).
        targets: (B, A), (B, A, 4), (B, A, 10).
        corner: error, in units of the offsets, under which smooth L1 of boxes and points is quadratic.
    """
    said = (outputs[0][..., 1] - outputs[0][..., 0]).float()
    logit, box, point = targets
    probability = logit.sigmoid()
    focus = (said.sigmoid() - probability).abs().detach() ** 1.5
    weight = probability * (probability > _POSITIVE)
    total = weight.sum() + 1
    entropy = F.binary_cross_entropy_with_logits(said, probability, reduction="none")
    near = F.smooth_l1_loss(
        said.clamp(min=-_LOGIT_RANGE), logit.clamp(-_LOGIT_RANGE, _LOGIT_RANGE), reduction="none"
    )
    faces = (focus * entropy).sum() / total * 2 + near.mean() + 0.3 * (near * weight).sum() / total
    boxes, points = (
        (F.smooth_l1_loss(said.float(), target, reduction="none", beta=corner).mean(-1) * weight).sum()
        / total
        for said, target in ((outputs[1], box), (outputs[2], point))
    )
    return faces, boxes, points


def disturb(pixels: NDArray[np.uint8], random: Generator) -> NDArray[np.uint8]:
    """A canvas as a camera might give it: exposure, cast, grey, blur, noise, JPEG. The targets stay."""
    import simplejpeg
    from PIL import Image

    levels = np.arange(256, dtype=np.float32) / 255
    gamma, gain, lift = random.uniform(0.6, 1.6), random.uniform(0.65, 1.3), random.uniform(-0.08, 0.12)
    cast = 1 + random.uniform(-0.1, 0.1, (3, 1))
    table = np.clip((levels**gamma * gain * cast + lift) * 255, 0, 255).astype(np.uint8)
    if random.random() < 0.85:
        pixels = np.stack([table[c][pixels[..., c]] for c in range(3)], axis=-1)
    if random.random() < 0.15:
        pixels = np.repeat(np.asarray(Image.fromarray(pixels).convert("L"))[..., None], 3, axis=2)
    size = pixels.shape[1]
    if random.random() < 0.15:
        small = int(size / random.uniform(1.2, 2.2))
        picture = Image.fromarray(pixels).resize((small, small), Image.Resampling.BILINEAR)
        pixels = np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))
    if random.random() < 0.3:
        noise = random.standard_normal(pixels.shape, dtype=np.float32) * random.uniform(2, 14)
        pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    if random.random() < 0.35:
        data = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=int(random.integers(25, 90)))
        pixels = simplejpeg.decode_jpeg(data)
    return pixels


def _exorcise(face: Tensor, seen: Tensor, placed: list[Placed]) -> None:
    """Lower, in place, what the teacher says where nothing was pasted."""
    there = torch.nonzero(face > 0).squeeze(1)
    if len(placed) == 0:
        face[there] = -SURE_LOGIT
    elif len(there):
        boxes = torch.from_numpy(np.stack([one.box for one in placed])).float()
        overlap = torchvision.ops.box_iou(seen[there], boxes).amax(dim=1)
        face[there[overlap < _GHOST]] = -SURE_LOGIT


def _teach(face: Tensor, boxes: Tensor, points: Tensor, place: Tensor, seen: Tensor, one: Placed) -> None:
    """Put in, in place, a face that the teacher did not see."""
    truth = torch.from_numpy(one.box).float()[None]
    saw = (face > 0) & (torchvision.ops.box_iou(seen, truth).squeeze(1) > 0.4)
    if saw.any():
        return
    square = torch.cat([place[:, :2] - place[:, 2:] / 2, place[:, :2] + place[:, 2:] / 2], dim=1)
    overlap = torchvision.ops.box_iou(square, truth).squeeze(1)
    chosen = torch.nonzero(overlap >= min(_MATCH, float(overlap.max()))).squeeze(1)
    centre, side = place[chosen, :2], place[chosen, 2:]
    middle, extent = (truth[:, :2] + truth[:, 2:]) / 2, truth[:, 2:] - truth[:, :2]
    face[chosen] = SURE_LOGIT
    boxes[chosen] = torch.cat(
        [(middle - centre) / (CENTRE_VARIANCE * side), torch.log(extent / side) / SIZE_VARIANCE], dim=1
    )
    five = torch.from_numpy(one.points).float()[None]
    offsets = (five - centre[:, None]) / (CENTRE_VARIANCE * side[:, None])
    points[chosen] = offsets.flatten(1)
