"""``maeface finetune``: stage 2, training of an encoder on action units (sections 3.2.2, 3.3 and 4)."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from maeface import checks, config, console, facts, files, metrics
from maeface.data import manifest
from maeface.data.loading import augmentation, photometric
from maeface.data.loading.dataset import Batch, FaceDataset, gather_manifests
from maeface.data.loading.loader import Loader, load_in_order
from maeface.data.loading.sampling import BatchOrder, keyed_generator
from maeface.data.loading.split import Split, select_labels, split_faces
from maeface.data.tables import guide as guides
from maeface.data.tables import labels as label_tables
from maeface.data.tables.labels import LabelledFaces
from maeface.errors import DataError
from maeface.model import au, preprocessing, weights
from maeface.model.au import AUModel
from maeface.model.vit import ViT
from maeface.report import charts, figures
from maeface.train import journal, loop, ranks
from maeface.train.loop import Evaluation
from maeface.train.run import WEIGHTS, Run, describe_inputs, is_finished, open_run, save_weights

SPLIT = "split.json"
THRESHOLD = 0.5


def run(
    settings: config.Finetune,
    data: Sequence[Path],
    labels: Path,
    init: str,
    out: Path,
    guide: Path | None = None,
) -> Path:
    """Train an encoder on action units. No subject is in two of training, validation and test.

    The same call continues a run that was stopped; a finished run is left as it is.

    Args:
        settings: ``config.load(config.Finetune, recipe)``.
        data: prepared folders, or plain folders of face crops.
        labels: the labels table, CSV or Parquet.
        init: "random", a weights file (maeface's own or a public one), or the name of a packaged one.
        out: folder of the run.
        guide: table of measures of the faces, learned beside the action units (``data.tables.guide``).

    Returns:
        The weights file, ``out/weights.safetensors``, of the lowest validation loss.

    Raises:
        ConfigError: no such folder or file, or other settings than the run in ``out``.
        DataError: labels that do not fit the faces, an action unit that they lack, too few subjects.
        WeightsError: ``init`` cannot be used, or no checkpoint of the run can be read.
        ResourceError: the folder is in use, no such device, memory or disk full.
    """
    checks.require_writable_folders(out)
    labelled = join_labels(data, labels)
    aus, faces = select_labels(labelled, settings.model)
    splits = split_faces(faces, settings)
    inputs = describe_inputs(init, faces.rows["id"]) | {"labels_sha256": files.sha256(labels)}
    inputs |= {} if guide is None else {"guide_sha256": files.sha256(guide)}
    with open_run(out, settings, inputs) as session:
        if is_finished(session):
            return out / WEIGHTS
        torch.manual_seed(settings.run.seed)
        model, origin = build_model(settings, aus, init)
        if session.writes:
            console.note(f"{labelled.summary()}; {session.describe()}")
            console.note(origin)
            files.write_json(
                out / SPLIT,
                {name: sorted(set(manifest.subjects(part.rows))) for name, part in splits.items()},
            )
        _train(session, settings, model.to(session.device), data, splits, guide)
        if session.writes:
            _finish(session, settings, model, inputs, labels)
        return out / WEIGHTS


def _train(
    session: Run,
    settings: config.Finetune,
    model: AUModel,
    data: Sequence[Path],
    splits: Mapping[str, Split],
    guide: Path | None,
) -> None:
    """Train the model, with a guide if given; it ends with the weights of the lowest validation loss."""
    train, selection = splits["train"], splits[settings.selection]
    if settings.data.repeats:
        train = train.repeat(settings.data.repeats)
    measures = None if guide is None else guides.read(guide, list(train.rows["id"]))
    relative = guides.columns_of(measures, settings.relative.measures, model.aus)
    clips = np.asarray(pd.factorize(train.rows["clip"])[0], np.int64) if relative else None  # -1: no clip
    trained = model if measures is None else au.GuidedAUModel(model, len(measures.names)).to(session.device)
    dataset = _dataset(settings, model, data, train, training=True, guide=measures, clips=clips)
    loader = Loader(
        dataset,
        BatchOrder(
            *(len(dataset), settings.optim.batch, settings.run.seed),
            groups=clips,
            together=settings.relative.together,
        ),
        settings.optim.micro_batch,
        settings.run.workers,
        session.rank,
        session.world,
        pin=session.device.type == "cuda",
    )
    evaluate = None
    if len(selection.rows):
        held_out = _dataset(settings, model, data, selection, training=False)
        evaluate = _evaluation(session, settings, model, held_out)
    loop.fit(
        session,
        trained,
        model.encoder.shape.depth,
        loader,
        au_loss(session, settings, model, relative),
        settings.optim,
        evaluate,
        settings.patience,
        keep_best=True,
    )


def join_labels(data: Sequence[Path], labels: Path) -> LabelledFaces:
    """Return the faces of several folders that have labels, and their labels.

    Raises:
        DataError: labels that do not fit the faces, or two folders with a face of one ``id``.
    """
    rows = gather_manifests(data)
    if (repeated := rows["id"].duplicated()).any():
        raise DataError(
            f"two of the data folders have a face called {rows.loc[repeated, 'id'].iloc[0]}, and the "
            "labels cannot tell them apart; rename the files and prepare again"
        )
    return label_tables.join_labels(rows, labels)


def build_model(settings: config.Finetune, aus: tuple[int, ...], init: str) -> tuple[AUModel, str]:
    """Return the model before training, and a line on the origin of its encoder for the log."""
    head = settings.model
    if init == "random":
        encoder = ViT(head.size, head.image_size or 224, head.patch_size, head.drop_path)
        origin = f"from random weights, size {head.size}"
    else:
        encoder, report = weights.load_encoder(
            weights.find(init), image_size=head.image_size, drop_path=head.drop_path, interpolate=True
        )
        origin = f"from {init}: {report}"
    model = AUModel(encoder, aus, head.task, head.sides)
    if head.keep_head and init != "random":
        model.take_head(weights.load_model(init)[0])
    return model, origin


def au_loss(
    session: Run, settings: config.Finetune, model: AUModel, relative: Mapping[int, int] | None = None
) -> loop.Loss:
    """Return the loss of the labels that are there, all of the same weight, and of the order of frames."""
    options, size, sides = settings.data, model.encoder.image_size, len(model.sides)

    def loss(forward: Callable[..., Any], batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        stored, uniform, labels, mask = (
            batch[name].to(session.device, non_blocking=True) for name in ("image", "draws", "au", "mask")
        )
        crops = augmentation.random_crops(uniform, options.crop_scale, options.flip)
        images = augmentation.resample(preprocessing.as_float(stored), crops, size)
        images = photometric.apply(images, uniform[:, augmentation.OWN_DRAWS :], options.photometric)
        images = preprocessing.normalize(images)
        if options.erase:
            images = augmentation.erase(images, uniform, options.erase)
        labels, mask = (augmentation.mirror_sides(each, sides, crops.flip) for each in (labels, mask))
        mixing = (keyed_generator(settings.run.seed, "step", step), options.mixup, options.cutmix)
        if "guide" not in batch:
            images, labels, mask = augmentation.mix(images, labels, mask, *mixing)
            return au.loss_sum(forward(images), labels, mask)
        widths = [labels.shape[1], batch["guide"].shape[1]]
        labels = torch.cat([labels, batch["guide"].to(session.device)], dim=1)
        mask = torch.cat([mask, batch["guide_mask"].to(session.device)], dim=1)
        images, labels, mask = augmentation.mix(images, labels, mask, *mixing)
        labels, guide = torch.split(labels, widths, dim=1)
        mask, guide_mask = torch.split(mask, widths, dim=1)
        output, measures = forward(images)
        total, weight = au.loss_sum(output, labels, mask)
        # The guide of a face weighs like the labels of a face without missing ones.
        total = total + settings.guide * len(model.aus) * au.guide_loss_sum(measures, guide, guide_mask)
        if relative:
            positions, columns = list(relative), list(relative.values())
            known = (guide[:, columns], guide_mask[:, columns], batch["clip"].to(session.device))
            for scores in output.scores():
                errors = au.relative_loss_sum(scores[:, positions], *known, settings.relative.least)
                total = total + settings.relative.weight * errors
        return total, weight

    return loss


def _dataset(
    settings: config.Finetune,
    model: AUModel,
    data: Sequence[Path],
    part: Split,
    training: bool,
    guide: guides.Guide | None = None,
    clips: np.ndarray | None = None,
) -> FaceDataset:
    measures = {} if guide is None else {"guide": guide.values, "guide_mask": guide.mask}
    if clips is not None:
        measures["clip"] = clips
    return FaceDataset(
        data,
        part.rows,
        model.encoder.image_size,
        settings.run.seed,
        labels={"au": part.labels.astype(np.float32), "mask": part.mask, **measures},
        randaugment=settings.data.randaugment,
        training=training,
    )


def _evaluation(
    session: Run, settings: config.Finetune, model: AUModel, dataset: FaceDataset
) -> Callable[[int], Evaluation]:
    """Return the evaluation on held-out subjects: loss, and F1 and ICC of each AU and their means."""
    size = settings.optim.micro_batch or -(-settings.optim.batch // session.world)
    options = (size, settings.run.workers, session.device.type == "cuda", session.rank, session.world)

    def evaluate(epoch: int) -> Evaluation:
        own: list[dict[str, Any]] = []  # of each batch of this rank
        for batch in load_in_order(dataset, *options):
            images = preprocessing.to_input(batch["image"].to(session.device), model.encoder.image_size)
            with session.autocast():
                output = model(images)
            labels, mask = batch["au"].to(session.device), batch["mask"].to(session.device)
            total, weight = (float(value) for value in au.loss_sum(output, labels, mask))
            arrays = {"labels": batch["au"].numpy(), "mask": batch["mask"].numpy()}
            sides = output.side_intensities()
            for name, values in (
                ("occurrence", output.probabilities()),
                ("intensity", output.intensities()),
                ("sides", None if sides is None else torch.cat(sides, dim=1)),
            ):
                if values is not None:
                    arrays[name] = values.cpu().numpy()
            own.append({"total": total, "weight": weight, "arrays": arrays})
        batches = [each for rank in ranks.gather(own) for each in rank]
        loss = sum(each["total"] for each in batches) / sum(each["weight"] for each in batches)
        names = batches[0]["arrays"]
        joined = {name: np.concatenate([each["arrays"][name] for each in batches]) for name in names}
        return Evaluation(loss, compute_scores(model.aus, joined))

    return evaluate


def compute_scores(aus: tuple[int, ...], arrays: dict[str, np.ndarray]) -> dict[str, float]:
    """Return ``f1/AU12`` ... and ``f1_mean``, and the same for ``icc``; means leave out what is undefined.

    Where sides are labelled, ``icc_sides_mean`` is the mean over AUs and both sides.

    Args:
        aus: A action units.
        arrays: ``labels`` and ``mask`` as in ``Split``, and the model's ``occurrence`` (probabilities) and
            ``intensity`` (0 to 5), (N, A) each, as far as its task has them; and ``sides`` (N, 2K), 0 to 5,
            if it has them.
    """
    scores: dict[str, float] = {}
    kinds = [kind for kind in ("occurrence", "intensity") if kind in arrays]
    columns = np.split(np.arange(len(aus) * len(kinds)), len(kinds))
    for kind, own in zip(kinds, columns, strict=True):
        labels, mask = arrays["labels"][:, own], arrays["mask"][:, own]
        if kind == "occurrence":
            name, values = "f1", metrics.f1(labels, arrays[kind] >= THRESHOLD, mask)
        else:
            name, values = "icc", metrics.icc31(labels, arrays[kind], mask)
        scores |= {f"{name}/{facts.au_name(number)}": float(v) for number, v in zip(aus, values, strict=True)}
        scores[f"{name}_mean"] = metrics.mean(values)
    if "sides" in arrays:
        labels, mask = (arrays[name][:, len(aus) * len(kinds) :] for name in ("labels", "mask"))
        if mask.any():
            scores["icc_sides_mean"] = metrics.mean(metrics.icc31(labels, arrays["sides"], mask))
    return scores


def _finish(
    session: Run, settings: config.Finetune, model: AUModel, inputs: dict[str, Any], labels: Path
) -> None:
    save_weights(
        session,
        settings,
        model,
        weights.Preprocessing(image_size=model.encoder.image_size),
        inputs,
        thresholds=[THRESHOLD] * len(model.aus) if model.task != "intensity" else (),
        dataset=labels.name,
        fold=settings.data.fold if settings.data.folds is not None else None,
    )
    if rows := journal.lines(session.folder):
        files.write_bytes(session.folder / "curves.png", figures.png(charts.training_curves(rows)))
