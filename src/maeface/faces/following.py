"""Faces in the frames of a film: searched in whole frames now and then, and followed in between.

A film is divided into blocks of half a second (``timestamps.block_of``). The first frame of a block is
searched as a photo is, in both passes. From there each face is followed: the landmark network, which sees
a small crop around the face's landmarks in the frame before, says where they are now, and box and crop move
with them. Every few frames the detector looks at the face again, as in the second pass. Where it finds no
face, and where the picture changes as at a cut between two scenes, the whole frame is searched.

Nothing is carried from one block to the next. So a film may be cut between any two blocks, and its parts
worked on side by side, with the same result.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

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
from maeface.faces.landmarks import MAX_SHIFT
from maeface.faces.tracking import describe

MIN_FACE = 32.0
"""Side of the smallest face that is searched for in films, px; of a smaller one, AUs cannot be read."""
LOOK_EVERY = 5
"""Frames from one look of the detector at a face to the next, and between searches where there is none."""
CUT = 20.0
"""Mean difference of the pixels of two frames, of 255, from which there is a cut between them."""
_SAMPLES = 32  # pixels of a frame in each direction that are compared
MAX_OVERLAP = 0.4
"""Largest intersection over union of two faces of a frame, as in the detector's non-maximum suppression."""


def follow_faces(
    detector: Detector,
    frames: Iterable[NDArray[np.uint8]],
    faces: FaceChoice = "all",
    min_face: float = MIN_FACE,
) -> Iterator[list[LocatedFace]]:
    """Find the faces in the frames of one block of a film; yield those of each frame, best score first.

    The score of a face is that of the detector's last look at it. In the first frame with faces, and wherever
    a face is new among those that are returned, all faces of the frame have a descriptor, that of the last
    search; in other frames they have none.

    Args:
        detector: of faces.
        frames: (H, W, 3) uint8 RGB each, in order.
        faces: which faces of a frame to return, as for ``finder.find_crops``; all are followed.
        min_face: side of the smallest face that is searched for in whole frames, px; 0: as in photos.

    Raises:
        ConfigError: an unknown choice of faces.
    """
    require_face_choice(faces)
    follower = _Follower(detector, min_face)
    described: set[int] = set()  # numbers of the faces of the last frame with descriptors
    for position, frame in enumerate(frames):
        located = [one.located() for one in follower.find(frame, position)]
        chosen = choose_faces([one.face for one in located], frame.shape, faces)
        located = [one for one in located if any(one.face is face for face in chosen)]
        numbers = {one.followed for one in located}
        if numbers <= described:
            located = [replace(one, descriptor=None) for one in located]
        else:
            described = numbers
        yield located


class _Follower:
    """The faces that are followed in a block."""

    def __init__(self, detector: Detector, min_face: float) -> None:
        self._detector, self._min_face = detector, min_face
        self._followed: list[_Followed] = []
        self._sample: NDArray[np.int16] | None = None
        self._count = 0

    def find(self, frame: NDArray[np.uint8], position: int) -> list["_Followed"]:
        """Return the faces of the next frame; ``position`` is its number in the block."""
        if self._is_cut(frame) or position == 0:
            self._followed = self._search(frame, turned=position == 0)
        else:
            self._follow(frame, look=position % LOOK_EVERY == 0)
        return self._followed

    def _is_cut(self, frame: NDArray[np.uint8]) -> bool:
        """Return whether a new scene begins with this frame."""
        steps = (max(1, side // _SAMPLES) for side in frame.shape[:2])
        before, self._sample = self._sample, frame[:: next(steps), :: next(steps)].astype(np.int16)
        if before is None or before.shape != self._sample.shape:
            return True
        return float(np.abs(self._sample - before).mean()) > CUT

    def _search(self, frame: NDArray[np.uint8], turned: bool = False) -> list["_Followed"]:
        """Search the whole frame as a photo; if it has no face and ``turned`` is set, in all orientations."""
        turn_up_to = 0.0 if turned else -1.0
        located = find_faces(self._detector, [frame], "all", self._min_face, turn_up_to)[0]
        numbered = [replace(one, followed=number) for number, one in enumerate(located, start=self._count)]
        self._count += len(located)
        described = [replace(one, descriptor=describe(frame, one.face)) for one in numbered]
        landmarks = [one.face.landmarks for one in described]
        if self._detector.landmark_net is None:  # these are RetinaFace's, not comparable
            landmarks = [moved for moved, _ in self._detector.move_landmarks(frame, landmarks)]
        return [_Followed(one, points, points) for one, points in zip(described, landmarks, strict=True)]

    def _follow(self, frame: NDArray[np.uint8], look: bool) -> None:
        moved = self._detector.move_landmarks(frame, [one.landmarks for one in self._followed])
        steady: list[_Followed] = []
        doubtful: list[LocatedFace] = []
        for one, (landmarks, shift) in zip(self._followed, moved, strict=True):
            moved_face = replace(one, landmarks=landmarks)
            if look or shift > MAX_SHIFT:
                doubtful.append(moved_face.located())
            else:
                steady.append(moved_face)
        found = look_again(self._detector, frame, [one.face for one in doubtful])
        seen = [
            _Followed(
                replace(after, followed=before.followed, descriptor=before.descriptor),
                *(after.face.landmarks, after.face.landmarks),
            )
            for before, after in zip(doubtful, found, strict=True)
            if after is not None
        ]
        if len(seen) < len(doubtful) or (look and not self._followed):
            seen += self._search(frame)
        self._followed = _without_duplicates(steady + seen)


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
