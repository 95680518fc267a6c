"""Measure what ``unlike`` catches, what it misses, and whether action units are worse beyond its limit.

uv run python studio/benchmarks/unlike.py WEIGHTS --real FOLDER ... --renders FOLDER ... \
    --photos PHOTOS --videos VIDEOS --unseen FOLDER

WEIGHTS have ``unlike`` (``maeface-studio unlike``); ``--real`` and ``--renders`` are the folders that it was
measured on. PHOTOS has the official portraits, of which the held-out ones are used; VIDEOS has the clips, of
which those that the packaged weights did not learn from are used; ``--unseen`` is a folder of renders of
other people with its labels.

The first table has, for each kind of changed portrait and for pictures without a face, the AUC of telling
them from the portraits as they are, by ``unlike`` and by other measures; the share beyond 1; and the mean
absolute change of the probabilities of AU6, AU12 and AU25.
"""

import argparse
import io
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from maeface import facts, metrics
from maeface.data.ingest.images import load_images
from maeface.data.loading.dataset import gather_manifests
from maeface.data.tables.labels import join_labels
from maeface.model.arrays import load_arrays
from maeface.prediction.crops import read_crops
from maeface.prediction.predictor import Predictor
from maeface_studio.output.shards import LABELS
from maeface_studio.weights import recipe, unlike

TRUSTED = (6, 12, 25)
RECIPE, FILMS = "maeface-nano-motion", (".mpg", ".mp4", ".mov")
PORTRAITS, FPS = 150, 6.0
DIRECTIONS, NEIGHBOURS = 32, 5
Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]
Change = Callable[[Image.Image], Image.Image]


def blur(percent: float) -> Change:
    """Blur by a Gaussian; in percent of the face's side, which is 2/3 of the crop's."""
    return lambda crop: crop.filter(ImageFilter.GaussianBlur(percent / 100 * crop.width / 1.5))


def shrink(pixels: int) -> Change:
    """Make the face this large, px, and the crop as large as before."""

    def change(crop: Image.Image) -> Image.Image:
        side = round(pixels * 1.5)
        return crop.resize((side, side), Image.Resampling.LANCZOS).resize(crop.size, Image.Resampling.BICUBIC)

    return change


def cover(box: Sequence[float], colour: tuple[int, int, int] = (0, 0, 0)) -> Change:
    """Cover a part of the crop: left, top, right, bottom as fractions."""

    def change(crop: Image.Image) -> Image.Image:
        covered, corners = crop.copy(), [round(part * crop.width) for part in box]
        covered.paste(colour, (corners[0], corners[1], corners[2], corners[3]))
        return covered

    return change


def sketch(crop: Image.Image) -> Image.Image:
    """Draw the face as with a pencil."""
    grey = ImageOps.grayscale(crop)
    blurred = np.asarray(grey.filter(ImageFilter.GaussianBlur(crop.width / 20)), np.float64)
    drawn = np.clip(np.asarray(grey) * 255 / np.maximum(blurred, 1), 0, 255).astype(np.uint8)
    return Image.fromarray(drawn).convert("RGB")


def draw_edges(crop: Image.Image) -> Image.Image:
    """Keep the edges only, dark on white."""
    edges = ImageOps.grayscale(crop).filter(ImageFilter.FIND_EDGES)
    return ImageOps.autocontrast(ImageOps.invert(edges)).convert("RGB")


def cartoon(crop: Image.Image) -> Image.Image:
    """Paint the face in areas of few colours."""
    smooth = crop.filter(ImageFilter.MedianFilter(5)).filter(ImageFilter.MedianFilter(5))
    return ImageOps.posterize(smooth, 2)


def add_noise(levels: float) -> Change:
    """Add Gaussian noise of this standard deviation."""
    rng = np.random.default_rng(0)

    def change(crop: Image.Image) -> Image.Image:
        noisy = np.asarray(crop) + rng.normal(0, levels, (crop.height, crop.width, 3))
        return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))

    return change


def scale(factor: float) -> Change:
    """Show less (above 1) or more than the crop, as after a wrong detection; black around it."""

    def change(crop: Image.Image) -> Image.Image:
        side = round(crop.width / factor)
        low = (crop.width - side) // 2
        return crop.crop((low, low, low + side, low + side)).resize(crop.size, Image.Resampling.BICUBIC)

    return change


def compress(quality: int) -> Change:
    """Save as JPEG."""

    def change(crop: Image.Image) -> Image.Image:
        data = io.BytesIO()
        crop.save(data, "JPEG", quality=quality)
        return Image.open(data).convert("RGB")

    return change


def kinds() -> Iterator[tuple[str, Change]]:
    """Return the kinds of changed portraits, with their names."""
    yield "mouth covered, black", cover((0.1, 0.6, 0.9, 0.85))
    yield "mouth covered, white", cover((0.2, 0.55, 0.8, 0.9), (230, 230, 230))
    yield "eyes covered, black", cover((0.1, 0.3, 0.9, 0.5))
    yield "half covered, black", cover((0.5, 0.0, 1.0, 1.0))
    yield "upside down", lambda crop: crop.rotate(180)
    yield "on its side", lambda crop: crop.rotate(90)
    yield "turned by 30 degrees", lambda crop: crop.rotate(30, Image.Resampling.BICUBIC)
    yield "cut out too small", scale(1.7)
    yield "cut out too large", scale(0.6)
    yield "pencil drawing", sketch
    yield "edges", draw_edges
    yield "cartoon", cartoon
    yield "negative", ImageOps.invert
    yield "grey", lambda crop: ImageOps.grayscale(crop).convert("RGB")
    yield from ((f"noise of {levels} levels", add_noise(levels)) for levels in (20, 60))
    yield "dark", lambda crop: crop.point(lambda level: level * 0.12)
    yield "bright", lambda crop: crop.point(lambda level: min(level * 2.2, 255))
    yield "JPEG of quality 5", compress(5)
    yield from ((f"blur of {percent} %", blur(percent)) for percent in (2, 4, 8))
    yield from ((f"face of {pixels} px", shrink(pixels)) for pixels in (16, 12, 8))


def find_faces(weights: Path, files: Sequence[Path], fps: float | None = None) -> list[Image.Image]:
    """Return the crops of the largest face of each photo or frame."""
    predictor = Predictor(weights, "cpu", faces="largest", precision="fp32", detector="embedded")
    batches = predictor.stream(load_images(list(files), fps=fps), "features")
    found = [crop.pixels for batch in batches for one in batch for crop in one.crops]
    return [Image.fromarray(np.asarray(pixels)) for pixels in found]


def parts_without_face(files: Sequence[Path]) -> Iterator[tuple[str, list[Image.Image]]]:
    """Return squares of the portraits: clothes at the lower edge, the background in a corner."""
    clothes, background = [], []
    for file in files:
        photo = Image.open(file).convert("RGB")
        width, height = photo.size
        side = width // 3
        clothes.append(photo.crop(((width - side) // 2, height - side, (width + side) // 2, height)))
        background.append(photo.crop((0, 0, width // 4, width // 4)))
    yield "clothes", clothes
    yield "background", background


class Measures:
    """The measures that are compared, of features (N, D).

    Args:
        weights: of the model.
        real: features of the real training faces.
        renders: features of the rendered ones.
    """

    def __init__(self, weights: Path, real: Floats, renders: Floats) -> None:
        arrays, metadata = load_arrays(weights)
        self.aus = metadata.aus
        self._head = arrays["head.weight"][: len(self.aus)], arrays["head.bias"][: len(self.aus)]
        self._unlike = arrays["unlike.mean"], arrays["unlike.factor"]
        self._mean = real.mean(axis=0)
        self._alone = unlike.fit(real, real)
        self._axes = np.linalg.svd(real - self._mean, full_matrices=False)[2][:DIRECTIONS]
        self._known = np.concatenate([real, renders])

    def probabilities(self, features: Floats) -> Floats:
        """Return the probability of each AU, (N, A)."""
        return 1 / (1 + np.exp(-(features @ self._head[0].T + self._head[1])))

    def of(self, features: Floats) -> dict[str, Floats]:
        """Return each measure, (N,), larger for what is unlike the training faces."""
        offset = features - self._mean
        squares = (features**2).sum(axis=1)[:, None] + (self._known**2).sum(axis=1)
        distances = np.sqrt(np.maximum(squares - 2 * features @ self._known.T, 0))
        p = np.clip(self.probabilities(features), 1e-6, 1 - 1e-6)
        return {
            "`unlike`": np.linalg.norm((features - self._unlike[0]) @ self._unlike[1], axis=1),
            "real only": np.linalg.norm((features - self._alone[0]) @ self._alone[1], axis=1),
            "PCA": np.linalg.norm(offset - offset @ self._axes.T @ self._axes, axis=1),
            "kNN": np.sort(distances, axis=1)[:, :NEIGHBOURS].mean(axis=1),
            "entropy": -(p * np.log(p) + (1 - p) * np.log(1 - p)).mean(axis=1),
        }


def main(arguments: argparse.Namespace) -> None:
    """Print the tables."""
    weights = arguments.weights
    predictor = Predictor(weights, "cpu", aligned=True, precision="fp32")
    side = predictor.metadata.preprocessing.image_size

    def features(crops: Sequence[Image.Image]) -> Floats:
        small = [np.asarray(crop.resize((side, side), Image.Resampling.BICUBIC)) for crop in crops]
        return predictor.predict_crops(small, "features").astype(np.float64)

    learned = [unlike.read_features(predictor, folders) for folders in (arguments.real, arguments.renders)]
    measures = Measures(weights, *learned)
    limits = {name: np.quantile(values, unlike.WITHIN) for name, values in measures.of(learned[0]).items()}
    chosen = sorted(facts.held_out_portraits())
    files = [arguments.photos / name for name in chosen[:: max(1, len(chosen) // PORTRAITS)]]
    crops = [crop.resize((96, 96), Image.Resampling.BICUBIC) for crop in find_faces(weights, files)]
    base = features(crops)
    plain, before = measures.of(base), measures.probabilities(base)
    trusted = [measures.aus.index(au) for au in TRUSTED]
    print(
        f"| {len(crops)} portraits | beyond 1 | change | {' | '.join(plain)} |\n|{'---|' * (3 + len(plain))}"
    )
    print(f"| as they are | {(plain['`unlike`'] > 1).mean():.0%} | | {' | ' * (len(plain) - 1)} |")
    changed = [(name, [change(crop) for crop in crops]) for name, change in kinds()]
    for name, pictures in [*changed, *parts_without_face(files)]:
        found = features(pictures)
        values = measures.of(found)
        same = len(found) == len(base) and (name, pictures) in changed
        off = np.abs(measures.probabilities(found) - before)[:, trusted].mean() if same else np.nan
        aucs = [auc(plain[one], values[one]) for one in plain]
        cells = [f"{(values['`unlike`'] > 1).mean():.0%}", f"{off:.2f}" if same else ""]
        print(f"| {name} | {' | '.join([*cells, *(f'{value:.2f}' for value in aucs)])} |", flush=True)
    print(f"\n| ordinary faces | n | {' | '.join(plain)} |\n|{'---|' * (2 + len(plain))}")
    for name in sorted(recipe.load(RECIPE).prepare.held_out_videos):
        if name.endswith(FILMS):
            found = features(find_faces(weights, [arguments.videos / name], FPS))
            print_flags(name, measures.of(found), limits)
    print_flags("held-out portraits", plain, limits)
    print_errors(predictor, arguments.unseen)


def auc(ordinary: Floats, strange: Floats) -> float:
    """Return the AUC of telling strange faces from ordinary ones."""
    truth = np.repeat([0.0, 1.0], [len(ordinary), len(strange)])[:, None]
    return float(metrics.auc(truth, np.concatenate([ordinary, strange])[:, None])[0])


def print_flags(name: str, values: dict[str, Floats], limits: dict[str, float]) -> None:
    """Print the share of faces beyond the limit of each measure: that of 99 % of the real training faces."""
    shares = [f"{(values[one] > limits[one]).mean():.0%}" for one in values]
    print(f"| {name} | {len(values['`unlike`'])} | {' | '.join(shares)} |", flush=True)


def print_errors(predictor: Predictor, folder: Path) -> None:
    """Print the errors of intensities on renders of other people, beyond the limit and within."""
    rows = gather_manifests([folder])
    labels = join_labels(rows, folder / LABELS).table().set_index("id")
    rows = rows[rows["id"].isin(labels.index)]
    size = predictor.metadata.preprocessing.image_size
    pairs = [predictor.predict_faces(crops) for _, crops in read_crops([folder], rows, size)]
    values, far = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    aus = predictor.metadata.aus
    truth = labels.loc[rows["id"], [f"{facts.au_name(au)}_i" for au in aus]].to_numpy(np.float64)
    errors = np.abs(values[:, -len(aus) :] - truth).mean(axis=1)
    print(f"\nrenders of other people: {len(errors)}; mean absolute error of intensities")
    edges = [0, *np.quantile(far, [0.25, 0.5, 0.75]), 1.0, np.inf]
    for low, high in pairwise(edges):
        some = (far > low) & (far <= high)
        print(f"unlike {low:.2f} to {high:.2f}: n {some.sum()}, error {errors[some].mean():.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("weights", type=Path)
    for option in ("--real", "--renders"):
        parser.add_argument(option, type=Path, nargs="+", action="extend", required=True)
    for option in ("--photos", "--videos", "--unseen"):
        parser.add_argument(option, type=Path, required=True)
    main(parser.parse_args())
