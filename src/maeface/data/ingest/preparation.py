"""The units of a preparation in worker processes: films in segments, and suspect units file by file."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from maeface import console
from maeface.data.ingest import pieces, unit_part, units, workers
from maeface.data.ingest.inputs import Input, Unit
from maeface.data.ingest.pieces import Piece
from maeface.data.ingest.runner import Queue, Resources, Runner
from maeface.data.ingest.segments import cut_film
from maeface.data.ingest.unit_part import UnitSummary
from maeface.data.ingest.units import FaceFinder, Settings
from maeface.faces.video_index import read_index

Result = UnitSummary | list[Input]
"""Of a finished unit or piece; or the segments of a long film, each to be a piece."""
Job = workers.Job[Unit | Piece, Result]


def do_item(
    item: Unit | Piece,
    out: Path,
    settings: Settings,
    find: FaceFinder,
    notify: Callable[[int], None],
    device: str | None,
) -> Result:
    """Prepare a unit or a piece in a worker process, or return the segments of a long film.

    Args:
        item: the inputs. A film that is a piece is not cut.
        out: the prepared folder.
        settings: of the preparation.
        find: see ``units.prepare_unit``.
        notify: see ``units.prepare_unit``.
        device: see ``units.prepare_unit``.

    Raises:
        ResourceError: the disk is full or cannot be written.
    """
    if isinstance(item, Piece):
        index = None if item.index_file is None else read_index(item.index_file)
        return units.prepare_unit(item.unit, item.folder, settings, find, notify, device, index)
    film = item.inputs[0]
    if film.video and not film.frames:
        notify(0)
        if segments := cut_film(film, pieces.index_path(item, out), partial(notify, 0)):
            return segments
    return units.prepare_unit(item, out, settings, find, notify, device)


@dataclass
class _Whole:
    """A unit in pieces.

    Attributes:
        left: number of pieces that are not finished.
        lost: see ``pieces.join_pieces``.
    """

    unit: Unit
    pieces: Sequence[Piece]
    left: int
    lost: dict[int, tuple[str, str]] = field(default_factory=dict)


class Preparation:
    """Prepares units in worker processes.

    Args:
        out: the prepared folder, absolute: processes of a cluster start in other folders.
        setup: makes the job of a worker process, which does ``do_item``.
        resources: where the work is done.

    Attributes:
        images: number of photos and frames that were read.
    """

    def __init__(self, out: Path, setup: Callable[[], Job], resources: Resources) -> None:
        self._out = out
        self._runner: Runner[Piece, Result] = Runner("prepare", setup, resources, self._notify)
        self._wholes: dict[str, _Whole] = {}
        self._faces = self.images = 0
        self._advance: Callable[..., None] = lambda *amount: None

    def run(self, missing: Sequence[Unit], total: int, finished: int) -> None:
        """Prepare units.

        Args:
            missing: the units.
            total: number of files, with those of finished units.
            finished: number of files of finished units.
        """
        suspects: list[Unit | Piece] = []
        queue: Queue[Unit | Piece] = Queue(missing)
        with console.progress("prepare", total, "files", finished) as self._advance:
            with closing(self._runner.do_units(queue, suspects)) as results:
                for item, result in results:
                    if isinstance(item, Unit) and isinstance(result, list):
                        queue.more += self._open(item, pieces.segments_of(item, self._out, result))
                    else:
                        self._finish(item, result)
            alone: list[Piece] = []
            for item in suspects:
                alone += (
                    [item]
                    if isinstance(item, Piece)
                    else self._open(item, pieces.split_into_files(item, self._out))
                )
            if alone:  # a cluster on this machine would be started for nothing
                with closing(self._runner.do_files(alone, self._lose)) as retried:
                    for piece, result in retried:
                        self._finish(piece, result)

    def _open(self, unit: Unit, of_unit: Sequence[Piece]) -> list[Piece]:
        """Return the pieces of a unit that are not finished."""
        missing = [one for one in of_unit if unit_part.read_finished(one.unit, one.folder) is None]
        self._wholes[unit.name] = _Whole(unit, of_unit, len(missing))
        if not missing:
            self._join(unit.name)
        return missing

    def _notify(self, faces: int) -> None:
        self._faces += faces
        self._advance(0, f"{self._faces} faces")

    def _finish(self, item: Unit | Piece, result: Result) -> None:
        assert isinstance(result, UnitSummary)
        self.images += result.images
        if isinstance(item, Piece):
            self._finish_piece(item)
        else:
            self._advance(len(item.inputs))

    def _lose(self, piece: Piece, status: str, detail: str) -> None:
        self._wholes[piece.name].lost[piece.position] = (status, detail)
        self._finish_piece(piece)

    def _finish_piece(self, piece: Piece) -> None:
        self._wholes[piece.name].left -= 1
        if not self._wholes[piece.name].left:
            self._join(piece.name)

    def _join(self, name: str) -> None:
        whole = self._wholes.pop(name)
        pieces.join_pieces(whole.unit, self._out, whole.pieces, whole.lost)
        self._advance(len(whole.unit.inputs))
