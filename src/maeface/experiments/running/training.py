"""One part of an experiment: fine-tune, predict the test and the validation faces, write it down."""

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from maeface import console, facts, files, finetune
from maeface.data.loading.split import Split, split_faces
from maeface.experiments.reporting import results
from maeface.experiments.running import plan
from maeface.experiments.running.plan import Part
from maeface.experiments.running.ready import Ready
from maeface.model.weights import read_metadata
from maeface.prediction.crops import predict_crops
from maeface.train import checkpoints, journal, result

RUN = "au"
VIT_BASE = (768, 12, 16)
"""Width, depth and patches (px) of the paper's encoder (section 3.2.1)."""
WHERE = ("subject", "clip", "source", "frame")


def finish(part: Part, out: Path, datasets: Mapping[str, Ready], init: str, notes: Sequence[str]) -> bool:
    """Train and predict a part, unless that was done with the same settings.

    Args:
        part: from ``plan.parts``.
        out: folder of the experiment.
        datasets: prepared, by name.
        init: file or packaged name of the weights to start from, or "random".
        notes: what a reader of its numbers has to know.

    Returns:
        Whether there was anything to do.

    Raises:
        ConfigError: the part was begun with other settings; they are named.
        DataError: labels that do not fit, or a loss that is not finite.
        WeightsError: ``init`` cannot be used.
        ResourceError: disk, memory, device.
    """
    folder, data = out / part.place, datasets[part.benchmark.dataset]
    tested = datasets[part.benchmark.tested] if part.benchmark.tested else None
    inputs = {
        **{key: value for key, value in result.inputs(init, []).items() if key.startswith("init")},
        "labels_sha256": files.sha256(data.labels),
        "tested_sha256": files.sha256(tested.labels) if tested else "",
    }
    stamp = plan.stamp(part.settings, inputs)
    if _finished(folder, stamp):
        console.say("finished before")
        known = [*notes, *_departures(part, init, folder / RUN / result.FILE)]
        _renewed(folder / results.RECORD, {**_what(part), "note": known})
        return False
    whole = not (folder / RUN).exists()
    began = time.monotonic()
    weights = finetune.run(part.settings, [data.folder], data.labels, init, folder / RUN)
    seconds = time.monotonic() - began
    found = _parts(part, data, tested)
    table, means = _predicted(part, found, data, tested, weights)
    with files.atomic(folder / results.FACES) as temporary:
        table.to_parquet(temporary, index=False)
    record = {
        **_what(part),
        **{f"faces_{name}": len(found[name].rows) for name in ("train", "validation", "test")},
        "subjects_test": sorted({str(name) for name in found["test"].rows["subject"]}),
        "epoch_best": _best_epoch(folder / RUN),
        "seconds": round(seconds, 1) if whole else None,  # of the last of several attempts says nothing
        "weights": {"name": part.row.init, "path": init, "sha256": inputs.get("init_sha256", "")},
        "settings_sha256": stamp,
        "note": [*notes, *_departures(part, init, weights)],
        "test": means,
    }
    files.write_json(folder / results.RECORD, record)
    shutil.rmtree(folder / RUN / checkpoints.FOLDER, ignore_errors=True)  # gigabytes, for going on only
    said = ", ".join(f"{name} {value:.3f}" for name, value in means.items())
    console.say(f"done in {seconds:.0f} s: {said or 'no score'} on {record['faces_test']} test faces")
    return True


def _finished(folder: Path, stamp: str) -> bool:
    try:
        record = json.loads((folder / results.RECORD).read_text(encoding="utf-8"))
        return bool(record["settings_sha256"] == stamp) and (folder / results.FACES).is_file()
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _renewed(path: Path, what: Mapping[str, Any]) -> None:
    """Threshold and notes of a finished part cost nothing: write down those that it is called with now."""
    record = json.loads(path.read_text(encoding="utf-8"))
    if record | what != record:
        files.write_json(path, record | what)


def _departures(part: Part, init: str, weights: Path) -> Iterator[str]:
    """Where the encoder is not such as the paper's, which no comparison with its numbers may hide."""
    if init == "random" and part.row.init != "random":
        yield f"row {part.row.name} began from random weights, not from pre-trained ones"
    encoder = read_metadata(weights).encoder
    shape = encoder.width, encoder.depth, encoder.patch_size
    if shape != VIT_BASE:
        words = "{} wide and {} deep with patches of {} px"
        yield f"the encoder is {words.format(*shape)}; the paper's is {words.format(*VIT_BASE)}"


def _what(part: Part) -> dict[str, Any]:
    benchmark = part.benchmark
    return {
        "experiment": benchmark.name,
        "row": part.row.name,
        "fold": part.fold.name,
        "seed": part.seed,
        "dataset": benchmark.tested or benchmark.dataset,
        "trained_on": benchmark.dataset,
        "protocol": benchmark.protocol,
        "task": benchmark.task,
        "aus": list(part.settings.model.aus),
        "selection": part.settings.selection,
        "threshold": benchmark.threshold,
    }


def _parts(part: Part, data: Ready, tested: Ready | None) -> dict[str, Split]:
    """``train``, ``validation`` and ``test`` as the training had them; or all of ``tested`` as the test."""
    found = split_faces(_labelled(part, data), part.settings)
    return found | ({"test": _labelled(part, tested)} if tested else {})


def _labelled(part: Part, data: Ready) -> Split:
    return finetune.choose(finetune.join([data.folder], data.labels), part.settings.model)[1]


def _predicted(
    part: Part, found: Mapping[str, Split], data: Ready, tested: Ready | None, weights: Path
) -> tuple[pd.DataFrame, dict[str, float]]:
    """The table of faces, and the mean scores of the test part at 0.5 for the line that is printed."""
    run, kind = part.settings.run, part.settings.model.task
    truth, says, said = ("o", "p", "p") if kind == "detection" else ("i", "i", "e")
    names = [facts.au_name(au) for au in part.settings.model.aus]
    tables, means = [], {}
    for name, source in (("test", tested or data), ("validation", data)):
        faces = found[name]
        if not len(faces.rows):
            continue
        rows = faces.rows.reset_index(drop=True)
        answers = predict_crops([source.folder], rows, weights, run.device, run.precision, run.workers)
        values = answers[[f"{au}_{says}" for au in names]].to_numpy()
        labels = np.where(faces.mask, faces.labels, np.nan)
        columns = {f"{au}_{truth}": labels[:, k] for k, au in enumerate(names)}
        columns |= {f"{au}_{said}": values[:, k] for k, au in enumerate(names)}
        table = pd.DataFrame(columns).astype(np.float32)
        tables.append(pd.concat([rows[["id", *WHERE]].assign(part=name), table], axis=1))
        if name == "test":
            arrays = {
                "labels": faces.labels,
                "mask": faces.mask,
                "occurrence" if kind == "detection" else "intensity": values,
            }
            means = {
                key: value
                for key, value in finetune.scores(part.settings.model.aus, arrays).items()
                if key.endswith("_mean")
            }
    return pd.concat(tables, ignore_index=True), means


def _best_epoch(folder: Path) -> int | None:
    """The epoch whose weights were kept; None where nothing was held out to choose."""
    judged = [line for line in journal.lines(folder) if line.get("validation_loss") is not None]
    return round(min(judged, key=lambda line: line["validation_loss"])["epoch"]) if judged else None
