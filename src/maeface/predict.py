"""``maeface predict``: action units of photos and videos, as tables, with pictures.

Inputs are split into units of work for several processes. The rows of a finished unit are on disk, so an
interrupted run goes on with the missing units and ends with the same bytes. Memory grows by about 1.5 kB with
each input, not with its length. ``extra_files`` holds the rows of one film at a time.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maeface import checks, console
from maeface.config import Precision
from maeface.data.ingest.cores import count_cores
from maeface.data.ingest.inputs import Unit, note_unused_options
from maeface.data.ingest.runner import Resources
from maeface.data.ingest.workers import Notify
from maeface.errors import ConfigError
from maeface.faces.detector_weights import WeightsSource, locate_detector_weights, source_of
from maeface.faces.finder import FaceChoice, require_face_choice
from maeface.faces.following import MIN_FACE
from maeface.model.arrays import load_arrays
from maeface.model.file_format.parts import files_of
from maeface.model.zoo import find
from maeface.paths import StrPath, to_path, to_paths
from maeface.prediction import chimeras, pipeline, record
from maeface.prediction.columns import choose_thresholds, number_thresholds
from maeface.prediction.explaining import require_explainable
from maeface.prediction.extra_record import remove_stale
from maeface.prediction.extras import CAMERA, NO_TABLE, NO_VIDEO, Extras
from maeface.prediction.lines import draw_photos, print_lines
from maeface.prediction.places import default_out, find_images, parts_of, results_of
from maeface.prediction.summary import Summary
from maeface.prediction.tables import Task, Totals, leave_others, write_one_table, write_table_each
from maeface.prediction.units import OneFile, UnitResult, predict_unit
from maeface.runtime.backends import Backend
from maeface.runtime.choice import count_gpu_processes, finds_gpu

if TYPE_CHECKING:
    from maeface.prediction.predictor import Predictor


@dataclass(frozen=True)
class Options:
    """How to predict; see ``run``."""

    weights: Path | str | None = None
    pictures: Path | None = None
    every: int = 1
    fps: float | None = None
    faces: FaceChoice = "all"
    aligned: bool = False
    device: str = "auto"
    precision: Precision = "auto"
    detector: WeightsSource = "auto"
    max_bad: float = 1.0
    backend: Backend = "auto"
    workers: int | None = None
    file_timeout: float = 1800.0
    min_face: float = MIN_FACE
    track: int | None = None
    ray: str | None = None
    face_threshold: float = 0.5
    au_thresholds: Mapping[str, float] | float | None = None
    sides: bool = False


MakePredictor = Callable[[Options], "Predictor"]
"""Makes a predictor; it is called in each worker process."""
NOT_IN_RECORD = ("weights", "pictures", "workers", "file_timeout", "ray")


def run(
    inputs: StrPath | Sequence[StrPath],
    weights: str | Path | None = None,
    out: StrPath | None = None,
    pictures: StrPath | None = None,
    every: int = 1,
    fps: float | None = None,
    faces: FaceChoice = "all",
    aligned: bool = False,
    device: str = "auto",
    precision: Precision = "auto",
    detector: WeightsSource = "auto",
    max_bad: float = 1.0,
    backend: Backend = "auto",
    workers: int | None = None,
    file_timeout: float = 1800.0,
    min_face: float = MIN_FACE,
    track: int | None = None,
    ray: str | None = None,
    face_threshold: float = 0.5,
    au_thresholds: Mapping[str, float] | float | None = None,
    sides: bool = False,
    extras: Extras | None = None,
    make_predictor: MakePredictor | None = None,
    progress: Notify = lambda images: None,
) -> Summary:
    """Predict action units of photos and videos.

    Args:
        inputs: files and folders, which are searched recursively. What cannot be read is skipped.
        weights: a file, or the name of packaged weights; None for the default, see ``Predictor``.
        out: the table, ``.csv`` or ``.parquet``, or a folder, for ``INPUT.csv`` of each. Until all is done,
            the rows are in ``OUT.parts``; the same call goes on with them. None: print a line for each face.
        pictures: folder for a picture of each photo, with boxes and AU bars; None for none.
        every: read every n-th frame of a video.
        fps: read at most this many frames per second of a video, instead of ``every``.
        faces: as in ``Predictor``.
        aligned: as in ``Predictor``.
        device: as in ``Predictor``.
        precision: as in ``Predictor``.
        detector: as in ``Predictor``.
        max_bad: largest fraction of the inputs, 0 to 1, that may be bad; see ``Summary.too_many_bad``.
        backend: as in ``Predictor``.
        workers: number of processes; None: one for each CPU core, or with a GPU up to four that share it.
        file_timeout: give up a file from which no further image comes for so many seconds.
        min_face: as in ``Predictor``.
        track: the only person of each video to keep, by ``track``; None: all.
        ray: address of a Ray cluster to work on, or "local"; None: processes on this machine.
        face_threshold: as in ``Predictor``.
        au_thresholds: {"AU12": probability from which it occurs}, or one for all; else those of the weights.
        sides: as in ``Predictor``.
        extras: what to make of the finished tables; None: events and summary of videos.
        make_predictor: makes another predictor, a function of a module; None for ``Predictor``.
        progress: called with the number of photos and frames that have rows.

    Raises:
        ConfigError: a wrong input, output or option, or an unfinished run with other settings.
        DataError: none of the inputs could be read.
        WeightsError: the file is not an AU model, or is damaged.
        ResourceError: no such device, a full disk, ``out`` in use, or no weights for the face detector.
    """
    most = (weights, to_path(pictures), every, fps, faces, aligned, device, precision, detector)
    more = (max_bad, backend, workers, file_timeout, min_face, track, ray, face_threshold, au_thresholds)
    given = (to_paths(inputs), to_path(out), Options(*most, *more, sides), extras or Extras())
    return _run(*given, make_predictor or _make_predictor, progress)


def run_command(arguments: dict[str, Any]) -> tuple[object, bool]:
    """Do what the options of the command line say; return a summary, and whether there is a table.

    Raises:
        MaefaceError: as ``run`` and ``camera_run.predict_camera``.
    """
    own = ("events", "neutral", "smooth_s", "report", "timeline", "video", "all_aus")
    extras = {name: arguments.pop(name) for name in own}
    extras |= {name: tuple(arguments.pop(name, None) or ()) for name in ("formats", "annotations", "explain")}
    of_camera = {name: arguments.pop(name) for name in ("realtime", "camera_size", "seconds")}
    camera, inputs = arguments.pop("camera"), arguments["inputs"]
    if camera is None and not inputs:
        raise ConfigError("nothing to predict; give photos, videos or folders, or a camera (--camera 0)")
    if camera is not None and inputs:
        raise ConfigError("give photos, videos or folders, or a camera (--camera 0), not both")
    if camera is None:
        if unused := [name for name, value in of_camera.items() if value]:
            raise ConfigError(f"{checks.name_of(unused[0])} is for a camera; give --camera too")
        arguments["out"] = arguments["out"] or default_out(inputs)
        return run(**arguments, extras=Extras(**extras)), arguments["out"] is not None
    _note_unused_of_camera(arguments, Extras(**extras), of_camera)
    from maeface.prediction.camera_run import predict_camera

    known = {name: value for name, value in arguments.items() if name in Options.__dataclass_fields__}
    make = partial(_make_predictor, Options(**known))
    size, seconds = of_camera["camera_size"], of_camera["seconds"]
    wanted = (size, arguments["fps"], seconds, arguments["out"], extras["all_aus"])
    return predict_camera(make, camera, of_camera["realtime"], *wanted), arguments["out"] is not None


def _run(
    paths: Sequence[Path], out: Path | None, options: Options, extras: Extras, make: MakePredictor, on: Notify
) -> Summary:
    started = record.now()
    checks.require_writable_tables(out)
    checks.require_writable_folders(options.pictures)
    _check(options)
    one_each = checks.is_folder_of_tables(out)
    outputs = [] if options.pictures is None else [options.pictures]
    listing = find_images(paths, outputs if out is None else [*outputs, *results_of(out)])
    listing, others = leave_others(listing) if one_each else (listing, 0)
    videos = any(item.video for item in listing)
    changed = {"faces": options.faces != "all", "detector": options.detector != "auto"}
    note_unused_options(
        *(listing, options.every, options.fps, changed if options.aligned else {}),
        options.pictures is not None,
    )
    _note_unused(options, extras, out, videos)
    if extras.neutral is not None and videos:
        from maeface.prediction.neutral_face import find_neutral

        find_neutral(extras.neutral)
    weights = find(options.weights)
    _require_possible(weights, options)
    if out is not None:
        extras.require_possible(weights, videos)
    detector = None if options.aligned else locate_detector_weights("mobilenet0.25", options.detector)
    used = replace(
        options,
        weights=weights.absolute(),
        detector=source_of(detector) if detector else options.detector,
        pictures=options.pictures and options.pictures.absolute(),
    )
    if out is None:
        predictor = make(used)
        shown = (options.every, options.fps, options.track, options.pictures, extras)
        return _summarize(print_lines(predictor, listing, *shown), None, options)
    given = {name: value for name, value in asdict(options).items() if name not in NOT_IN_RECORD}
    header = record.make_header(weights, files_of(weights), detector, given)
    folder = parts_of(out).absolute()  # processes of a cluster start in other folders
    on_cuda = options.device.startswith("cuda")
    gpu = on_cuda or (options.device == "auto" and options.backend in ("auto", "torch") and finds_gpu())
    processes = options.workers or (count_gpu_processes(options.device) if gpu else count_cores())
    resources = Resources(processes, options.file_timeout, options.ray, gpus=on_cuda)
    setup = partial(_make_job, folder, header, used, extras, make)
    more = (options.pictures, started, extras.explain, on)
    task = Task(out, folder, listing, header, setup, resources, *more, gpu)
    totals = write_table_each(task) if one_each else write_one_table(task)
    totals.add_others(others)
    if not videos and not extras.formats:
        remove_stale(task.tables)
        return _summarize(totals, out, options)
    from maeface.prediction.extra_files import make_for_tables  # it needs pandas, which takes a second

    made = tuple(make_for_tables(task, extras, partial(make, used)))
    totals.require_track()
    hint = extras.describe_more() if videos else ""
    return replace(_summarize(totals, out, options), made=made, hint=hint)


def _check(options: Options) -> None:
    """Check the numbers and choices of options, before any work."""
    checks.require_sampling(options.every, options.fps)
    checks.require_fraction("max_bad", options.max_bad)
    require_face_choice(options.faces)
    chimeras.refuse_ready_crops(options.sides, options.aligned)
    if options.workers is not None:
        checks.require_positive("workers", options.workers)
    checks.require_positive("file_timeout", options.file_timeout)
    checks.require_not_negative("min_face", options.min_face)
    checks.require_fraction("face_threshold", options.face_threshold)
    wanted = options.au_thresholds
    for value in wanted.values() if isinstance(wanted, Mapping) else [] if wanted is None else [wanted]:
        checks.require_fraction("au_thresholds", value)


def _note_unused(options: Options, extras: Extras, out: Path | None, videos: bool) -> None:
    """Show which options have no effect, a line each."""
    of_tables = {"workers": options.workers is not None, "ray": options.ray is not None}
    of_videos = {"track": options.track is not None, "min_face": options.min_face != MIN_FACE}
    notes = extras.describe_unused("" if out else NO_TABLE, "" if videos else NO_VIDEO)
    if out is None:
        notes.append(checks.describe_unused(of_tables, NO_TABLE))
    if not videos:
        notes.append(checks.describe_unused(of_videos, NO_VIDEO))
    elif options.aligned:
        notes.append(checks.describe_unused(of_videos, "the images are ready crops"))
    for note in filter(None, notes):
        console.note(note)


def _note_unused_of_camera(
    arguments: Mapping[str, Any], extras: Extras, of_camera: Mapping[str, Any]
) -> None:
    names = ("every", "track", "pictures", "max_bad", "workers", "file_timeout", "ray")
    given = {name: arguments[name] != getattr(Options(), name) for name in names}
    notes = [checks.describe_unused(given, CAMERA), *extras.describe_unused(CAMERA, CAMERA)]
    if of_camera["realtime"]:
        given = {"fps": arguments["fps"] is not None, "camera_size": bool(of_camera["camera_size"])}
        notes.append(checks.describe_unused(given, "the film is read at its own pace"))
    for note in filter(None, notes):
        console.note(note)


def _summarize(totals: Totals, out: Path | None, options: Options) -> Summary:
    if options.track is not None and not totals.faces:
        console.note(f"no face has track {options.track}; without --track, column 'track' has the numbers")
    bad = totals.count_bad(options.max_bad)
    return Summary(
        *(out, totals.inputs, totals.images, totals.faces, totals.statuses["no_face"]),
        *(totals.reasons, totals.pictures, bad, bad > options.max_bad * totals.inputs, totals.there),
    )


def _require_possible(weights: Path, options: Options) -> None:
    """Check before any work, and not in a worker process, that the weights can give what is asked for."""
    if not options.sides and options.au_thresholds is None:
        return
    metadata = load_arrays(weights)[1]
    chimeras.sided_aus(metadata, options.sides)
    choose_thresholds(metadata, number_thresholds(options.au_thresholds))


def _make_predictor(options: Options) -> "Predictor":
    from maeface.prediction.predictor import Predictor

    return Predictor(
        *(options.weights, options.device, options.aligned, options.faces, options.precision),
        *(options.detector, options.backend),
        min_face=options.min_face,
        face_threshold=options.face_threshold,
        au_thresholds=number_thresholds(options.au_thresholds),
        sides=options.sides,
    )


def _make_job(
    folder: Path, header: Mapping[str, Any], options: Options, extras: Extras, make: MakePredictor
) -> Callable[[Unit | OneFile, Notify], UnitResult]:
    """Make the job of a worker process.

    The first process chooses for all what ``auto`` stands for: the choice may depend on measured times.
    """
    with pipeline.settled_header(folder) as settled:
        chosen = {} if settled is None else {name: settled[name] for name in record.RESOLVED}
        predictor = make(replace(options, **chosen))
        pipeline.write_or_compare_header(folder, {**header, **record.describe_use(predictor)})
    if predictor.backend == "torch":
        import torch

        torch.set_num_threads(1)
    require_explainable(predictor, extras.explain)
    draw = None if options.pictures is None else partial(draw_photos, predictor, options.pictures, extras)

    def job(work: Unit | OneFile, notify: Notify) -> UnitResult:
        return predict_unit(work, folder, predictor, options.every, options.fps, notify, draw)

    return job
