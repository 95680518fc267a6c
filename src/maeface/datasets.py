"""``maeface datasets``: what is known of each dataset, and what one does to use it.

Facts only, from ``facts`` and the readers; nothing is downloaded, and no dataset is needed to ask.
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
    """What a reader lets one choose: ``--set name=value`` of ``maeface prepare``; no default: found out."""

    name: str
    default: str
    help: str


@dataclass(frozen=True)
class Known:
    """One dataset.

    Attributes:
        facts: what is known of it.
        command: how to prepare it; empty where it is not prepared from a folder.
        options: of its reader; () where there is none, or where all datasets were asked for.
    """

    facts: facts.Dataset
    command: str
    options: tuple[Option, ...] = ()


def run(name: str | None = None) -> tuple[Known, ...]:
    """What is known of one dataset, or of all: those with action units first, each kind by name.

    Args:
        name: of a dataset; None for all.

    Raises:
        ConfigError: no dataset of this name.
    """
    readable = raw_dataset.names()
    chosen = [facts.dataset(one) for one in ((name,) if name else facts.datasets())]
    known = [
        Known(
            dataset,
            f"maeface prepare DIR --dataset {dataset.name} --out OUT" if dataset.name in readable else "",
            _options(dataset.name) if name and dataset.name in readable else (),
        )
        for dataset in chosen
    ]
    return tuple(sorted(known, key=lambda one: (list(KINDS).index(one.facts.kind), one.facts.name)))


def render(known: tuple[Known, ...]) -> Table:
    """For the terminal: a table of several, or all that is known of one."""
    return _one(known[0]) if len(known) == 1 else _all(known)


def _all(known: tuple[Known, ...]) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        caption="maeface datasets NAME tells all of one: labels, folds, licence, how to get and prepare it",
        caption_justify="left",
    )
    table.add_column("name", no_wrap=True)
    table.add_column("what it is")
    for title in ("AUs", "with\nintensity", "people", "faces"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("protocols")
    kind = ""
    for one in known:
        dataset = one.facts
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


def _one(known: Known) -> Table:
    table = Table(
        box=None,
        show_header=False,
        padding=(0, 2, 0, 0),
        pad_edge=False,
        title=known.facts.title,
        title_justify="left",
        title_style="bold",
    )
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for group in (_faces, _protocols, _choices, _source, _use):
        rows = [(label, value) for label, value in group(known) if value]
        if rows:
            table.add_row()
        before = ""
        for label, value in rows:
            table.add_row("" if label == before else label, Text(value))
            before = label
    return table


Rows = Iterator[tuple[str, str]]


def _faces(known: Known) -> Rows:
    dataset = known.facts
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
    for other, both in dataset.same_people.items():
        yield f"also in {other}", f"{_people(both)}; who learned from one must not be tested on the other"


def _protocols(known: Known) -> Rows:
    for name, folds in known.facts.protocols.items():
        yield f"protocol {name}", known.facts.origins.get(name, "every subject is tested once")
        for fold, tested in folds.items():
            yield f"  tests in {fold}", _people(tested)


def _choices(known: Known) -> Rows:
    for line in known.facts.choices:
        yield "how it is read", f"• {line}"


def _source(known: Known) -> Rows:
    yield "licence", known.facts.licence
    yield "to get it", known.facts.obtain
    yield "homepage", known.facts.homepage or ""
    yield "cite", known.facts.cite


def _use(known: Known) -> Rows:
    for line in known.facts.layout:
        yield "DIR has", f"• {line}"
    yield "prepare", known.command
    for option in known.options:
        yield "  options", f"--set {option.name}={option.default or '...'}: {option.help}"


def _people(names: Sequence[str]) -> str:
    return f"{len(names)}: {' '.join(names)}" if names else ""


def _threshold(dataset: facts.Dataset) -> str:
    if dataset.threshold is None:
        return "none: occurrence is coded by itself"
    return f"present means intensity {dataset.threshold:g} or more"


def _aus(numbers: Iterable[int]) -> str:
    return ", ".join(facts.au_title(number) for number in numbers)


def _count(number: int | None) -> str:
    return f"{number:,}" if number else "–"


def _options(name: str) -> tuple[Option, ...]:
    """The options of a reader, with the text that stands below each in its source, and what can be chosen."""
    options: type[config.Settings] = importlib.import_module(f"{raw_dataset.PACKAGE}.{name}").Options
    texts = _texts(options)
    found = []
    for key, field in options.model_fields.items():
        default = field.get_default()
        choices = [one for one in get_args(field.annotation) if isinstance(one, str)]
        text = field.description or texts.get(key, "")
        found.append(
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
    return tuple(found)


def _texts(model: type[config.Settings]) -> dict[str, str]:
    """Field -> its docstring, the text right below it, of a model and of those that it extends."""
    found: dict[str, str] = {}
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
                found[field.target.id] = " ".join(str(text.value.value).split())
    return found
