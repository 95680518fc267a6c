"""Checks and rates of the trainings on one GPU, in at most eight minutes.

    uv run python benchmarks/gpu.py --out results

First the checks: pre-training, resuming, fine-tuning, prediction, compilation, and that no step waits for the
GPU (``torch.cuda.set_sync_debug_mode``). Then the rates, most important ones first. Each is written to
OUT/gpu.json when it is there; what the time does not suffice for is listed as such. The table comes last. The
exit code is 1 if a check failed. ``--device cpu --toy`` goes through the same code with tiny networks.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType

import torch

from maeface import config, files, finetune, pretrain
from maeface.data.loading import dataset as dataset_module
from maeface.model.vit import Shape
from maeface.train import journal
from rates import measure, steps
from rates.checks import CHECKS
from rates.crops import enlarge
from rates.measure import table
from rates.steps import Setting

ROOT = Path(__file__).parents[1]
MINUTES = 8.0
GIB = 2**30


class OutOfTimeError(BaseException):
    """A measurement took longer than it may; no Exception, which a compiler would turn into its own."""


@dataclass
class Session:
    """Where and for how long is measured, and what was found.

    Attributes:
        device: "cuda" or "cpu".
        toy: whether with tiny networks.
        out: folder of the results.
        ends: when the time is up, of ``time.monotonic``.
        rows: of the table: name, result, note.
    """

    device: str
    toy: bool
    out: Path
    ends: float
    rows: list[dict[str, object]] = field(default_factory=list)

    def do(self, kind: str, name: str, action: Callable[[], dict[str, object]], seconds: float) -> None:
        """Do a check or a measurement, if there is time, and write down what it found or why it failed.

        Args:
            kind: "check" or "rate".
            name: of it.
            action: returns what it found.
            seconds: that it may take.
        """
        left = self.ends - time.monotonic()
        seconds = left if self.toy else seconds  # on whatever machine
        began, row = time.monotonic(), {"kind": kind, "name": name}
        if left < min(seconds, 10):
            row |= {"state": "left out", "note": f"{left:.0f} s were left"}
        else:
            try:
                with limit(min(seconds, left)):
                    row |= {"state": "ok", **action()}
            except OutOfTimeError:
                row |= {"state": "too slow", "note": f"not done in {min(seconds, left):.0f} s"}
            except Exception as error:  # the others go on
                traceback.print_exc()
                row |= {"state": "FAILED", "note": f"{type(error).__name__}: {error}".splitlines()[0]}
        row["seconds"] = round(time.monotonic() - began, 1)
        self.rows.append(row)
        print(json.dumps(row), flush=True)
        files.write_text(self.out / "gpu.json", json.dumps(self.rows, indent=1))
        if self.device == "cuda":
            torch.cuda.empty_cache()


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Raise OutOfTimeError in the ``with`` block after so many seconds."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise OutOfTimeError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def matrix_rate(session: Session) -> dict[str, object]:
    """Measure the product of two bf16 matrices, which the rates of steps are compared with."""
    side, count = (64, 2) if session.toy else (8192, 10)
    left, right = (torch.randn(side, side, device=session.device, dtype=torch.bfloat16) for _ in range(2))

    def product() -> None:
        for _ in range(count):
            left @ right
        steps.wait(session.device)

    product()
    began = measure.clock()
    product()
    return {"tflops": count * 2 * side**3 / (measure.clock() - began) / 1e12}


def bare(session: Session, make: Callable[[Setting], steps.Step], setting: Setting) -> dict[str, object]:
    """Measure steps on data that are on the device; the first one compiles, if anything does."""
    if session.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    began = measure.clock()
    step = make(setting)
    step()
    start = measure.clock() - began
    variants = {"": measure.Variant(step, setting.batch)}
    rate = measure.in_turns(variants, 2 if session.toy else 10, 20.0)[""]
    found: dict[str, object] = {"images_per_s": rate.values, "rate": str(rate), "start_s": round(start, 1)}
    if session.device == "cuda":
        found["memory_gib"] = round(torch.cuda.max_memory_allocated() / GIB, 1)
    return found


def piped(
    session: Session,
    verb: str,
    crops: Path,
    setting: Setting,
    seconds: float,
    data: dict[str, object],
) -> dict[str, object]:
    """Measure a training by its command's code: from JPEG to the step; stopped by a signal after a while.

    Args:
        session: the device.
        verb: "pretrain" or "finetune".
        crops: a prepared folder.
        setting: of the step.
        seconds: of training, after which it is stopped.
        data: settings of ``data``.
    """
    optim = {"batch": setting.batch, "epochs": 10**6, "warmup_epochs": 1}
    run = {"device": session.device, "compile": setting.compiled, "log": [], "evaluate_every": 10**6}
    run |= {"workers": 0} if session.toy else {}
    model = steps.autoencoder(setting)
    with tempfile.TemporaryDirectory() as folder, _without_cache(), _stop_after(seconds):
        out = Path(folder) / "run"
        values = {"model": model, "data": {"validation": 0.0, **data}, "run": run}
        try:
            if verb == "pretrain":
                chosen = config.Pretrain.model_validate(values | {"optim": _of(config.Pretrain(), optim)})
                pretrain.run(chosen, [crops], out)
            else:
                values |= {"patience": None, "model": {n: v for n, v in model.items() if "decoder" not in n}}
                tuned = config.Finetune.model_validate(values | {"optim": _of(config.Finetune(), optim)})
                finetune.run(tuned, [crops], crops / "labels.parquet", "random", out)
        except SystemExit:
            pass
        rates = [line["images_per_s"] for line in journal.lines(out) if "images_per_s" in line]
    steady = rates[len(rates) // 2 :]
    if not steady:
        raise RuntimeError(f"no step was done in {seconds:.0f} s")
    mean = len(steady) / sum(1 / rate for rate in steady)
    return {"images_per_s": steady, "rate": f"{mean:.4g}", "note": f"mean of {len(steady)} steps"}


def rates(session: Session, crops: Path) -> Iterator[tuple[str, Callable[[], dict[str, object]], float]]:
    """Yield name, measurement and the seconds that it may take, the most important ones first."""
    toy = session.toy
    base = Setting(batch=4, device=session.device, bf16=True)
    base = base._replace(size="nano", side=32, decoder=Shape(32, 1, 2)) if toy else base
    tiny = base._replace(size="nano" if toy else "tiny", batch=4 if toy else 128)
    low, middle, high = (base._replace(batch=batch) for batch in ((2, 3, 4) if toy else (256, 512, 1024)))
    compiled, low_compiled = (setting._replace(compiled=not toy) for setting in (middle, low))
    plain: dict[str, object] = {"randaugment": ""}
    kept: dict[str, object] = {"on_device": True}
    photometric = plain | kept | {"photometric": dict.fromkeys(config.Photometric.model_fields, 0.3)}
    for_s = 2.0 if toy else 25.0
    bare_ = partial(partial, bare, session)
    piped_ = partial(partial, piped, session)
    yield "matrix product, bf16, TFLOP/s", partial(matrix_rate, session), 20
    yield f"pretrain, bare, {middle.batch}", bare_(steps.pretraining, middle), 40
    yield f"pretrain, from JPEG, {middle.batch}", piped_("pretrain", crops, middle, for_s, {}), 60
    yield f"inference, {middle.batch}", bare_(steps.inference, middle), 20
    yield f"finetune, bare, {low.batch}", bare_(steps.finetuning, low), 30
    name = f"{tiny.size}, on_device, {tiny.batch}"
    yield f"pretrain, {name}", piped_("pretrain", crops, tiny, for_s, kept), 60
    yield f"finetune, photometric, {name}", piped_("finetune", crops, tiny, for_s, photometric), 60
    yield f"pretrain, bare, {middle.batch}, compiled", bare_(steps.pretraining, compiled), 130
    name = f"pretrain, from JPEG, {middle.batch}, compiled"  # what the one before it compiled is on disk
    yield name, piped_("pretrain", crops, compiled, 2 * for_s, {}), 90
    yield f"finetune, bare, {low.batch}, compiled", bare_(steps.finetuning, low_compiled), 110
    yield f"inference, {middle.batch}, compiled", bare_(steps.inference, compiled), 80
    yield f"pretrain, bare, {high.batch}", bare_(steps.pretraining, high), 40
    yield f"pretrain, bare, {low.batch}", bare_(steps.pretraining, low), 40
    yield f"finetune, from JPEG, {low.batch}", piped_("finetune", crops, low, for_s, plain), 60


def render(session: Session, load: float) -> str:
    """Return the table of all that was done."""
    rows = []
    for row in session.rows:
        result = row.get("rate") or (f"{row['tflops']:.3g}" if "tflops" in row else row["state"])
        notes = [str(row["note"])] if "note" in row else []
        notes += [f"start {row['start_s']} s"] if "start_s" in row else []
        notes += [f"{row['memory_gib']} GiB"] if "memory_gib" in row else []
        rows.append((row["name"], result, ", ".join(notes), row["seconds"]))
    text = measure.describe_run("python benchmarks/gpu.py" + (" --toy" if session.toy else ""), load)
    return text + "\n\n" + table(("what", "images a second", "note", "took, s"), rows)


def main(arguments: list[str] | None = None) -> int:
    """Check, measure and print the table; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--toy", action="store_true", help="tiny networks and few steps, to test the script")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "gpu_results")))
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--only", default="", help="measure what has this in its name, and check nothing")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("PyTorch finds no GPU; --device cpu --toy tests the script without one")
    options.out.mkdir(parents=True, exist_ok=True)
    load, ends = os.getloadavg()[0], time.monotonic() + options.minutes * 60
    session = Session(options.device, options.toy, options.out, ends)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        crops = enlarge(folder / "crops", 64 if options.toy else 4096, 32 if options.toy else 224)
        for check in () if options.only else CHECKS:
            session.do("check", check.__name__, partial(check, options.device, folder, crops), 90)
        for name, measurement, seconds in rates(session, crops):
            if options.only in name:
                session.do("rate", name, measurement, seconds)
    text = render(session, load)
    files.write_text(options.out / "gpu.md", text)
    print(text)
    return int(any(row["state"] == "FAILED" for row in session.rows))


def _of(settings: config.Pretrain | config.Finetune, changes: dict[str, object]) -> dict[str, object]:
    return settings.optim.model_dump() | changes


@contextmanager
def _without_cache() -> Iterator[None]:
    before, dataset_module.CACHE_BYTES = dataset_module.CACHE_BYTES, 0
    try:
        yield
    finally:
        dataset_module.CACHE_BYTES = before


@contextmanager
def _stop_after(seconds: float) -> Iterator[None]:
    """Ask a run in the ``with`` block to end, as a scheduler would."""
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGTERM))
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # when there is no run (any more)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
