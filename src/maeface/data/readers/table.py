"""Any dataset with a table of labels: reads a CSV or Parquet file whose columns are mapped by name.

    --set labels=labels.csv --set columns.source=file --set columns.subject=Person --set columns.AU12_i=smile

Columns with the names of ``data.tables.labels``, or those of other tools (``facts.au_column``), need no
mapping. ``source`` is the file's path below DIR. Only the files and frames that the table lists are
prepared.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from maeface import config, facts
from maeface.data.formats import clips, listing
from maeface.data.ingest import inputs
from maeface.data.ingest.inputs import Input
from maeface.data.readers.raw_dataset import RawDataset
from maeface.data.tables import label_table
from maeface.data.tables.label_table import LabelTable
from maeface.errors import ConfigError, DataError

KEYS = ("source", "frame", "subject", "clip")


class Options(config.Settings):
    """Options of the reader."""

    labels: Path | None = None
    """The table, CSV or Parquet: a path, or a path below DIR. Required."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Our name -> the table's: ``source``, ``frame``, ``subject``, ``clip``, ``AU12_o``, ``AU12_i`` ..."""
    folder: str = ""
    """The folder, below DIR, that ``source`` is relative to."""
    suffix: str = ""
    """What to append to ``source`` for the file's name, such as ".jpg"."""
    first_frame: Literal[0, 1] = 0
    """Of a video: the table's number of its first frame."""
    skip_missing: bool = False
    """Leave out labels of missing files and frames instead of refusing them."""


def read(root: Path, options: Options) -> RawDataset:
    """Read the table.

    Raises:
        ConfigError: no table is given, or no such file.
        DataError: a missing column, a wrong label, a missing file or a missing frame.
    """
    if options.labels is None:
        raise ConfigError("--dataset table needs the table of labels: --set labels=FILE.csv (or .parquet)")
    path = options.labels if options.labels.is_file() else root / options.labels
    if wrong := [
        name for name in options.columns if name not in KEYS and not re.fullmatch(r"AU\d+_[oiLR]", name)
    ]:
        raise ConfigError(
            f"columns.{wrong[0]}: expected one of {', '.join(KEYS)}, AU01_o, AU01_i, AU01_L, ..."
        )
    table = label_table.read(path, {column: name for name, column in options.columns.items()})
    texts = table.texts
    if "source" not in texts:
        raise DataError(f"{path} needs a column of files; name it: --set columns.source=COLUMN")
    names = [str(PurePosixPath(options.folder, name + options.suffix)) for name in texts["source"]]
    files = {name: item for name in dict.fromkeys(names) if (item := _input(root, name)) is not None}
    rows = _Rows(path, root, tuple(table.rows), tuple(names), files)
    frames = _frames(rows, texts.get("frame"), options.first_frame)
    present = _present(rows, frames, options)
    subjects = _fill(texts.get("subject"), names)
    labels = pd.DataFrame(
        {
            "source": [files[name].source if name in files else "" for name in names],
            "frame": frames,
            "subject": subjects,
            "clip": _fill(texts.get("clip"), subjects),
            **dict(_label_columns(table)),
        }
    )
    labels = labels[present].reset_index(drop=True)
    _refuse_repeats(rows, labels, np.flatnonzero(present))
    notes = [f"{len(labels)} labelled images and frames of {labels['subject'].nunique()} subjects in {path}"]
    if not present.all():
        notes.append(f"{int((~present).sum())} labels of files or frames that are not there, left out")
    if "subject" not in texts:
        notes.append(
            "no column subject: each file counts as a subject of its own (--set columns.subject=COLUMN)"
        )
    if table.ignored:
        notes.append(f"columns not used: {', '.join(table.ignored)}")
    return RawDataset(tuple(_select_inputs(files, labels)), labels, tuple(notes))


def _input(root: Path, name: str) -> Input | None:
    path = root / name  # of an absolute name, the name itself
    if not path.is_file():
        return None
    return listing.image_input(root, name, path.stat().st_size)._replace(video=inputs.is_video(str(path)))


def _fill(texts: Sequence[str] | None, substitutes: Sequence[str]) -> list[str]:
    """Return texts, each empty one replaced: rows without a subject are not all of one subject."""
    return [text or other for text, other in zip(texts or substitutes, substitutes, strict=True)]


@dataclass(frozen=True)
class _Rows:
    """The rows of the table and their files.

    Attributes:
        path: the table.
        root: of the files.
        locations: the line of each row in the table, for messages.
        names: of each row the file below ``root``.
        files: {name: input} of the files that exist.
    """

    path: Path
    root: Path
    locations: tuple[str, ...]
    names: tuple[str, ...]
    files: Mapping[str, Input]

    def location(self, row: int) -> str:
        return f"{self.path}, {self.locations[row]}"


def _frames(rows: _Rows, texts: Sequence[str] | None, first: int) -> NDArray[np.int64]:
    """Return the 0-based frame of each row, (N,); 0 for images, whatever the table says."""
    video = np.array([name in rows.files and rows.files[name].video for name in rows.names], bool)
    if texts is None:
        if video.any():
            row = int(np.argmax(video))
            raise DataError(
                f"{rows.location(row)}: {rows.names[row]} is a video, so a column of frames is needed; "
                "name it: --set columns.frame=COLUMN"
            )
        return np.zeros(len(video), np.int64)
    numbers = pd.to_numeric(pd.Series(texts, dtype="object"), errors="coerce").to_numpy(np.float64)
    wrong = video & ~((numbers >= first) & (numbers % 1 == 0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{rows.location(row)}: frame is {texts[row]!r}; expected a whole number from {first}"
        )
    return np.where(video, numbers - first, 0).astype(np.int64)


def _present(rows: _Rows, frames: NDArray[np.int64], options: Options) -> NDArray[np.bool_]:
    """Return whether the file and the frame of each row exist, (N,)."""
    last = pd.Series(frames).groupby(np.array(rows.names, object)).max()
    counts = {
        name: clips.count_frames(Path(item.path), at_least=int(last[name]) + 1) if item.video else 1
        for name, item in rows.files.items()
    }
    present = frames < np.array([counts.get(name, 0) for name in rows.names], np.int64)
    if not present.any():
        raise DataError(
            f"{rows.path}: none of its files, such as {rows.names[0]}, is in {rows.root} "
            "(--set folder=FOLDER, --set suffix=.jpg)"
        )
    if not present.all() and not options.skip_missing:
        row = int(np.argmin(present))
        name = rows.names[row]
        problem = f"there is no {rows.root / name}"
        if name in counts:
            problem = f"frame {frames[row] + options.first_frame}, but {name} has {counts[name]} frames"
        raise DataError(
            f"{rows.location(row)}: {problem}; complete it, or leave such labels out: --set skip_missing=true"
        )
    return present


def _label_columns(table: LabelTable) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for kind, end in zip(label_table.KINDS, "oiLR", strict=True):
        columns = sorted((au, column) for column, (au, other) in table.aus.items() if other == kind)
        for au, column in columns:
            yield f"{facts.au_name(au)}_{end}", table.numbers[column].astype(np.float32)


def _refuse_repeats(rows: _Rows, labels: pd.DataFrame, kept: NDArray[np.int64]) -> None:
    repeated = labels.duplicated(["source", "frame"])
    if repeated.any():
        row = int(kept[int(np.argmax(repeated))])
        raise DataError(
            f"{rows.location(row)}: {rows.names[row]} (or this frame of it) is there a second time; "
            "remove one row"
        )


def _select_inputs(files: Mapping[str, Input], labels: pd.DataFrame) -> Iterator[Input]:
    """Yield the files that have a label, and of videos the frames that have one."""
    frames = {str(source): group for source, group in labels.groupby("source")["frame"]}
    for item in files.values():
        if item.source in frames:
            labelled = np.sort(frames[item.source].to_numpy(np.int64))
            yield item._replace(frames=listing.frame_spans(labelled)) if item.video else item
