"""Frames of a film on a device of PyTorch, and the operations of ``imaging`` on many of them at once."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from maeface.faces.geometry import Square, direction

# Crops that are sampled at once; each pixel has 16 neighbours, and intermediate results take about 100 bytes.
_PIXELS_TOGETHER = 1 << 22


class FrameStack:
    """Frames of one shape on a device.

    Args:
        pixels: (F, H, W, 3) uint8 RGB.
    """

    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels
        self._shrunk: dict[int, FrameStack] = {}

    def shrink(self, factor: int) -> "FrameStack":
        """Return the frames smaller by a whole factor; each factor is computed once.

        Pixels are means of blocks; at the right and lower border, of what is there.
        """
        if factor == 1:  # not kept: a stack that refers to itself would hold its memory until the next gc
            return self
        if factor not in self._shrunk:
            pieces = torch.split(self.pixels, max(1, _PIXELS_TOGETHER // self.pixels[0].numel()))
            self._shrunk[factor] = FrameStack(torch.cat([_shrink(piece, factor) for piece in pieces]))
        return self._shrunk[factor]

    def frames(self) -> list["DeviceFrame"]:
        """Return the frames, in their order."""
        return [DeviceFrame(self, number) for number in range(len(self.pixels))]


class DeviceFrame:
    """A frame of a stack on a device; see ``imaging`` for what its methods do.

    Args:
        stack: the frames it is one of.
        number: its number among them.
    """

    def __init__(self, frames: FrameStack, number: int) -> None:
        self.frames, self.number = frames, number

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W, 3)."""
        return tuple(self.frames.pixels.shape[1:])

    def __array__(self, dtype: object = None, copy: bool | None = None) -> NDArray[np.uint8]:
        """Return the pixels as an array of NumPy."""
        array: NDArray[np.uint8] = self.frames.pixels[self.number].cpu().numpy()
        return array

    def shrink(self, factor: int) -> "DeviceFrame":
        """Return the frame smaller by a whole factor."""
        return DeviceFrame(self.frames.shrink(factor), self.number)

    def turn(self, quarters: int) -> "DeviceFrame":
        """Return the frame turned anticlockwise by quarters of a circle."""
        turned = torch.rot90(self.frames.pixels[self.number], quarters)
        return DeviceFrame(FrameStack(turned[None].contiguous()), 0)

    @staticmethod
    def pick(
        images: Sequence["DeviceFrame"], rows: NDArray[np.intp], columns: NDArray[np.intp]
    ) -> NDArray[np.uint8]:
        """Return the colours of some pixels of each frame, (B, ..., 3); rows and columns are (B, ...)."""

        def pick_some(frames: FrameStack, places: list[int]) -> Tensor:
            device = frames.pixels.device
            numbers = _numbers(images, places, device).view(-1, *[1] * (rows.ndim - 1))
            return frames.pixels[
                numbers,
                torch.from_numpy(rows[places]).to(device),
                torch.from_numpy(columns[places]).to(device),
            ]

        colours: NDArray[np.uint8] = _gather(images, pick_some).cpu().numpy()
        return colours

    @staticmethod
    def stack(images: Sequence["DeviceFrame"]) -> Tensor:
        """Return frames of one shape as a tensor (B, H, W, 3)."""

        def take(frames: FrameStack, places: list[int]) -> Tensor:
            return frames.pixels[_numbers(images, places, frames.pixels.device)]

        return _gather(images, take)

    @staticmethod
    def crop(
        images: Sequence["DeviceFrame"], regions: Sequence[Square], size: int, bilinear: bool
    ) -> list["DeviceFrame"]:
        """Crop a region of each frame, as ``geometry.crop`` does; values differ by 1 at most, of 255."""
        blocks = [max(1, round(region.side / size)) for region in regions]
        together = max(1, _PIXELS_TOGETHER // size**2)

        def crop_some(frames: FrameStack, places: list[int]) -> Tensor:
            by_block: dict[int, list[int]] = defaultdict(list)
            for place in places:
                by_block[blocks[place]].append(place)
            order = [place for some in by_block.values() for place in some]
            pieces = []
            for block, some in by_block.items():
                pixels = frames.shrink(block).pixels
                for start in range(0, len(some), together):
                    chunk = some[start : start + together]
                    numbers = _numbers(images, chunk, pixels.device)
                    transforms = [_to_source(regions[place], size, block) for place in chunk]
                    pieces.append(_resample(pixels, numbers, np.array(transforms), size, bilinear))
            back = {place: k for k, place in enumerate(order)}
            return torch.cat(pieces)[torch.tensor([back[place] for place in places], device=pixels.device)]

        return FrameStack(_gather(images, crop_some)).frames()


def upload(images: Iterable[NDArray[np.uint8]], device: str | torch.device) -> list[DeviceFrame]:
    """Copy images to a device; those of one shape share a stack.

    Args:
        images: (H, W, 3) uint8 RGB each.
        device: of PyTorch.
    """
    images = list(images)
    places: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for place, image in enumerate(images):
        places[image.shape].append(place)
    frames: list[DeviceFrame | None] = [None] * len(images)
    for some in places.values():
        stack = FrameStack(_copy([images[place] for place in some], torch.device(device)))
        for place, frame in zip(some, stack.frames(), strict=True):
            frames[place] = frame
    return [frame for frame in frames if frame is not None]


def _copy(images: Sequence[NDArray[np.uint8]], device: torch.device) -> Tensor:
    """Return images of one shape as a tensor (F, H, W, 3) on a device.

    For a GPU they are stacked in pinned memory, and copied while the caller goes on. Both take place on that
    GPU: PyTorch would pin memory for the current one, which is the first in a new thread.
    """
    if device.type != "cuda":
        return torch.from_numpy(np.stack(images)).to(device)
    with torch.cuda.device(device):
        pinned = torch.empty((len(images), *images[0].shape), dtype=torch.uint8, pin_memory=True)
        np.stack(images, out=pinned.numpy())
        return pinned.to(device, non_blocking=True)


def _shrink(pixels: Tensor, factor: int) -> Tensor:
    """Return frames (F, H, W, 3) smaller by a whole factor, as Pillow's ``reduce`` does, bit for bit."""

    def add_blocks(values: Tensor) -> Tensor:
        return F.avg_pool2d(values, factor, ceil_mode=True, divisor_override=1).to(torch.int64)

    sums = add_blocks(pixels.permute(0, 3, 1, 2).float())
    counts = add_blocks(torch.ones(1, 1, *pixels.shape[1:3], device=pixels.device))
    means = ((sums + counts // 2) * ((1 << 24) // counts)) >> 24  # Pillow divides by a multiplication
    return means.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _gather(images: Sequence[DeviceFrame], compute: Callable[[FrameStack, list[int]], Tensor]) -> Tensor:
    """Compute a row for each image, for all images of a stack at once.

    Args:
        images: of any stacks.
        compute: returns a row (first dimension) for each of some places in ``images``, all of one stack.
    """
    by_stack: dict[int, list[int]] = defaultdict(list)
    for place, image in enumerate(images):
        by_stack[id(image.frames)].append(place)
    groups = list(by_stack.values())
    rows = torch.cat([compute(images[places[0]].frames, places) for places in groups])
    if len(groups) == 1:
        return rows
    order = np.argsort(np.concatenate(groups))
    return rows[torch.from_numpy(order).to(rows.device)]


def _numbers(images: Sequence[DeviceFrame], places: Iterable[int], device: torch.device) -> Tensor:
    return torch.tensor([images[place].number for place in places]).to(device, non_blocking=True)


def _to_source(region: Square, size: int, block: int) -> tuple[float, ...]:
    """Return a, b, c, d, e, f: the source's x = a u + b v + c, y = d u + e v + f of a crop's (u, v), px."""
    cos, sin = direction(region)
    step = region.side / size / block
    a, b, d, e = step * cos, -step * sin, step * sin, step * cos
    return a, b, region.cx / block - (a + b) * size / 2, d, e, region.cy / block - (d + e) * size / 2


def _resample(
    pixels: Tensor, numbers: Tensor, transforms: NDArray[np.float64], size: int, bilinear: bool
) -> Tensor:
    """Return crops (B, size, size, 3) uint8 of frames, as Pillow's affine transform.

    Outside a frame they are black; at its border the outermost pixels are repeated.

    Args:
        pixels: (F, H, W, 3) uint8.
        numbers: (B,) the frame of each crop.
        transforms: (B, 6), see ``_to_source``.
        size: side of the crops, px.
        bilinear: from 2 x 2 pixels instead of 4 x 4.
    """
    height, width = pixels.shape[1:3]
    # the offsets need more digits than float32 has
    a, b, c, d, e, f = torch.from_numpy(transforms).to(pixels.device)[..., None, None].unbind(1)
    v, u = (
        torch.arange(size, device=pixels.device, dtype=torch.float64)[:, None] + 0.5,
        torch.arange(size, device=pixels.device, dtype=torch.float64)[None, :] + 0.5,
    )
    x, y = a * u + b * v + c, d * u + e * v + f  # (B, size, size)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    x, y = x - 0.5, y - 0.5
    left, top = x.floor(), y.floor()
    offsets, weights = _KERNELS[bilinear]
    wx, wy = weights((x - left).float()), weights((y - top).float())
    columns = [(left.long() + k).clamp_(0, width - 1) for k in offsets]
    rows = [
        ((top.long() + k).clamp_(0, height - 1) + numbers[:, None, None] * height) * width for k in offsets
    ]
    flat = pixels.view(-1, 3)
    total = torch.zeros(*x.shape, 3, device=pixels.device)
    for row, row_weight in zip(rows, wy, strict=True):
        line = torch.zeros_like(total)
        for column, weight in zip(columns, wx, strict=True):
            line.addcmul_(flat[row + column].float(), weight[..., None])
        total.addcmul_(line, row_weight[..., None])
    total = total.floor_().clamp_(0, 255).mul_(inside[..., None])
    return total.to(torch.uint8)


def _weights_bilinear(t: Tensor) -> list[Tensor]:
    return [1 - t, t]


def _weights_bicubic(t: Tensor) -> list[Tensor]:
    """Return the weights of cubic convolution with a = -1, as Pillow's transforms have it."""
    s = 1 - t
    return [-t * s * s, 1 + t * t * (t - 2), 1 + s * s * (s - 2), -s * t * t]


_KERNELS = {True: ((0, 1), _weights_bilinear), False: ((-1, 0, 1, 2), _weights_bicubic)}
"""By whether it is bilinear: the pixels in a line that are read, and the function of their weights."""
