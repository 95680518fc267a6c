"""Predictions for people to see: lines as soon as faces are predicted, and pictures of photos."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from maeface import console, files
from maeface.data.ingest.images import SkippedInputs, SourceImage, read_inputs
from maeface.data.ingest.inputs import Input
from maeface.errors import DataError
from maeface.faces.quality import MEASURES, describe_low_quality
from maeface.model.trust import shown_aus
from maeface.prediction.explaining import draw_explanations, require_explainable
from maeface.prediction.extras import Extras
from maeface.prediction.rows import LOW_QUALITY, ImagePrediction, rows_of
from maeface.prediction.tables import Totals, describe_unreadable
from maeface.prediction.tracks import number_tracks
from maeface.prediction.units import picture_path

if TYPE_CHECKING:
    import pyarrow as pa

    from maeface.prediction.predictor import Predictor


def print_lines(
    predictor: "Predictor",
    listing: Sequence[Input],
    every: int,
    fps: float | None,
    track: int | None,
    pictures: Path | None,
    extras: Extras,
) -> Totals:
    """Print a line for each face as soon as it is predicted, and draw pictures of photos.

    Args:
        predictor: the networks.
        listing: the inputs.
        every: read every n-th frame of a video.
        fps: read at most this many frames per second of a video, instead of ``every``.
        track: the only person of each video to keep; None: all.
        pictures: folder for the pictures; None for none.
        extras: which action units to show, and to explain.

    Raises:
        DataError: none of the inputs could be read.
    """
    from maeface.report.lines import describe_faces

    shown = shown_aus(predictor.metadata, extras.all_aus)
    require_explainable(predictor, extras.explain)
    videos = {item.source for item in listing if item.video}
    skipped, totals = SkippedInputs(), Totals(inputs=len(listing))
    read: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    has_group = False  # a photo with several faces

    def predict() -> Iterator["pa.Table"]:
        for batch in predictor.stream(source):
            for one in batch:
                if isinstance(one.image, SourceImage):
                    read[one.image.name] += 1
                else:
                    missing[one.image.name] += one.image.images
            if pictures is not None:
                totals.pictures += draw_photos(predictor, pictures, extras, batch)
            yield rows_of(batch, predictor.columns)

    with console.progress("predict", len(listing), "inputs") as advance:
        source = read_inputs(listing, every, fps, skipped, advance)
        for table in number_tracks(predict(), track):
            rows = table.to_pylist()
            totals.statuses.update(row["status"] for row in rows)
            has_group |= any(row["face"] > 0 and row["input"] not in videos for row in rows)
            if lines := list(describe_faces(rows, shown, videos, describe_low_quality)):
                console.print_result("\n".join(lines))
            advance(0, f"{read.total()} images, {totals.faces} faces")
    totals.images = read.total()
    totals.shares_missing = [count / (count + read[name]) for name, count in missing.items()]
    if not totals.images:
        raise DataError(describe_unreadable(len(listing), totals.reasons))
    _note_more(
        len(predictor.metadata.aus) - len(shown) if totals.faces else 0, has_group and pictures is None
    )
    return totals


def _note_more(hidden: int, is_group: bool) -> None:
    """Show which options show more: of hidden action units, and of several faces of a photo."""
    if hidden:
        console.note(
            f"{hidden} action units that are not reliable on real people are not shown; --all-aus shows them"
        )
    if is_group:
        console.note("--pictures DIR shows which face is which")


def draw_photos(
    predictor: "Predictor", folder: Path, extras: Extras, batch: Sequence[ImagePrediction]
) -> int:
    """Write a picture of each photo, named as the photo, and its explanations; return how many."""
    from maeface.report import figures

    aus, task = predictor.metadata.aus, predictor.metadata.task
    shown = shown_aus(predictor.metadata, extras.all_aus)
    places = [place for place, au in enumerate(aus) if au in shown]
    first = len(aus) * (2 if task == "both" else 1)  # intensity
    thresholds = [predictor.thresholds[place] for place in places]
    count = draw_explanations(predictor, extras.explain, folder, batch) if extras.explain else 0
    for prediction in batch:
        if not isinstance(prediction.image, SourceImage) or prediction.image.video:
            continue
        found = (prediction.crops, prediction.values, prediction.quality, prediction.statuses)
        faces = zip(*found, strict=True) if prediction.crops else ()  # without a face there is still a status
        bars = [
            figures.FaceBars(
                box=tuple(crop.face.box),
                score=np.nan if predictor.detector is None else crop.face.score,
                probabilities=None if task == "intensity" else values[len(aus) : 2 * len(aus)][places],
                intensities=None if task == "detection" else values[first : first + len(aus)][places],
                low_quality=status == LOW_QUALITY,
                doubt=describe_low_quality(dict(zip(MEASURES, quality, strict=True))),
            )
            for crop, values, quality, status in faces
        ]
        picture = figures.au_bars(prediction.image.frame.rgb, [aus[k] for k in places], bars, thresholds)
        files.write_bytes(picture_path(folder, prediction.image.name), figures.png(picture))
        count += 1
    return count
