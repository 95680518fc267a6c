"""IMDB-WIKI: 460,723 photos of actors (IMDb) and 62,328 of people in Wikipedia, each with a list.

Reads ``imdb_crop/00/nm0000100_rm12818688_1955-1-6_2003.jpg`` and so on with ``imdb_crop/imdb.mat``,
likewise ``wiki_crop``, or the uncropped photos in ``imdb`` and ``wiki``, which are laid out the same way.
The lists are MATLAB files (version 5) with one struct, ``imdb`` or ``wiki``; of its fields, three are read:
``full_path``, the path beside the list, ``face_score``, the score of the makers' own face detector (-Inf
where it found no face), and ``second_face_score``, that of the next face (NaN where there is none).

The paper is silent on which photos it used. The default is those with a finite ``face_score``, with or
without a second face: the crop is centred on the first, and the preparation keeps the largest face.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from maeface import config
from maeface.data.formats import photos
from maeface.data.ingest.inputs import Input
from maeface.data.manifest import escape
from maeface.data.readers.raw_dataset import RawDataset
from maeface.errors import ConfigError, DataError, install_command

FIELDS = ("full_path", "face_score", "second_face_score")
LAYOUT = "imdb_crop/ with imdb.mat, wiki_crop/ with wiki.mat (or imdb/, wiki/)"


class Options(config.Settings):
    """Options of the reader."""

    part: Literal["all", "imdb", "wiki"] = "all"
    """Of IMDb, of Wikipedia, or both."""
    faceless: bool = False
    """Also the photos in which the makers' detector found no face (score -Inf)."""
    min_face_score: float | None = None
    """Least score of the makers' detector (about 0 to 7); None: any finite one."""
    second_faces: bool = True
    """Also photos in which the makers' detector found a second face."""


def read(root: Path, options: Options) -> RawDataset:
    """Read IMDB-WIKI.

    Raises:
        ConfigError: SciPy is not installed.
        DataError: a list is missing or malformed, or the photos of a list are missing.
    """
    inputs: list[Input] = []
    notes: list[str] = []
    for name in ("imdb", "wiki") if options.part == "all" else (options.part,):
        folder = _find_folder(root, name)
        if folder is None:
            if options.part != "all":
                raise DataError(
                    f"{root} has no {name}.mat: expected {LAYOUT}; got {photos.describe_contents(root)}"
                )
            notes.append(f"the part {name} is not there: no {name}.mat")
            continue
        part, note = _read_part(root, folder, name, options)
        inputs += part
        notes.append(note)
    if not inputs:
        raise DataError(
            f"{root}: no photo to prepare: expected {LAYOUT}; got {photos.describe_contents(root)}; "
            f"{'; '.join(notes)}"
        )
    notes.append("age, sex and names are left out")
    return RawDataset(tuple(inputs), None, (photos.count_note("imdbwiki", len(inputs)), *notes))


def _find_folder(root: Path, name: str) -> str | None:
    """Return the folder of a part's list, that of the cropped photos first; None without one."""
    for folder in (f"{name}_crop", f"{name}_crop/{name}_crop", name, "."):
        if (root / folder / f"{name}.mat").is_file():
            return folder
    return None


def _read_part(root: Path, folder: str, name: str, options: Options) -> tuple[list[Input], str]:
    """Return the chosen photos of one part, and a note about what was left out."""
    path = root / folder / f"{name}.mat"
    names, scores, second = _read_list(path, name)
    faceless = ~np.isfinite(scores)
    low = ~faceless & (scores < (-np.inf if options.min_face_score is None else options.min_face_score))
    double = np.isfinite(second) & (not options.second_faces)
    kept = ~((faceless & (not options.faceless)) | low | double)
    prefix = "" if folder == "." else f"{folder}/"
    by_source = {item.source: item for item in photos.list_photos(root, "" if folder == "." else folder)}
    sources = [escape(Path(prefix + names[row])) for row in np.flatnonzero(kept)]
    missing = [source for source in sources if source not in by_source]
    if len(missing) == len(sources) and missing:
        raise DataError(
            f"{path} lists photos that are not there, such as {root / missing[0]}; unpack them beside it"
        )
    left_out = [
        f"{int(rows.sum()):,} {why}"
        for rows, why in (
            (faceless & (not options.faceless), "without a face (faceless=true takes them)"),
            (low, "under min_face_score"),
            (double, "with a second face"),
        )
        if rows.any()
    ]
    note = f"{path.name}: {len(names):,} photos listed; left out: {', '.join(left_out) or 'none'}"
    if missing:
        note += f"; listed but not there: {photos.describe_names(missing)}"
    return [by_source[source] for source in dict.fromkeys(sources) if source in by_source], note


def _read_list(path: Path, name: str) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64]]:
    """Read paths, scores and second scores of a list."""
    try:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError
    except ImportError as error:
        raise ConfigError(
            f"{path} is a MATLAB file, and reading it needs SciPy; {install_command('readers')}"
        ) from error
    try:
        content: dict[str, Any] = loadmat(path, variable_names=[name], squeeze_me=True, chars_as_strings=True)
    except NotImplementedError as error:
        raise DataError(
            f"{path} is a MATLAB file of version 7.3; expected version 5, as IMDB-WIKI has it: get it again"
        ) from error
    except (MatReadError, ValueError, TypeError, OSError, EOFError) as error:
        raise DataError(f"{path} is not a whole MATLAB file: {error}; get it again") from error
    if name not in content or not getattr(content[name], "dtype", np.dtype(float)).names:
        raise DataError(f"{path}: expected a struct {name}, got {', '.join(content) or 'nothing'}")
    struct = content[name]
    if absent := [field for field in FIELDS if field not in struct.dtype.names]:
        raise DataError(f"{path}: the struct {name} lacks {', '.join(absent)}; get it again")
    names, scores, second = (np.atleast_1d(struct[field].item()) for field in FIELDS)
    if not len(names) == len(scores) == len(second):
        raise DataError(
            f"{path}: {len(names)} full_path, {len(scores)} face_score and {len(second)} second_face_score; "
            "expected as many of each"
        )
    if wrong := [row for row, value in enumerate(names) if not isinstance(value, str) or not value]:
        raise DataError(f"{path}: full_path {wrong[0] + 1} is {names[wrong[0]]!r}; expected a path")
    return [str(value) for value in names], scores.astype(np.float64), second.astype(np.float64)
