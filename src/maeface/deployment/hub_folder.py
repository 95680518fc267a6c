"""A folder for a model hub: weights, ``config.json`` and a model card with the measured tables."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maeface import facts, files
from maeface.deployment.description import describe_weights
from maeface.deployment.parity import AUParity
from maeface.model.file_format import storage
from maeface.model.file_format.encoding import Dtype
from maeface.model.file_format.metadata import Metadata
from maeface.model.hub import CONFIG
from maeface.model.licences import NOT_STATED, is_free
from maeface.model.trust import trust_of
from maeface.prediction.columns import choose_thresholds

WEIGHTS = "model.safetensors"
CARD = "README.md"


def write_weights(source: Path, folder: Path, licence: str, dtype: Dtype) -> Path:
    """Write weights rounded to ``dtype``, with the licence in their metadata; return the file."""
    checkpoint, metadata = storage.read(source)
    assert metadata is not None, source
    metadata = metadata.model_copy(
        update={"licence": licence, "provenance": metadata.provenance | {"stored_as": dtype}}
    )
    tensors = {name: value.float() for name, value in checkpoint.tensors.items()}
    (path,) = storage.write(folder / WEIGHTS, tensors, metadata, dtype)
    return path


def write_texts(
    folder: Path,
    source: Path,
    metadata: Metadata,
    precision: str,
    aus: Mapping[int, AUParity],
    faces: str,
    name: str,
) -> None:
    """Write ``config.json`` and the card.

    Args:
        folder: with the weights.
        source: the weights that were exported.
        metadata: of the source.
        precision: of the values in the folder.
        aus: how far the weights in the folder agree with the source.
        faces: the faces on which that was measured, for readers.
        name: of the model.
    """
    weights = folder / WEIGHTS
    origin = describe_weights(source, metadata)
    config = {
        "model_type": "maeface",
        "architectures": ["AUModel"],
        "maeface": {
            "sha256": {WEIGHTS: files.sha256(weights)},
            "precision": precision,
            "weights": origin,
            "metadata": metadata.model_dump(mode="json", exclude={"provenance"}),
        },
    }
    files.write_json(folder / CONFIG, config)
    files.write_text(folder / CARD, _card(metadata, origin, precision, aus, faces, name))


def _card(
    metadata: Metadata,
    origin: Mapping[str, Any],
    precision: str,
    aus: Mapping[int, AUParity],
    faces: str,
    name: str,
) -> str:
    licence = origin["licence"]
    known = licence.lower() if is_free(licence) else "other"
    named = "" if is_free(licence) else f"license_name: {'unknown' if licence == NOT_STATED else licence}\n"
    start = metadata.start
    lines = [
        f"---\nlicense: {known}\n{named}library_name: maeface\npipeline_tag: image-classification",
        "tags: [facial-action-units, facs, faces]\n---",
        f"# {name}\n",
        "Probabilities and intensities of facial action units (AUs) from crops of faces. An action unit is a "
        "movement; it does not say what a person feels.\n",
        "```python\nfrom maeface import Predictor\n\n"
        'table = Predictor("FOLDER")("photo.jpg")  # or "hf:ORG/NAME"\n```\n',
        f"- Licence of the weights: {licence}",
        f"- Trained from: {f'{start.name} ({start.licence or NOT_STATED})' if start else 'not recorded'}",
        f"- Training data: {metadata.dataset or 'not recorded'}",
        f"- Input: {metadata.preprocessing.image_size} px",
        f"- Task: {metadata.task}",
        f"- Values are stored as: {precision}\n",
        "## How well each action unit was measured\n",
        *_trust_rows(metadata),
        "\n## This file against the original weights\n",
        f"Largest differences of the output on {faces}; original: {origin['name']}.\n",
        *_parity_rows(aus),
    ]
    return "\n".join(lines) + "\n"


def _trust_rows(metadata: Metadata) -> list[str]:
    trust = trust_of(metadata)
    if not trust:
        return ["These weights were not checked. Compare them with your own coding first."]
    rows = ["| action unit | use on real people | present from | check |", "|---|---|---|---|"]
    for au, threshold in zip(metadata.aus, choose_thresholds(metadata, None), strict=True):
        rows.append(f"| {facts.au_title(au)} | {trust[au].advice} | {threshold:.2f} | {trust[au]} |")
    return rows


def _parity_rows(aus: Mapping[int, AUParity]) -> list[str]:
    def text(value: float | None) -> str:
        return "" if value is None else f"{value:.4g}"

    rows = [
        "| action unit | of the probability, 0 to 1 | of the intensity, 0 to 5 | AUC | AUC of this file |",
        "|---|---|---|---|---|",
    ]
    for au, one in aus.items():
        cells = map(text, (one.probability, one.intensity, one.auc, one.auc_exported))
        rows.append(f"| {facts.au_name(au)} | {' | '.join(cells)} |")
    return rows
