"""``maeface datasets``: facts about the datasets, and how to use them.

The facts come from ``facts`` and the readers. Nothing is downloaded, and no dataset is needed.
"""

import ast
import importlib
import inspect
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import get_args

from rich import box
from rich.table import Table
from rich.text import Text

from maeface import config, facts
from maeface.data.readers import raw_dataset

KINDS = {"au": "faces with action units", "faces": "sources of faces for pre-training, without labels"}


@dataclass(frozen=True)
class Option:
    """An option of a reader, ``--set name=value``; without a default the reader finds it out."""

    name: str
    default: str
    help: str


@dataclass(frozen=True)
class DatasetSummary:
    """A dataset and how to use it.

    Attributes:
        facts: the facts about it.
        command: the command that prepares it; empty if it is not prepared from a folder.
        options: options of its reader; () if it has none, or if all datasets are listed.
    """

    facts: facts.Dataset
    command: str
    options: tuple[Option, ...] = ()


def run(name: str | None = None) -> tuple[DatasetSummary, ...]:
    """Return one dataset, or all: those with AU labels first, each kind sorted by name.

    Args:
        name: name of a dataset; None for all.

    Raises:
        ConfigError: there is no dataset with this name.
    """
    readable = raw_dataset.names()
    chosen = [facts.dataset(one) for one in ((name,) if name else facts.datasets())]
    summaries = [
        DatasetSummary(
            dataset,
            f"maeface prepare DIR --dataset {dataset.name} --out OUT" if dataset.name in readable else "",
            _options(dataset.name) if name and dataset.name in readable else (),
        )
        for dataset in chosen
    ]
    return tuple(sorted(summaries, key=lambda one: (list(KINDS).index(one.facts.kind), one.facts.name)))


def render(summaries: tuple[DatasetSummary, ...]) -> Table:
    """Return a table for the terminal: a row for each dataset, or all facts about a single one."""
    return _one(summaries[0]) if len(summaries) == 1 else _all(summaries)


def _all(summaries: tuple[DatasetSummary, ...]) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        caption="maeface datasets NAME shows one: labels, folds, licence, how to get and prepare it",
        caption_justify="left",
    )
    table.add_column("name", no_wrap=True)
    table.add_column("what it is")
    for title in ("AUs", "with\nintensity", "people", "faces"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("protocols")
    kind = ""
    for summary in summaries:
        dataset = summary.facts
        if dataset.kind != kind:
            table.add_section()
            table.add_row("", Text(KINDS[dataset.kind], style="italic"))
            kind = dataset.kind
        table.add_row(
            Text(dataset.name, style="bold"),
            dataset.title,
            _count(len(dataset.aus_occurrence)),
            _count(len(dataset.aus_intensity)),
            _count(len(dataset.subject_names)),
            _count(dataset.frames or dataset.images),
            "\n".join(dataset.protocols),
        )
    return table


def _one(summary: DatasetSummary) -> Table:
    table = Table(
        box=None,
        show_header=False,
        padding=(0, 2, 0, 0),
        pad_edge=False,
        title=summary.facts.title,
        title_justify="left",
        title_style="bold",
    )
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for group in (_faces, _protocols, _choices, _source, _use):
        rows = [(label, value) for label, value in group(summary) if value]
        if rows:
            table.add_row()
        before = ""
        for label, value in rows:
            table.add_row("" if label == before else label, Text(value))
            before = label
    return table


Rows = Iterator[tuple[str, str]]


def _faces(summary: DatasetSummary) -> Rows:
    dataset = summary.facts
    yield "kind", KINDS[dataset.kind]
    yield "occurrence", _aus(dataset.aus_occurrence)
    yield "intensity", _aus(dataset.aus_intensity)
    if dataset.aus_intensity:
        yield "scale", "{:g} to {:g}".format(*dataset.scale)
    if dataset.kind == "au":
        yield "threshold", _threshold(dataset)
    yield "subjects", _people(dataset.subject_names)
    yield "frames", f"{dataset.frames:,}" if dataset.frames else ""
    yield "images", f"{dataset.images:,}" if dataset.images else ""
    for other, shared in dataset.same_people.items():
        yield f"also in {other}", f"{_people(shared)}; do not train on one and test on the other"


def _protocols(summary: DatasetSummary) -> Rows:
    for name, folds in summary.facts.protocols.items():
        yield f"protocol {name}", summary.facts.origins.get(name, "every subject is tested once")
        for fold, tested in folds.items():
            yield f"  test subjects, {fold}", _people(tested)


def _choices(summary: DatasetSummary) -> Rows:
    for line in summary.facts.choices:
        yield "how it is read", f"• {line}"


def _source(summary: DatasetSummary) -> Rows:
    yield "licence", summary.facts.licence
    yield "to get it", summary.facts.obtain
    yield "homepage", summary.facts.homepage or ""
    yield "cite", summary.facts.cite


def _use(summary: DatasetSummary) -> Rows:
    for line in summary.facts.layout:
        yield "DIR must have", f"• {line}"
    yield "prepare", summary.command
    for option in summary.options:
        default = f" (default {option.default})" if option.default else ""
        yield "  options", f"--set {option.name}=...{default}: {option.help}"


def _people(names: Sequence[str]) -> str:
    return f"{len(names)}: {' '.join(names)}" if names else ""


def _threshold(dataset: facts.Dataset) -> str:
    if dataset.threshold is None:
        return "none: occurrence is coded separately"
    return f"present means intensity {dataset.threshold:g} or more"


def _aus(numbers: Iterable[int]) -> str:
    return ", ".join(facts.au_title(number) for number in numbers)


def _count(number: int | None) -> str:
    return f"{number:,}" if number else "–"


def _options(name: str) -> tuple[Option, ...]:
    """Return the options of a reader, each with its docstring and its choices."""
    options: type[config.Settings] = importlib.import_module(f"{raw_dataset.PACKAGE}.{name}").Options
    docstrings = _docstrings(options)
    described = []
    for key, field in options.model_fields.items():
        default = field.get_default()
        choices = [one for one in get_args(field.annotation) if isinstance(one, str)]
        text = field.description or docstrings.get(key, "")
        described.append(
            Option(
                key,
                ""
                if default is None
                else str(default).lower()
                if isinstance(default, bool)
                else str(default),
                f"{text} One of {', '.join(choices)}." if choices else text,
            )
        )
    return tuple(described)


def _docstrings(model: type[config.Settings]) -> dict[str, str]:
    """Return the docstring of each field of a model, the text right below it, also of fields it inherits."""
    docstrings: dict[str, str] = {}
    for layer in reversed([one for one in model.__mro__ if issubclass(one, config.Settings)]):
        tree = ast.parse(textwrap.dedent(inspect.getsource(layer))).body[0]
        assert isinstance(tree, ast.ClassDef)
        for field, text in pairwise(tree.body):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
            ):
                docstrings[field.target.id] = " ".join(str(text.value.value).split())
    return docstrings
