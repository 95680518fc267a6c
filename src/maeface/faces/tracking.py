"""Numbers for the people of a film: a person keeps the number in all frames.

Each face is described by the colours of the head and of what is under the chin (``describe``). A ``Tracker``
reads boxes and descriptors frame by frame. It compares a face with every person so far: always by appearance,
and also by place if the person was just seen. There is no trained network, so people of nearly the same
colours are kept apart only by place.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maeface.errors import ConfigError
from maeface.faces.geometry import Face, Square, eye_angle, measure_face, to_image
from maeface.faces.imaging import Image, pick

# The sampled square in sizes of the face (``measure_face``), and its points per side.
_SIDE, _POINTS = 4.4, 24
# Centres of the colour bins: log2 of brightness relative to the face's mean, of red / green, of blue / green.
_BRIGHTNESS, _RED, _FEW_RED, _BLUE = (-2.5, -1.3, -0.1, 1.1), (-0.1, 0.3, 0.7, 1.1), (-0.1, 0.8), (-0.8, 0.2)
DESCRIPTOR_SIZE = 64  # two sides, two regions, 16 bins
_GREY = 128.0  # mean brightness of the face after normalisation
_DARK = 12.0  # added before a logarithm, so that noise in black has no colour
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_BOX_SIDE, _BOX_RISE = 2.18, 0.076  # a usual box: its side / size, and how far its centre is above / side

# Distances of descriptors, measured on clips and portraits. Of one person in a clip or two, 98 % are below
# 0.10 to 0.31; from one frame to the next, 99.9 % are below 0.15. Of two people before the same background,
# 2 % are below 0.28 to 0.29.
SAME = 0.25  # with no other evidence, a nearer face is the same person
SAME_PLACE = 0.27  # with any evidence of place, a farther face is another person
_ONE_SIDE = 1.3  # factor of the distance between single sides, if it is still the smaller one
_UNIT = 0.03  # a distance that changes the odds by a factor e
_NOVEL = 0.1  # a view that is farther than this from the known ones is kept too
_CLEARLY = 0.03  # a person is found again by appearance if no other is as near within this
_VIEWS = 8  # kept for each person, besides the last one

# Motion, in sides of the box and seconds.
_SPREAD, _SPREAD_PER_S = 0.15, 0.8  # standard deviation of a prediction, at once and for each second
_FORGET_S = 2.0  # a place is forgotten with this time constant
_AHEAD_S = 0.5  # a velocity holds for this long
_FIELD = 30.0  # area of a picture, in areas of a face


_GRID = np.stack(np.meshgrid(*[np.arange(_POINTS) + 0.5] * 2), axis=-1)
# The points of the left half, then those of the right half, (2, P, 2).
_GRID = np.stack([_GRID[:, : _POINTS // 2].reshape(-1, 2), _GRID[:, _POINTS // 2 :].reshape(-1, 2)])
_X, _Y = np.moveaxis((_GRID / _POINTS - 0.5) * _SIDE, -1, 0)
_INNER = (abs(_X) < 0.83) & (abs(_Y) < 0.83)
_HEAD = np.exp(-((_X / 0.9) ** 2) / 2 - ((_Y + 0.4) / 1.1) ** 2 / 2).astype(np.float32)
_NECK = np.exp(-((_X / 0.7) ** 2) / 2 - ((_Y - 1.5) / 0.4) ** 2 / 2).astype(np.float32)


def describe(image: Image, face: Face) -> NDArray[np.float16]:
    """Describe the looks of a face; see ``describe_faces``."""
    return describe_faces([image], [face])[0]


def describe_faces(images: Sequence[Image], faces: Sequence[Face]) -> list[NDArray[np.float16]]:
    """Describe the looks of faces, for a ``Tracker``.

    For each side of the face, there are two colour histograms: of the head with its hair, and of the neck and
    collar. Brightness is relative to that side of the face. Histograms change little when the head turns or
    the face moves. Points outside the image take the colour of the nearest pixel. The time does not depend on
    the size of the face.

    Args:
        images: (H, W, 3) uint8 RGB, the image of each face.
        faces: in px of their images; without finite landmarks, only the box of a face is used.

    Returns:
        (64,) float16 of each face: square roots of the histograms, the left side of the image first. Each
        histogram has length 1.
    """
    if not faces:
        return []
    points = np.stack([_points(image.shape, face) for image, face in zip(images, faces, strict=True)])
    colours = pick(images, points[..., 1], points[..., 0])  # waits for a GPU once
    return [_describe(one) for one in colours.astype(np.float32)]


def _points(shape: tuple[int, ...], face: Face) -> NDArray[np.intp]:
    """Return the points of an image that describe a face, (2, P, 2): x, y in px."""
    if np.isfinite(face.landmarks).all():
        x, y, size = measure_face(face.landmarks)
        region = Square(x, y, max(size, 1.0) * _SIDE, eye_angle(face.landmarks))
    else:
        x1, y1, x2, y2 = (float(v) for v in face.box)
        side = max(x2 - x1, y2 - y1, 1.0)
        region = Square((x1 + x2) / 2, (y1 + y2) / 2 + _BOX_RISE * side, side / _BOX_SIDE * _SIDE)
    return np.asarray(np.clip(to_image(_GRID, region, _POINTS), 0, np.array(shape[1::-1]) - 1), np.intp)


def _describe(colours: NDArray[np.float32]) -> NDArray[np.float16]:
    """Return the descriptor of the colours (2, P, 3) of a face's points."""
    means = ((colours @ _LUMA) * _INNER).sum(axis=1) / _INNER.sum(axis=1)
    gains = (_GREY / np.maximum(means, 8.0)).astype(np.float32)
    logs = np.log2(colours * gains[:, None, None] + np.float32(_DARK))
    brightness = _soft_bins(logs @ _LUMA - np.float32(np.log2(_GREY + _DARK)), _BRIGHTNESS)
    red, blue = logs[..., 0] - logs[..., 1], logs[..., 2] - logs[..., 1]
    head = _histograms(_HEAD, brightness, _soft_bins(red, _RED))
    colour = _products(_soft_bins(red, _FEW_RED), _soft_bins(blue, _BLUE))
    neck = _histograms(_NECK, brightness, colour)
    return np.concatenate([head, neck], axis=1).ravel().astype(np.float16)


def _soft_bins(values: NDArray[np.float32], centres: tuple[float, ...]) -> NDArray[np.float32]:
    """Share each value between its two neighbouring bins, (2, P, bins); outer bins take what is beyond."""
    at = np.array(centres, np.float32)
    clipped = np.clip(values, at[0], at[-1])
    return np.asarray(np.clip(1 - abs(clipped[..., None] - at) / (at[1] - at[0]), 0, 1))


def _products(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the joint bins (2, P, A * B) of bins (2, P, A) and (2, P, B)."""
    return (a[..., :, None] * b[..., None, :]).reshape(*a.shape[:2], -1)


def _histograms(
    weights: NDArray[np.float32], a: NDArray[np.float32], b: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return square roots of the joint histograms (2, A * B) of both sides."""
    histograms = (weights[:, None] @ _products(a, b))[:, 0]
    return np.asarray(np.sqrt(histograms / histograms.sum(axis=1, keepdims=True)))


class Tracker:
    """Numbers the faces of one film; make a new one for each film.

    A person who is out of view is remembered until the end. A face is a person of an earlier frame if it is
    near where this person should be and looks similar. After a while, or elsewhere, it must look like this
    person and clearly less like any other. Otherwise it has a new number. Only times count, not frames, so
    frames may be left out.
    """

    def __init__(self) -> None:
        self._time = -np.inf
        self._count = 0
        self._seen = np.zeros(0)  # (N,) s, when a person was last in view
        self._places = np.zeros((0, 3))  # (N, 3) centre and log side of the last box
        self._speeds = np.zeros((0, 2))  # (N, 2) px/s
        # (3, N, 1 + V, D / 2) the last view, then the kept ones; an unused one is far from all.
        self._views = np.zeros((3, 0, 1 + _VIEWS, 0), np.float32)
        self._kept = np.zeros(0, np.intp)  # (N,) how many views were kept so far

    def update(
        self, time_s: float, boxes: NDArray[np.floating], descriptors: NDArray[np.floating]
    ) -> NDArray[np.int64]:
        """Number the faces of the next frame.

        Args:
            time_s: time of the frame in s; never less than that of the frame before.
            boxes: (F, 4) x1 y1 x2 y2 in px, in any order; F may be 0.
            descriptors: (F, D) as ``describe`` returns them; the first half of the values is of one side.

        Returns:
            (F,) numbers, all different. New ones continue the numbers so far, from left to right. They do
            not depend on the order of the faces.

        Raises:
            ConfigError: the time is less than before, or the shapes do not match.
        """
        if time_s < self._time:
            raise ConfigError(f"a frame at {time_s} s after one at {self._time} s; read frames in order")
        self._time = time_s
        boxes, views = np.asarray(boxes, np.float32), np.asarray(descriptors, np.float16).astype(np.float32)
        if not len(boxes) and not len(views):
            return np.zeros(0, np.int64)
        if boxes.shape != (len(views), 4) or views.ndim != 2:
            raise ConfigError(
                f"boxes {boxes.shape} and descriptors {views.shape}; expected (F, 4) and (F, D)"
            )
        if self._count and views.shape[1] != 2 * self._views.shape[3]:
            raise ConfigError(
                f"descriptors of {views.shape[1]} values after ones of {2 * self._views.shape[3]} values"
            )
        order = np.lexsort([*views.T[::-1], *boxes.T[::-1]])
        numbers = np.empty(len(boxes), np.int64)
        numbers[order] = self._number(time_s, boxes[order].astype(np.float64), _sides_and_whole(views[order]))
        return numbers

    def _number(
        self, time_s: float, boxes: NDArray[np.float64], views: NDArray[np.float32]
    ) -> NDArray[np.int64]:
        places = _places(boxes)
        distances, whole = self._distances(views)
        nearness = self._nearness(time_s, places)
        alone = _stand_alone(boxes)
        scores = np.where(distances < SAME_PLACE, (SAME - distances) / _UNIT + nearness, 0.0)
        numbers = np.full(len(boxes), -1)
        for face, person in assign(np.maximum(scores, 0)):
            others = np.delete(distances[face], person)
            clearly = distances[face, person] + _CLEARLY < others.min(initial=np.inf)
            if nearness[face, person] > 1 or clearly:
                numbers[face] = person
        for face, number in enumerate(numbers):
            if number < 0:
                numbers[face] = number = self._add(views.shape[2])
            known = number < distances.shape[1]
            novel = not known or whole[face, number] > _NOVEL
            clear = alone[face] and not (known and whole[face, number] > SAME_PLACE)
            self._see(number, time_s, places[face], views[:, face], bool(novel), bool(clear))
        return numbers

    def _distances(self, views: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the distances (F, N) between faces and the nearest view of each person.

        One side of a face may be hidden, so the nearest single side counts too. The second array has the
        distances between whole faces only.
        """
        count = self._count
        nearest = np.full((views.shape[1], count), np.inf)
        for ours, theirs, factor in zip(views, self._views, (_ONE_SIDE, _ONE_SIDE, 1.0), strict=True):
            known = theirs[:count].reshape(count * (1 + _VIEWS), ours.shape[1])
            squares = (ours**2).sum(axis=1)[:, None] + (known**2).sum(axis=1) - 2 * ours @ known.T
            squares = squares.reshape(len(ours), count, 1 + _VIEWS).min(axis=2)
            part = (factor * np.sqrt(np.maximum(squares, 0))).round(5)
            nearest = np.minimum(nearest, part)
        return nearest, part

    def _nearness(self, time_s: float, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the evidence (F, N) of place: log odds from 0 (none) to about 5 (just where predicted)."""
        known = slice(self._count)
        gaps = time_s - self._seen[known]
        predicted = self._places[known].copy()
        predicted[:, :2] += self._speeds[known] * np.minimum(gaps, _AHEAD_S)[:, None]
        offsets = places[:, None] - predicted
        offsets[..., :2] /= np.exp((places[:, None, 2:] + predicted[:, 2:]) / 2)
        variances = (_SPREAD + _SPREAD_PER_S * gaps) ** 2
        density = np.exp(-(offsets**2).sum(axis=-1) / variances / 2) / (2 * np.pi * variances)
        return np.asarray(np.log1p(np.exp(-gaps / _FORGET_S) * _FIELD * density))

    def _add(self, size: int) -> int:
        """Make room for a new person and return the number."""
        number = self._count
        if number == len(self._seen):
            room = max(number, 16)
            self._seen = np.concatenate([self._seen, np.full(room, -np.inf)])
            self._places = np.concatenate([self._places, np.zeros((room, 3))])
            self._speeds = np.concatenate([self._speeds, np.zeros((room, 2))])
            unused = np.full((3, room, 1 + _VIEWS, size), 1e3, np.float32)
            known = self._views.reshape(3, number, 1 + _VIEWS, size)
            self._views = np.concatenate([known, unused], axis=1)
            self._kept = np.concatenate([self._kept, np.zeros(room, np.intp)])
        self._count += 1
        return number

    def _see(
        self,
        number: int,
        time_s: float,
        place: NDArray[np.float64],
        view: NDArray[np.float32],
        novel: bool,
        clear: bool,
    ) -> None:
        """Remember where a person is, and how the person looks.

        If another face is near, or a side is hidden, the descriptor may have the colours of two people. Then
        it is not kept.
        """
        gap = time_s - self._seen[number]
        if 0 < gap <= 2 * _AHEAD_S:
            speed = (place[:2] - self._places[number, :2]) / gap
            self._speeds[number] += (speed - self._speeds[number]) * min(1.0, 0.3 + gap)
        elif gap:
            self._speeds[number] = 0
        self._seen[number], self._places[number] = time_s, place
        if clear or not novel or not self._kept[number]:
            self._views[:, number, 0] = view
        if novel and (clear or not self._kept[number]):
            self._views[:, number, 1 + self._kept[number] % _VIEWS] = view
            self._kept[number] += 1


def _sides_and_whole(descriptors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (3, F, D / 2): the two sides, and the whole, which does not change if they are exchanged."""
    first, second = np.split(descriptors, 2, axis=1)
    return np.stack([first, second, np.sqrt((first**2 + second**2) / 2)])


def _places(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return centres and log sides (F, 3) of boxes."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0)
    return np.column_stack([(boxes[:, :2] + boxes[:, 2:]) / 2, np.log(sides.prod(axis=1)) / 2])


def _stand_alone(boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return (F,) whether no other box reaches into a box of twice the side around a face."""
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    low, high = (boxes[:, :2] - half)[:, None], (boxes[:, 2:] + half)[:, None]
    reached = ((low < boxes[:, 2:]) & (boxes[:, :2] < high)).all(axis=2)
    return np.asarray(reached.sum(axis=1) == 1)


def assign(scores: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return the pairs (row, column) with the largest sum of scores, each row and column at most once.

    Pairs with a score of 0 are left out. This is the Hungarian method with shortest augmenting paths.

    Args:
        scores: (R, C), at least 0.
    """
    rows = len(scores)
    useful = np.flatnonzero(scores.any(axis=0))
    costs = -np.concatenate([scores[:, useful], np.zeros((rows, rows))], axis=1)
    width = costs.shape[1]
    row_prices, prices = np.zeros(rows), np.zeros(width)
    owners = np.full(width, -1)
    for row in range(rows):
        best, parents, done = np.full(width, np.inf), np.full(width, -1), np.zeros(width, bool)
        current, column = row, -1
        while current >= 0:
            reduced = costs[current] - row_prices[current] - prices
            better = ~done & (reduced < best)
            best[better], parents[better] = reduced[better], column
            column = int(np.where(done, np.inf, best).argmin())
            step = best[column]
            row_prices[[row, *owners[done]]] += step
            prices[done] -= step
            best[~done] -= step
            done[column] = True
            current = int(owners[column])
        while column >= 0:  # exchange along the path
            parent = int(parents[column])
            owners[column] = owners[parent] if parent >= 0 else row
            column = parent
    pairs = [(int(owners[k]), int(useful[k])) for k in range(len(useful)) if owners[k] >= 0]
    return sorted((r, c) for r, c in pairs if scores[r, c] > 0)
