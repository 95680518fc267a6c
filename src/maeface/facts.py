"""Facts about action units, datasets and the paper's tables, read from package data and checked on reading.

datasets/aus.toml        the action units
datasets/<name>.toml     a dataset
published/<name>.toml    a table or figure of the paper
"""

import csv
import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from maeface.errors import ConfigError

Kind = Literal["occurrence", "probability", "intensity", "left", "right"]

INTENSITY_MAX = 5.0
"""Highest intensity. The scale is 0 (absent), 1 (A, trace), ..., 5 (E, maximum)."""

OURS = "MAE-Face"
"""Name in the paper's tables of the method that this package implements."""


class AU(BaseModel):
    """One action unit of the Facial Action Coding System."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: Annotated[int, Field(ge=1, le=99)]
    name: str
    """Its FACS name."""
    region: Literal["brow", "eye", "nose", "mouth", "chin", "jaw"]
    muscles: tuple[str, ...]
    appearance: str
    """The visible change of the face."""
    words: tuple[str, ...] = ()
    """Everyday words for it, or for faces that have it."""
    details: str = ""
    """What to look for, and what looks alike; some sentences."""
    picture: str = ""
    """How plain the rendered picture in ``au_pictures`` is; empty where it needs no remark."""


class Dataset(BaseModel):
    """A dataset of faces with action units, or without, for pre-training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """The name of its file."""
    title: str
    kind: Literal["au", "faces"] = "au"
    """``faces``: for pre-training only; labels, if it has any, are not read."""
    aus_occurrence: tuple[int, ...] = ()
    """Action units with labels of occurrence, in the order of the dataset's own tables."""
    aus_intensity: tuple[int, ...] = ()
    """Action units with labels of intensity."""
    scale: tuple[float, float] = (0.0, INTENSITY_MAX)
    """Lowest and highest intensity."""
    threshold: float | None = None
    """Intensity from which an action unit is present; None where occurrence has own labels, or none."""
    subjects: str = ".+"
    """A regular expression that the whole name of every subject matches."""
    subject_names: tuple[str, ...] = ()
    """All subjects, in the dataset's own order; empty where they are unknown."""
    protocols: dict[str, dict[str, tuple[str, ...]]] = {}
    """Protocol -> fold -> its test subjects. A fold trains on all other ``subject_names``."""
    origins: dict[str, str] = {}
    """Protocol -> its source, or the rule that assigns subjects to folds."""
    same_people: dict[str, tuple[str, ...]] = {}
    """Other dataset -> the subjects in both, by the name that both use."""
    frames: int | None = None
    """Number of labelled frames of its videos, in the paper or public lists."""
    images: int | None = None
    """Number of photographs, according to its authors."""
    choices: tuple[str, ...] = ()
    """What is done here where its documentation is open or public projects differ, and why; a line each."""
    layout: tuple[str, ...] = ()
    """Files and folders that its folder must contain, a line each."""
    licence: str
    obtain: str
    """How to get it."""
    homepage: str | None = None
    cite: str = ""

    @model_validator(mode="after")
    def _check_consistency(self) -> "Dataset":
        for label, aus in (("aus_occurrence", self.aus_occurrence), ("aus_intensity", self.aus_intensity)):
            if len(set(aus)) != len(aus):
                raise ValueError(f"{label} has an action unit twice")
            if unknown := sorted(set(aus) - set(_aus())):
                raise ValueError(f"{label} has {unknown}, which are not in aus.toml")
        if self.kind == "faces" and (self.aus_occurrence or self.aus_intensity):
            raise ValueError("a dataset for pre-training only (kind faces) has no action units")
        if self.threshold is not None and not self.scale[0] < self.threshold <= self.scale[1]:
            raise ValueError(f"threshold {self.threshold} is not within the scale {self.scale}")
        if len(set(self.subject_names)) != len(self.subject_names):
            raise ValueError("subject_names has a subject twice")
        self._check_names("subject_names", self.subject_names)
        for other, both in self.same_people.items():
            self._check_names(f"same_people.{other}", both)
        for name, folds in self.protocols.items():
            self._check_protocol(name, folds)
        if extra := sorted(set(self.origins) - set(self.protocols)):
            raise ValueError(f"origins has {extra}, which are not protocols")
        return self

    def _check_protocol(self, name: str, folds: Mapping[str, tuple[str, ...]]) -> None:
        tested = [subject for fold in folds.values() for subject in fold]
        if not tested or not all(folds.values()):
            raise ValueError(f"protocol {name} has a fold without test subjects")
        if twice := sorted({subject for subject in tested if tested.count(subject) > 1}):
            raise ValueError(
                f"{twice[0]} is twice in the folds of protocol {name}; its folds must be disjoint"
            )
        self._check_names(f"protocols.{name}", tested)
        if self.subject_names and (unknown := sorted(set(tested) - set(self.subject_names))):
            raise ValueError(f"protocol {name} tests {unknown}, which are not in subject_names")

    def _check_names(self, where: str, names: Iterable[str]) -> None:
        if wrong := [name for name in names if not re.fullmatch(self.subjects, name)]:
            raise ValueError(f"subjects {wrong} of {where} do not match {self.subjects!r}")


class PublishedRow(BaseModel):
    """The scores of one method."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    """Its name in the table."""
    aus: tuple[float, ...] = ()
    """A value for each of the comparison's action units; empty where only the mean is printed."""
    avg: float
    """The printed mean."""
    note: str = ""
    """An irregularity of the row, such as a printed mean that is not the mean of the printed values."""


class Comparison(BaseModel):
    """The values of one metric on one dataset for several methods: a table of the paper, or a part of one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    protocol: str
    metric: Literal["f1", "icc", "mse", "mae"]
    unit: Literal["%", ""] = ""
    aus: tuple[int, ...] = ()
    """In the table's order; empty where only means are printed."""
    rows: tuple[PublishedRow, ...]

    @model_validator(mode="after")
    def _check_consistency(self) -> "Comparison":
        for row in self.rows:
            if row.aus and len(row.aus) != len(self.aus):
                raise ValueError(f"{row.method} has {len(row.aus)} values for {len(self.aus)} action units")
        if len({row.method for row in self.rows}) != len(self.rows):
            raise ValueError("a method has two rows")
        return self

    @property
    def factor(self) -> float:
        """Factor from a score on 0..1 to the table's unit."""
        return 100.0 if self.unit == "%" else 1.0

    def row(self, method: str) -> PublishedRow | None:
        """Return the row of a method; None where the table has none."""
        return next((row for row in self.rows if row.method == method), None)

    @property
    def ours(self) -> PublishedRow | None:
        """The row of the method that this package implements; None where the table has none."""
        return self.row(OURS)

    def by_au(self, method: str) -> dict[int, float]:
        """Return action unit -> value of a method; empty where the table has none."""
        row = self.row(method)
        return dict(zip(self.aus, row.aus, strict=True)) if row and row.aus else {}


class Published(BaseModel):
    """The numbers of a table or a figure of the paper, in its units."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    what: str = "score"
    """What the values are: "score", or a description."""
    comparisons: tuple[Comparison, ...]

    def find_comparison(self, dataset: str, metric: str) -> Comparison | None:
        """Return the comparison of a metric on a dataset; None where there is none."""
        return next((c for c in self.comparisons if (c.dataset, c.metric) == (dataset, metric)), None)


def au_name(number: int) -> str:
    """Return the name of an action unit in tables and pictures: ``12 -> "AU12"``, ``1 -> "AU01"``."""
    return f"AU{number:02d}"


def au_title(number: int) -> str:
    """Return ``12 -> "AU12 Lip corner puller"``; ``au_name`` for an action unit that is not in aus.toml."""
    au = _aus().get(number)
    return f"{au_name(number)} {au.name}" if au else au_name(number)


# Patterns of a column's name, without surrounding spaces and in any case; the group is the number.
_COLUMNS: tuple[tuple[str, Kind], ...] = (
    (r"au(\d{1,2})(?-i:_L)", "left"),  # intensity of a side; AU12_r of OpenFace has a small letter
    (r"au(\d{1,2})(?-i:_R)", "right"),
    (r"au(\d{1,2})_o", "occurrence"),  # maeface labels
    (r"au(\d{1,2})_p", "probability"),  # maeface predictions
    (r"au(\d{1,2})_i", "intensity"),  # maeface labels and predictions
    (r"au(\d{1,2})_c", "occurrence"),  # OpenFace 2
    (r"au(\d{1,2})_r", "intensity"),  # OpenFace 2
    (r"au(\d{1,2})", "probability"),  # py-feat
    (r"au_(\d{1,2})", "occurrence"),  # LibreFace
    (r"au_(\d{1,2})_intensity", "intensity"),  # LibreFace
    (r"occ_au_(\d{1,2})", "occurrence"),  # PyAFAR
    (r"int_au_(\d{1,2})", "intensity"),  # PyAFAR
)


def au_column(name: str) -> tuple[int, Kind] | None:
    """Return the action unit and the kind of value in a table's column; None for any other column.

    Knows the names of maeface (``AU12_o``, ``AU12_p``, ``AU12_i``; ``AU12_L`` and ``AU12_R``), OpenFace 2
    (``AU12_c``, ``AU12_r``, with its leading space), py-feat (``AU12``, a probability), LibreFace
    (``au_12``, ``au_12_intensity``) and PyAFAR (``Occ_au_12``, ``Int_au_12``).
    """
    plain = name.strip()
    for pattern, kind in _COLUMNS:
        if (match := re.fullmatch(pattern, plain, re.ASCII | re.IGNORECASE)) and int(match[1]) > 0:
            return int(match[1]), kind
    return None


def datasets() -> tuple[str, ...]:
    """Return the names of all datasets."""
    return tuple(name for name in _names("datasets") if name != "aus")


@cache
def dataset(name: str) -> Dataset:
    """Return the facts about one dataset.

    Raises:
        ConfigError: no dataset of this name.
    """
    if name not in datasets():
        raise ConfigError(f"no dataset {name!r}; the datasets are: {', '.join(datasets())}")
    facts = Dataset.model_validate(_read(name))
    assert facts.name == name, f"datasets/{name}.toml is named {facts.name!r} inside"
    return facts


def protocol(name: str, protocol: str) -> dict[str, tuple[str, ...]]:
    """Return the folds of a protocol: fold -> its test subjects, in the dataset's own order.

    A fold trains on all other ``subject_names`` of the dataset.

    Raises:
        ConfigError: no such dataset, or it has no such protocol.
    """
    protocols = dataset(name).protocols
    if protocol not in protocols:
        names = f"it has {', '.join(protocols)}" if protocols else "it has none"
        raise ConfigError(f"dataset {name} has no protocol {protocol!r}; {names}")
    return dict(protocols[protocol])


@cache
def published(name: str) -> Published:
    """Return the numbers of a table or figure of the paper: ``table1`` to ``table6``, ``fig7``.

    Raises:
        ConfigError: no such table or figure.
    """
    if name not in (names := _names("published")):
        raise ConfigError(f"no table or figure of the paper {name!r}; there are: {', '.join(names)}")
    return Published.model_validate(_read(name, "published"))


@cache
def held_out_portraits() -> frozenset[str]:
    """Return the file names of the 300 public-domain portraits that must not be trained on.

    Zero-shot scores on real faces are measured on them; ``datasets/portraits.csv`` has their labels. A file
    with one of these names is one of them, in whatever folder it is.
    """
    table = (resources.files("maeface") / "datasets" / "portraits.csv").read_text("utf-8")
    return frozenset(row["source"] for row in csv.DictReader(table.splitlines()))


if TYPE_CHECKING:
    AUS: Mapping[int, AU]
    """Action unit by number, ascending."""
else:

    def __getattr__(name):  # noqa: ANN001, ANN202 - so that importing reads no file
        """Return ``AUS``, which is read on first access."""
        if name == "AUS":
            return _aus()
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _aus() -> Mapping[int, AU]:
    aus = [AU.model_validate(values) for values in _read("aus")["au"]]
    numbers = [au.number for au in aus]
    assert numbers == sorted(set(numbers)), "datasets/aus.toml: numbers must be unique and ascending"
    return MappingProxyType({au.number: au for au in aus})


def _names(folder: str) -> tuple[str, ...]:
    """Return the names of the TOML files in a folder of package data, sorted."""
    files = (file.name for file in (resources.files("maeface") / folder).iterdir())
    return tuple(sorted(file.removesuffix(".toml") for file in files if file.endswith(".toml")))


def _read(name: str, folder: str = "datasets") -> dict[str, Any]:
    return tomllib.loads((resources.files("maeface") / folder / f"{name}.toml").read_text("utf-8"))
