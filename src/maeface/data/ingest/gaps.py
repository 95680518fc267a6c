"""Frames that are missing where two segments of a film meet.

A stretch of missing frames has one row. Where a cut divides it, each segment has a row of its part, and these
are joined, so that the rows do not depend on how a film is cut.
"""

from dataclasses import dataclass
from typing import NamedTuple

from maeface.data.ingest.images import UnreadableInput
from maeface.faces.numbering import LOST, TRUNCATED
from maeface.faces.timestamps import Spans


class Gap(NamedTuple):
    """Missing frames that one row stands for.

    Attributes:
        reason: "lost" or "truncated".
        frames: how many; 0 if that is not known.
    """

    reason: str
    frames: int

    def join(self, other: "Gap") -> "Gap":
        """Return this gap with the frames of one that follows it."""
        return self._replace(frames=self.frames + other.frames if self.frames and other.frames else 0)


@dataclass
class Edges:
    """The gaps at both ends of a segment.

    Attributes:
        frames: of the segment; () for a whole film, whose edges meet nothing.
        first: the gap at the first frame; None if there is none.
        last: the gap up to the last frame; None if there is none.
    """

    frames: Spans
    first: Gap | None = None
    last: Gap | None = None

    def add(self, entry: UnreadableInput) -> None:
        """Take note of missing frames."""
        if not self.frames or entry.reason not in (LOST, TRUNCATED):
            return
        gap = Gap(entry.reason, entry.count)
        if entry.frame == self.frames[0][0]:
            self.first = gap
        if entry.frame + max(entry.count, 1) >= self.frames[-1][1]:
            self.last = gap


def is_joined(before: Gap | None, first: Gap | None) -> bool:
    """Return whether the gap at the end of a segment goes on with that at the start of the next one."""
    return before is not None and first is not None and before.reason == first.reason
