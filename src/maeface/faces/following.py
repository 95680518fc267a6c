"""Faces in the frames of a film: searched in whole frames now and then, and followed in between.

A film is divided into blocks of half a second (``timestamps.block_of``). The first frame of a block is
searched as a photo is, in both passes. From there each face is followed: the landmark network, which sees
a small crop around the face's landmarks in the frame before, says where they are now, and box and crop move
with them. Three times in a block the detector looks at the face again, as in the second pass. Where it finds
no face, and where the picture changes as at a cut between two scenes, the whole frame is searched.

Nothing is carried from one block to the next. So a film may be cut between any two blocks, and its parts
worked on side by side, with the same result.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maeface.faces.boxes import centre, overlap
from maeface.faces.detector import Detector
from maeface.faces.finder import (
    FaceChoice,
    LocatedFace,
    choose_faces,
    find_faces,
    look_again,
    require_face_choice,
)
from maeface.faces.geometry import Face, Square, eye_angle, measure_face, snap_to_grid
from maeface.faces.imaging import Image, pick
from maeface.faces.landmarks import MAX_SHIFT
from maeface.faces.tracking import describe_faces

MIN_FACE = 32.0
"""Side of the smallest face that is searched for in films, px; of a smaller one, AUs cannot be read."""
LOOKS = 3
"""How often the detector looks at a face in a block, evenly spaced, or searches where there is none."""
CUT = 20.0
"""Mean difference of the pixels of two frames, of 255, from which there is a cut between them."""
_SAMPLES = 32  # pixels of a frame in each direction that are compared
MAX_OVERLAP = 0.4
"""Largest intersection over union of two faces of a frame, as in the detector's non-maximum suppression."""


def follow_faces(
    detector: Detector,
    blocks: Sequence[Sequence[Image]],
    faces: FaceChoice = "all",
    min_face: float = MIN_FACE,
) -> list[list[list[LocatedFace]]]:
    """Find the faces in the frames of blocks of a film; return those of each frame, best score first.

    The blocks are worked on side by side: first the first frames of all, then the second ones. So a GPU sees
    many images at once.

    The score of a face is that of the detector's last look at it. In the first frame of a block with faces,
    and wherever a face is new among those that are returned, all faces of the frame have a descriptor, that
    of the last search; in other frames they have none.

    Args:
        detector: of faces.
        blocks: the frames of each block in order, (H, W, 3) uint8 RGB.
        faces: which faces of a frame to return, as for ``finder.find_crops``; all are followed.
        min_face: side of the smallest face that is searched for in whole frames, px; 0: as in photos.

    Raises:
        ConfigError: an unknown choice of faces.
    """
    require_face_choice(faces)
    states = [Following() for _ in blocks]
    cuts = [find_cuts(frames) for frames in blocks]
    found: list[list[list[LocatedFace]]] = [[] for _ in blocks]
    for position in range(max(map(len, blocks), default=0)):
        numbers = [k for k, frames in enumerate(blocks) if position < len(frames)]
        steps = [
            Step(
                states[k],
                blocks[k][position],
                cuts[k][position],
                _has_look(position, len(blocks[k])),
                position == 0,
            )
            for k in numbers
        ]
        for k, located in zip(numbers, find_next(detector, steps, min_face), strict=True):
            found[k].append(located)
    return [
        choose_and_describe(of_block, frames, faces) for of_block, frames in zip(found, blocks, strict=True)
    ]


def _has_look(position: int, length: int) -> bool:
    """Return whether the detector looks at the faces of a frame of a block, also if it is sure of them."""
    return LOOKS * position // length > LOOKS * (position - 1) // length


def find_cuts(frames: Sequence[Image]) -> list[bool]:
    """Return whether a new scene begins with each frame, or the film changes its size; True for the first."""
    cuts = []
    for shape, group in groupby(frames, key=lambda frame: frame.shape):
        rows, columns = (np.arange(0, side, max(1, side // _SAMPLES)) for side in shape[:2])
        samples = pick(list(group), rows[None, :, None], columns[None, None]).astype(np.int16)
        cuts += [True, *(float(np.abs(after - before).mean()) > CUT for before, after in pairwise(samples))]
    return cuts


@dataclass(eq=False)
class Following:
    """The faces that are followed.

    Attributes:
        followed: those of the last frame.
        count: of the faces that have a number.
    """

    followed: "list[_Followed]" = field(default_factory=list)
    count: int = 0

    def number(self, faces: "Sequence[_Followed]") -> "list[_Followed]":
        """Return faces that were searched, with numbers of their own."""
        first, self.count = self.count, self.count + len(faces)
        return [
            replace(one, seen=replace(one.seen, followed=number)) for number, one in enumerate(faces, first)
        ]


class Step(NamedTuple):
    """The next frame of faces that are followed.

    Attributes:
        state: the faces; it is changed.
        frame: (H, W, 3) uint8 RGB.
        cut: whether a new scene begins, so that the frame is searched and no face is followed.
        look: whether the detector looks at the faces even if it is sure of them.
        turned: whether a frame without a face is searched in all orientations.
    """

    state: Following
    frame: Image
    cut: bool
    look: bool
    turned: bool = False


def find_next(detector: Detector, steps: Sequence[Step], min_face: float) -> list[list[LocatedFace]]:
    """Return the faces of the next frames, best score first, with the descriptors of the last search."""
    new = [step for step in steps if step.cut]
    for step, faces in zip(new, _search(detector, new, min_face), strict=True):
        step.state.followed = step.state.number(faces)
    rest = [step for step in steps if not step.cut]
    lost = _follow(detector, rest)
    for step, faces in zip(lost, _search(detector, lost, min_face), strict=True):
        step.state.followed += step.state.number(faces)
    for step in rest:
        step.state.followed = _without_duplicates(step.state.followed)
    return [[one.located() for one in step.state.followed] for step in steps]


def _search(detector: Detector, steps: Sequence[Step], min_face: float) -> "list[list[_Followed]]":
    """Search whole frames as photos."""
    found: list[list[LocatedFace]] = [[] for _ in steps]
    for turned in (True, False):
        places = [place for place, step in enumerate(steps) if step.turned == turned]
        frames = [steps[place].frame for place in places]
        located = find_faces(detector, frames, "all", min_face, turn_up_to=0.0 if turned else -1.0)
        for place, faces in zip(places, located, strict=True):
            found[place] = faces
    pairs = [(step.frame, one) for step, faces in zip(steps, found, strict=True) for one in faces]
    landmarks = [one.face.landmarks for _, one in pairs]
    if detector.landmark_net is None:  # these are RetinaFace's, not comparable
        moved = detector.move_landmarks([frame for frame, _ in pairs], landmarks)
        landmarks = [points for points, _ in moved]
    looks = describe_faces([frame for frame, _ in pairs], [one.face for _, one in pairs])
    followed = iter(
        [
            _Followed(replace(one, descriptor=descriptor), points, points)
            for (_, one), descriptor, points in zip(pairs, looks, landmarks, strict=True)
        ]
    )
    return [[next(followed) for _ in faces] for faces in found]


def _follow(detector: Detector, steps: Sequence[Step]) -> list[Step]:
    """Move faces to the next frame; return the steps whose frame is to be searched as well."""
    lost = {id(step.state): step for step in steps if step.look and not step.state.followed}  # in order
    pairs = [(step, one) for step in steps for one in step.state.followed]
    moved = detector.move_landmarks([step.frame for step, _ in pairs], [one.landmarks for _, one in pairs])
    doubtful: list[tuple[Step, LocatedFace]] = []
    for step in steps:
        step.state.followed = []
    for (step, one), (landmarks, shift) in zip(pairs, moved, strict=True):
        moved_face = replace(one, landmarks=landmarks)
        if step.look or shift > MAX_SHIFT:
            doubtful.append((step, moved_face.located()))
        else:
            step.state.followed.append(moved_face)
    found = look_again(detector, [step.frame for step, _ in doubtful], [one.face for _, one in doubtful])
    for (step, before), after in zip(doubtful, found, strict=True):
        if after is None:
            lost[id(step.state)] = step
            continue
        seen = replace(after, followed=before.followed, descriptor=before.descriptor)
        step.state.followed.append(_Followed(seen, after.face.landmarks, after.face.landmarks))
    return list(lost.values())


def choose_and_describe(
    found: Sequence[Sequence[LocatedFace]], frames: Sequence[Image], faces: FaceChoice
) -> list[list[LocatedFace]]:
    """Return the chosen faces of each frame, with descriptors where one is new among them."""
    described: set[int] = set()  # numbers of the faces of the last frame with descriptors
    result = []
    for located, frame in zip(found, frames, strict=True):
        chosen = choose_faces([one.face for one in located], frame.shape, faces)
        located = [one for one in located if any(one.face is face for face in chosen)]
        numbers = {one.followed for one in located}
        if numbers <= described:
            located = [replace(one, descriptor=None) for one in located]
        else:
            described = numbers
        result.append(located)
    return result


@dataclass(frozen=True)
class _Followed:
    """A face that is followed from a frame in which the detector saw it.

    Attributes:
        seen: the face and its square in that frame.
        seen_landmarks: (5, 2) px of that frame, as the landmark network sees them; ``seen`` may have the
            detector's own.
        landmarks: (5, 2) px of the present frame.
    """

    seen: LocatedFace
    seen_landmarks: NDArray[np.float32]
    landmarks: NDArray[np.float32]

    def located(self) -> LocatedFace:
        """Return the face with its box and its square moved, scaled and turned as its landmarks are."""
        if self.landmarks is self.seen_landmarks:
            return self.seen
        x, y, size = measure_face(self.seen_landmarks)
        new_x, new_y, new_size = measure_face(self.landmarks)
        scale = new_size / max(size, 1e-6)
        turn = eye_angle(self.landmarks) - eye_angle(self.seen_landmarks)
        cos, sin = math.cos(math.radians(turn)) * scale, math.sin(math.radians(turn)) * scale

        def move(px: float, py: float) -> tuple[float, float]:
            return new_x + cos * (px - x) - sin * (py - y), new_y + sin * (px - x) + cos * (py - y)

        face, square = self.seen.face, self.seen.square
        middle = np.array(move(*centre(face)))
        half = (face.box[2:].astype(np.float64) - face.box[:2]) * (scale / 2)
        box = np.concatenate([middle - half, middle + half]).astype(np.float32)
        moved = Square(*move(square.cx, square.cy), square.side * scale, square.angle_deg + turn)
        moved_face = Face(box, self.landmarks, face.score)
        return replace(self.seen, face=moved_face, square=snap_to_grid(moved))


def _without_duplicates(followed: Sequence[_Followed]) -> list[_Followed]:
    """Return the faces, best score first, without those that overlap a better one."""
    kept: list[tuple[_Followed, NDArray[np.float32]]] = []
    for one in sorted(followed, key=lambda one: -one.seen.face.score):
        box = one.located().face.box
        if all(overlap(box, other) <= MAX_OVERLAP for _, other in kept):
            kept.append((one, box))
    return [one for one, _ in kept]
