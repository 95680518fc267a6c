"""The predictions of a training for held-out faces, and their loss and scores."""

from collections import defaultdict
from collections.abc import Callable, Iterable

import numpy as np
from torch import Tensor

from maeface.model import au, preprocessing
from maeface.model.au import AUModel
from maeface.train.loop import Batch, Evaluation
from maeface.train.run import Run
from maeface.train.scores import compute_scores


def evaluation(
    session: Run, model: AUModel, batches: Iterable[Batch], pos_weight: Tensor | None
) -> Callable[[int], Evaluation]:
    """Return the evaluation on held-out subjects: loss, and F1 and ICC of each AU and their means."""

    def evaluate(epoch: int) -> Evaluation:
        loss, arrays = predict(session, model, batches, pos_weight)
        return Evaluation(loss, compute_scores(model.aus, arrays))

    return evaluate


def predict(
    session: Run, model: AUModel, batches: Iterable[Batch], pos_weight: Tensor | None = None
) -> tuple[float, dict[str, np.ndarray]]:
    """Return the loss of faces, and labels and outputs as ``compute_scores`` takes them."""
    total, weight = 0.0, 0.0
    collected: dict[str, list[np.ndarray]] = defaultdict(list)
    for batch in batches:
        stored, labels, mask = (
            batch[name].to(session.device, non_blocking=True) for name in ("image", "au", "mask")
        )
        images = preprocessing.to_input(stored, model.encoder.image_size)
        with session.autocast():
            output = model(images)
        batch_total, batch_weight = au.loss_sum(output, labels, mask, pos_weight)
        total, weight = total + float(batch_total), weight + float(batch_weight)
        collected["labels"].append(batch["au"].numpy())
        collected["mask"].append(batch["mask"].numpy())
        for name, values in output.values().items():
            collected[name].append(values.cpu().numpy())
    return total / weight, {name: np.concatenate(values) for name, values in collected.items()}
