"""Frames per second of ``maeface predict`` beside MediaPipe's Face Landmarker, on the same films.

    uv run --with mediapipe python benchmarks/predict.py ../shared/videos/pyfeat_single_face.mp4 \
        ../shared/videos/grid_swiz3n.mpg --task ../shared/weights/face_landmarker.task

Each clip is joined to itself until it lasts ``--seconds``. The whole command runs on as many copies of this
film as there are cores, and on copies of a film a quarter as long; the difference of the two times gives the
rate in steady state, and their intercept the start-up, imports included. MediaPipe (video mode, with
blendshapes) reads the film in a process of its own, which uses all cores; its start-up is left out. The tools
take turns, so that a busy machine slows down both; medians are printed, and the median of the pairs' ratios.
Then the stages of a frame are timed, one by one on one core.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np

from maeface.faces import finder, geometry, media, tracking
from maeface.model import zoo
from maeface.prediction.predictor import Predictor

SHORT = 4
"""The short film is this many times shorter than the long one."""

MEDIAPIPE = """
import sys, time, av, mediapipe
from mediapipe.tasks.python import BaseOptions, vision
options = vision.FaceLandmarkerOptions(
    base_options=BaseOptions(model_asset_path=sys.argv[1]),
    running_mode=vision.RunningMode.VIDEO, output_face_blendshapes=True)
with vision.FaceLandmarker.create_from_options(options) as landmarker, av.open(sys.argv[2]) as film:
    start, count = time.perf_counter(), 0
    for frame in film.decode(video=0):
        pixels = frame.to_ndarray(format="rgb24")
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)
        landmarker.detect_for_video(image, 40 * count)
        count += 1
    print(count / (time.perf_counter() - start))
"""


def main() -> None:
    """Run and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--task", type=Path, help="MediaPipe's face_landmarker.task; without it, no peer")
    parser.add_argument("--peer-python", default=sys.executable, help="a Python that has mediapipe and av")
    parser.add_argument("--weights", nargs="*", default=[zoo.DEFAULT])
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--heights", type=int, nargs="*", default=[], help="also the clips enlarged so")
    parser.add_argument("--copies", type=int, default=os.cpu_count())
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="of maeface predict; last")
    options = parser.parse_args()
    print(f"{_machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder:
        for clip in options.clips:
            for height in (None, *options.heights):
                films = _films(clip, height, options.seconds, Path(folder))
                for weights in options.weights:
                    _compare(clip.name, films, weights, options)
    _time_stages(options.clips[0], options.weights[0])


def _compare(name: str, films: tuple[Path, Path], weights: str, options: argparse.Namespace) -> None:
    frames = [options.copies * _count(film) for film in films]
    ours: list[float] = []
    starts: list[float] = []
    peers: list[float] = []
    for _ in range(options.repeats):
        short, long = (_time_predict(film, weights, options) for film in films)
        ours.append((frames[1] - frames[0]) / (long - short))
        starts.append(short - frames[0] / ours[-1])
        if options.task:
            peers.append(_rate_of_mediapipe(films[1], options))
    shape = _shape(films[0])
    line = f"{name} {shape}, {weights}: {statistics.median(ours):.0f} frames/s"
    line += f" ({min(ours):.0f} to {max(ours):.0f}), start-up {statistics.median(starts):.1f} s"
    if peers:
        ratios = [one / peer for one, peer in zip(ours, peers, strict=True)]
        line += f"; MediaPipe {statistics.median(peers):.0f}; ratio {statistics.median(ratios):.2f}"
        line += f" ({min(ratios):.2f} to {max(ratios):.2f})"
    print(f"{line}; n = {options.repeats}, {frames[1]} frames", flush=True)


def _time_predict(film: Path, weights: str, options: argparse.Namespace) -> float:
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.copies):
            (Path(folder) / f"{number}{film.suffix}").symlink_to(film)
        command = [sys.executable, "-m", "maeface", "predict", folder, "--weights", weights]
        command += ["--out", f"{folder}/table.csv", *options.options]
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - start


def _rate_of_mediapipe(film: Path, options: argparse.Namespace) -> float:
    command = [options.peer_python, "-c", MEDIAPIPE, str(options.task), str(film)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _time_stages(clip: Path, weights: str) -> None:
    """Print the time of each stage of a frame of a clip with one face, on one core."""
    predictor = Predictor(weights, device="cpu", threads=1)
    detector, size = predictor.face_finder.film_detector, predictor.metadata.preprocessing.image_size
    start = time.perf_counter()
    frames = [one.rgb for one in media.read_frames(clip) if isinstance(one, media.Frame)]
    decode = 1000 * (time.perf_counter() - start) / len(frames)
    frame, face = frames[0], finder.find_faces(detector, frames[:1])[0][0]
    crops = np.stack([geometry.crop(frame, face.square, size)] * 15)
    stages: list[tuple[str, float, Callable[[], object]]] = [
        ("search of the whole frame", 1 / 15, lambda: finder.find_faces(detector, [frame], "all", 32)),
        ("look in a window", 2 / 15, lambda: finder.look_again(detector, [frame], [face.face])),
        ("landmarks", 1, lambda: detector.move_landmarks([frame], [face.face.landmarks])),
        ("descriptor", 1 / 15, lambda: tracking.describe(frame, face.face)),
        ("crop", 1, lambda: geometry.crop(frame, face.square, size)),
        ("AU model", 1 / 15, lambda: predictor.predict_crops(crops, mirror=False)),
    ]
    print(f"\nstages of {clip.name}, {weights}, {predictor.backend} {predictor.precision}, ms")
    print(f"{'stage':28}{'once':>8}{'a frame':>9}")
    print(f"{'decode, convert to RGB':28}{decode:8.2f}{decode:9.2f}")
    for name, share, run in stages:
        once = _median_ms(run)
        print(f"{name:28}{once:8.2f}{once * share:9.2f}")


def _median_ms(run: Callable[[], object]) -> float:
    times = []
    for k in range(60):
        start = time.perf_counter()
        run()
        if k >= 30:  # OpenVINO compiles for a shape when it has come often
            times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def _films(clip: Path, height: int | None, seconds: float, folder: Path) -> tuple[Path, Path]:
    """Write a short and a long film of a clip, enlarged to ``height`` if it is given; return both."""
    source = clip if height is None else _enlarge(clip, height, folder)
    length = _duration(source)
    films = []
    for part in (seconds / SHORT, seconds):
        film = folder / f"{clip.stem}_{height or 0}_{part:.0f}.mkv"
        _join(source, max(1, round(part / length)), film)
        films.append(film)
    return films[0], films[1]


def _join(clip: Path, times: int, film: Path) -> None:
    """Join a clip to itself, without encoding it anew."""
    with av.open(str(clip)) as source, av.open(str(film), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        packets = [packet for packet in source.demux(stream) if packet.dts is not None]
        first = min(packet.pts for packet in packets)
        length = max(packet.pts + (packet.duration or 0) for packet in packets) - first
        stamps = [(packet.pts - first, packet.dts - first) for packet in packets]
        for k in range(times):
            for packet, (pts, dts) in zip(packets, stamps, strict=True):
                packet.pts, packet.dts, packet.stream = pts + k * length, dts + k * length, copy
                packet.time_base = stream.time_base
                target.mux(packet)


def _enlarge(clip: Path, height: int, folder: Path) -> Path:
    """Write a clip again, with another height."""
    path = folder / f"{clip.stem}_{height}.mp4"
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        width = 2 * round(stream.width / stream.height * height / 2)
        copy: Any = target.add_stream("libx264", rate=stream.average_rate, options={"crf": "18"})
        copy.width, copy.height, copy.pix_fmt = width, height, "yuv420p"
        for frame in source.decode(stream):
            frame = frame.reformat(width=width, height=height, format="yuv420p", interpolation="BICUBIC")
            frame.pict_type = 0
            target.mux(copy.encode(frame))
        target.mux(copy.encode(None))
    return path


def _duration(film: Path) -> float:
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        return sum(1 for packet in container.demux(stream) if packet.size) / float(stream.average_rate)


def _count(film: Path) -> int:
    with av.open(str(film)) as container:
        return sum(1 for packet in container.demux(video=0) if packet.size)


def _shape(film: Path) -> str:
    with av.open(str(film)) as container:
        context = container.streams.video[0].codec_context
        return f"{context.width}x{context.height} {context.name}"


def _machine() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    main()
