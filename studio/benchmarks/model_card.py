"""Measure weights for the model card, and write its tables.

uv run --all-packages --extra teacher python studio/benchmarks/model_card.py NAME --data DIR --renders RENDERS
    --teacher face_landmarker.task --out OUT [--card MODEL_CARD.md]

NAME is the name of packaged weights, after ``maeface-studio check NAME --write``. DIR has ``photos/`` and
``videos/``; RENDERS are those of ``check``. Measured are ``check`` and ``bench`` (beside ``maeface-nano`` and
MediaPipe), the portraits by group and on worse pictures (``benchmarks/zero_shot.py``), and pictures of
people at rest and of a group. What is measured is kept in OUT, by the hash of the weights, and not measured
again. With ``--card``, each table of the card is replaced between its two comments; else all are printed.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from maeface import facts, files
from maeface.model import weights
from maeface.model.trust import USE_AUC
from maeface.prediction.predictor import Predictor
from maeface_studio.weights import blendshapes, check, recipe
from maeface_studio.weights.bench import clips, command
from maeface_studio.weights.bench.scores import Result
from maeface_studio.weights.bench.tool_tables import read_tables

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import tables as score_tables
import zero_shot

BEFORE, PEER = "maeface-nano", command.MEDIAPIPE
PEOPLE = Path(__file__).with_name("clip_people.csv")
GOOD_AUC, HINT_R, HINT_PEOPLE = 0.9, 0.6, 2
"""An AU is to be used without reserve if the interval of its AUC begins at ``GOOD_AUC``, and is a hint within a
film if its r reaches ``HINT_R`` on ``HINT_PEOPLE`` held-out people."""
GROUP = "group/situation_room.jpg"
AT_REST = ("zoom-cc0", "lisa-cc0")


@dataclass(frozen=True)
class Given:
    """What is measured, and with what."""

    name: str
    data: Path
    renders: Path
    teacher: Path
    out: Path

    @property
    def photos(self) -> Path:
        """The folder of photographs."""
        return self.data / "photos"

    @property
    def held_out(self) -> list[str]:
        """The clips that are in no training."""
        return list(recipe.load(self.name).prepare.held_out_videos)


def keep(path: Path, measure: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Return the table in a CSV file; measure and write it if it is not there."""
    if not path.is_file():
        files.write_text(path, measure().to_csv(index=False, float_format="%.4f"))
    return pd.read_csv(path)


def measure_scores(given: Given) -> pd.DataFrame:
    """Return the scores of ``bench``, those of the held-out clips as the set "held out"."""
    folder = given.out / "tables"
    result = command.run(
        [given.name, BEFORE, PEER],
        photos=given.photos / "congress",
        renders=given.renders,
        videos=[given.data / "videos"],
        people=PEOPLE,
        teacher=given.teacher,
        tables=folder,
    )
    reference = pd.read_parquet(folder / f"{PEER}-clips.parquet")
    held_out = reference[reference["source"].isin(given.held_out)]
    tools = {name: read_tables(folder / f"{name}-clips.parquet") for name in (given.name, BEFORE)}
    scores, _ = clips.score(held_out, tools, command.read_people(PEOPLE))
    return pd.concat([result.table(), Result(tuple(scores), {}).table().assign(set="held out")])


def measure_checks(given: Given, diagram: Path) -> pd.DataFrame:
    """Return a row for each AU with what ``check`` finds."""
    rows = []
    for one in check.run(given.name, given.photos / "congress", given.renders, diagram=diagram):
        row = {"au": one.au, "threshold": one.threshold, "without": ", ".join(map(str, one.negatives))}
        row |= one.check.model_dump(include={"on", "auc", "low", "high", "present"}) if one.check else {}
        row |= {"fitted": f"{one.calibration.on}, {one.calibration.present}"} if one.calibration else {}
        for place, faces in enumerate(("real", "renders")):
            pairs = {"before": one.errors[0], "after": one.errors[1]}
            pairs |= {"false": one.false_alarms, "found": one.found, "f1": one.f1}
            row |= {f"{name} {faces}": pair[place] for name, pair in pairs.items()}
        rows.append(row)
    return pd.DataFrame(rows)


def measure_pictures(given: Given) -> pd.DataFrame:
    """Return the AUCs of all portraits, of groups of them, and of worse pictures."""
    aus = facts.dataset("portraits").aus_occurrence
    with blendshapes.FaceLandmarker(given.teacher) as landmarker:
        scorers = [
            zero_shot.load_weights(weights.find(given.name), aus),
            *zero_shot.load_mediapipe(landmarker, aus),
        ]
        portraits = zero_shot.read_portraits(given.photos / "congress", aus)
        table = zero_shot.measure(portraits, scorers, resamples=2000)
    return table.assign(au=[aus[column] for column in table["au"]])


def measure_others(given: Given) -> pd.DataFrame:
    """Return the predictions of the photographs of people at rest, and of those of a group."""
    at_rest = [path for name in AT_REST for path in sorted((given.photos / name).glob("*.jpg"))]
    with Predictor(given.name, "cpu", precision="fp32", detector="embedded") as predictor:
        parts = {"at rest": predictor(at_rest), "group": predictor([given.photos / GROUP])}
    return pd.concat([table.assign(set=name) for name, table in parts.items()])


class Card:
    """The blocks of the model card.

    Args:
        name: of the weights.
        scores: as ``measure_scores`` returns them.
        checks: as ``measure_checks``.
        pictures: as ``measure_pictures``.
        others: as ``measure_others``.
    """

    def __init__(
        self,
        name: str,
        scores: pd.DataFrame,
        checks: pd.DataFrame,
        pictures: pd.DataFrame,
        others: pd.DataFrame,
    ) -> None:
        self.name, self.others, self.pictures = name, others, pictures
        self.scores = scores.set_index(["set", "measure", "tool", "au"])
        self.checks = checks.set_index("au")

    def blocks(self) -> dict[str, str]:
        """Return name -> Markdown."""
        return {
            "in short": markdown(self.in_short()),
            "before": markdown(self.before()),
            "portraits": f"{markdown(self.portraits())}\n\n{self.proxies()}",
            "by picture": markdown(self.by_picture()),
            "clips": markdown(self.clips()),
            "thresholds": markdown(self.thresholds()),
            "other pictures": "\n".join(self.other_pictures()),
            "file": markdown(self.file()),
        }

    def score(self, name: str, measure: str, au: int, tool: str | None = None) -> "pd.Series[float]":
        """Return a score of a set; NaN where there is none."""
        key = name, measure, tool or self.name, au
        return self.scores.loc[key] if key in self.scores.index else self.scores.iloc[0] * np.nan

    def mean(self, name: str, measure: str, tool: str) -> str:
        """Return the mean over the AUs for which each of our tools has the score, and how many they are."""
        table = self.scores.loc[name, measure]["value"].unstack("tool")[[self.name, BEFORE]].dropna()
        return f"{table[tool].mean():.3f} ({len(table)} AUs)"

    def in_short(self) -> Iterator[list[str]]:
        """Each AU: how well it was measured, and whether to use it."""
        yield [
            "AU",
            "real faces: AUC on 300 portraits [95 %] (with it)",
            "real faces: r within clips (people)",
            "renders: AUC, ICC (with it)",
            "use it?",
        ]
        for au, row in self.checks.iterrows():
            clip = self.score("held out", "r", au)
            auc, icc = (self.score("renders", measure, au) for measure in ("AUC", "ICC"))
            yield [
                f"AU{au} {facts.AUS[au].name}",
                f"{interval(row, 'auc')} ({row['present']:.0f})" if row["on"] == "real" else "–",
                f"{number(clip['value'])} ({clip['n']:.0f})" if clip["n"] > 0 else "–",
                f"{number(auc['value'])}, {number(icc['value'])} ({auc['present']:.0f})",
                self.use(au),
            ]

    def use(self, au: int) -> str:
        """Return whether to use an AU on real people."""
        row, clip = self.checks.loc[au], self.score("held out", "r", au)
        if row["on"] == "real" and row["low"] >= USE_AUC:
            return "**yes**" if row["low"] >= GOOD_AUC else "**yes**, with care"
        hint = clip["value"] >= HINT_R and clip["n"] >= HINT_PEOPLE
        return "a hint, within a film" if hint else "no"

    def before(self) -> Iterator[list[str]]:
        """The weights beside those that they go on from."""
        yield ["", BEFORE, self.name]
        for au in (12, 25, 6):
            row = [interval(self.score("portraits", "AUC", au, tool)) for tool in (BEFORE, self.name)]
            yield [f"portraits, AUC of AU{au}", *row]
        for name, measure, text in (
            ("held out", "r", "held-out clips, mean r"),
            ("clips", "r", "all clips, mean r"),
            ("renders", "AUC", "renders, mean AUC"),
            ("renders", "ICC", "renders, mean ICC"),
        ):
            yield [text, *(self.mean(name, measure, tool) for tool in (BEFORE, self.name))]

    def portraits(self) -> Iterator[list[str]]:
        """AUC and false alarms on the held-out portraits, beside MediaPipe."""
        yield ["AU", "present", "AUC", "AUC, MediaPipe", "AUC less MediaPipe's", "false alarms at the threshold"]
        difference = self.picture_rows("all", f"{self.name} - MediaPipe")
        for au in facts.dataset("portraits").aus_occurrence:
            own, alarms = self.score("portraits", "AUC", au), self.score("portraits", "false alarms", au)
            less = difference.loc[au]
            yield [
                str(au),
                f"{own['present']:.0f}",
                interval(own),
                interval(self.score("portraits", "AUC", au, PEER)),
                interval(less, "auc", "+") if own["value"] >= 0 else "–",
                f"{alarms['value']:.1%} of {alarms['n'] - alarms['present']:.0f}",
            ]

    def proxies(self) -> str:
        """What other blendshapes of MediaPipe give, and the agreement of annotators."""
        proxy = self.picture_rows("all", next(iter(zero_shot.PROXIES)))
        agreed = self.picture_rows("label", self.name).loc[6]
        return (
            f"MediaPipe's AU25 is the gap between its lip landmarks; by its jawOpen it has {interval(proxy.loc[25], 'auc')}. "
            f"By its mouthSmile in the place of cheekSquint, its AU6 has {interval(proxy.loc[6], 'auc')}. Where both "
            f"annotators of AU6 agree ({agreed['n']:.0f} portraits), our AUC is {interval(agreed, 'auc')}."
        )

    def picture_rows(self, by: str, scorer: str) -> pd.DataFrame:
        """Return the rows of a scorer, by AU."""
        table = self.pictures
        return table[(table["by"] == by) & (table["scorer"] == scorer)].set_index("au")

    def by_picture(self) -> Iterator[list[str]]:
        """AUC by group of pictures; MediaPipe's on the worst ones."""
        yield ["by", "group", "n", *(f"AU{au}" for au in (12, 25, 6)), "MediaPipe: AU12, 25, 6"]
        for (by, group), table in self.pictures.groupby(["by", "group"], sort=False):
            if by == "label":
                continue
            own, peer = (table[table["scorer"] == name].set_index("au") for name in (self.name, "MediaPipe"))
            cells = [number(own.loc[au, "auc"]) for au in (12, 25, 6)]
            peers = ", ".join(number(peer.loc[au, "auc"]) for au in (12, 25, 6))
            yield [str(by), str(group), f"{own.loc[12, 'n']:.0f}", *cells, peers]

    def clips(self) -> Iterator[list[str]]:
        """Correlation within clips, beside the weights that these go on from."""
        yield ["AU", "people", "held out: r", f"{BEFORE}", "people", "all clips: r [95 %]", f"{BEFORE}"]
        for au in clips.AUS:
            cells = [str(au)]
            for name in ("held out", "clips"):
                own, other = (self.score(name, "r", au, tool) for tool in (self.name, BEFORE))
                text = interval(own) if name == "clips" else number(own["value"])
                cells += [f"{own['n']:.0f}", text, number(other["value"])]
            yield cells

    def thresholds(self) -> Iterator[list[str]]:
        """Thresholds and calibration, with what they do on the other halves of the faces."""
        yield [
            "AU",
            "threshold",
            "without it",
            "false alarms: real, renders",
            "found: real, renders",
            "F1: real, renders",
            "calibrated on (with it)",
            "ECE, real",
            "ECE, renders",
        ]
        for au, row in self.checks.iterrows():
            pairs = (("false", ".1%"), ("found", ".0%"), ("f1", ".3f"))
            yield [
                str(au),
                f"{row['threshold']:.2f}",
                str(row["without"]),
                *(", ".join(number(row[f"{name} {x}"], form) for x in ("real", "renders")) for name, form in pairs),
                f"{fitted.replace(', ', ' (')})" if isinstance(fitted := row["fitted"], str) else "–",
                *(f"{number(row[f'before {x}'])} → {number(row[f'after {x}'])}" for x in ("real", "renders")),
            ]
        means = [
            f"{self.checks[f'before {x}'].mean():.3f} → {self.checks[f'after {x}'].mean():.3f}"
            for x in ("real", "renders")
        ]
        yield ["mean", "", "", "", "", "", "", *means]

    def other_pictures(self) -> Iterator[str]:
        """What is called present in photographs that nobody has coded."""
        names = [facts.au_name(au) for au in self.checks.index]
        faces = self.others[self.others["face"] >= 0]
        for name, text in (
            ("at rest", "{n} photographs of two people at rest"),
            ("group", "{n} faces of a news photograph (the White House Situation Room, 2011), one of which is a shirt"),
        ):
            of = faces[faces["set"] == name]
            counts = of[names].sum().sort_values(ascending=False, kind="stable")
            said = ", ".join(f"AU{int(au[2:])} in {count:.0f}" for au, count in counts.items() if count)
            yield f"- **{text.format(n=len(of))}**: called present are {said or 'no AUs'}."

    def file(self) -> Iterator[list[str]]:
        """The file."""
        yield ["file", "bytes", "SHA-256"]
        for path in weights.files_of(weights.find(self.name)):
            yield [f"`src/maeface/zoo/{path.name}`", f"{path.stat().st_size:,}", files.sha256(path)]


def number(value: float, form: str = ".3f") -> str:
    """Return a number as text, or a dash."""
    return "–" if np.isnan(value) else format(value, form)


def interval(row: "pd.Series[float]", name: str = "value", sign: str = "") -> str:
    """Return a value with its interval."""
    low, high = (row["low"], row["high"]) if "low" in row else (row[f"{name}_low"], row[f"{name}_high"])
    if np.isnan(row[name]) or np.isnan(low):
        return number(row[name])
    return f"{row[name]:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def markdown(rows: Iterator[Sequence[str]]) -> str:
    """Return rows as a table, the first one as its head."""
    head, *rest = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rest))


def fill(text: str, blocks: dict[str, str]) -> str:
    """Return a page with its blocks replaced.

    Raises:
        SystemExit: the page lacks one.
    """
    for name, block in blocks.items():
        begin, end = f"<!-- {name}: made by studio/benchmarks/model_card.py -->", f"<!-- end of {name} -->"
        text, count = re.subn(
            f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: f"{begin}\n\n{block}\n\n{end}", text, flags=re.S
        )
        if count != 1:
            raise SystemExit(f"the card has {count} blocks '{name}'; expected 1, between {begin} and {end}")
    return text


def main() -> None:
    """Measure, and print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of packaged weights")
    for option in ("data", "renders", "teacher", "out"):
        parser.add_argument(f"--{option}", type=Path, required=True)
    parser.add_argument("--card", type=Path)
    options = parser.parse_args()
    given = Given(options.name, options.data, options.renders, options.teacher, options.out)
    kept = given.out / files.sha256(weights.find(given.name))[:12]
    kept.mkdir(parents=True, exist_ok=True)
    card = Card(
        given.name,
        keep(kept / "scores.csv", lambda: measure_scores(given)),
        keep(kept / "checks.csv", lambda: measure_checks(given, kept / "calibration.png")),
        keep(kept / "pictures.csv", lambda: measure_pictures(given)),
        keep(kept / "others.csv", lambda: measure_others(given)),
    )
    blocks = card.blocks()
    if options.card:
        files.write_text(options.card, fill(options.card.read_text("utf-8"), blocks))
    else:
        print("\n\n".join(f"{name}\n\n{block}" for name, block in blocks.items()))


if __name__ == "__main__":
    main()
