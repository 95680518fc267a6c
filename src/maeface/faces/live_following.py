"""Faces of a camera, followed from frame to frame as they come, with the numbers of the people.

The faces are those that ``following`` finds in a film with the same frames: each half second begins with a
search of the whole frame, and faces are followed in between. Where frames were dropped, the ones that are
left follow each other.
"""

import numpy as np

from maeface.faces.detector import Detector
from maeface.faces.finder import FaceChoice, LocatedFace, require_face_choice
from maeface.faces.following import (
    LOOK_EVERY,
    MIN_FACE,
    _Block,
    _choose_and_describe,
    _find_next,
)
from maeface.faces.imaging import Image
from maeface.faces.timestamps import block_of
from maeface.faces.tracking import Tracker


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
        self._block: _Block | None = None
        self._number, self._position = -1, 0
        self._before: Image | None = None

    def update(self, frame: Image, time_s: float) -> tuple[list[LocatedFace], list[int]]:
        """Return the faces of the next frame, best score first, and the track of each.

        Args:
            frame: (H, W, 3) uint8 RGB.
            time_s: its time in s; increases from frame to frame.
        """
        number = block_of(time_s)
        if self._block is None or number != self._number:
            self._block, self._number, self._position = _Block([]), number, 0
            self._tracks = {}
        else:
            # Positions tell the first frame of a block, and those that the detector looks at again.
            self._position = self._position % LOOK_EVERY + 1
        block, position = self._block, self._position
        assert self._before is not None or position == 0
        is_cut = position == 0 or _Block([self._before, frame]).cuts[1]  # type: ignore[list-item]
        block.frames = [frame] * (LOOK_EVERY + 1)
        block.cuts = [is_cut] * (LOOK_EVERY + 1)
        _find_next(self._detector, [block], position, self._min_face)
        located = _choose_and_describe([block.found.pop()], [frame], self._faces)[0]
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
