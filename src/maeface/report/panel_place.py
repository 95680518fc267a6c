"""Places for the panels of faces in a picture, which stay where they are from frame to frame."""

from collections.abc import Iterator, Sequence

Place = tuple[int, int, int, int]
"""x1 y1 x2 y2 in px."""
Size = tuple[int, int]
"""Width and height in px."""

_SIDES = ("right", "left", "below", "above")
_STAY = 0.25  # by which another side has to be less covered, in areas of the panel, for a panel to move there
_MAX_COVERED = 0.12  # fraction of a panel that may be over faces and other panels
_FACE = 3.0  # factor of what is over faces
_SLACK = 0.03  # of the picture's shorter side, by which a face may move before its panel follows


class Placer:
    """Chooses a place beside, under or above each face, frame by frame."""

    def __init__(self) -> None:
        self._sides: dict[int, str] = {}
        self._corners: dict[int, tuple[int, int]] = {}

    def place(
        self,
        tracks: Sequence[int | None],
        boxes: Sequence[Place],
        sizes: Sequence[Size],
        picture: Size,
        reserved: Sequence[Place] = (),
    ) -> list[Place | None]:
        """Return the place of each panel; None where there is no room, or the panel has no size.

        Args:
            tracks: of the faces; None without one.
            boxes: of the faces.
            sizes: of the panels.
            picture: the size of the picture.
            reserved: places that are taken already.
        """
        taken = list(reserved)
        places: list[Place | None] = []
        for track, box, size in zip(tracks, boxes, sizes, strict=True):
            place = self._choose(track, box, size, picture, boxes, taken) if all(size) else None
            places.append(place)
            if place is not None:
                taken.append(place)
        return places

    def _choose(
        self,
        track: int | None,
        box: Place,
        size: Size,
        picture: Size,
        faces: Sequence[Place],
        taken: Sequence[Place],
    ) -> Place | None:
        def cover(corner: tuple[int, int]) -> float:
            return _FACE * _covered(corner, size, faces) + _covered(corner, size, taken)

        before = None if track is None else self._sides.get(track)
        options = []
        for rank, (side, corner) in enumerate(_corners(box, size, picture)):
            options.append((cover(corner) - _STAY * (side == before) + 1e-3 * rank, side, corner))
        if not options:
            return None
        _, side, corner = min(options)
        if track is not None:
            if side == before:
                slack = round(_SLACK * min(picture))
                old = self._corners[track]
                steady = _follow(old[0], corner[0], slack), _follow(old[1], corner[1], slack)
                steady = _into(steady, size, picture)
                corner = steady if cover(steady) <= cover(corner) else corner
            self._sides[track], self._corners[track] = side, corner
        if cover(corner) > _MAX_COVERED:
            return None
        return corner[0], corner[1], corner[0] + size[0], corner[1] + size[1]


def _corners(box: Place, size: Size, picture: Size) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the upper left corner of a panel on each side of a box; none if it is larger than the picture."""
    width, height = size
    if width > picture[0] or height > picture[1]:
        return
    gap = max(3, round(0.012 * min(picture)))
    x1, y1, x2, y2 = box
    at = ((x2 + gap, y1), (x1 - gap - width, y1), (x1, y2 + gap), (x1, y1 - gap - height))
    for side, corner in zip(_SIDES, at, strict=True):
        yield side, _into(corner, size, picture)


def _into(corner: tuple[int, int], size: Size, picture: Size) -> tuple[int, int]:
    """Return a corner that is moved so that the panel is in the picture."""
    return min(max(corner[0], 0), picture[0] - size[0]), min(max(corner[1], 0), picture[1] - size[1])


def _follow(old: int, new: int, slack: int) -> int:
    """Return the coordinate nearest to the old one that is within the slack of the new one."""
    return min(max(old, new - slack), new + slack)


def _covered(corner: tuple[int, int], size: Size, obstacles: Sequence[Place]) -> float:
    """Return the sum of the areas of obstacles under a panel, in areas of the panel."""
    x1, y1 = corner
    x2, y2 = x1 + size[0], y1 + size[1]
    area = sum(max(0, min(x2, c) - max(x1, a)) * max(0, min(y2, d) - max(y1, b)) for a, b, c, d in obstacles)
    return area / (size[0] * size[1])
