"""``maeface aus``: what each action unit is, and how far weights are to be trusted on it.

The facts come from ``facts``, the trust from the metadata of the weights, and the pictures from the package.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from rich.table import Table
from rich.text import Text

from maeface import checks, facts
from maeface.errors import ConfigError
from maeface.model.arrays import load_arrays
from maeface.model.file_format.metadata import Metadata
from maeface.model.licences import NOT_STATED, licence_of
from maeface.model.trust import GOOD_AUC, USE_AUC, Advice, Trust, trust_of
from maeface.model.zoo import find

UNKNOWN = "These weights do not say how far their AUs were checked; compare them with your own coding"
ADVICE: dict[Advice, str] = {
    "yes": "Use it",
    "with care": "Use it with care",
    "no": "Do not use it on real faces",
}
UNLIKE = "Each face also gets `unlike`: above 1, it is far from the faces that these weights learned from"
LEVELS = "0 absent, 1 (A) trace, 2 (B) slight, 3 (C) marked, 4 (D) severe, 5 (E) maximum"


@dataclass(frozen=True)
class AUSummary:
    """An action unit and what some weights know of it.

    Attributes:
        number: of the action unit.
        facts: the facts about it; None for one that is not in ``facts.AUS``.
        weights: name of the weights.
        predicted: whether the weights predict it.
        threshold: probability from which it counts as present; None if the weights give no probability.
        trust: how far it is to be trusted on real people; None if the weights do not say, or lack it.
        picture: a rendered face with it at intensities 0 to 5; None if there is none.
        single: whether this is the only action unit that was asked for.
        unlike: whether the weights also say how unlike the faces they learned from a face is.
        licence: of the weights; empty if it is not known.
    """

    number: int
    facts: facts.AU | None
    weights: str
    predicted: bool
    threshold: float | None
    trust: Trust | None
    picture: Path | None
    single: bool = False
    unlike: bool = False
    licence: str = ""


def run(name: str | None = None, weights: str | Path | None = None) -> tuple[AUSummary, ...]:
    """Return the action units of weights, or one action unit.

    Args:
        name: an action unit: ``AU12``, ``12`` or its FACS name; None for all that the weights predict.
        weights: a file, or the name of packaged weights; None for the default ones.

    Raises:
        ConfigError: there is no such action unit; the message names those that are meant, or all.
        WeightsError: no such weights, or not an AU model.
    """
    path = find(weights)
    metadata = load_arrays(path)[1]
    numbers = metadata.aus if name is None else (_find_number(name, metadata.aus),)
    trust = trust_of(metadata)
    return tuple(
        AUSummary(
            number=number,
            facts=facts.AUS.get(number),
            weights=path.stem,
            predicted=number in metadata.aus,
            threshold=_threshold(metadata, number),
            trust=trust.get(number),
            picture=find_picture(number),
            single=name is not None,
            unlike=metadata.unlike is not None,
            licence=licence_of(path),
        )
        for number in numbers
    )


def find_picture(number: int) -> Path | None:
    """Return the path of the picture of an action unit at intensities 0 to 5; None if there is none."""
    path = Path(str(resources.files("maeface") / "au_pictures" / f"{facts.au_name(number)}.jpg"))
    return path if path.is_file() else None


def render(summaries: tuple[AUSummary, ...]) -> Table | str:
    """Return a line for each action unit, or all about a single one as a table for the terminal."""
    if len(summaries) == 1 and summaries[0].single:
        return _one(summaries[0])
    lines = [_line(summary) for summary in summaries]
    if not any(summary.trust for summary in summaries):
        lines.append(UNKNOWN)
    if any(summary.unlike for summary in summaries):
        lines.append(UNLIKE)
    lines.append(f"Licence of {summaries[0].weights}: {summaries[0].licence or NOT_STATED}")
    return "\n".join([*lines, "maeface aus AU12 shows one: what to look for, pictures, checks"])


def _find_number(name: str, predicted: tuple[int, ...]) -> int:
    """Return the number of an action unit that is given by number or by FACS name."""
    text = name.strip().lower()
    digits = text.removeprefix("au").strip()
    known = sorted({*facts.AUS, *predicted})
    if digits.isdecimal() and digits.isascii():
        if (number := int(digits)) in known:
            return number
        meant = []
    else:
        names = {au.name.lower(): number for number, au in facts.AUS.items()}
        if text in names:
            return names[text]
        near = checks.find_nearest(text, names)
        short = {
            number: f"{au.name} {' '.join(au.words)} {au.appearance}" for number, au in facts.AUS.items()
        }
        long = {number: f"{au.details} {' '.join(au.muscles)}" for number, au in facts.AUS.items()}
        meant = _with_word(text, short) or ([names[near]] if near else _with_word(text, long))
    if meant:
        raise ConfigError(f"no action unit {name!r}; did you mean {' or '.join(map(facts.au_title, meant))}?")
    raise ConfigError(f"no action unit {name!r}; expected one of {', '.join(map(facts.au_title, known))}")


def _with_word(word: str, texts: Mapping[int, str]) -> list[int]:
    """Return the action units in whose texts a word begins so."""
    begins = re.compile(rf"\b{re.escape(word)}", re.IGNORECASE)
    return [number for number, text in texts.items() if word and begins.search(text)]


def _threshold(metadata: Metadata, number: int) -> float | None:
    if metadata.task == "intensity" or number not in metadata.aus:
        return None
    return dict(zip(metadata.aus, metadata.thresholds, strict=False)).get(number, 0.5)


def _line(summary: AUSummary) -> str:
    """Return ``AU12 Lip corner puller (zygomaticus major): The corners ... Use it: AUC ...``."""
    line = facts.au_title(summary.number)
    if summary.facts:
        line += f" ({'; '.join(summary.facts.muscles)}): {summary.facts.appearance}."
    return f"{line} {_advice(summary.trust)}" if summary.trust else line


def _advice(trust: Trust) -> str:
    return f"{ADVICE[trust.advice]}: {trust}"


def _one(summary: AUSummary) -> Table:
    table = Table(
        box=None,
        show_header=False,
        padding=(0, 2, 0, 0),
        pad_edge=False,
        title=facts.au_title(summary.number),
        title_justify="left",
        title_style="bold",
    )
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in (*_facts(summary), *_knowledge(summary)):
        table.add_row(label, Text(value))
    return table


def _facts(summary: AUSummary) -> Iterator[tuple[str, str]]:
    if au := summary.facts:
        yield "region", au.region
        yield "muscles", "; ".join(au.muscles)
        yield "what one sees", au.appearance
        if au.details:
            yield "look for", au.details
    yield "intensity", LEVELS
    if summary.picture:
        note = f" ({au.picture})" if au and au.picture else ""
        yield "picture", f"{summary.picture}{note}"


def _knowledge(summary: AUSummary) -> Iterator[tuple[str, str]]:
    yield "weights", f"{summary.weights}, licence: {summary.licence or NOT_STATED}"
    if not summary.predicted:
        yield "prediction", "none: these weights do not predict it"
        return
    if summary.threshold is not None:
        yield "present from", f"a probability of {summary.threshold:.2f}"
    if summary.trust is None:
        yield "trust", UNKNOWN
        return
    yield "trust", _advice(summary.trust)
    check = summary.trust.check
    if check is not None:
        yield "checked on", f"{check.data}: {check.n} faces, {check.present} with it"
    yield (
        "rule",
        f"use it if the 95 % interval of the AUC on real people begins at {GOOD_AUC:.2f} or above, with care "
        f"from {USE_AUC:.2f}",
    )
