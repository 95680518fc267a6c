"""Steps of the trainings and of inference on data that are on the device, as functions to be timed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from maeface import config, finetune, pretrain
from maeface.data.loading import augmentation
from maeface.model import mae, weights
from maeface.model.au import AUModel
from maeface.model.au_graph import au_graph
from maeface.model.vit import SIZES, Shape, ViT
from maeface.runtime.backends import open_network
from maeface.train import loop, ranks
from maeface.train.checkpoint import Learner, State
from maeface.train.loop import Loss
from maeface.train.numerics import tensor_float
from maeface.train.optim import adamw
from maeface.train.run import Run

AUS = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
PATCH = 16


class Setting(NamedTuple):
    """What a step computes.

    Attributes:
        size: a name of ``vit.SIZES``.
        side: of the input, px.
        batch: images.
        device: "cpu" or "cuda".
        bf16: whether under autocast.
        compiled: whether with torch.compile.
        decoder: width, depth and heads of the decoder in pre-training.
    """

    size: str = "base"
    side: int = 224
    batch: int = 8
    device: str = "cpu"
    bf16: bool = False
    compiled: bool = False
    decoder: Shape = Shape(512, 8, 16)

    @property
    def autocast(self) -> torch.autocast:
        """The context of the precision."""
        return torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.bf16)


Step = Callable[[], object]


def pretraining(setting: Setting) -> Step:
    """Return an optimiser step of ``pretrain``: crop, masked autoencoder, loss, AdamW."""
    chosen = config.Pretrain.model_validate({"model": autoencoder(setting), "run": _run(setting)})
    run, model = _open(setting, chosen.run), mae.build(chosen.model).to(setting.device)
    batch = _crops(setting) | {"noise": torch.rand(setting.batch, model.encoder.patches)}
    loss = pretrain.reconstruction_loss(run, chosen, model)
    return _training(setting, run, model, model.encoder.shape.depth, loss, batch, chosen.optim)


def finetuning(setting: Setting, photometric: float = 0.0) -> Step:
    """Return an optimiser step of ``finetune`` with mixing and drop path.

    Args:
        setting: what is computed.
        photometric: probability of each photometric change.
    """
    changes = dict.fromkeys(config.Photometric.model_fields, photometric)
    data = {"photometric": changes, "randaugment": ""}
    chosen = config.Finetune.model_validate({"data": data, "run": _run(setting)})
    run = _open(setting, chosen.run)
    encoder = ViT(setting.size, setting.side, PATCH, chosen.model.drop_path)
    model = AUModel(encoder, AUS, "detection").to(setting.device)
    shape = (setting.batch, len(AUS))
    batch = _crops(setting) | {
        "noise": torch.rand(setting.batch, encoder.drop_draws),
        "au": torch.randint(0, 2, shape).float(),
        "mask": torch.ones(shape, dtype=torch.bool),
        "partner": torch.randperm(setting.batch),
    }
    loss = finetune.au_loss(run, chosen, model)
    return _training(setting, run, model, encoder.shape.depth, loss, batch, chosen.optim)


def inference(setting: Setting) -> Step:
    """Return a forward pass of an AU model in PyTorch."""
    model = AUModel(ViT(setting.size, setting.side, PATCH), AUS, "detection").to(setting.device)
    return forward_pass(model, setting)


def forward_pass(model: nn.Module, setting: Setting) -> Step:
    """Return a forward pass of any network that takes images."""
    model = model.eval()
    images = torch.randn(setting.batch, 3, setting.side, setting.side, device=setting.device)
    call = torch.compile(model) if setting.compiled else model

    def step() -> object:
        with torch.no_grad(), setting.autocast:
            output = call(images)
        wait(setting.device)
        return output

    return step


def openvino(setting: Setting) -> Step:
    """Return a forward pass of an AU model as ``predict`` runs it on a CPU."""
    model = AUModel(ViT(setting.size, setting.side, PATCH), AUS, "detection").eval()
    described = weights.describe(model, weights.Preprocessing(image_size=setting.side))
    values = {name.removeprefix("encoder."): tensor.numpy() for name, tensor in model.state_dict().items()}
    precision = "bf16" if setting.bf16 else "fp32"
    threads = torch.get_num_threads()
    network = open_network(au_graph(values, described, "head"), "openvino", precision, threads)
    images = np.random.default_rng(0).random((setting.batch, 3, setting.side, setting.side), np.float32)
    return lambda: network(images)


def reconstruction(setting: Setting) -> Step:
    """Return a step of the masked autoencoder on images that are cropped already, as ``of_transformers``."""
    model = mae.build(config.MaskedAutoencoder.model_validate(autoencoder(setting))).to(setting.device)
    noise = torch.rand(setting.batch, model.encoder.patches, device=setting.device)
    return _plain_training(setting, model, lambda call, images: model.loss(call(images, noise), images))


def of_transformers(setting: Setting) -> Step:
    """Return a step of transformers' masked autoencoder of the same sizes, with random weights.

    Raises:
        SystemExit: transformers is not installed.
    """
    try:
        from transformers import ViTMAEConfig, ViTMAEForPreTraining
    except ImportError as error:
        raise SystemExit("the peers need transformers: uv sync --group peers") from error
    width, depth, heads = SIZES[setting.size]
    model = ViTMAEForPreTraining(
        ViTMAEConfig(
            hidden_size=width,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            intermediate_size=4 * width,
            decoder_hidden_size=setting.decoder.width,
            decoder_num_hidden_layers=setting.decoder.depth,
            decoder_num_attention_heads=setting.decoder.heads,
            decoder_intermediate_size=4 * setting.decoder.width,
            image_size=setting.side,
            patch_size=PATCH,
            norm_pix_loss=True,
        )
    ).to(setting.device)
    return _plain_training(setting, model, lambda call, images: call(images).loss)


def of_timm(setting: Setting) -> nn.Module:
    """Return timm's vision transformer of the same sizes and outputs, with random weights."""
    from timm.models.vision_transformer import VisionTransformer

    width, depth, heads = SIZES[setting.size]
    return VisionTransformer(
        img_size=setting.side,
        patch_size=PATCH,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        num_classes=len(AUS),
        global_pool="avg",
    ).to(setting.device)


def autoencoder(setting: Setting) -> dict[str, object]:
    """Return the sizes of a masked autoencoder as settings."""
    decoder = {f"decoder_{name}": value for name, value in setting.decoder._asdict().items()}
    return {"size": setting.size, "image_size": setting.side, "patch_size": PATCH, **decoder}


def wait(device: str) -> None:
    """Wait for a GPU."""
    if device != "cpu":
        torch.cuda.synchronize()


def _training(
    setting: Setting,
    run: Run,
    model: nn.Module,
    depth: int,
    loss: Loss,
    batch: dict[str, Any],
    optim: config.Optim,
) -> Step:
    learner = Learner(model.train(), adamw(model, depth, optim), State())
    for group in learner.optimizer.param_groups:
        group["lr"] = 1e-6
    forward = ranks.replicate(model, run.compilation.wrap(model))
    inputs = {n: v.to(setting.device) if isinstance(v, Tensor) else v for n, v in batch.items()}
    run.compilation.on = setting.compiled

    def step() -> None:
        with tensor_float(setting.bf16 and setting.device != "cpu"):
            loop._train_step(run, forward, learner, iter([inputs]), loss, 0, None)
        wait(setting.device)

    return step


def _plain_training(setting: Setting, model: nn.Module, loss: Callable[[Any, Tensor], Tensor]) -> Step:
    images = torch.randn(setting.batch, 3, setting.side, setting.side, device=setting.device)
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-6, fused=True)
    call = torch.compile(model) if setting.compiled else model

    def step() -> None:
        with setting.autocast:
            total = loss(call, images)
        total.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        wait(setting.device)

    return step


def _run(setting: Setting) -> dict[str, object]:
    return {"device": setting.device, "compile": setting.compiled}


def _open(setting: Setting, chosen: config.Run) -> Run:
    joined = torch.distributed.is_initialized()
    rank, world = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if joined else (0, 1)
    return Run(Path(), chosen, torch.device(setting.device), setting.bf16, rank, world)


def _crops(setting: Setting) -> dict[str, Any]:
    shape = (setting.batch, setting.side, setting.side, 3)
    return {
        "image": torch.randint(0, 256, shape, dtype=torch.uint8).permute(0, 3, 1, 2),
        "draws": torch.rand(setting.batch, augmentation.DRAWS),
        "id": ["face"] * setting.batch,
    }
