"""``maeface pretrain``: stage 1, training of a masked autoencoder on faces (sections 3.2.1, 3.3 and 4)."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from maeface import checks, config, console, files
from maeface.data import manifest
from maeface.data.loading import augmentation
from maeface.data.loading.dataset import Batch, FaceDataset, gather_manifests
from maeface.data.loading.loader import InOrder, Loader
from maeface.data.loading.on_device import OnDevice
from maeface.data.loading.sampling import BatchOrder
from maeface.data.shards import fingerprint
from maeface.model import licences, mae, preprocessing, weights
from maeface.model.mae import MAE
from maeface.paths import StrPath, to_paths
from maeface.report import charts, figures
from maeface.train import journal, loop, ranks
from maeface.train.loop import Evaluation
from maeface.train.run import WEIGHTS, Run, describe_inputs, is_finished, open_run, save_weights

PICTURES = "reconstructions"
SHOWN = 8


def run(settings: config.Pretrain, data: StrPath | Sequence[StrPath], out: StrPath) -> Path:
    """Train a masked autoencoder on faces; its encoder is the start of ``finetune``.

    The same call continues a run that was stopped; a finished run is left as it is.

    Args:
        settings: ``config.load(config.Pretrain, recipe)``.
        data: prepared folders, or plain folders of face crops.
        out: folder of the run.

    Returns:
        The weights file, ``out/weights.safetensors``.

    Raises:
        ConfigError: no such folder, sizes that do not fit each other, or other settings than those of the run
            in ``out``.
        DataError: no faces, a damaged crop, a loss that is not finite.
        WeightsError: ``settings.init`` cannot be used, or no checkpoint of the run can be read.
        ResourceError: the folder is in use, no such device, memory or disk full.
    """
    data, out = to_paths(data), Path(out)
    checks.require_writable_folders(out)
    rows = gather_manifests(data)
    held_out = manifest.hold_out(manifest.subjects(rows), settings.data.validation, settings.run.seed)
    inputs = describe_inputs(settings.init, rows["id"]) | {"crops": fingerprint(data, rows)}
    start = licences.start_of(settings.init, inputs)
    licence = licences.inherit(settings.licence, start)
    with open_run(out, settings, inputs) as session:
        if is_finished(session):
            return out / WEIGHTS
        torch.manual_seed(settings.run.seed)
        model = mae.build(settings.model)
        report = None
        if settings.init != "random":
            report = weights.load_encoder_into(model, weights.find(settings.init), interpolate=True)
        if session.writes:
            console.note(f"{len(rows)} faces, {int(held_out.sum())} of them held out; {session.describe()}")
            if report is not None:
                console.note(f"from {settings.init}: {report}")
        size = weights.Preprocessing(image_size=settings.model.image_size)
        save = partial(save_weights, session, settings, model, size, inputs, licence=licence, start=start)
        _train(session, settings, model.to(session.device), data, rows[~held_out], rows[held_out], save)
        if session.writes:
            save()
            if log := journal.lines(out):
                files.write_bytes(out / "curves.png", figures.png(charts.training_curves(log)))
        return out / WEIGHTS


def _train(
    session: Run,
    settings: config.Pretrain,
    model: MAE,
    data: Sequence[Path],
    train: pd.DataFrame,
    validation: pd.DataFrame,
    keep_milestone: Callable[[int], None],
) -> None:
    """Train the model on the manifest rows ``train``; evaluate it on ``validation``, which may be empty."""
    dataset = _dataset(session, settings, data, train, model.encoder.patches, training=True)
    pin = session.device.type == "cuda"
    loader = Loader(
        dataset,
        BatchOrder(len(dataset), settings.optim.batch, settings.run.seed, drop_last=True),
        settings.optim.micro_batch,
        settings.run.workers,
        session.rank,
        session.world,
        pin,
    )
    with ExitStack() as stack:
        evaluate = None
        if len(validation):
            held_out = _dataset(session, settings, data, validation, model.encoder.patches, training=False)
            size = settings.optim.micro_batch or -(-settings.optim.batch // session.world)
            shared = (settings.run.workers, pin, session.rank, session.world)
            batches = stack.enter_context(InOrder(held_out, size, *shared))
            evaluate = _evaluation(session, settings, model, batches)
        loop.fit(
            session,
            model,
            model.encoder.shape.depth,
            loader,
            reconstruction_loss(session, settings, model),
            settings.optim,
            evaluate,
            keep_milestone=keep_milestone,
        )


def reconstruction_loss(session: Run, settings: config.Pretrain, model: MAE) -> loop.Loss:
    """Return the loss of equation 1 on randomly cropped faces; every face weighs the same."""
    size, options = settings.model.image_size, settings.data

    def cut(stored: Tensor, uniform: Tensor) -> Tensor:
        crops = augmentation.random_crops(uniform, options.crop_scale, options.flip)
        return preprocessing.normalize(augmentation.resample(preprocessing.as_float(stored), crops, size))

    inputs, distance = session.compilation.wrap(cut), session.compilation.wrap(model.loss)

    def loss(forward: Callable[..., Any], batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        images = inputs(batch["image"], batch["draws"])
        count = torch.full((), float(len(images)), device=session.device)
        return distance(forward(images, batch["noise"]), images) * count, count

    return loss


def _dataset(
    session: Run,
    settings: config.Pretrain,
    data: Sequence[Path],
    rows: pd.DataFrame,
    patches: int,
    training: bool,
) -> FaceDataset | OnDevice:
    dataset = FaceDataset(
        data,
        rows,
        settings.model.image_size,
        settings.run.seed,
        patches=patches,
        training=training,
        least_area=settings.data.crop_scale[0] if training else None,
    )
    if not settings.data.on_device:
        return dataset
    return OnDevice(dataset, session.device, settings.run.workers, session.writes)


def _evaluation(
    session: Run, settings: config.Pretrain, model: MAE, batches: Iterable[Batch]
) -> Callable[[int], Evaluation]:
    """Return the evaluation on held-out faces under fixed masks: loss, and a picture (Fig. 1)."""

    def evaluate(epoch: int) -> Evaluation:
        losses: list[Tensor] = []  # on the device, which is waited for once, at the end
        counts: list[int] = []
        before = session.stop.code
        for batch in batches:
            if session.stop.code != before:
                break
            stored, noise = (batch[name].to(session.device, non_blocking=True) for name in ("image", "noise"))
            images = preprocessing.to_input(stored, settings.model.image_size)
            with session.autocast():
                if session.writes and not losses:
                    pictures = model.reconstruct(images[:SHOWN], noise[:SHOWN])
                    stages = (pictures.masked, pictures.reconstructed, images[:SHOWN])
                    _write_pictures(session.folder / PICTURES / f"epoch-{epoch:04d}.png", stages)
                losses.append(model.loss(model(images, noise), images))
                counts.append(len(images))
        session.end_if_stopped(before)
        own = [(float(loss) * count, count) for loss, count in zip(losses, counts, strict=True)]
        totals, faces = zip(*itertools.chain(*ranks.gather(own)), strict=True)
        return Evaluation(sum(totals) / sum(faces))

    return evaluate


def _write_pictures(path: Path, stages: tuple[Tensor, Tensor, Tensor]) -> None:
    """Write images as masked, as reconstructed and as they are, (B, 3, S, S) normalised each, as a PNG."""
    masked, reconstructed, original = (
        preprocessing.denormalize(stage.float()).permute(0, 2, 3, 1).cpu().numpy() for stage in stages
    )
    files.write_bytes(path, figures.png(figures.reconstructions(masked, reconstructed, original)))
