"""Faces of a camera, followed from frame to frame as they come, with the numbers of the people.

The faces are those that ``following`` finds in a film with the same frames: each half second begins with a
search of the whole frame, and faces are followed in between. Where frames were dropped, the ones that are
left follow each other.
"""

import numpy as np

from maeface.faces.detector import Detector
from maeface.faces.finder import FaceChoice, LocatedFace, require_face_choice
from maeface.faces.following import (
    MIN_FACE,
    Following,
    Step,
    choose_and_describe,
    find_cuts,
    find_next,
)
from maeface.faces.imaging import Image
from maeface.faces.timestamps import block_of
from maeface.faces.tracking import Tracker

LOOK_EVERY = 5
"""Frames from one look of the detector at the faces to the next."""


class LiveFollower:
    """Finds and numbers the faces of one camera, frame by frame.

    Args:
        detector: of faces.
        faces: which faces of a frame to return, as for ``finder.find_crops``; all are followed.
        min_face: side of the smallest face that is searched for in whole frames, px.

    Raises:
        ConfigError: an unknown choice of faces.
    """

    def __init__(self, detector: Detector, faces: FaceChoice = "all", min_face: float = MIN_FACE) -> None:
        require_face_choice(faces)
        self._detector, self._faces, self._min_face = detector, faces, min_face
        self._tracker = Tracker()
        self._tracks: dict[int, int] = {}  # by the number within the block
        self._state = Following()
        self._block, self._position = -1, 0
        self._before: Image | None = None

    def update(self, frame: Image, time_s: float) -> tuple[list[LocatedFace], list[int]]:
        """Return the faces of the next frame, best score first, and the track of each.

        Args:
            frame: (H, W, 3) uint8 RGB.
            time_s: its time in s; increases from frame to frame.
        """
        block = block_of(time_s)
        if self._before is None or block != self._block:
            self._state, self._block, self._position = Following(), block, 0
            self._tracks = {}
            cut = True
        else:
            self._position += 1
            cut = find_cuts([self._before, frame])[1]
        look = self._position % LOOK_EVERY == 0
        step = Step(self._state, frame, cut, look, turned=self._position == 0)
        (located,) = choose_and_describe(
            find_next(self._detector, [step], self._min_face), [frame], self._faces
        )
        self._before = frame
        return located, self._number_faces(located, time_s)

    def _number_faces(self, located: list[LocatedFace], time_s: float) -> list[int]:
        """Return the tracks of faces; the tracker decides where one of them is new in the block."""
        if any(one.followed not in self._tracks for one in located):
            looks = np.stack([one.descriptor for one in located if one.descriptor is not None])
            boxes = np.stack([one.face.box for one in located])
            tracks = self._tracker.update(time_s, boxes, looks)
            self._tracks = {one.followed: int(track) for one, track in zip(located, tracks, strict=True)}
        return [self._tracks[one.followed] for one in located]
