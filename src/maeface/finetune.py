"""``maeface finetune``: stage 2, the encoder learns action units (sections 3.2.2, 3.3 and 4)."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maeface import checks, config, console, facts, files, metrics
from maeface.data import manifest
from maeface.data.loading import augmentation, photometric
from maeface.data.loading.dataset import Batch, FaceDataset, gather_manifests
from maeface.data.loading.loader import Loader, load_in_order
from maeface.data.loading.sampling import BatchOrder, keyed_generator
from maeface.data.loading.split import Split, split_faces
from maeface.data.manifest import Labelled
from maeface.data.tables import guide as guides
from maeface.errors import DataError
from maeface.model import au, preprocessing, weights
from maeface.model.au import AUModel
from maeface.model.vit import ViT
from maeface.report import charts, figures
from maeface.train import journal, loop, result
from maeface.train.loop import Evaluation
from maeface.train.run import Run, opened

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
    """Teach an encoder action units. Subjects are never shared between training, validation and test.

    The same call goes on with a run that was stopped; a finished run is left as it is.

    Args:
        settings: ``config.load(config.Finetune, recipe)``.
        data: prepared folders, or plain folders of face crops.
        labels: the labels table, CSV or Parquet.
        init: "random", a weights file (maeface's own or a public one), or the name of a packaged one.
        out: folder of the run.
        guide: measures of faces, to be learned beside the action units (``data.guide``); None for none.

    Returns:
        The weights file, ``out/weights.safetensors``, of the lowest validation loss.

    Raises:
        ConfigError: no such folder or file, or other settings than the run in ``out``.
        DataError: labels that do not fit the faces, an action unit they lack, too few subjects.
        WeightsError: ``init`` cannot be used, or no checkpoint of the run can be read.
        ResourceError: the folder is in use, no such device, memory or disk full.
    """
    checks.output_folders(out)
    labelled = join(data, labels)
    aus, everything = choose(labelled, settings.model)
    parts = split_faces(everything, settings)
    inputs = result.inputs(init, everything.rows["id"]) | {"labels_sha256": files.sha256(labels)}
    inputs |= {} if guide is None else {"guide_sha256": files.sha256(guide)}
    with opened(out, settings, inputs) as session:
        if result.finished(session):
            return out / result.FILE
        torch.manual_seed(settings.run.seed)
        model, came = start(settings, aus, init)
        if session.writes:
            console.say(f"{labelled.summary()}; {session.describe()}")
            console.say(came)
            files.write_json(
                out / SPLIT, {name: sorted(set(manifest.subjects(part.rows))) for name, part in parts.items()}
            )
        _learn(session, settings, model.to(session.device), data, parts, guide)
        if session.writes:
            _finish(session, settings, model, inputs, labels)
        return out / result.FILE


def _learn(
    session: Run,
    settings: config.Finetune,
    model: AUModel,
    data: Sequence[Path],
    parts: Mapping[str, Split],
    guide: Path | None,
) -> None:
    """Train the model, and beside it what the guide measures; it ends with the weights to keep."""
    learned, chosen_on = parts["train"], parts[settings.selection]
    if settings.data.repeats:
        learned = learned.repeat(settings.data.repeats)
    measures = None if guide is None else guides.read(guide, list(learned.rows["id"]))
    pupil = model if measures is None else au.GuidedAUModel(model, len(measures.names)).to(session.device)
    train = _dataset(settings, model, data, learned, training=True, guide=measures)
    loader = Loader(
        train,
        BatchOrder(len(train), settings.optim.batch, settings.run.seed),
        settings.optim.micro_batch,
        settings.run.workers,
        session.rank,
        session.world,
        pin=session.device.type == "cuda",
    )
    judge = None
    if len(chosen_on.rows):
        held_out = _dataset(settings, model, data, chosen_on, training=False)
        judge = _evaluation(session, settings, model, held_out)
    loop.fit(
        session,
        pupil,
        model.encoder.shape.depth,
        loader,
        au_loss(session, settings, model),
        settings.optim,
        judge,
        settings.patience,
        keep_best=True,
    )


def join(data: Sequence[Path], labels: Path) -> Labelled:
    """The faces of several folders that have labels.

    Raises:
        DataError: labels that do not fit the faces, or two folders with a face of one ``id``.
    """
    rows = gather_manifests(data)
    if (twice := rows["id"].duplicated()).any():
        raise DataError(
            f"two of the data folders have a face called {rows.loc[twice, 'id'].iloc[0]}, so there is no "
            "telling whose label is meant; rename the files and prepare again"
        )
    return manifest.join_labels(rows, labels)


def choose(labelled: Labelled, head: config.Head) -> tuple[tuple[int, ...], Split]:
    """The action units to learn and the labels of these, in the order of the model's outputs.

    Without a choice, all that the labels have; for task "both", all that have both kinds.

    Raises:
        DataError: the labels lack an action unit that is asked for, or have none of the kind.
    """
    kinds = {"detection": ["occurrence"], "intensity": ["intensity"]}.get(
        head.task, ["occurrence", "intensity"]
    )
    there = {"occurrence": labelled.aus_occurrence, "intensity": labelled.aus_intensity}
    aus = head.aus or tuple(number for number in there[kinds[0]] if all(number in there[k] for k in kinds))
    for kind in kinds:
        lacking = [facts.au_name(number) for number in aus if number not in there[kind]]
        if lacking or not aus:
            have = ", ".join(facts.au_name(number) for number in there[kind]) or "none"
            raise DataError(
                f"the labels have no {kind} of {', '.join(lacking) or 'any action unit'}; they have: {have}"
            )
    labels, mask = [], []
    for kind in kinds:
        columns = [there[kind].index(number) for number in aus]
        labels.append(getattr(labelled, kind)[:, columns])
        mask.append(getattr(labelled, f"{kind}_mask")[:, columns])
    return aus, Split(labelled.rows, np.concatenate(labels, axis=1), np.concatenate(mask, axis=1))


def start(settings: config.Finetune, aus: tuple[int, ...], init: str) -> tuple[AUModel, str]:
    """The model before training, and a line that says where its encoder comes from."""
    head = settings.model
    if init == "random":
        encoder = ViT(head.size, head.image_size or 224, head.patch_size, head.drop_path)
        came = f"from random weights, size {head.size}"
    else:
        encoder, report = weights.load_encoder(
            weights.find(init), image_size=head.image_size, drop_path=head.drop_path, interpolate=True
        )
        came = f"from {init}: {report}"
    return AUModel(encoder, aus, head.task), came


def au_loss(session: Run, settings: config.Finetune, model: AUModel) -> loop.Loss:
    """The loss of the task over augmented and mixed faces; every label that is there weighs the same."""
    how, size = settings.data, model.encoder.image_size

    def loss(replica: Callable[..., Any], batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        stored, uniform, labels, mask = (
            batch[name].to(session.device, non_blocking=True) for name in ("image", "draws", "au", "mask")
        )
        crops = augmentation.random_crops(uniform, how.crop_scale, how.flip)
        images = augmentation.resample(preprocessing.as_float(stored), crops, size)
        images = photometric.apply(images, uniform[:, augmentation.OWN_DRAWS :], how.photometric)
        images = preprocessing.normalize(images)
        if how.erase:
            images = augmentation.erase(images, uniform, how.erase)
        generator = keyed_generator(settings.run.seed, "step", step)
        if "guide" not in batch:
            images, labels, mask = augmentation.mix(images, labels, mask, generator, how.mixup, how.cutmix)
            return _summed(model, replica(images), labels, mask)
        widths = [labels.shape[1], batch["guide"].shape[1]]
        labels = torch.cat([labels, batch["guide"].to(session.device)], dim=1)
        mask = torch.cat([mask, batch["guide_mask"].to(session.device)], dim=1)
        images, labels, mask = augmentation.mix(images, labels, mask, generator, how.mixup, how.cutmix)
        labels, guide = torch.split(labels, widths, dim=1)
        mask, guide_mask = torch.split(mask, widths, dim=1)
        output, measures = replica(images)
        total, weight = _summed(model, output, labels, mask)
        # as a face whose labels are all there weighs, so that the weight is the same in every batch
        return total + settings.guide * len(model.aus) * au.guide_loss(measures, guide, guide_mask), weight

    return loss


def _summed(model: AUModel, output: au.AUOutput, labels: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of the errors where ``mask`` is True, and its weight: their number (half for "both")."""
    kinds = 2 if model.task == "both" else 1
    return au.loss(output, labels, mask, total=torch.ones(kinds, device=labels.device)), mask.sum() / kinds


def _dataset(
    settings: config.Finetune,
    model: AUModel,
    data: Sequence[Path],
    part: Split,
    training: bool,
    guide: guides.Guide | None = None,
) -> FaceDataset:
    measures = {} if guide is None else {"guide": guide.values, "guide_mask": guide.mask}
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
    """Loss, F1 and ICC of held-out subjects, each AU by itself and in the mean."""
    size = settings.optim.micro_batch or -(-settings.optim.batch // session.world)

    def evaluate(epoch: int) -> Evaluation:
        total, weight = 0.0, 0.0
        collected: dict[str, list[np.ndarray]] = {
            "labels": [],
            "mask": [],
            "occurrence": [],
            "intensity": [],
        }
        for batch in load_in_order(dataset, size, settings.run.workers, session.device.type == "cuda"):
            images = preprocessing.to_input(batch["image"].to(session.device), model.encoder.image_size)
            with session.autocast():
                output = model(images)
            labels, mask = batch["au"].to(session.device), batch["mask"].to(session.device)
            summed, count = _summed(model, output, labels, mask)
            total, weight = total + float(summed), weight + float(count)
            collected["labels"].append(batch["au"].numpy())
            collected["mask"].append(batch["mask"].numpy())
            for name, values in (("occurrence", output.probabilities()), ("intensity", output.intensities())):
                if values is not None:
                    collected[name].append(values.cpu().numpy())
        arrays = {name: np.concatenate(found) for name, found in collected.items() if found}
        return Evaluation(total / weight, scores(model.aus, arrays))

    return evaluate


def scores(aus: tuple[int, ...], arrays: dict[str, np.ndarray]) -> dict[str, float]:
    """``f1/AU12`` ... and ``f1_mean``; the same for ``icc``. What is undefined is left out of the mean.

    Args:
        aus: A action units.
        arrays: ``labels`` and ``mask`` (N, O) as in ``Split``, and of ``occurrence`` (probabilities) and
            ``intensity`` (0 to 5) what the model gives, (N, A) each.
    """
    found: dict[str, float] = {}
    kinds = [kind for kind in ("occurrence", "intensity") if kind in arrays]
    columns = np.split(np.arange(len(aus) * len(kinds)), len(kinds))
    for kind, which in zip(kinds, columns, strict=True):
        labels, mask = arrays["labels"][:, which], arrays["mask"][:, which]
        if kind == "occurrence":
            name, values = "f1", metrics.f1(labels, arrays[kind] >= THRESHOLD, mask)
        else:
            name, values = "icc", metrics.icc31(labels, arrays[kind], mask)
        found |= {f"{name}/{facts.au_name(number)}": float(v) for number, v in zip(aus, values, strict=True)}
        found[f"{name}_mean"] = metrics.mean(values)
    return found


def _finish(
    session: Run, settings: config.Finetune, model: AUModel, inputs: dict[str, Any], labels: Path
) -> None:
    result.write_weights(
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
