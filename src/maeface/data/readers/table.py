"""Any table of labels beside images or videos: a CSV or Parquet file whose columns are mapped by name.

    --set labels=labels.csv --set columns.source=file --set columns.subject=Person --set columns.AU12_i=smile

Columns that are named as ``data.labels`` names them, or as other tools do (``facts.au_column``), need no
mapping. ``source`` is the file's path below DIR. What the table lists is prepared, and nothing else.
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
from maeface.data.formats import clips, parsing
from maeface.data.ingest import inputs
from maeface.data.ingest.inputs import Input
from maeface.data.readers.reading import Reading
from maeface.data.tables import label_file
from maeface.errors import ConfigError, DataError

KEYS = ("source", "frame", "subject", "clip")


class Options(config.Settings):
    """How the table is read."""

    labels: Path | None = None
    """The table, CSV or Parquet: as given, or below DIR. It must be given."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Our name -> the table's: ``source``, ``frame``, ``subject``, ``clip``, ``AU12_o``, ``AU12_i`` ..."""
    folder: str = ""
    """The folder, below DIR, that ``source`` is relative to."""
    suffix: str = ""
    """What a ``source`` lacks to be a file's name, such as ".jpg"."""
    first_frame: Literal[0, 1] = 0
    """Of a video: the number by which the table means its first frame."""
    skip_missing: bool = False
    """Leave out labels of files and frames that are not there, rather than refuse them."""


def read(root: Path, options: Options) -> Reading:
    """Read the table; see ``readers.reading``.

    Raises:
        ConfigError: no table is given, or no such file.
        DataError: a column that is not there, a label that is wrong, a file or a frame that is not there.
    """
    if options.labels is None:
        raise ConfigError("--dataset table needs the table of labels: --set labels=FILE.csv (or .parquet)")
    path = options.labels if options.labels.is_file() else root / options.labels
    if odd := [
        name for name in options.columns if name not in KEYS and not re.fullmatch(r"AU\d+_[oi]", name)
    ]:
        raise ConfigError(f"columns.{odd[0]}: expected one of {', '.join(KEYS)}, AU01_o, AU01_i, ...")
    table = label_file.read(path, {theirs: ours for ours, theirs in options.columns.items()})
    texts = table.texts
    if "source" not in texts:
        raise DataError(f"{path} needs a column of files; name it: --set columns.source=COLUMN")
    names = [str(PurePosixPath(options.folder, name + options.suffix)) for name in texts["source"]]
    found = {name: item for name in dict.fromkeys(names) if (item := _input(root, name)) is not None}
    listing = _Listing(path, root, tuple(table.rows), tuple(names), found)
    frames = _frames(listing, texts.get("frame"), options.first_frame)
    there = _there(listing, frames, options)
    subjects = _filled(texts.get("subject"), names)
    labels = pd.DataFrame(
        {
            "source": [found[name].source if name in found else "" for name in names],
            "frame": frames,
            "subject": subjects,
            "clip": _filled(texts.get("clip"), subjects),
            **dict(_columns(table)),
        }
    )
    labels = labels[there].reset_index(drop=True)
    _refuse_repeats(listing, labels, np.flatnonzero(there))
    notes = [f"{len(labels)} labelled images and frames of {labels['subject'].nunique()} subjects in {path}"]
    if not there.all():
        notes.append(f"{int((~there).sum())} labels of files or frames that are not there, left out")
    if "subject" not in texts:
        notes.append(
            "no column subject: each file counts as a person of its own (--set columns.subject=COLUMN)"
        )
    if table.ignored:
        notes.append(f"columns not used: {', '.join(table.ignored)}")
    return Reading(tuple(_chosen(found, labels)), labels, tuple(notes))


def _input(root: Path, name: str) -> Input | None:
    path = root / name  # where the name is a whole path, this is it
    if not path.is_file():
        return None
    return parsing.image(root, name, path.stat().st_size)._replace(video=inputs.is_video(str(path)))


def _filled(texts: Sequence[str] | None, otherwise: Sequence[str]) -> list[str]:
    """Texts, and where there is none the other: who is not named is not one person with all such."""
    return [text or other for text, other in zip(texts or otherwise, otherwise, strict=True)]


@dataclass(frozen=True)
class _Listing:
    """The rows of the table and their files.

    Attributes:
        path: the table.
        root: of the files.
        rows: where each row stands in the table, for messages.
        names: of each row the file below ``root``.
        found: the files that are there.
    """

    path: Path
    root: Path
    rows: tuple[str, ...]
    names: tuple[str, ...]
    found: Mapping[str, Input]

    def where(self, row: int) -> str:
        return f"{self.path}, {self.rows[row]}"


def _frames(listing: _Listing, texts: Sequence[str] | None, first: int) -> NDArray[np.int64]:
    """(N,) the 0-based frame of each row; 0 for images, whatever the table says."""
    found = listing.found
    video = np.array([name in found and found[name].video for name in listing.names], bool)
    if texts is None:
        if video.any():
            row = int(np.argmax(video))
            raise DataError(
                f"{listing.where(row)}: {listing.names[row]} is a video, so a column of frames is needed; "
                "name it: --set columns.frame=COLUMN"
            )
        return np.zeros(len(video), np.int64)
    numbers = pd.to_numeric(pd.Series(texts, dtype="object"), errors="coerce").to_numpy(np.float64)
    wrong = video & ~((numbers >= first) & (numbers % 1 == 0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{listing.where(row)}: frame is {texts[row]!r}; expected a whole number from {first}"
        )
    return np.where(video, numbers - first, 0).astype(np.int64)


def _there(listing: _Listing, frames: NDArray[np.int64], options: Options) -> NDArray[np.bool_]:
    """(N,) whether the file and the frame of each row are there."""
    last = pd.Series(frames).groupby(np.array(listing.names, object)).max()
    counts = {
        name: clips.frame_count(Path(item.path), at_least=int(last[name]) + 1) if item.video else 1
        for name, item in listing.found.items()
    }
    there = frames < np.array([counts.get(name, 0) for name in listing.names], np.int64)
    if not there.any():
        raise DataError(
            f"{listing.path}: none of its files, such as {listing.names[0]}, is in {listing.root} "
            "(--set folder=FOLDER, --set suffix=.jpg)"
        )
    if not there.all() and not options.skip_missing:
        row = int(np.argmin(there))
        name = listing.names[row]
        what = f"there is no {listing.root / name}"
        if name in counts:
            what = f"frame {frames[row] + options.first_frame}, but {name} has {counts[name]} frames"
        raise DataError(
            f"{listing.where(row)}: {what}; complete it, or leave such labels out: --set skip_missing=true"
        )
    return there


def _columns(table: label_file.Table) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for kind, end in (("occurrence", "o"), ("intensity", "i")):
        known = sorted((au, column) for column, (au, what) in table.aus.items() if what == kind)
        for au, column in known:
            yield f"{facts.au_name(au)}_{end}", table.numbers[column].astype(np.float32)


def _refuse_repeats(listing: _Listing, labels: pd.DataFrame, rows: NDArray[np.int64]) -> None:
    repeated = labels.duplicated(["source", "frame"])
    if repeated.any():
        row = int(rows[int(np.argmax(repeated))])
        raise DataError(
            f"{listing.where(row)}: {listing.names[row]} (or this frame of it) is there a second time; "
            "remove one row"
        )


def _chosen(found: Mapping[str, Input], labels: pd.DataFrame) -> Iterator[Input]:
    """The files that have a label, and of videos the frames that have one."""
    frames = {str(source): group for source, group in labels.groupby("source")["frame"]}
    for item in found.values():
        if item.source in frames:
            chosen = np.sort(frames[item.source].to_numpy(np.int64))
            yield item._replace(frames=parsing.spans(chosen)) if item.video else item
