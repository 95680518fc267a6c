"""The predictions of a training for held-out faces, and their loss and scores."""

import itertools
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from maeface.model import au, preprocessing
from maeface.model.au import AUModel
from maeface.train import ranks
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
    """Return the loss of all ranks' faces, and labels and outputs as ``compute_scores`` takes them.

    Args:
        session: an open run.
        model: in evaluation mode.
        batches: of this rank.
        pos_weight: as in the training's loss.

    Raises:
        SystemExit: a signal has stopped the run.
    """
    sums: list[Tensor] = []  # of each batch: loss and weight, (2,)
    arrays: list[dict[str, np.ndarray]] = []
    outputs: list[dict[str, Tensor]] = []  # on the device, which is waited for once, at the end
    before = session.stop.code
    for batch in batches:
        if session.stop.code != before:
            break
        stored, labels, mask = (
            batch[name].to(session.device, non_blocking=True) for name in ("image", "au", "mask")
        )
        images = preprocessing.to_input(stored, model.encoder.image_size)
        with session.autocast():
            output = model(images)
        total, weight = au.loss_sum(output, labels, mask, pos_weight)
        sums.append(torch.stack([total, weight.to(total.dtype)]))
        # copies: what a reading process has shared keeps a file open
        arrays.append({"labels": batch["au"].numpy().copy(), "mask": batch["mask"].numpy().copy()})
        outputs.append(output.values())
    session.end_if_stopped(before)
    own = [
        (*both.tolist(), known | {name: values.cpu().numpy() for name, values in found.items()})
        for both, known, found in zip(sums, arrays, outputs, strict=True)
    ]
    totals, weights, parts = zip(*itertools.chain(*ranks.gather(own)), strict=True)
    return sum(totals) / sum(weights), {
        name: np.concatenate([part[name] for part in parts]) for name in parts[0]
    }
