"""Images per second of ViT-B/16 in fp32 and bf16 autocast, and of timm's ViT with the same weights.

Each round times every variant once, so that a busy machine slows down all of them. The results are medians
over the rounds. Run: ``uv run python benchmarks/forward.py``.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext

import timm
import torch
from torch import Tensor

from maeface.model.mae import MAE
from maeface.model.vit import ViT


def build_variants(size: str, batch: int, device: str) -> dict[str, Callable[[], Tensor]]:
    """Return the forward passes to time, by name; ratios are to the first."""
    torch.manual_seed(0)
    peer = timm.create_model(f"vit_{size}_patch16_224", num_classes=0, global_pool="").to(device).eval()
    vit = ViT(size).to(device).eval()
    state = {k: v for k, v in peer.state_dict().items() if not k.startswith("norm.")}
    vit.load_state_dict(state)
    peer.norm = torch.nn.Identity()
    mae = MAE(ViT(size)).to(device).eval()
    images, noise = torch.randn(batch, 3, 224, 224, device=device), torch.rand(batch, 196, device=device)
    difference = (peer(images) - vit(images)).abs().max().item()
    print(f"largest difference from timm in fp32: {difference:.1e}")

    def bf16() -> torch.autocast:
        return torch.autocast(device, torch.bfloat16)

    def call(forward: Callable[[], Tensor], context: Callable[[], object]) -> Callable[[], Tensor]:
        def run() -> Tensor:
            with torch.no_grad(), context():
                return forward()

        return run

    return {
        "encoder fp32": call(lambda: vit(images), nullcontext),
        "encoder bf16": call(lambda: vit(images), bf16),
        "timm fp32": call(lambda: peer(images), nullcontext),
        "timm bf16": call(lambda: peer(images), bf16),
        "masked autoencoder fp32": call(lambda: mae(images, noise).prediction, nullcontext),
        "masked autoencoder bf16": call(lambda: mae(images, noise).prediction, bf16),
    }


def main() -> None:
    """Time the variants and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="base")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    with torch.no_grad():
        timed = build_variants(arguments.size, arguments.batch, arguments.device)
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for round_ in range(arguments.rounds + 1):
        for name, run in timed.items():
            started = time.perf_counter()
            run().float().sum().item()  # waits for the device
            if round_:  # the first round warms up
                seconds[name].append(time.perf_counter() - started)
    rates = {name: arguments.batch / statistics.median(times) for name, times in seconds.items()}
    base = rates["encoder fp32"]
    print(
        f"ViT-{arguments.size}/16, batch {arguments.batch}, {arguments.device}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, timm {timm.__version__}; "
        f"medians of {arguments.rounds}"
    )
    for name, rate in rates.items():
        print(f"{name:26s}{rate:9.1f} images/s{rate / base:8.2f} x")


if __name__ == "__main__":
    main()
