"""The AU model of stage 2: a ViT, the mean of its patch tokens, a LayerNorm and a linear head; and its loss.

Shapes: B images, S image side in pixels, D width, A action units, O outputs of the head: A for detection and
for intensity, 2A for both (occurrence first).
"""

from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maeface.config import Task
from maeface.errors import ConfigError
from maeface.facts import INTENSITY_MAX
from maeface.model.style import LAYER_NORM_EPS
from maeface.model.vit import ViT, initialise


class AUOutput(NamedTuple):
    """The output of the model for B faces.

    occurrence: (B, A) logits, or None if the task has none.
    intensity: (B, A), 0 to 1 for FACS 0 to 5 but not clipped, or None if the task has none.
    """

    occurrence: Tensor | None
    intensity: Tensor | None

    def scores(self) -> list[Tensor]:
        """Return what orders faces by each AU, (B, A) each: logits, and intensities on about their scale."""
        scaled = None if self.intensity is None else self.intensity * 2 * INTENSITY_MAX
        return [values for values in (self.occurrence, scaled) if values is not None]

    def probabilities(self) -> Tensor | None:
        """Return the probability that each AU occurs, (B, A) float, 0 to 1."""
        return None if self.occurrence is None else self.occurrence.float().sigmoid()

    def intensities(self) -> Tensor | None:
        """Return the intensity of each AU, (B, A) float, clipped to 0 to 5."""
        return None if self.intensity is None else self.intensity.float().clamp(0, 1) * INTENSITY_MAX

    def values(self) -> dict[str, Tensor]:
        """Return probabilities as ``occurrence`` and intensities as ``intensity``, as far as there are."""
        all_of = {"occurrence": self.probabilities(), "intensity": self.intensities()}
        return {name: values for name, values in all_of.items() if values is not None}


class AUModel(nn.Module):
    """Encoder, mean of the patch tokens without the class token, LayerNorm, linear head (section 3.2.2).

    Args:
        encoder: the ViT, from a masked autoencoder or new; its positions are trained here.
        aus: action unit numbers, in the order of the outputs.
        task: "detection", "intensity" or "both".
        unlike: whether it also measures how unlike the training faces a face is.
    """

    def __init__(
        self,
        encoder: ViT,
        aus: tuple[int, ...],
        task: Task,
        unlike: bool = False,
    ) -> None:
        super().__init__()
        self.aus, self.task = tuple(aus), task
        self.encoder, self.frozen = encoder, False
        self.fc_norm = nn.LayerNorm(encoder.shape.width, eps=LAYER_NORM_EPS)
        self.head = nn.Linear(encoder.shape.width, len(self.aus) * (2 if task == "both" else 1))
        self.unlike = Unlikeness(encoder.shape.width) if unlike else None
        encoder.pos_embed.requires_grad_(True)
        initialise(self.fc_norm, head=self.head)

    def freeze_encoder(self) -> None:
        """Train norm and heads alone: the encoder has no gradients, and stays in evaluation mode."""
        self.encoder.requires_grad_(False)
        self.frozen = True
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the model; a frozen encoder stays in evaluation mode."""
        super().train(mode)
        self.encoder.train(mode and not self.frozen)
        return self

    def take_head(self, other: "AUModel") -> None:
        """Copy the last layers of another model of the same width, AUs and task.

        Raises:
            ConfigError: its AUs, task or width differ.
        """
        for what, mine, theirs in (
            ("AUs", self.aus, other.aus),
            ("task", self.task, other.task),
            ("width", self.head.in_features, other.head.in_features),
        ):
            if mine != theirs:
                raise ConfigError(f"the head cannot be kept: its {what} {theirs}, here {mine}")
        self.fc_norm.load_state_dict(other.fc_norm.state_dict())
        self.head.load_state_dict(other.head.state_dict())

    def features(self, images: Tensor, keep: Tensor | None = None, drop: Tensor | None = None) -> Tensor:
        """Return the embedding that is the input of the head, (B, D).

        Args:
            images: as for ``forward``.
            keep: (B, K) int64 indices of the patches to encode; None for all.
            drop: as for ``ViT.forward``.
        """
        tokens = self.encoder(images, keep, drop)  # (B, 1 + K, D)
        return self.fc_norm(tokens[:, 1:].mean(dim=1))  # type: ignore[no-any-return]

    def forward(self, images: Tensor, drop: Tensor | None = None) -> AUOutput:
        """Map images (B, 3, S, S) float, normalised by mean and standard deviation, to AUs.

        ``drop`` has the numbers for stochastic depth in training, as for ``ViT.forward``.
        """
        return self.forward_head(self.features(images, drop=drop))

    def forward_head(self, features: Tensor) -> AUOutput:
        """Map features (B, D) to AUs."""
        values = self.head(features)  # (B, O)
        if self.task == "detection":
            return AUOutput(values, None)
        if self.task == "intensity":
            return AUOutput(None, values)
        occurrence, intensity = values.chunk(2, dim=1)
        return AUOutput(occurrence, intensity)


class Unlikeness(nn.Module):
    """How unlike the training faces a face is: the length of ``(features - mean) @ factor``.

    ``mean`` (D,) and ``factor`` (D, D) are of the training faces. They are measured after the training, and
    scaled so that few of these faces are beyond 1.

    Args:
        width: D.
    """

    mean: Tensor
    factor: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("factor", torch.zeros(width, width))

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, D) to (B,), 0 or more."""
        distances: Tensor = torch.linalg.vector_norm((features - self.mean) @ self.factor, dim=1)
        return distances


class GuidedAUModel(nn.Module):
    """An AU model with a second linear layer, which predicts a guide (``data.tables.guide``) in training.

    Args:
        model: the AU model; only this is saved.
        measures: G, the number of measures of the guide.
    """

    def __init__(self, model: AUModel, measures: int) -> None:
        super().__init__()
        self.model = model
        self.guide = nn.Linear(model.encoder.shape.width, measures)

    def forward(self, images: Tensor, drop: Tensor | None = None) -> tuple[AUOutput, Tensor]:
        """Map images (B, 3, S, S) to AUs and to measures (B, G) in units of their standard deviations."""
        features = self.model.features(images, drop=drop)
        return self.model.forward_head(features), self.guide(features)


def loss_sum(
    output: AUOutput, labels: Tensor, mask: Tensor, pos_weight: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the sum of the errors of a batch, and the weight to divide it by for the loss of the task.

    Both add up over micro-batches and processes, so the loss of a whole batch is the sum of the sums over the
    sum of the weights, however many labels are missing in each. Missing labels give a gradient of exactly 0.

    Equations 2 and 3 sum over AUs; here the loss is the mean over labels, as in the code of other work: with
    missing labels, a sum over AUs would weigh each image by its number of labels.

    Args:
        output: of ``AUModel.forward``.
        labels: (B, O): occurrence 0 to 1, or intensity 0 to 5; for both, occurrence then intensity. Missing
            labels may have any value.
        mask: (B, O) bool, True where the label is there (not missing).
        pos_weight: (A,), as for ``detection_loss_sum``; the weight to divide by stays the number of labels.

    Returns:
        ``detection_loss_sum``, ``intensity_loss_sum`` or their sum, a scalar; and the number of labels, for
        both tasks half of it, so that the loss of both is the sum of their means where no label is missing.
    """
    if output.occurrence is None:
        assert output.intensity is not None
        return intensity_loss_sum(output.intensity, labels, mask), mask.sum()
    if output.intensity is None:
        return detection_loss_sum(output.occurrence, labels, mask, pos_weight), mask.sum()
    occurrence, intensity = labels.chunk(2, dim=1)
    occurrence_mask, intensity_mask = mask.chunk(2, dim=1)
    detection_sum = detection_loss_sum(output.occurrence, occurrence, occurrence_mask, pos_weight)
    return detection_sum + intensity_loss_sum(output.intensity, intensity, intensity_mask), mask.sum() / 2


def detection_loss_sum(
    logits: Tensor, labels: Tensor, mask: Tensor, pos_weight: Tensor | None = None
) -> Tensor:
    """Return the sum of the binary cross-entropy over the labels that are there (equation 2), a scalar.

    Args:
        logits: (B, A).
        labels: (B, A), 0 to 1 (in between where images are mixed); any value where missing.
        mask: (B, A) bool, True where the label is there (not missing).
        pos_weight: (A,), the weight of the label 1 of each AU; None for 1.
    """
    labels = torch.where(mask, labels, 0.0).to(_loss_dtype(logits))
    errors = F.binary_cross_entropy_with_logits(
        logits.to(labels.dtype), labels, pos_weight=pos_weight, reduction="none"
    )
    return torch.where(mask, errors, 0.0).sum()


def intensity_loss_sum(values: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Return the sum of the squared errors on the 0 to 1 scale over the labels that are there (equation 3).

    Args:
        values: (B, A), 0 to 1 for FACS 0 to 5.
        labels: (B, A), 0 to 5; any value where missing.
        mask: (B, A) bool, True where the label is there (not missing).
    """
    labels = torch.where(mask, labels, 0.0).to(_loss_dtype(values)) / INTENSITY_MAX
    errors = (values.to(labels.dtype) - labels).square()
    return torch.where(mask, errors, 0.0).sum()


def guide_loss_sum(measures: Tensor, guide: Tensor, mask: Tensor) -> Tensor:
    """Return the sum over faces of the mean smooth L1 error over the measures of each face.

    Args:
        measures: (B, G), as ``GuidedAUModel`` predicts them.
        guide: (B, G), in standard deviations; any value where missing.
        mask: (B, G) bool, True where the measure is there (not missing).
    """
    errors = F.smooth_l1_loss(measures.float(), guide.float(), reduction="none")
    return (torch.where(mask, errors, 0.0).sum(dim=1) / mask.sum(dim=1).clamp(min=1)).sum()


def relative_loss_sum(scores: Tensor, measures: Tensor, mask: Tensor, clips: Tensor, least: float) -> Tensor:
    """Return the loss of faces whose scores are not in the order of a measure within their clip, a scalar.

    The error of two frames of one clip is the softplus of the score of the one with the lower measure minus
    the score of the other. The loss of a face is the mean over its pairs; the sum is over faces and AUs.

    Args:
        scores: (B, A), larger for more of the AU.
        measures: (B, A), of another tool.
        mask: (B, A) bool, True where the measure is there.
        clips: (B,) int64, the clip of each face; -1 for none.
        least: smallest difference of the measure that counts.
    """
    scores, measures = scores.float(), measures.float()
    same = (clips[:, None] == clips[None]) & (clips >= 0)[:, None]  # (B, B)
    higher = (measures[:, None] - measures[None] > least) & mask[:, None] & mask[None]
    pairs = higher & same[..., None]  # (B, B, A): the first has clearly more
    errors = torch.where(pairs, F.softplus(scores[None] - scores[:, None]), 0.0)
    counts = pairs.sum(dim=1) + pairs.sum(dim=0)
    return ((errors.sum(dim=1) + errors.sum(dim=0)) / counts.clamp(min=1)).sum()


def _loss_dtype(values: Tensor) -> torch.dtype:
    """Return the type of the loss: float32 at least, also under autocast."""
    return torch.promote_types(values.dtype, torch.float32)
