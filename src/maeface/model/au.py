"""The AU model of stage 2: a ViT, the mean of its patch tokens, a LayerNorm and a linear head.

Shapes: B images, S image side in pixels, D width, A action units, O outputs of the head: A for detection and
for intensity, 2A for both (occurrence first).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maeface.config import Task
from maeface.facts import INTENSITY_MAX
from maeface.model.vit import LAYER_NORM_EPS, ViT, initialise


class AUOutput(NamedTuple):
    """What the model says of B faces.

    occurrence: (B, A) logits, or None if the task has none.
    intensity: (B, A), 0 to 1 for FACS 0 to 5 but not clipped, or None if the task has none.
    """

    occurrence: Tensor | None
    intensity: Tensor | None

    def probabilities(self) -> Tensor | None:
        """(B, A) float, 0 to 1: the probability that each AU occurs."""
        return None if self.occurrence is None else self.occurrence.float().sigmoid()

    def intensities(self) -> Tensor | None:
        """(B, A) float, 0 to 5, clipped."""
        return None if self.intensity is None else self.intensity.float().clamp(0, 1) * INTENSITY_MAX


class AUModel(nn.Module):
    """Encoder, mean of the patch tokens without the class token, LayerNorm, linear head (section 3.2.2).

    Args:
        encoder: the ViT, from a masked autoencoder or new; its positions are trained here.
        aus: action unit numbers, in the order of the outputs.
        task: "detection", "intensity" or "both".
    """

    def __init__(self, encoder: ViT, aus: tuple[int, ...], task: Task) -> None:
        super().__init__()
        self.aus, self.task = tuple(aus), task
        self.encoder = encoder
        self.fc_norm = nn.LayerNorm(encoder.shape.width, eps=LAYER_NORM_EPS)
        self.head = nn.Linear(encoder.shape.width, outputs(self.aus, task))
        encoder.pos_embed.requires_grad_(True)
        initialise(self.fc_norm, head=self.head)

    def features(self, images: Tensor) -> Tensor:
        """The embedding that the head reads, (B, D). Images as for ``forward``."""
        tokens = self.encoder(images)  # (B, 1 + L, D)
        return self.fc_norm(tokens[:, 1:].mean(dim=1))  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> AUOutput:
        """Images (B, 3, S, S) float, normalised by mean and standard deviation, to AUs."""
        return self.read(self.features(images))

    def read(self, features: Tensor) -> AUOutput:
        """Features (B, D) to AUs."""
        values = self.head(features)  # (B, O)
        if self.task == "detection":
            return AUOutput(values, None)
        if self.task == "intensity":
            return AUOutput(None, values)
        return AUOutput(*values.chunk(2, dim=1))


class GuidedAUModel(nn.Module):
    """An AU model that also says what a guide measures (``data.guide``), from the same features.

    Args:
        model: the AU model, which is all that is kept.
        measures: G of the guide.
    """

    def __init__(self, model: AUModel, measures: int) -> None:
        super().__init__()
        self.model = model
        self.guide = nn.Linear(model.encoder.shape.width, measures)

    def forward(self, images: Tensor) -> tuple[AUOutput, Tensor]:
        """Images (B, 3, S, S) to AUs and measures (B, G) in their standard deviations."""
        features = self.model.features(images)
        return self.model.read(features), self.guide(features)


def outputs(aus: tuple[int, ...], task: Task) -> int:
    """How many values the head gives, and so how many label columns ``loss`` wants: A, or 2A for both."""
    return len(aus) * (2 if task == "both" else 1)


def loss(output: AUOutput, labels: Tensor, mask: Tensor, total: Tensor | None = None) -> Tensor:
    """The loss of the model's task, a scalar: ``detection_loss``, ``intensity_loss`` or their sum.

    Args:
        output: of ``AUModel.forward``.
        labels: (B, O): occurrence 0 to 1, or intensity 0 to 5; for both, occurrence then intensity.
            Missing ones may hold anything.
        mask: (B, O) bool, True where the label is there (not missing).
        total: what to divide by in place of the number of labels here: (O,), as in ``detection_loss``, or for
            "both" any even number of values, the first half for occurrence; ones give plain sums.
    """
    if output.occurrence is None:
        assert output.intensity is not None
        return intensity_loss(output.intensity, labels, mask, total)
    if output.intensity is None:
        return detection_loss(output.occurrence, labels, mask, total)
    occurrence, intensity = labels.chunk(2, dim=1)
    occurrence_mask, intensity_mask = mask.chunk(2, dim=1)
    occurrences, intensities = (None, None) if total is None else total.chunk(2)
    return detection_loss(output.occurrence, occurrence, occurrence_mask, occurrences) + intensity_loss(
        output.intensity, intensity, intensity_mask, intensities
    )


def detection_loss(logits: Tensor, labels: Tensor, mask: Tensor, total: Tensor | None = None) -> Tensor:
    """Binary cross-entropy over the labels that are there (equation 2).

    Equation 2 sums over AUs; this is the mean over the labels, as the field's code takes it: with many
    missing labels a sum would also weigh images by how many labels they have. Missing labels give a gradient
    of exactly 0; where all are missing the loss is 0.

    Args:
        logits: (B, A).
        labels: (B, A), 0 to 1 (in between where images are mixed); anything where missing.
        mask: (B, A) bool, True where the label is there (not missing).
        total: (A,) how many labels each AU has in the whole batch, where this is a part of it
            (accumulation, ranks); the losses of the parts then add up to that of the batch.
    """
    labels = torch.where(mask, labels, 0.0).to(_precision(logits))
    errors = F.binary_cross_entropy_with_logits(logits.to(labels.dtype), labels, reduction="none")
    return _masked_mean(errors, mask, total)


def intensity_loss(values: Tensor, labels: Tensor, mask: Tensor, total: Tensor | None = None) -> Tensor:
    """Squared error on the 0 to 1 scale over the labels that are there (equation 3), with the same mean.

    Args:
        values: (B, A), 0 to 1 for FACS 0 to 5.
        labels: (B, A), 0 to 5; anything where missing.
        mask: (B, A) bool, True where the label is there (not missing).
        total: as in ``detection_loss``.
    """
    labels = torch.where(mask, labels, 0.0).to(_precision(values)) / INTENSITY_MAX
    return _masked_mean((values.to(labels.dtype) - labels).square(), mask, total)


def guide_loss(measured: Tensor, guide: Tensor, mask: Tensor) -> Tensor:
    """The sum over faces of the mean smooth L1 error of the measures it has.

    Args:
        measured: (B, G), as ``GuidedAUModel`` gives it.
        guide: (B, G), in standard deviations; anything where missing.
        mask: (B, G) bool, True where the label is there (not missing).
    """
    errors = F.smooth_l1_loss(measured.float(), guide.float(), reduction="none")
    return (torch.where(mask, errors, 0.0).sum(dim=1) / mask.sum(dim=1).clamp(min=1)).sum()


def _masked_mean(errors: Tensor, mask: Tensor, total: Tensor | None) -> Tensor:
    counted = mask.sum() if total is None else total.sum()
    return torch.where(mask, errors, 0.0).sum() / counted.clamp(min=1)


def _precision(values: Tensor) -> torch.dtype:
    """Losses are computed in float32 at least, also under autocast."""
    return torch.promote_types(values.dtype, torch.float32)
