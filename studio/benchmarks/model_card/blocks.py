"""The tables of the model card, in Markdown."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from measures import BEFORE, PEER, PROXY

from maeface import facts, files
from maeface.model import weights
from maeface.model.trust import trust_of
from maeface_studio.weights.bench import clips
from maeface_studio.weights.bench.scores import MEAN, OF_FOLDS

HINT_R, HINT_PEOPLE = 0.6, 2
"""Changes of an AU in a film are a hint if its r reaches ``HINT_R`` on ``HINT_PEOPLE`` held-out people."""


class Card:
    """The blocks of the model card.

    Args:
        name: of the weights.
        scores: as ``measure_scores`` returns them.
        checks: as ``measure_checks``.
        pictures: as ``measure_pictures``.
        peer: as ``measure_peer``.
        others: as ``measure_others``.
    """

    def __init__(
        self,
        name: str,
        scores: pd.DataFrame,
        checks: pd.DataFrame,
        pictures: pd.DataFrame,
        peer: pd.DataFrame,
        others: pd.DataFrame,
    ) -> None:
        self.name, self.others, self.pictures = name, others, pd.concat([pictures, peer])
        of_aus = scores[
            (scores["au"] != MEAN) & (scores["fold"].isna() | scores["fold"].isin(["", OF_FOLDS]))
        ]
        self.scores = of_aus.set_index(["set", "measure", "tool", "au"]).sort_index()
        self.checks = checks.set_index("au")
        self.trust = trust_of(weights.read_metadata(weights.find(name)))

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
            "file": "\n".join(self.file()),
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
            auc, icc = (self.score("renders", measure, au) for measure in ("AUC", "ICC"))
            yield [
                f"AU{au} {facts.AUS[au].name}",
                f"{interval(row, 'auc')} ({row['present']:.0f})" if row["on"] == "real" else "–",
                self.within_clips(au),
                f"{number(auc['value'])}, {number(icc['value'])} ({auc['present']:.0f})",
                self.advice(au),
            ]

    def advice(self, au: int) -> str:
        """Return whether to use an AU on real people, as ``maeface aus`` says it, in bold unless it is no."""
        advice = self.trust[au].advice
        return advice if advice == "no" else f"**{advice}**"

    def within_clips(self, au: int) -> str:
        """Return r within clips, and whether it makes changes of an AU that is not to be used a hint."""
        clip = self.score("held out", "r", au)
        if not clip["n"] > 0:
            return "–"
        hint = not self.trust[au].use and clip["value"] >= HINT_R and clip["n"] >= HINT_PEOPLE
        return f"{number(clip['value'])} ({clip['n']:.0f}){', hint' if hint else ''}"

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
        yield [
            "AU",
            "present",
            "AUC",
            "AUC, MediaPipe",
            "false alarms at the threshold",
        ]
        for au in facts.dataset("portraits").aus_occurrence:
            own, alarms = self.score("portraits", "AUC", au), self.score("portraits", "false alarms", au)
            yield [
                str(au),
                f"{own['present']:.0f}",
                interval(own),
                interval(self.score("portraits", "AUC", au, PEER)),
                f"{alarms['value']:.1%} of {alarms['n'] - alarms['present']:.0f}",
            ]

    def proxies(self) -> str:
        """What other blendshapes of MediaPipe give, and the agreement of annotators."""
        proxy = self.picture_rows("all", PROXY)
        agreed = self.picture_rows("label", self.name).loc[6]
        return (
            f"MediaPipe's AU25 is the gap between its lip landmarks; by its jawOpen it has "
            f"{interval(proxy.loc[25], 'auc')}. By its mouthSmile in the place of cheekSquint, its AU6 has "
            f"{interval(proxy.loc[6], 'auc')}. Where both annotators of AU6 agree "
            f"({agreed['n']:.0f} portraits), our AUC is {interval(agreed, 'auc')}."
        )

    def picture_rows(self, by: str, scorer: str) -> pd.DataFrame:
        """Return the rows of a scorer, by AU."""
        table = self.pictures
        return table[(table["by"] == by) & (table["scorer"] == scorer)].set_index("au")

    def by_picture(self) -> Iterator[list[str]]:
        """AUC by group of pictures; MediaPipe's on the worst ones."""
        yield ["by", "group", "n", *(f"AU{au}" for au in (12, 25, 6)), "MediaPipe: AU12, 25, 6"]
        for (by, group), table in self.pictures.groupby(["by", "group"], sort=False):
            if by in ("label", "all"):
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
                *(
                    ", ".join(number(row[f"{name} {x}"], form) for x in ("real", "renders"))
                    for name, form in pairs
                ),
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
            (
                "group",
                "{n} faces of a news photograph (the White House Situation Room, 2011), one of them a shirt",
            ),
        ):
            of = faces[faces["set"] == name]
            counts = of[names].sum().sort_values(ascending=False, kind="stable")
            said = ", ".join(f"AU{int(au[2:])} in {count:.0f}" for au, count in counts.items() if count)
            yield f"- **{text.format(n=len(of))}**: called present are {said or 'no AUs'}."

    def file(self) -> Iterator[str]:
        """The files of the weights."""
        for path in weights.files_of(weights.find(self.name)):
            size = path.stat().st_size
            yield f"`src/maeface/zoo/{path.name}`: {size:,} bytes, SHA-256 {files.sha256(path)}."


def number(value: float, form: str = ".3f") -> str:
    """Return a number as text, or a dash."""
    return "–" if np.isnan(value) else format(value, form)


def interval(row: "pd.Series[float]", name: str = "value") -> str:
    """Return a value with its interval."""
    low, high = (row["low"], row["high"]) if "low" in row else (row[f"{name}_low"], row[f"{name}_high"])
    if np.isnan(row[name]) or np.isnan(low):
        return number(row[name])
    return f"{row[name]:.3f} [{low:.3f}, {high:.3f}]"


def markdown(rows: Iterator[Sequence[str]]) -> str:
    """Return rows as a table, the first one as its head."""
    head, *rest = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rest))
