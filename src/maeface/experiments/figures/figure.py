"""Draw a figure of the paper: collect its crops, labels, weights or parts, draw it and write it.

OUT/<name>.png    the picture
OUT/<name>.html   the picture with its caption, which says what is shown and what it is made from
OUT/<name>.csv    the numbers, if the figure has any
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from maeface import console, facts, files
from maeface.data.readers import raw_dataset
from maeface.errors import ConfigError
from maeface.experiments import settings
from maeface.experiments.figures import charts, reconstructions
from maeface.experiments.reporting import results
from maeface.experiments.reporting.results import FinishedPart
from maeface.experiments.running import datasets, runner
from maeface.experiments.settings import Figure
from maeface.model import weights as weight_files
from maeface.report import figures, html
from maeface.report.document import Document, Section

LABELS = "labels"


def run(figure: Figure, data: Path, out: Path, weights: Mapping[str, str]) -> Path:
    """Collect what a figure needs and draw it.

    Args:
        figure: from ``config.load(Figure, recipe)``.
        data: folder with the datasets by name, raw or prepared.
        out: folder for the figure and what is prepared for it; for a figure of an experiment's parts, the
            folder of a finished experiment is used as it is.
        weights: name -> file or packaged name.

    Returns:
        The picture, ``out/<name>.png``.

    Raises:
        ConfigError: a dataset or weights are missing.
        DataError: damaged data, or nothing to draw.
        WeightsError: weights that cannot be used.
        ResourceError: disk, memory, device.
    """
    if not data.is_dir():
        raise ConfigError(f"no such folder: {data}; give the folder with the datasets (--data)")
    if figure.of:
        return draw(figure, {}, {}, out, _find_parts(figure, data, out, weights))
    available = [name for name in figure.datasets if datasets.has_dataset(name, data)]
    for name in figure.datasets:
        if name not in available:
            console.note(f"left out: {datasets.describe_missing(name, data)}")
    if not available:
        raise ConfigError(f"{figure.name}: {data} has none of {', '.join(figure.datasets)}")
    prepare = _prepare_crops if figure.figure == "reconstructions" else _prepare_labels
    folders = {name: prepare(name, figure, data, out) for name in available}
    models = {name: weight_files.find(path) for name, path in weights.items()}
    return draw(figure.model_copy(update={"datasets": tuple(available)}), folders, models, out)


def draw(
    figure: Figure,
    data: Mapping[str, Path],
    models: Mapping[str, Path],
    out: Path,
    parts: Sequence[FinishedPart] = (),
) -> Path:
    """Draw a figure and write it.

    Args:
        figure: its settings.
        data: dataset -> prepared folder; for ``classes`` with its table of labels.
        models: masked autoencoders by the names in ``figure.weights``, for ``reconstructions``.
        out: folder for the files.
        parts: finished parts of the experiment ``figure.of``, for ``clip``.

    Returns:
        The picture, ``out/<name>.png``.

    Raises:
        ConfigError: a dataset or weights of the recipe are missing, or an unknown table.
        DataError: no labels, no such subject or clip, damaged data.
        WeightsError: not a masked autoencoder, or one without its decoder.
        ResourceError: the folder cannot be written.
    """
    if figure.figure == "reconstructions":
        picture, table = reconstructions.draw_reconstructions(figure, data, models), None
    elif figure.figure == "clip":
        picture, table = charts.draw_clip(figure, parts)
    else:
        picture, table = charts.draw_classes(figure, data)
    path = out / f"{figure.name}.png"
    files.write_bytes(path, figures.png(picture.image))
    sections = [Section("Figure", pictures=[picture])]
    if table is not None:
        csv = table.data.to_csv(index=table.data.index.name is not None)
        files.write_text(path.with_suffix(".csv"), csv)
        sections.append(Section("Numbers", tables=[table]))
    document = Document(figure.title or figure.name, sections)
    files.write_text(path.with_suffix(".html"), html.render(document))
    console.note(f"{path}: {picture.caption}")
    return path


def _find_parts(figure: Figure, data: Path, out: Path, weights: Mapping[str, str]) -> Sequence[FinishedPart]:
    """Return the parts of the figure's experiment in ``out``; without any, run it in a folder of ``out``."""
    record = out / runner.RECORD
    if record.is_file() and json.loads(record.read_text(encoding="utf-8"))["name"] == figure.of:
        if parts := results.load(out):
            return parts
    console.note(f"{figure.name} shows {figure.of}, which is run first unless it is finished")
    console.note(str(runner.run(settings.load(figure.of), data, out / figure.of, weights)))
    return results.load(out / figure.of)


def _prepare_crops(name: str, figure: Figure, data: Path, out: Path) -> Path:
    """Return the prepared folder of a dataset, or of a folder of face images."""
    if name in facts.datasets() and facts.dataset(name).kind == "au":
        options = figure.options.get(name, {})
        return datasets.prepare_dataset(name, data, out, figure.prepare, options).folder
    return datasets.prepare_faces(name, data, out, figure.prepare)


def _prepare_labels(name: str, figure: Figure, data: Path, out: Path) -> Path:
    """Return a folder with the labels of a dataset, which need not be prepared: no images are read."""
    if (data / name / datasets.LABELS).is_file():
        return data / name
    raw = raw_dataset.read(name, data / name, datasets.format_options(figure.options.get(name, {})))
    if raw.labels is None:
        raise ConfigError(f"{figure.name}: {name} has no labels")
    with files.atomic(out / LABELS / name / datasets.LABELS) as temporary:
        raw.labels.to_parquet(temporary, index=False)
    return out / LABELS / name
