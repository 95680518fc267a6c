"""Test whether maps of relevance are faithful to the model, and stable.

uv run python benchmarks/explain.py PORTRAITS

PORTRAITS holds the photographs of ``datasets/portraits.csv``. The first ``--faces`` are taken on which AU6,
AU12 or AU25 is coded as present and the weights say so (probability 0.5 or more). The deletion test of
an AU takes those with this AU.

Deletion test (Samek et al. 2017): patches are removed in the order of the map. The table has the mean
probability of the AU, over the face and its mirror image, after a part of the patches is removed, and its
mean up to a half. Removed patches are either not read by the encoder, or painted in the mean colour.
Stability: the mean rank correlation of a face's map with that of another draw of the subsets, and with that
of the crop moved by one pixel.
"""

import argparse
import csv
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import maeface
from maeface import facts
from maeface.faces import media
from maeface.faces.finder import find_crops
from maeface.model import preprocessing
from maeface.model.au import AUModel
from maeface.model.explain import explain, patch_effects

AUS = (6, 12, 25)
REMOVED = (0.0, 0.03125, 0.0625, 0.125, 0.1875, 0.25, 0.375, 0.5)
SHOWN = (2, 3, 5, 7)
STABLE_FACES, HEIGHT_FACES = 12, 20
Pixels = NDArray[np.uint8]
Maps = NDArray[np.float32]


class Test:
    """The model, and ways to explain it.

    Args:
        predictor: with the model in PyTorch, on the CPU.
    """

    def __init__(self, predictor: maeface.Predictor) -> None:
        self.model: AUModel = predictor.model
        self.settings = predictor.metadata.preprocessing
        self.encoder = self.model.encoder
        self.patches, self.grid = self.encoder.patches, self.encoder.grid

    def inputs(self, crops: Pixels) -> Tensor:
        """Return the input of the model for crops."""
        stack = torch.as_tensor(crops).permute(0, 3, 1, 2)
        return preprocessing.to_input(stack, self.settings.image_size, self.settings.mean, self.settings.std)

    def probability(self, inputs: Tensor, keep: Tensor | None, au: int) -> Tensor:
        """Return the probability of an AU (F,) from the patches ``keep`` (F, K)."""
        with torch.inference_mode():
            return self.model.head(self.model.features(inputs, keep))[:, self.model.aus.index(au)].sigmoid()

    def mirror(self, order: Tensor) -> Tensor:
        """Return where the patches ``order`` are in the mirror image."""
        return order + self.grid - 1 - 2 * (order % self.grid)

    def delete(self, inputs: Tensor, order: Tensor, au: int, painted: bool) -> NDArray[np.float64]:
        """Return the probability (F, steps) after the first patches of ``order`` (F, L) are removed."""
        steps = []
        for part in REMOVED:
            count, views = round(part * self.patches), []
            for view, places in ((inputs, order), (inputs.flip(3), self.mirror(order))):
                if painted:
                    views.append(self.probability(self.paint(view, places[:, :count]), None, au))
                else:
                    views.append(self.probability(view, places[:, count:], au))
            steps.append(torch.stack(views).mean(dim=0))
        return torch.stack(steps, 1).double().numpy()

    def paint(self, inputs: Tensor, removed: Tensor) -> Tensor:
        """Return inputs with patches in the mean colour of each."""
        side, grid = self.encoder.patch_size, self.grid
        mask = torch.zeros(len(inputs), self.patches, dtype=torch.bool).scatter_(1, removed, True)
        mask = mask.reshape(-1, 1, grid, 1, grid, 1).expand(-1, 1, grid, side, grid, side)
        return torch.where(mask.reshape(-1, 1, grid * side, grid * side), inputs.mean((2, 3), True), inputs)

    def leave_out(self, crops: Pixels, seed: int = 0, mirror: bool = True) -> Maps:
        """Return maps (F, A, L) of this package."""
        settings = self.settings.model_copy(update={"mirror": mirror})
        return patch_effects(self.model, crops, AUS, settings, seed=seed).reshape(len(crops), len(AUS), -1)

    def one_picture(self, crops: Pixels, seed: int = 0) -> Maps:
        """Return maps (F, A, L) of this package without the mirror image."""
        return self.leave_out(crops, seed, mirror=False)

    def one_patch(self, crops: Pixels, seed: int = 0) -> Maps:
        """Return maps (F, A, L): the change of the logit when one patch is left out."""
        every = torch.arange(self.patches)
        keep = torch.stack([every[every != k] for k in every])
        places = [self.model.aus.index(au) for au in AUS]

        def of_view(inputs: Tensor) -> Tensor:
            maps = []
            for one in inputs:
                less = self.model.features(one.expand(self.patches, -1, -1, -1), keep)
                maps.append(
                    (self.model.head(self.model.features(one[None])) - self.model.head(less))[:, places].T
                )
            return torch.stack(maps)

        with torch.inference_mode():
            return self.both_views(crops, of_view)

    def attention(self, crops: Pixels, seed: int = 0) -> Maps:
        """Return maps (F, A, L): attention times its gradient, rolled out (Chefer et al. 2021)."""
        return self.both_views(crops, self._attention)

    def both_views(self, crops: Pixels, of_view: Callable[[Tensor], Tensor]) -> Maps:
        """Return the mean of the maps of the crops and of their mirror images."""
        inputs = self.inputs(crops)
        back = self.mirror(torch.arange(self.patches))
        return ((of_view(inputs) + of_view(inputs.flip(3))[..., back]) / 2).numpy()

    def _attention(self, inputs: Tensor) -> Tensor:
        encoder, maps = self.encoder, []
        tokens = encoder.patch_embed(inputs) + encoder.pos_embed[:, 1:]
        first = (encoder.cls_token + encoder.pos_embed[:, :1]).expand(len(inputs), -1, -1)
        tokens = torch.cat([first, tokens], dim=1)
        for block in encoder.blocks:
            split = block.attn.qkv(block.norm1(tokens)).unflatten(2, (3, block.attn.heads, -1))
            query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
            maps.append((query @ key.transpose(2, 3) * query.shape[-1] ** -0.5).softmax(-1))
            tokens = tokens + block.attn.proj((maps[-1] @ value).transpose(1, 2).flatten(2))
            tokens = tokens + block.mlp(block.norm2(tokens))
        outputs = self.model.head(self.model.fc_norm(tokens[:, 1:].mean(1)))
        results = []
        for au in AUS:
            output = outputs[:, self.model.aus.index(au)].sum()
            gradients = torch.autograd.grad(output, maps, retain_graph=True)
            rolled = torch.eye(tokens.shape[1]).expand(len(inputs), -1, -1)
            for weights, gradient in zip(maps, gradients, strict=True):
                rolled = rolled + (weights * gradient).clamp(min=0).mean(1).detach() @ rolled
            results.append((rolled - torch.eye(tokens.shape[1]))[:, 1:, 1:].mean(1))
        return torch.stack(results, dim=1)


def area(probabilities: NDArray[np.float64]) -> float:
    """Return the mean probability while up to a half of the patches is removed."""
    return float(np.trapezoid(probabilities.mean(0), REMOVED) / REMOVED[-1])


def rank_correlation(first: Maps, second: Maps) -> float:
    """Return the mean Spearman correlation of maps (F, L)."""
    ranks = [one.argsort(-1).argsort(-1) for one in (first, second)]
    pairs = zip(*ranks, strict=True)
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs]))


def read_faces(folder: Path, predictor: maeface.Predictor) -> tuple[list[str], Pixels]:
    """Return the names of the held-out portraits in which a face is found, and the crops."""
    assert predictor.detector is not None
    names, crops = [], []
    for name in sorted(facts.held_out_portraits()):
        (found,) = find_crops(
            predictor.detector, [media.read_image(folder / name)], predictor.metadata.preprocessing.image_size
        )
        if found:
            names.append(name)
            crops.append(np.asarray(found[0].pixels))
    return names, np.stack(crops)


def print_stability(test: Test, crops: Pixels, methods: dict[str, Callable[..., Maps]]) -> dict[str, Maps]:
    """Return the maps (F, A, L) of each method; print how alike they are for changed input, and the time."""
    few, results = crops[:STABLE_FACES], {}
    print(
        f"| map | other draw | moved | s a face |  ({len(few)} faces; time of {len(crops)}, {len(AUS)} AUs)"
    )
    print("|---|---|---|---|")
    for name, method in methods.items():
        start = time.perf_counter()
        maps = results[name] = method(crops)
        took = (time.perf_counter() - start) / len(crops)
        same = maps[: len(few)].reshape(-1, test.patches)
        drawn = rank_correlation(same, method(few, seed=1).reshape(-1, test.patches))
        moved = rank_correlation(same, method(np.roll(few, 1, axis=2)).reshape(-1, test.patches))
        print(f"| {name} | {drawn:.2f} | {moved:.2f} | {took:.2f} |", flush=True)
    return results


def print_deletion(test: Test, au: int, crops: Pixels, maps: dict[str, Maps]) -> None:
    """Print the table of an AU for maps (F, L)."""
    inputs, generator = test.inputs(crops), torch.Generator().manual_seed(0)
    orders = {"random order": torch.rand(len(crops), test.patches, generator=generator).argsort(dim=1)}
    for name, one in maps.items():
        order = torch.tensor(one).argsort(dim=1, descending=True)
        orders |= {f"{name}, most first": order, f"{name}, least first": order.flip(1)}
    head = " | ".join(f"{REMOVED[k]:.0%}" for k in SHOWN)
    print(f"\n{facts.au_name(au)}, {len(crops)} faces")
    print(f"| order | {head} | mean to 50% | painted: mean to 50% |")
    print("|---|" + "---|" * (len(SHOWN) + 2))
    for name, order in orders.items():
        left_out, painted = (test.delete(inputs, order, au, one) for one in (False, True))
        values = " | ".join(f"{left_out[:, k].mean():.2f}" for k in SHOWN)
        print(f"| {name} | {values} | {area(left_out):.3f} | {area(painted):.3f} |", flush=True)


def print_heights(test: Test, crops: Pixels) -> None:
    """Print which part of each AU's map is in the lower half of the crop."""
    maps = explain(test.model, crops, AUS, test.settings, per_patch=4)  # (F, A, rows, columns)
    lower = maps[:, :, test.grid // 2 :].sum((2, 3)) / maps.sum((2, 3))
    strongest = maps.reshape(*maps.shape[:2], -1).argmax(2) // test.grid >= test.grid // 2
    print(f"\nlower half of the crop, {len(crops)} faces with all three AUs")
    for k, au in enumerate(AUS):
        print(f"{facts.au_name(au)}: {lower[:, k].mean():.0%}, strongest patch in {strongest[:, k].sum()}")


def main() -> None:
    """Print tables of stability, of the deletion test for each AU, and of where the maps are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("portraits", type=Path)
    parser.add_argument("--weights", help="a file or a name; default: the packaged weights")
    parser.add_argument("--faces", type=int, default=110, help="largest number of faces")
    arguments = parser.parse_args()
    predictor = maeface.Predictor(
        arguments.weights, device="cpu", backend="torch", detector="embedded", faces="largest"
    )
    names, crops = read_faces(arguments.portraits, predictor)
    labels, values = labels_of_portraits(), predictor.predict_crops(crops)
    places = [predictor.metadata.aus.index(au) for au in AUS]
    coded = np.array([[labels[name][au] for au in AUS] for name in names])
    present = coded & (values[:, places] >= 0.5)
    whole = crops[present.all(axis=1)][:HEIGHT_FACES]
    chosen = np.flatnonzero(present.any(axis=1))[: arguments.faces]
    crops, present = crops[chosen], present[chosen]
    test = Test(predictor)
    methods = {
        "this package": test.leave_out,
        "without mirror image": test.one_picture,
        "one patch at a time": test.one_patch,
        "attention and gradient": test.attention,
    }
    maps = print_stability(test, crops, methods)
    for k, au in enumerate(AUS):
        here = present[:, k]
        print_deletion(test, au, crops[here], {name: one[here, k] for name, one in maps.items()})
    print_heights(test, whole)


def labels_of_portraits() -> dict[str, dict[int, bool]]:
    """Return name of the portrait -> AU -> whether it is coded as present."""
    table = (resources.files("maeface") / "datasets" / "portraits.csv").read_text("utf-8")
    return {
        row["source"]: {au: row[f"{facts.au_name(au)}_o"] == "1" for au in AUS}
        for row in csv.DictReader(table.splitlines())
    }


if __name__ == "__main__":
    main()
