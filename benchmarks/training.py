"""How fast trainings and inference are, how that grows, and how fast peers are: into docs/performance.md.

    uv sync --group peers
    uv run python benchmarks/training.py            # about half an hour on two cores
    uv run python benchmarks/training.py --quick    # at most three minutes

Parts: ``growth`` with images a step, resolution, size of the model; ``ranks``: processes of one thread each
that train together; ``peers``: transformers' ViTMAE and timm's ViT, with random weights; ``loader``:
ImageFolder with Pillow, and timm's loader. Within a part the variants take turns; rates are medians and
ranges over the rounds.
"""

import argparse
import io
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.figure import Figure

from maeface import files
from maeface.model.vit import Shape
from rates import measure, steps
from rates.group import Group
from rates.measure import Rate, Variant, in_turns, ratio, table
from rates.steps import Setting

ROOT = Path(__file__).parents[1]
NAME = "training"
PICTURE = "training_growth.png"
SAMPLE = ROOT / "src" / "maeface" / "sample"
VERBS: dict[str, Callable[[Setting], steps.Step]] = {
    "pre-training": steps.pretraining,
    "fine-tuning": steps.finetuning,
    "inference": steps.inference,
}


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        base: the setting that growth changes.
        batches: images a step.
        sides: of the input, px.
        sizes: of the model.
        peer: the setting of the comparison.
        compiled: whether torch.compile is among the peers.
        samples: that the loaders read.
        rounds: most rounds of a part.
        seconds: most seconds of a part, but for its first rounds.
    """

    base: Setting
    batches: tuple[int, ...]
    sides: tuple[int, ...]
    sizes: tuple[str, ...]
    peer: Setting
    compiled: bool
    samples: int
    rounds: int
    seconds: dict[str, float]


SIDES, SIZES = (64, 128, 224), ("nano", "tiny", "small", "base")
FULL = Scale(
    Setting("tiny", 224, 16), (1, 4, 16, 64), SIDES, SIZES, Setting(batch=16), True, 800, 7,
    {"growth": 700, "ranks": 120, "peers": 700, "loader": 120},
)  # fmt: skip
QUICK = Scale(
    Setting("tiny", 128, 4), (1, 4, 8), SIDES, SIZES, Setting(batch=2), False, 512, 3,
    {"growth": 60, "ranks": 15, "peers": 45, "loader": 10},
)  # fmt: skip
LITTLE = Setting("nano", 32, 2, decoder=Shape(32, 1, 2))
TOY = Scale(
    LITTLE, (1, 2), (32, 64), ("nano", "tiny"), LITTLE, False, 128, 2,
    dict.fromkeys(("growth", "ranks", "peers", "loader"), 600.0),
)  # fmt: skip
SCALES = {"full": FULL, "quick": QUICK, "toy": TOY}


class Cell(NamedTuple):
    """The place of a rate: part, row, and column."""

    part: str
    row: str
    column: str


Rates = dict[Cell, Rate]


def growth(scale: Scale) -> Rates:
    """Measure steps with other batches, sides and sizes; in the precision that training chooses here."""
    base = scale.base._replace(bf16=_bf16())
    changed = {f"{batch} images a step": base._replace(batch=batch) for batch in scale.batches}
    changed |= {f"{side} px": base._replace(side=side) for side in scale.sides}
    changed |= {f"ViT, {size}": base._replace(size=size) for size in scale.sizes}
    # a setting that is in several rows is measured once
    variants = {
        (setting, verb): Variant(make(setting), setting.batch)
        for setting in changed.values()
        for verb, make in VERBS.items()
    }
    rates = in_turns(variants, scale.rounds, scale.seconds["growth"])
    return {
        Cell("growth", row, verb): rates[setting, verb] for row, setting in changed.items() for verb in VERBS
    }


def with_ranks(scale: Scale) -> Rates:
    """Measure steps of one and of two processes, of one thread and the same number of images each."""
    setting = scale.base._replace(bf16=_bf16())
    verbs = {verb: VERBS[verb] for verb in ("pre-training", "fine-tuning")}
    with Group(1, verbs, setting) as one, Group(2, verbs, setting) as two:
        variants = {
            Cell("ranks", str(group.world), verb): Variant(
                partial(group.step, verb), setting.batch * group.world
            )
            for group in (one, two)
            for verb in verbs
        }
        return in_turns(variants, scale.rounds, scale.seconds["ranks"])


def peers(scale: Scale) -> Rates:
    """Measure the masked autoencoder beside transformers', and the AU model beside timm's ViT."""
    fp32 = scale.peer
    bf16 = fp32._replace(bf16=True)
    makers: dict[tuple[str, str], Callable[[], steps.Step]] = {}
    for name, setting in (("fp32", fp32), ("bf16", bf16)):
        makers["pre-training", f"maeface, {name}"] = partial(steps.reconstruction, setting)
        makers["pre-training", f"transformers, {name}"] = partial(steps.of_transformers, setting)
        makers["inference", f"maeface, PyTorch, {name}"] = partial(steps.inference, setting)
        makers["inference", f"maeface, OpenVINO, {name}"] = partial(steps.openvino, setting)
        makers["inference", f"timm, {name}"] = partial(_timm, setting)
        if scale.compiled:
            compiled = setting._replace(compiled=True)
            makers["inference", f"timm, compiled, {name}"] = partial(_timm, compiled)
    variants = {key: Variant(make(), fp32.batch) for key, make in makers.items()}
    rates = in_turns(variants, scale.rounds, scale.seconds["peers"])
    return {Cell("peers", row, verb): rate for (verb, row), rate in rates.items()}


def loaders(scale: Scale) -> Rates:
    """Measure the loader of a training beside ImageFolder and timm's, on the packaged sample."""
    import loader

    side = scale.base.side
    with tempfile.TemporaryDirectory() as made, loader.without_cache():
        passes = loader.passes(SAMPLE, side, scale.samples, 2, Path(made))
        rates: dict[Cell, list[float]] = {Cell("loader", name, "read"): [] for name in passes}
        began = time.monotonic()
        for round_ in range(scale.rounds):
            for cell, one_pass in zip(rates, passes.values(), strict=True):
                rates[cell].append(loader.rate(one_pass, measure.clock))
            if (time.monotonic() - began) * (round_ + 2) / (round_ + 1) > scale.seconds["loader"]:
                break
    return {cell: Rate(tuple(values)) for cell, values in rates.items()}


PARTS: dict[str, Callable[[Scale], Rates]] = {
    "growth": growth,
    "ranks": with_ranks,
    "peers": peers,
    "loader": loaders,
}


def render(scale: Scale, rates: Mapping[Cell, Rate]) -> str:
    """Return the tables of the parts that were measured."""
    blocks = []
    if own := _of("growth", rates):
        base = scale.base
        text = (
            f"Images a second of an optimiser step on data in memory, crop included, or of a forward pass; "
            f"{_precision()}. Where a row does not say otherwise: ViT, {base.size}, {base.side} px, "
            f"{base.batch} images a step. {_rounds(own)}"
        )
        blocks += [text, _grid(own, "changed", tuple(VERBS)), f"![The table as curves](images/{PICTURE})"]
    if own := _of("ranks", rates):
        text = (
            f"Processes of one thread each, gloo, {scale.base.batch} images a step in each; images a second "
        )
        blocks += [text + f"of all. {_rounds(own)}", _grid(own, "processes", ("pre-training", "fine-tuning"))]
    if own := _of("peers", rates):
        peer = scale.peer
        text = (
            f"ViT, {peer.size}, {peer.side} px, {peer.batch} images a step, random weights; images cropped "
            f"before. Ratios are of the same rounds. {_rounds(own)}"
        )
        blocks += [text, table(("step", "images a second", "ratio"), list(_peer_rows(own)))]
    if own := _of("loader", rates):
        read = min(scale.samples, files_in_sample())
        text = f"{read} crops of the packaged sample for {scale.base.side} px, 2 workers. {_rounds(own)}"
        rows = [(cell.row, rate) for cell, rate in own.items()]
        blocks += [text, table(("loader", "samples a second"), rows)]
    return "\n\n".join(blocks)


def _peer_rows(own: Mapping[Cell, Rate]) -> "list[tuple[object, ...]]":
    """Return the rows of peers; each of ours has its ratio to the peer of the same precision, or the best."""
    training = {cell.row: rate for cell, rate in own.items() if cell.column == "pre-training"}
    forward = {cell.row: rate for cell, rate in own.items() if cell.column == "inference"}
    best = max((row for row in forward if row.startswith("timm")), key=lambda row: forward[row].median)
    rows: list[tuple[object, ...]] = []
    for row, rate in training.items():
        other = row.replace("maeface", "transformers")
        text = "" if row == other else f"{ratio(rate, training[other])} of {other}"
        rows.append((f"pre-training, {row}", rate, text))
    for row, rate in forward.items():
        text = "" if row.startswith("timm") else f"{ratio(rate, forward[best])} of {best}"
        rows.append((f"inference, {row}", rate, text))
    return rows


def draw(scale: Scale, rates: Mapping[Cell, Rate]) -> bytes:
    """Return the growth and the ranks as a picture: medians, and ranges as bars."""
    panels: list[tuple[str, str, Sequence[object]]] = [
        ("images a step", "{} images a step", scale.batches),
        ("resolution, px", "{} px", scale.sides),
        ("size of the model", "ViT, {}", scale.sizes),
        ("processes", "{}", (1, 2)),
    ]
    figure = Figure((11, 3.2))
    for number, (title, pattern, values) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), number + 1)
        part = "ranks" if title == "processes" else "growth"
        for verb in VERBS:
            cells = [Cell(part, pattern.format(value), verb) for value in values]
            found = [rates[cell] for cell in cells if cell in rates]
            if len(found) == len(cells):
                middle = [rate.median for rate in found]
                below = [rate.median - min(rate.values) for rate in found]
                above = [max(rate.values) - rate.median for rate in found]
                axes.errorbar(range(len(found)), middle, (below, above), label=verb, marker="o", capsize=3)
        axes.set_xticks(range(len(values)), [str(value) for value in values])
        axes.set_xlabel(title)
        axes.set_yscale("log")
    first = figure.axes[0]
    first.set_ylabel("images a second")
    figure.legend(*first.get_legend_handles_labels(), loc="upper center", ncols=len(VERBS), frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.93))
    file = io.BytesIO()
    figure.savefig(file, dpi=110)
    return file.getvalue()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write tables, picture and, if asked for, all measurements."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--quick", dest="scale", action="store_const", const="quick", help="small, three minutes"
    )
    kind.add_argument(
        "--toy", dest="scale", action="store_const", const="toy", help="tiny, to test the command"
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "performance.md")
    parser.add_argument("--json", type=Path, help="file for all measurements")
    options = parser.parse_args(arguments)
    name = options.scale or "full"
    scale, load = SCALES[name], os.getloadavg()[0]
    torch.manual_seed(0)
    rates: Rates = {}
    for part in options.parts:
        began = time.monotonic()
        rates |= PARTS[part](scale)
        print(f"{part}: {time.monotonic() - began:.0f} s", flush=True)
    command = "python benchmarks/training.py" + (f" --{name}" if options.scale else "")
    command += "" if options.parts == list(PARTS) else f" --parts {' '.join(options.parts)}"
    text = f"{measure.describe_run(command, load)}\n\n{render(scale, rates)}"
    print(text)
    measure.write_between(options.page, NAME, text)
    if any(cell.part in ("growth", "ranks") for cell in rates):
        files.write_bytes(options.page.parent / "images" / PICTURE, draw(scale, rates))
    if options.json:
        rows = [{**cell._asdict(), "images_per_s": rate.values} for cell, rate in rates.items()]
        files.write_text(options.json, json.dumps(rows, indent=1))


def files_in_sample() -> int:
    """Return the number of crops of the packaged sample."""
    shards = json.loads((SAMPLE / "shards.json").read_text(encoding="utf-8"))
    return sum(entry["count"] for entry in shards.values())


def _timm(setting: Setting) -> steps.Step:
    return steps.forward_pass(steps.of_timm(setting), setting)


def _bf16() -> bool:
    from maeface.model.device import computes_bf16

    return computes_bf16("auto", torch.device("cpu"))


def _precision() -> str:
    return "bf16 autocast" if _bf16() else "fp32"


def _of(part: str, rates: Mapping[Cell, Rate]) -> Rates:
    return {cell: rate for cell, rate in rates.items() if cell.part == part}


def _rounds(own: Mapping[Cell, Rate]) -> str:
    counts = {len(rate.values) for rate in own.values()}
    return f"Medians and ranges, n = {', '.join(map(str, sorted(counts)))}."


def _grid(own: Mapping[Cell, Rate], first: str, columns: Sequence[str]) -> str:
    rows = dict.fromkeys(cell.row for cell in own)
    part = next(iter(own)).part
    return table((first, *columns), [(row, *(own[Cell(part, row, c)] for c in columns)) for row in rows])


if __name__ == "__main__":
    main()
