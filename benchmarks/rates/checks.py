"""Checks of the trainings on a device: each returns a note for the table, or raises."""

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from maeface import Predictor, config, finetune, pretrain
from maeface.data.loading.dataset import FaceDataset, gather_manifests
from maeface.data.loading.loader import Loader
from maeface.data.loading.on_device import OnDevice
from maeface.data.loading.sampling import BatchOrder
from maeface.model import mae
from maeface.model.au import AUModel
from maeface.model.vit import ViT
from maeface.train import journal, loop
from maeface.train.checkpoint import Learner, State
from maeface.train.copies import Copier
from maeface.train.loop import Loss
from maeface.train.optim import adamw
from maeface.train.run import Run

SIDE, PATCH, BATCH = 32, 8, 16
Found = dict[str, object]


def settings(device: str, epochs: int = 2, **run: object) -> config.Pretrain:
    """Return settings of a small pre-training."""
    model = {"size": "nano", "image_size": SIDE, "patch_size": PATCH, "decoder_depth": 2, "decoder_width": 64}
    optim = config.Pretrain().optim.model_dump() | {"epochs": epochs, "batch": BATCH, "warmup_epochs": 1}
    asked = {"device": device, "workers": 2, "compile": False, "log": (), **run}
    values = {"model": model | {"decoder_heads": 4}, "optim": optim | {"base_lr": 5e-3}, "run": asked}
    return config.Pretrain.model_validate(values)


def finetune_settings(device: str, **data: object) -> config.Finetune:
    """Return settings of a small fine-tuning, of all augmentations but RandAugment."""
    changes = dict.fromkeys(config.Photometric.model_fields, 0.5)
    optim = config.Finetune().optim.model_dump() | {"epochs": 2, "batch": BATCH, "warmup_epochs": 1}
    run = {"device": device, "workers": 2, "compile": False, "log": ()}
    values = {"data": {"randaugment": "", "photometric": changes, **data}, "optim": optim, "run": run}
    return config.Finetune.model_validate(values)


def losses(folder: Path) -> list[float]:
    """Return the loss of each step of a run."""
    return [line["loss"] for line in journal.lines(folder) if "loss" in line]


def trains(device: str, folder: Path, crops: Path) -> Found:
    """Pre-train: the loss falls."""
    pretrain.run(settings(device, epochs=4), [crops], folder / "pretrain")
    found = losses(folder / "pretrain")
    first, last = np.mean(found[: len(found) // 4]), np.mean(found[-len(found) // 4 :])
    assert last < first, f"the loss did not fall: {first} to {last}"
    return {"note": f"loss {first:.3f} to {last:.3f}"}


def resumes(device: str, folder: Path, crops: Path) -> Found:
    """Stop a pre-training and go on: the losses are those of the one that was not stopped."""
    whole, parts = losses(folder / "pretrain"), folder / "resumed"
    with stopped_before_step(len(whole) // 2):
        pretrain.run(settings(device, epochs=4), [crops], parts)
    stopped = len(losses(parts))
    pretrain.run(settings(device, epochs=4), [crops], parts)
    found = losses(parts)
    assert 0 < stopped < len(whole) == len(found), f"{stopped} and {len(found)} of {len(whole)} steps"
    off = float(np.abs(np.array(found) - whole).max())
    assert off < 0.03, f"losses differ by {off}"
    return {"note": f"stopped after {stopped} of {len(whole)} steps; losses differ by {off:.1e} at most"}


def finetunes(device: str, folder: Path, crops: Path) -> Found:
    """Fine-tune the pre-trained encoder, with crops from workers and on the device: the same losses."""
    start, labels = str(folder / "pretrain" / "weights.safetensors"), crops / "labels.parquet"
    found = []
    for on_device in (False, True):
        out = folder / f"finetune-{on_device}"
        finetune.run(finetune_settings(device, on_device=on_device), [crops], labels, start, out)
        found.append(np.array(losses(out)))
    off = float(np.abs(found[0] - found[1]).max())
    assert off < 0.02, f"losses differ by {off}"
    return {"note": f"losses differ by {off:.1e} at most where crops are on the device"}


def predicts(device: str, folder: Path, crops: Path) -> Found:
    """Predict on the device what the CPU predicts."""
    faces = np.random.default_rng(0).integers(0, 256, (32, SIDE, SIDE, 3), dtype=np.uint8)
    weights = folder / "finetune-True" / "weights.safetensors"
    on_device, on_cpu = (
        Predictor(weights, name, aligned=True, precision=precision, backend="torch").predict_crops(faces)
        for name, precision in ((device, "auto"), ("cpu", "fp32"))
    )
    off = float(np.abs(on_device - on_cpu).max())
    assert off < 0.03, f"probabilities differ by {off}"
    return {"note": f"probabilities differ by {off:.1e} at most"}


def compiles(device: str, folder: Path, crops: Path) -> Found:
    """Pre-train with torch.compile: the losses of the first steps are the same."""
    began = time.monotonic()
    pretrain.run(settings(device, epochs=1, compile=True), [crops], folder / "compiled")
    found = np.array(losses(folder / "compiled"))
    off = float(np.abs(found - losses(folder / "pretrain")[: len(found)]).max())
    assert off < 0.3, f"losses differ by {off}"  # the schedule has another length
    return {"note": f"{time.monotonic() - began:.0f} s in all; losses differ by {off:.1e} at most"}


def waits_for_nothing(device: str, folder: Path, crops: Path) -> Found:
    """Do steps while waiting for the GPU is an error: crops from workers, and on the device."""
    rows, where = gather_manifests([crops]), torch.device(device)
    done = 0
    for make in (_of_pretrain, _of_finetune):
        run, model, encoder, loss, labels = make(device, folder, len(rows))
        draws = encoder.drop_draws or encoder.patches
        data = FaceDataset([crops], rows, SIDE, 0, labels, patches=draws, least_area=0.2)
        learner = Learner(model, adamw(model, encoder.shape.depth, config.Pretrain().optim), State())
        known = labels["mask"] if labels else None
        for source in (data, OnDevice(data, where, 0, shown=False)):
            loader = Loader(
                source, BatchOrder(len(data), BATCH, 0), workers=2, pin=where.type == "cuda", known=known
            )
            copier = Copier(where)
            for step, batches in enumerate(loader.steps(0, 4)):
                with waiting_is_an_error(step > 0 and where.type == "cuda"):
                    loop._train_step(run, model, learner, map(copier, batches), loss, step, 1.0)
                done += 1
    return {"note": f"{done} steps" if device == "cuda" else f"{done} steps, not watched on a CPU"}


CHECKS: tuple[Callable[[str, Path, Path], Found], ...] = (
    trains,
    resumes,
    finetunes,
    predicts,
    waits_for_nothing,
    compiles,
)


@contextmanager
def waiting_is_an_error(on: bool) -> Iterator[None]:
    """Let PyTorch raise where the CPU waits for the GPU."""
    if not on:
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@contextmanager
def stopped_before_step(number: int) -> Iterator[None]:
    """Send this process a SIGTERM when a run in the ``with`` block is at a step, and take its exit."""
    rate, calls = loop.learning_rate, itertools.count()

    def at_step(epoch: float, optim: config.Optim) -> float:
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return rate(epoch, optim)

    loop.learning_rate = at_step
    try:
        yield
    except SystemExit:
        pass
    finally:
        loop.learning_rate = rate


def _of_pretrain(
    device: str, folder: Path, count: int
) -> tuple[Run, mae.MAE, ViT, Loss, dict[str, np.ndarray]]:
    chosen = settings(device)
    run = Run(folder, chosen.run, torch.device(device), bf16=True)
    model = mae.build(chosen.model).to(device).train()
    return run, model, model.encoder, pretrain.reconstruction_loss(run, chosen, model), {}


def _of_finetune(
    device: str, folder: Path, count: int
) -> tuple[Run, AUModel, ViT, Loss, dict[str, np.ndarray]]:
    chosen = finetune_settings(device, erase=0.25)
    run = Run(folder, chosen.run, torch.device(device), bf16=True)
    model = AUModel(ViT("nano", SIDE, PATCH, 0.1), (4, 12), "detection").to(device).train()
    labels = {"au": np.ones((count, 2), np.float32), "mask": np.ones((count, 2), bool)}
    return run, model, model.encoder, finetune.au_loss(run, chosen, model), labels
