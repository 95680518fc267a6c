"""What is known of action units and of datasets, read from ``datasets/*`` and checked when read."""

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

Kind = Literal["occurrence", "probability", "intensity"]

INTENSITY_MAX = 5.0
"""Intensity runs from 0 (absent) over 1 (A, trace) to 5 (E, maximum)."""

OURS = "MAE-Face"
"""What the paper's tables call the method that is implemented here."""


class AU(BaseModel):
    """One action unit of the Facial Action Coding System."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: Annotated[int, Field(ge=1, le=99)]
    name: str
    """Its FACS name."""
    region: Literal["brow", "eye", "nose", "mouth", "chin", "jaw"]
    muscles: tuple[str, ...]
    look: str
    """What one sees."""


class Dataset(BaseModel):
    """One dataset of faces, with action units or, where it is a source for pre-training, without."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """As the file is called."""
    title: str
    kind: Literal["au", "faces"] = "au"
    """``faces``: read for pre-training, whatever labels it has are left out."""
    aus_occurrence: tuple[int, ...] = ()
    """In the order of the dataset's own tables."""
    aus_intensity: tuple[int, ...] = ()
    scale: tuple[float, float] = (0.0, INTENSITY_MAX)
    """Lowest and highest intensity."""
    threshold: float | None = None
    """Present means an intensity of this or more; None where occurrence is coded by itself, or not at all."""
    subjects: str = ".+"
    """A regular expression that every subject's name matches whole."""
    subject_names: tuple[str, ...] = ()
    """Every subject, in the dataset's own order; empty where they are not known."""
    protocols: dict[str, dict[str, tuple[str, ...]]] = {}
    """Protocol -> fold -> the subjects TESTED in it. A fold trains on all others of ``subject_names``."""
    origins: dict[str, str] = {}
    """Protocol -> where it comes from, or the rule by which its subjects are dealt."""
    same_people: dict[str, tuple[str, ...]] = {}
    """Other dataset -> the subjects, by the name that both give them, that are in both."""
    frames: int | None = None
    """Labelled frames of its videos, as the paper or public lists count them."""
    images: int | None = None
    """Photographs, as those who made it count them."""
    choices: tuple[str, ...] = ()
    """What is chosen here where its documentation is open or public projects differ, and why; a line each."""
    layout: tuple[str, ...] = ()
    """What a folder of it must contain, a line each."""
    licence: str
    obtain: str
    """How to get it."""
    homepage: str | None = None
    cite: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> "Dataset":
        for label, aus in (("aus_occurrence", self.aus_occurrence), ("aus_intensity", self.aus_intensity)):
            if len(set(aus)) != len(aus):
                raise ValueError(f"{label} names an action unit twice")
            if unknown := sorted(set(aus) - set(_aus())):
                raise ValueError(f"{label} has {unknown}, which aus.toml lacks")
        if self.kind == "faces" and (self.aus_occurrence or self.aus_intensity):
            raise ValueError("a source of faces for pre-training has no action units")
        if self.threshold is not None and not self.scale[0] < self.threshold <= self.scale[1]:
            raise ValueError(f"threshold {self.threshold} is not within the scale {self.scale}")
        if len(set(self.subject_names)) != len(self.subject_names):
            raise ValueError("subject_names names a subject twice")
        self._look_right("subject_names", self.subject_names)
        for other, both in self.same_people.items():
            self._look_right(f"same_people.{other}", both)
        for name, folds in self.protocols.items():
            self._consistent_protocol(name, folds)
        if extra := sorted(set(self.origins) - set(self.protocols)):
            raise ValueError(f"origins has {extra}, which are not protocols")
        return self

    def _consistent_protocol(self, name: str, folds: Mapping[str, tuple[str, ...]]) -> None:
        tested = [subject for fold in folds.values() for subject in fold]
        if not tested or not all(folds.values()):
            raise ValueError(f"protocol {name} has a fold that tests nobody")
        if twice := sorted({subject for subject in tested if tested.count(subject) > 1}):
            raise ValueError(
                f"{twice[0]} is twice in the folds of protocol {name}; its folds must be disjoint"
            )
        self._look_right(f"protocols.{name}", tested)
        if self.subject_names and (unknown := sorted(set(tested) - set(self.subject_names))):
            raise ValueError(f"protocol {name} tests {unknown}, which subject_names lacks")

    def _look_right(self, where: str, names: Iterable[str]) -> None:
        if wrong := [name for name in names if not re.fullmatch(self.subjects, name)]:
            raise ValueError(f"subjects {wrong} of {where} do not look like {self.subjects!r}")


class PublishedRow(BaseModel):
    """What one method reaches."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    """As the table names it."""
    aus: tuple[float, ...] = ()
    """A value for each action unit of the column; empty where only the mean is printed."""
    avg: float
    """The mean as it is printed."""
    note: str = ""
    """What is odd about the row, e.g. a printed mean that is not the mean of the printed values."""


class Comparison(BaseModel):
    """One measure on one dataset, of several methods: a table of the paper, or a part of one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    protocol: str
    metric: Literal["f1", "icc", "mse", "mae"]
    unit: Literal["%", ""] = ""
    aus: tuple[int, ...] = ()
    """In the table's order; empty where it has the mean alone."""
    rows: tuple[PublishedRow, ...]

    @model_validator(mode="after")
    def _consistent(self) -> "Comparison":
        for row in self.rows:
            if row.aus and len(row.aus) != len(self.aus):
                raise ValueError(f"{row.method} has {len(row.aus)} values for {len(self.aus)} action units")
        if len({row.method for row in self.rows}) != len(self.rows):
            raise ValueError("a method has two rows")
        return self

    @property
    def factor(self) -> float:
        """What a value from 0 to 1 is multiplied by to be in the table's unit."""
        return 100.0 if self.unit == "%" else 1.0

    def row(self, method: str) -> PublishedRow | None:
        """The row of one method; None where the table has none."""
        return next((row for row in self.rows if row.method == method), None)

    @property
    def ours(self) -> PublishedRow | None:
        """The row of the method that is implemented here."""
        return self.row(OURS)

    def by_au(self, method: str) -> dict[int, float]:
        """Action unit -> value of one method; empty where the table has none."""
        row = self.row(method)
        return dict(zip(self.aus, row.aus, strict=True)) if row and row.aus else {}


class Published(BaseModel):
    """A table or a figure of the paper, as numbers, in the paper's units."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    what: str = "score"
    """What a value is."""
    comparisons: tuple[Comparison, ...]

    def of(self, dataset: str, metric: str) -> Comparison | None:
        """The part about one measure on one dataset; None where there is none."""
        return next((c for c in self.comparisons if (c.dataset, c.metric) == (dataset, metric)), None)


def au_name(number: int) -> str:
    """``12 -> "AU12"``, ``1 -> "AU01"``: the name in tables and pictures."""
    return f"AU{number:02d}"


def au_title(number: int) -> str:
    """``12 -> "AU12 Lip corner puller"``; the name alone for an action unit that aus.toml lacks."""
    known = _aus().get(number)
    return f"{au_name(number)} {known.name}" if known else au_name(number)


# A column's name in lower case, without the spaces around it; the group is the number.
_COLUMNS: tuple[tuple[str, Kind], ...] = (
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
    """Which action unit a table's column holds, and as what; None for any other column.

    Reads the names of maeface (``AU12_o``, ``AU12_p``, ``AU12_i``), OpenFace 2 (``AU12_c``, ``AU12_r``,
    with its leading space), py-feat (``AU12``, a probability), LibreFace (``au_12``,
    ``au_12_intensity``) and PyAFAR (``Occ_au_12``, ``Int_au_12``).
    """
    plain = name.strip().lower()
    for pattern, kind in _COLUMNS:
        if (match := re.fullmatch(pattern, plain, re.ASCII)) and int(match[1]) > 0:
            return int(match[1]), kind
    return None


def datasets() -> tuple[str, ...]:
    """The names that ``dataset`` knows."""
    return tuple(name for name in _names("datasets") if name != "aus")


@cache
def dataset(name: str) -> Dataset:
    """The facts of one dataset.

    Raises:
        ConfigError: no dataset of this name.
    """
    if name not in datasets():
        raise ConfigError(f"no dataset {name!r}; known are: {', '.join(datasets())}")
    facts = Dataset.model_validate(_read(name))
    assert facts.name == name, f"datasets/{name}.toml is named {facts.name!r} inside"
    return facts


def protocol(name: str, protocol: str) -> dict[str, tuple[str, ...]]:
    """The folds of one protocol: fold -> the subjects tested in it, in the dataset's own order.

    A fold trains on the ``subject_names`` of the dataset that it does not test.

    Raises:
        ConfigError: no such dataset, or it has no such protocol.
    """
    known = dataset(name).protocols
    if protocol not in known:
        has = f"it has {', '.join(known)}" if known else "it has none"
        raise ConfigError(f"dataset {name} has no protocol {protocol!r}; {has}")
    return dict(known[protocol])


@cache
def published(name: str) -> Published:
    """A table or figure of the paper as numbers: ``table1`` to ``table6``, ``fig7``.

    Raises:
        ConfigError: nothing of this name.
    """
    if name not in (known := _names("published")):
        raise ConfigError(f"nothing published is called {name!r}; known are: {', '.join(known)}")
    return Published.model_validate(_read(name, "published"))


@cache
def held_out_portraits() -> frozenset[str]:
    """File names of the 300 public-domain portraits that nothing may be trained on.

    They are the real faces that zero-shot figures are made on; ``datasets/portraits.csv`` has their labels.
    A file is one of them by its name alone, whatever folder it lies in.
    """
    table = (resources.files("maeface") / "datasets" / "portraits.csv").read_text("utf-8")
    return frozenset(row["source"] for row in csv.DictReader(table.splitlines()))


if TYPE_CHECKING:
    AUS: Mapping[int, AU]
    """Every action unit in use, by number, ascending."""
else:

    def __getattr__(name):  # noqa: ANN001, ANN202 - AUS, but nothing is read at import
        """AUS, read when first asked for."""
        if name == "AUS":
            return _aus()
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _aus() -> Mapping[int, AU]:
    aus = [AU.model_validate(values) for values in _read("aus")["au"]]
    numbers = [au.number for au in aus]
    assert numbers == sorted(set(numbers)), "datasets/aus.toml: numbers must rise, each once"
    return MappingProxyType({au.number: au for au in aus})


def _names(folder: str) -> tuple[str, ...]:
    """The TOML files of a folder of package data, without the ending, sorted."""
    files = (file.name for file in (resources.files("maeface") / folder).iterdir())
    return tuple(sorted(file.removesuffix(".toml") for file in files if file.endswith(".toml")))


def _read(name: str, folder: str = "datasets") -> dict[str, Any]:
    return tomllib.loads((resources.files("maeface") / folder / f"{name}.toml").read_text("utf-8"))
