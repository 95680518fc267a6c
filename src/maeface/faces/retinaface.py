"""The network of RetinaFace (Deng et al., CVPR 2020), the paper's face detector (section 3.2.1).

Module names are those of the public checkpoints (``body.stage1.0.0.weight``, ``fpn.merge1.0.weight``,
``ssh1.conv5X5_1.0.weight``, ``ClassHead.0.conv1x1.weight``, ...), so that these load by name.

Shapes: B images, C channels, H W pixels, A anchors (2 at each cell of strides 8, 16 and 32).
"""

import itertools
from collections.abc import Iterator
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from maeface.faces import anchors as numpy_anchors
from maeface.faces.anchors import CENTRE_VARIANCE, SIZE_VARIANCE, STRIDES
from maeface.faces.detector_weights import Backbone

Network = TypeVar("Network", bound=nn.Module)

_CHANNELS = {"mobilenet0.25": ((64, 128, 256), 64), "resnet50": ((512, 1024, 2048), 256)}


class RetinaFace(nn.Module):
    """A detection network: backbone, feature pyramid, and an SSH module and three heads for each level.

    Args:
        backbone: ``mobilenet0.25`` (0.4 M parameters) or ``resnet50`` (27 M parameters).
    """

    def __init__(self, backbone: Backbone = "mobilenet0.25") -> None:
        super().__init__()
        levels, width = _CHANNELS[backbone]
        self.body = _mobilenet() if backbone == "mobilenet0.25" else _resnet50()
        self.fpn = _FPN(levels, width)
        self.ssh1, self.ssh2, self.ssh3 = (_SSH(width) for _ in STRIDES)
        self.ClassHead = _heads(width, values=2)
        self.BboxHead = _heads(width, values=4)
        self.LandmarkHead = _heads(width, values=10)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Predict class, box and landmarks for each anchor.

        Args:
            images: (B, 3, H, W) float, BGR 0..255 minus ``MEAN_BGR``.

        Returns:
            logits (B, A, 2) of background and face, box offsets (B, A, 4), landmark offsets (B, A, 10);
            ``decode`` converts the offsets to px.
        """
        return self.predict(self.contexts(images))

    def contexts(self, images: Tensor) -> list[Tensor]:
        """Return the features from which the heads predict, (B, C, h, w) of each level."""
        pyramid = self.fpn(_features(self.body, images))
        return [ssh(x) for ssh, x in zip((self.ssh1, self.ssh2, self.ssh3), pyramid, strict=True)]

    def predict(self, contexts: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return what ``forward`` does, from the result of ``contexts``."""
        logits, boxes, landmarks = (
            torch.cat([head(x) for head, x in zip(heads, contexts, strict=True)], dim=1)
            for heads in (self.ClassHead, self.BboxHead, self.LandmarkHead)
        )
        return logits, boxes, landmarks


def make_anchors(height: int, width: int) -> Tensor:
    """Return an image's anchors (A, 3) float32: centre x, centre y and side in px; arguments in px."""
    return torch.from_numpy(numpy_anchors.make_anchors(height, width))


def decode(anchors: Tensor, boxes: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor]:
    """Convert the offsets of N anchors to pixels.

    Args:
        anchors: (N, 3) as ``make_anchors`` returns them.
        boxes: (N, 4) offsets of the centre and logarithms of the size.
        landmarks: (N, 10) offsets of the five landmarks.

    Returns:
        boxes (N, 4) as x1 y1 x2 y2 in px, landmarks (N, 5, 2) in px.
    """
    centre, side = anchors[:, :2], anchors[:, 2:]
    middle = centre + boxes[:, :2] * CENTRE_VARIANCE * side
    half = side * torch.exp(boxes[:, 2:] * SIZE_VARIANCE) / 2
    points = centre[:, None] + landmarks.reshape(-1, 5, 2) * CENTRE_VARIANCE * side[:, None]
    return torch.cat([middle - half, middle + half], dim=1), points


def fuse_batch_norms(network: Network) -> Network:
    """Fold every batch norm into the convolution before it, in place; for inference only."""
    for module in list(network.modules()):
        children = list(module.named_children())
        for (name, first), (next_name, second) in itertools.pairwise(children):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(first, second))
                setattr(module, next_name, nn.Identity())
    return network


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


def _conv_activated(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, leak: float = 0.1
) -> nn.Module:
    return nn.Sequential(*_conv(inputs, outputs, kernel, stride), nn.LeakyReLU(leak, inplace=True))


def _separable(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(
        *_conv(inputs, inputs, 3, stride, groups=inputs),
        nn.LeakyReLU(0.1, inplace=True),
        *_conv(inputs, outputs, 1),
        nn.LeakyReLU(0.1, inplace=True),
    )


def _mobilenet() -> nn.Module:
    """MobileNet v1 at a quarter of its width, without its classifier."""
    return nn.ModuleDict(
        {
            "stage1": nn.Sequential(
                _conv_activated(3, 8, stride=2),
                _separable(8, 16),
                _separable(16, 32, stride=2),
                _separable(32, 32),
                _separable(32, 64, stride=2),
                _separable(64, 64),
            ),
            "stage2": nn.Sequential(_separable(64, 128, stride=2), *(_separable(128, 128) for _ in range(5))),
            "stage3": nn.Sequential(_separable(128, 256, stride=2), _separable(256, 256)),
        }
    )


def _resnet50() -> nn.Module:
    """Return ResNet-50 up to its last stage; the public checkpoint has torchvision's names."""
    from torchvision.models import resnet50  # slow to import, and seldom needed

    resnet = resnet50(weights=None)
    return nn.ModuleDict(
        {name: child for name, child in resnet.named_children() if name not in ("avgpool", "fc")}
    )


def _features(body: nn.Module, images: Tensor) -> list[Tensor]:
    """Return the feature maps of a backbone's last three stages (strides 8, 16, 32)."""
    maps, x = [], images
    for name, stage in body.named_children():
        x = stage(x)
        if name in ("stage1", "stage2", "stage3", "layer2", "layer3", "layer4"):
            maps.append(x)
    return maps


class _FPN(nn.Module):
    """A feature pyramid network: each level is merged with the coarser one."""

    def __init__(self, levels: tuple[int, int, int], width: int) -> None:
        super().__init__()
        leak = _leak(width)
        self.output1, self.output2, self.output3 = (_conv_activated(c, width, 1, leak=leak) for c in levels)
        self.merge1 = _conv_activated(width, width, leak=leak)
        self.merge2 = _conv_activated(width, width, leak=leak)

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        fine, middle, coarse = self.output1(maps[0]), self.output2(maps[1]), self.output3(maps[2])
        middle = self.merge2(middle + F.interpolate(coarse, size=middle.shape[-2:], mode="nearest"))
        fine = self.merge1(fine + F.interpolate(middle, size=fine.shape[-2:], mode="nearest"))
        return fine, middle, coarse


class _SSH(nn.Module):
    """An SSH context module: receptive fields of 3, 5 and 7 cells of the map, concatenated."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half, quarter, leak = width // 2, width // 4, _leak(width)
        self.conv3X3 = nn.Sequential(*_conv(width, half))
        self.conv5X5_1 = _conv_activated(width, quarter, leak=leak)
        self.conv5X5_2 = nn.Sequential(*_conv(quarter, quarter))
        self.conv7X7_2 = _conv_activated(quarter, quarter, leak=leak)
        self.conv7x7_3 = nn.Sequential(*_conv(quarter, quarter))

    def forward(self, x: Tensor) -> Tensor:
        wide = self.conv5X5_1(x)
        contexts = [self.conv3X3(x), self.conv5X5_2(wide), self.conv7x7_3(self.conv7X7_2(wide))]
        return F.relu(torch.cat(contexts, dim=1), inplace=True)


class _Head(nn.Module):
    def __init__(self, width: int, values: int) -> None:
        super().__init__()
        self.values = values
        self.conv1x1 = nn.Conv2d(width, 2 * values, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        return (
            cast(Tensor, self.conv1x1(x)).permute(0, 2, 3, 1).reshape(x.shape[0], -1, self.values)
        )  # (B, A, values)


def _heads(width: int, values: int) -> nn.ModuleList:
    return nn.ModuleList(_Head(width, values) for _ in STRIDES)


def _leak(width: int) -> float:
    return 0.1 if width <= 64 else 0.0


def parameter_shapes(network: nn.Module) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield name and shape of each tensor in a checkpoint of ``network``."""
    return ((name, tuple(value.shape)) for name, value in network.state_dict().items())
