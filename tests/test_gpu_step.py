"""What a training does on a GPU, as far as a CPU can tell: with tensors that have a device but no values."""

import itertools
from contextlib import nullcontext

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import drawn
from maeface import config, finetune, pretrain
from maeface.config import Photometric
from maeface.data.loading import augmentation, photometric
from maeface.errors import ResourceError
from maeface.model import mae
from maeface.model.au import AUModel, GuidedAUModel
from maeface.model.vit import ViT
from maeface.train import compiling, copies, journal, loop, numerics
from maeface.train.checkpoint import Learner, State
from maeface.train.compiling import Compilation
from maeface.train.optim import adamw
from maeface.train.run import Run

CUDA = torch.device("cuda", 0)
BATCH = 6


class Waits(TorchDispatchMode):
    """Lists the operations for which the CPU would wait, or for which the GPU would wait for the CPU.

    Reading a value, and results whose size depends on values, are refused by the fake tensors themselves.
    """

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [a for a in args if isinstance(a, torch.Tensor)]
        nested = [t for a in args if isinstance(a, (list, tuple)) for t in a if isinstance(t, torch.Tensor)]
        devices = {t.device.type for t in tensors + nested if t.ndim or operation.overloadpacket is COPY}
        if "device" in kwargs and tensors:
            devices.add(torch.device(kwargs["device"]).type)
        if len(devices) > 1 and not kwargs.get("non_blocking"):
            self.found.append(str(operation))
        return operation(*args, **kwargs)


COPY = torch.ops.aten.copy_


def run_of(chosen, folder):
    return Run(folder, chosen.run, CUDA, bf16=False)  # autocast to bf16 would need a GPU


def of_pretrain(folder):
    chosen = config.Pretrain.model_validate({"model": {"size": "nano", "image_size": 32, "patch_size": 8}})
    with CUDA:
        run, model = run_of(chosen, folder), mae.build(chosen.model)
    batch = {"noise": torch.rand(BATCH, 16)}
    return run, model, model.encoder, pretrain.reconstruction_loss(run, chosen, model), batch


def of_finetune(folder, **data):
    every = dict.fromkeys(Photometric.model_fields, 0.5)
    chosen = config.Finetune.model_validate(
        {"data": {"photometric": every, "erase": 0.25, **data}, "pos_weight": 4.0}
    )
    with CUDA:
        run, model = run_of(chosen, folder), AUModel(ViT("nano", 32, 8, 0.2), (1, 12), "detection")
    batch = {
        "noise": torch.rand(BATCH, model.encoder.drop_draws),
        "au": torch.ones(BATCH, 2),
        "mask": torch.ones(BATCH, 2, dtype=torch.bool),
        "partner": torch.arange(BATCH),
    }
    loss = finetune.au_loss(run, chosen, model, pos_weight=torch.ones(2, device=CUDA))
    return run, model, model.encoder, loss, batch


def of_guided(folder):
    chosen = drawn.finetune({}, {"mixup": 0, "cutmix": 0}, {"precision": "bf16", "device": "auto"})
    with CUDA:
        model = AUModel(ViT("nano", 32, 8), (1, 12), "detection")
        run, guided = run_of(chosen, folder), GuidedAUModel(model, 3)
    batch = {
        "noise": torch.rand(BATCH, 0),
        "au": torch.ones(BATCH, 2),
        "mask": torch.ones(BATCH, 2, dtype=torch.bool),
        "guide": torch.ones(BATCH, 3),
        "guide_mask": torch.ones(BATCH, 3, dtype=torch.bool),
        "clip": torch.zeros(BATCH, dtype=torch.long),
    }
    loss = finetune.au_loss(run, chosen, model, relative={1: 2})
    return run, guided, model.encoder, loss, batch


def step(made):
    """Do an optimiser step of two micro-batches; return what it waits for."""
    run, model, encoder, loss, batch = made
    learner = Learner(model, adamw(model, encoder.shape.depth, config.Pretrain().optim), State())
    learner.optimizer.param_groups[0]["lr"] = 0.1
    batch |= {
        "image": torch.zeros(BATCH, 3, 32, 32, dtype=torch.uint8),
        "draws": torch.rand(BATCH, augmentation.DRAWS),
        "id": [str(number) for number in range(BATCH)],
    }
    model.train()
    with Waits() as waits:
        batches = ({n: v.to(CUDA, non_blocking=True) if n != "id" else v for n, v in batch.items()},) * 2
        sums, ids = loop._train_step(run, run.compilation.wrap(model), learner, iter(batches), loss, 0, 1.0)
    assert sums.device == CUDA and len(ids) == 2 * BATCH
    assert learner.optimizer.param_groups[0]["fused"]
    return waits.found


@pytest.fixture
def fake(monkeypatch):
    photometric._on_device.cache_clear()
    monkeypatch.setattr(torch.nn.init, "trunc_normal_", lambda weight, std: weight)  # it reads values
    monkeypatch.setattr(torch.Tensor, "backward", lambda total: None)  # it needs a GPU, and is not ours
    with FakeTensorMode():
        yield
    photometric._on_device.cache_clear()


@pytest.mark.parametrize("made", [of_pretrain, of_finetune, of_guided])
def test_nothing_waits_for_a_gpu_within_a_step(made, fake, tmp_path):
    parts = made(tmp_path)
    for table in (photometric.LUMINANCE, photometric.CHROMINANCE):  # copied once, before the steps
        photometric._on_device(table, CUDA)
    assert step(parts) == []


def test_the_check_sees_what_waits(fake):
    values = torch.ones(3, device=CUDA)
    with Waits() as waits:
        values.to("cpu")
        torch.ones(3).to(CUDA)
        values[torch.tensor([0, 1])]
    assert len(waits.found) == 3
    with pytest.raises(RuntimeError):
        values.sum().item()
    with pytest.raises(RuntimeError):
        values[values > 0]


class Stream:
    """A stream that notes what is asked of it."""

    def __init__(self, log):
        self.log = log

    def wait_stream(self, other):
        self.log.append("wait")

    def record_event(self):
        self.log.append("event")
        return self

    def synchronize(self):
        self.log.append("synchronize")


def test_a_batch_is_copied_on_a_stream_of_its_own(fake, monkeypatch):
    log, side = [], []
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream(side))
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: side.append(stream) or nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream(log))
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: log.append("record"))
    copier = copies.Copier(CUDA)
    there = torch.ones(2, device=CUDA)
    with Waits() as waits:
        moved = copier({"image": torch.ones(2, 3), "noise": there, "id": ["a", "b"]})
    assert moved["image"].device == CUDA and moved["noise"] is there and moved["id"] == ["a", "b"]
    assert waits.found == [] and len(side) == 1
    assert log == ["wait", "record"]  # the step waits for the copy; only what was copied is recorded


def test_the_loss_of_a_step_is_read_after_the_next_has_begun_and_not_waited_for(fake, monkeypatch, tmp_path):
    log = []
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream(log))
    monkeypatch.setattr(FakeTensor, "tolist", lambda tensor: log.append("read") or [3.0, 2.0, 0.0, 0.0])
    monitor = journal.LossMonitor(run_of(config.Pretrain(), tmp_path), None, 10, State(), 0)
    with Waits() as waits:
        monitor.add(0, torch.ones(4, device=CUDA), ["a"])
        assert log == ["event"]
        monitor.add(1, torch.ones(4, device=CUDA), ["b"])
    assert log == ["event", "event", "synchronize", "read"] and waits.found == []
    assert monitor.note == "epoch 0  loss 1.5000"


def test_pixels_are_multiplied_in_tf32_where_the_network_is_bf16():
    before = torch.get_float32_matmul_precision()
    with numerics.tensor_float(True):
        assert torch.get_float32_matmul_precision() == "high"
        with numerics.tensor_float(False):
            assert torch.get_float32_matmul_precision() == "highest"
    assert torch.get_float32_matmul_precision() == before


def test_auto_compiles_on_a_gpu_where_much_is_left(monkeypatch):
    seconds = itertools.count()  # a step takes one
    monkeypatch.setattr(compiling.time, "monotonic", lambda: next(seconds))

    def due(made, steps):
        """Return before which steps a training of so many compiles."""
        return [step for step in range(steps) if made.is_due(steps - step)]

    assert due(Compilation("auto", CUDA), compiling.LOOK + 600) == []
    assert due(Compilation("auto", CUDA), compiling.LOOK + 601) == [compiling.LOOK]
    assert due(Compilation("auto", torch.device("cpu")), 1000) == []
    assert due(Compilation(True, CUDA), 1000) == [0]
    assert due(Compilation(False, CUDA), 1000) == []
    assert Compilation("auto", torch.device("cpu")).wrap(len) is len


IN_DYNAMO = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


@pytest.fixture
def compiled(monkeypatch):
    """Compile without code generation; return what was compiled."""
    names, real = [], torch.compile

    def compile_eagerly(function):
        names.append(getattr(function, "__name__", type(function).__name__))
        return real(function, backend="eager", fullgraph=True)

    monkeypatch.setattr(torch, "compile", compile_eagerly)
    yield names
    torch._dynamo.reset()


def losses(folder):
    return [line["loss"] for line in journal.lines(folder) if "loss" in line]


@IN_DYNAMO
def test_crop_network_and_loss_are_a_graph_each_and_learn_the_same(compiled, tmp_path, capsys):
    crops = drawn.faces(tmp_path / "crops", 12)
    data = {"validation": 0.0}
    plain = drawn.pretrain({"epochs": 2}, data, {"compile": False})
    graphs = drawn.pretrain({"epochs": 2}, data, {"compile": True})
    pretrain.run(plain, [crops], tmp_path / "plain")
    assert compiled == []
    pretrain.run(graphs, [crops], tmp_path / "graphs")
    assert sorted(compiled) == ["MAE", "cut", "loss"]
    assert losses(tmp_path / "graphs") == pytest.approx(losses(tmp_path / "plain"), rel=1e-5)
    told = capsys.readouterr().err
    assert "compiling (run.compile)" in told and "compiled in " in told


@IN_DYNAMO
def test_finetuning_compiles_too(compiled, tmp_path, capsys):
    crops = drawn.faces(tmp_path / "crops", 12)
    labels = drawn.labels(tmp_path / "labels.csv", 12)
    folder = tmp_path / "run"
    finetune.run(drawn.finetune({"epochs": 1}, {}, {"compile": True}), [crops], labels, "random", folder)
    assert sorted(compiled) == ["AUModel", "cut"]
    assert "compiled in " in capsys.readouterr().err


def test_where_nothing_can_be_compiled_true_says_so_and_auto_goes_on(monkeypatch, capsys):
    def fail(function):
        raise RuntimeError("no C compiler\nin the path")

    monkeypatch.setattr(torch, "compile", fail)
    asked = Compilation(True, torch.device("cpu"))
    with pytest.raises(
        ResourceError, match=r"\(RuntimeError: no C compiler in the path\); set run.compile=false"
    ):
        asked.start(lambda: asked.wrap(len)("ab"), writes=True)
    auto = Compilation("auto", CUDA)
    call = auto.wrap(len)
    auto.start(lambda: call("ab"), writes=True)
    assert not auto.on and call("ab") == 2 and auto.note == ""
    assert (
        "torch.compile does not work here (RuntimeError: no C compiler in the path)"
        in capsys.readouterr().err
    )
