"""``maeface finetune``: stage 2, training of an encoder on action units (sections 3.2.2, 3.3 and 4)."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from maeface import checks, config, console, files
from maeface.data import manifest
from maeface.data.loading import augmentation, photometric
from maeface.data.loading.dataset import Batch, FaceDataset
from maeface.data.loading.loader import InOrder, Loader
from maeface.data.loading.on_device import OnDevice
from maeface.data.loading.sampling import BatchOrder, keyed_generator
from maeface.data.loading.several import read_faces
from maeface.data.loading.split import Split, split_faces
from maeface.data.shards import fingerprint
from maeface.data.tables import guide as guides
from maeface.model import au, licences, preprocessing, weights
from maeface.model.au import AUModel
from maeface.model.start import build_model, require_head
from maeface.paths import StrPath, to_path, to_paths
from maeface.prediction import seeds as seed_scores
from maeface.report import charts, figures
from maeface.train import journal, loop
from maeface.train.held_out import evaluation, predict
from maeface.train.run import WEIGHTS, Run, describe_inputs, is_finished, open_run, save_weights
from maeface.train.scores import THRESHOLD, by_au, choose_thresholds, positive_weights

SPLIT = "split.json"
render_seeds = seed_scores.render


def run(
    settings: config.Finetune,
    data: StrPath | Sequence[StrPath],
    labels: StrPath | Sequence[StrPath],
    init: StrPath,
    out: StrPath,
    guide: StrPath | None = None,
) -> Path:
    """Train an encoder on action units. No subject is in two of training, validation and test.

    The same call continues a run that was stopped; a finished run is left as it is.

    Args:
        settings: ``config.load(config.Finetune, recipe)``.
        data: prepared folders, or plain folders of face crops.
        labels: the labels table, CSV or Parquet; or one for each of ``data`` (``several.join_datasets``),
            with ``settings.model.aus`` given.
        init: "random", a weights file (maeface's own or a public one), or the name of a packaged one.
        out: folder of the run.
        guide: table of measures of the faces, learned beside the action units (``data.tables.guide``).

    Returns:
        The weights file, ``out/weights.safetensors``, of the lowest validation loss.

    Raises:
        ConfigError: no such folder or file, no head to keep, or other settings than the run in ``out``.
        DataError: labels that do not fit the faces, an action unit that they lack, too few subjects.
        WeightsError: ``init`` cannot be used, or no checkpoint of the run can be read.
        ResourceError: the folder is in use, no such device, memory or disk full.
    """
    data, tables, init, out = to_paths(data), to_paths(labels), str(init), Path(out)
    guide = to_path(guide)
    checks.require_writable_folders(out)
    require_head(settings, init)
    aus, faces, summary = read_faces(data, tables, settings.model)
    splits = split_faces(faces, settings)
    inputs = describe_inputs(init, faces.rows["id"]) | {"labels_sha256": " ".join(map(files.sha256, tables))}
    inputs["crops"] = fingerprint(data, faces.rows)
    inputs |= {} if guide is None else {"guide_sha256": files.sha256(guide)}
    start = licences.start_of(init, inputs)
    dataset = ", ".join(table.name for table in tables)
    origin = {"dataset": dataset, "licence": licences.inherit(settings.licence, start), "start": start}
    with open_run(out, settings, inputs) as session:
        if is_finished(session):
            return out / WEIGHTS
        torch.manual_seed(settings.run.seed)
        model, line = build_model(settings, aus, init)
        if session.writes:
            console.note(f"{summary}; {session.describe()}")
            console.note(line)
            subjects = {name: sorted(set(manifest.subjects(part.rows))) for name, part in splits.items()}
            files.write_json(out / SPLIT, subjects)
        save = partial(_save, session, settings, model.to(session.device), inputs, origin)
        _train(session, settings, model, data, splits, guide, save)
        thresholds = _choose_thresholds(session, settings, model, data, splits["validation"])
        if session.writes:
            save(thresholds=thresholds)
            if rows := journal.lines(session.folder):
                files.write_bytes(session.folder / "curves.png", figures.png(charts.training_curves(rows)))
        return out / WEIGHTS


def run_seeds(
    seeds: Sequence[int],
    settings: config.Finetune,
    data: StrPath | Sequence[StrPath],
    labels: StrPath | Sequence[StrPath],
    init: StrPath,
    out: StrPath,
    guide: StrPath | None = None,
) -> pd.DataFrame:
    """Train once for each seed, in ``out/seed-0`` and so on, and score each on its held-out faces.

    The same call continues; finished trainings are left as they are.

    Args:
        seeds: two or more, each for ``run.seed``.
        settings: as for ``run``.
        data: as for ``run``.
        labels: as for ``run``.
        init: as for ``run``.
        out: folder of the runs.
        guide: as for ``run``.

    Returns:
        The table of ``seeds.pool``, which is also written to ``out/seeds.csv``.

    Raises:
        ConfigError: not two seeds, no face that is held out, or several processes; else as ``run``.
    """
    data, tables = to_paths(data), to_paths(labels)
    return seed_scores.sweep(
        *(seeds, settings, data, tables, Path(out)), lambda own, at: run(own, data, tables, init, at, guide)
    )


def _train(
    session: Run,
    settings: config.Finetune,
    model: AUModel,
    data: Sequence[Path],
    splits: Mapping[str, Split],
    guide: Path | None,
    keep_milestone: Callable[[int], None],
) -> None:
    """Train the model, with a guide if given; it ends with the weights of the lowest validation loss."""
    train, selection = splits["train"], splits[settings.selection]
    if settings.data.repeats:
        train = train.repeat(settings.data.repeats)
    measures = None if guide is None else guides.read(guide, list(train.rows["id"]))
    relative = guides.columns_of(measures, settings.relative.measures, model.aus)
    clips = np.asarray(pd.factorize(train.rows["clip"])[0], np.int64) if relative else None  # -1: no clip
    trained = model if measures is None else au.GuidedAUModel(model, len(measures.names)).to(session.device)
    dataset = _dataset(session, settings, model, data, train, training=True, guide=measures, clips=clips)
    known = train.mask if measures is None else np.concatenate([train.mask, measures.mask], axis=1)
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
        session.device.type == "cuda",
        known if settings.data.mixup or settings.data.cutmix else None,
    )
    pos_weight = _positive_weights(session, settings, model, train)
    with ExitStack() as stack:
        evaluate = None
        if len(selection.rows):
            batches = stack.enter_context(_in_order(session, settings, model, data, selection))
            evaluate = evaluation(session, model, batches, pos_weight)
        loop.fit(
            session,
            trained,
            model.encoder.shape.depth,
            loader,
            au_loss(session, settings, model, relative, pos_weight),
            settings.optim,
            evaluate,
            settings.patience,
            keep_best=True,
            keep_milestone=keep_milestone,
        )


def au_loss(
    session: Run,
    settings: config.Finetune,
    model: AUModel,
    relative: Mapping[int, int] | None = None,
    pos_weight: Tensor | None = None,
) -> loop.Loss:
    """Return the loss of the labels that are there, and of the order of frames."""
    options, size, ordered = settings.data, model.encoder.image_size, relative or {}
    positions, columns = (  # on the device: a list would be copied there in each step, and waited for
        torch.tensor(list(numbers), dtype=torch.long).to(session.device)
        for numbers in (ordered, ordered.values())
    )

    def cut(stored: Tensor, uniform: Tensor) -> Tensor:
        crops = augmentation.random_crops(uniform, options.crop_scale, options.flip)
        return augmentation.resample(preprocessing.as_float(stored), crops, size)

    inputs = session.compilation.wrap(cut)

    def loss(forward: Callable[..., Any], batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        uniform, labels, mask = batch["draws"], batch["au"], batch["mask"]
        images = inputs(batch["image"], uniform)
        images = photometric.apply(images, uniform[:, augmentation.OWN_DRAWS :], options.photometric)
        images = preprocessing.normalize(images)
        if options.erase:
            images = augmentation.erase(images, uniform, options.erase)
        widths = [labels.shape[1]]
        if "guide" in batch:
            widths.append(batch["guide"].shape[1])
            labels = torch.cat([labels, batch["guide"]], dim=1)
            mask = torch.cat([mask, batch["guide_mask"]], dim=1)
        if "partner" in batch:
            generator = keyed_generator(settings.run.seed, "step", step)
            mixing = (batch["partner"], generator, options.mixup, options.cutmix)
            images, labels, mask = augmentation.mix(images, labels, mask, *mixing)
        drop = batch["noise"][: len(images)]
        output = forward(images, drop if drop.shape[1] else None)
        if "guide" not in batch:
            return au.loss_sum(output, labels, mask, pos_weight)
        output, measures = output
        labels, guide = torch.split(labels, widths, dim=1)
        mask, guide_mask = torch.split(mask, widths, dim=1)
        total, weight = au.loss_sum(output, labels, mask, pos_weight)
        # The guide of a face weighs like the labels of a face without missing ones.
        total = total + settings.guide * len(model.aus) * au.guide_loss_sum(measures, guide, guide_mask)
        if relative:
            known = (guide[:, columns], guide_mask[:, columns], batch["clip"])
            for scores in output.scores():
                errors = au.relative_loss_sum(scores[:, positions], *known, settings.relative.least)
                total = total + settings.relative.weight * errors
        return total, weight

    return loss


def _dataset(
    session: Run,
    settings: config.Finetune,
    model: AUModel,
    data: Sequence[Path],
    part: Split,
    training: bool,
    guide: guides.Guide | None = None,
    clips: np.ndarray | None = None,
) -> FaceDataset | OnDevice:
    measures = {} if guide is None else {"guide": guide.values, "guide_mask": guide.mask}
    if clips is not None:
        measures["clip"] = clips
    dataset = FaceDataset(
        data,
        part.rows,
        model.encoder.image_size,
        settings.run.seed,
        labels={"au": part.labels.astype(np.float32), "mask": part.mask, **measures},
        randaugment=settings.data.randaugment,
        patches=model.encoder.drop_draws if training else 0,
        training=training,
        least_area=settings.data.crop_scale[0] if training else None,
    )
    if not settings.data.on_device:
        return dataset
    return OnDevice(dataset, session.device, settings.run.workers, session.writes)


def _in_order(
    session: Run, settings: config.Finetune, model: AUModel, data: Sequence[Path], part: Split
) -> InOrder:
    """Return this rank's batches of a part, for evaluation."""
    dataset = _dataset(session, settings, model, data, part, training=False)
    size = settings.optim.micro_batch or -(-settings.optim.batch // session.world)
    pin = session.device.type == "cuda"
    return InOrder(dataset, size, settings.run.workers, pin, session.rank, session.world)


def _positive_weights(session: Run, settings: config.Finetune, model: AUModel, train: Split) -> Tensor | None:
    if settings.pos_weight is None:
        return None
    own = slice(len(model.aus))  # occurrence comes first
    found = positive_weights(train.labels[:, own], train.mask[:, own], settings.pos_weight)
    if session.writes:
        console.note(f"weights of faces with an AU: {by_au(model.aus, found)}")
    return torch.from_numpy(found).to(session.device)


@torch.no_grad()
def _choose_thresholds(
    session: Run, settings: config.Finetune, model: AUModel, data: Sequence[Path], validation: Split
) -> tuple[float, ...]:
    """Return the threshold of each AU for the trained weights; none for those that are always used."""
    if settings.thresholds == "fixed" or not len(validation.rows):
        return ()
    with _in_order(session, settings, model, data, validation) as batches:
        arrays = predict(session, model, batches)[1]
    own = slice(len(model.aus))
    found = choose_thresholds(arrays["labels"][:, own], arrays["occurrence"], arrays["mask"][:, own])
    if session.writes:
        console.note(f"thresholds by F1 on validation: {by_au(model.aus, found)}")
    return found


def _save(
    session: Run,
    settings: config.Finetune,
    model: AUModel,
    inputs: Mapping[str, Any],
    origin: Mapping[str, Any],
    epoch: int | None = None,
    thresholds: Sequence[float] = (),
) -> None:
    """Write the weights of a run, or those of an epoch; without ``thresholds`` they are 0.5."""
    save_weights(
        session,
        settings,
        model,
        weights.Preprocessing(image_size=model.encoder.image_size),
        inputs,
        epoch,
        thresholds=() if model.task == "intensity" else thresholds or (THRESHOLD,) * len(model.aus),
        fold=settings.data.fold if settings.data.folds is not None else None,
        **origin,
    )
