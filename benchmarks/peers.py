"""Compare maeface with other tools for action units: install, first result, frames per second, memory.

    uv run python benchmarks/peers.py PHOTO FILM --task face_landmarker.task --out peers.json --page docs/comparison.md

Each tool is installed with uv into an environment of its own, and measures a photo and a film in a process of its own. A tool that
cannot be installed or run is listed with the last line of its error. The tools take turns, ``--repeats`` times, and the medians are
written as JSON, printed as a table, and with ``--page`` written into a page.

* install: seconds, which depend on what uv has in its cache, and the size of the environment.
* first result: from the start of the process to the values of the photo, models loaded from the disk.
* frames per second: of the whole film, read in the tool's own way.
* memory: highest resident size of the process or of one of its children.
"""  # noqa: E501

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
INSTALL_S, RUN_S = 900, 900
BEGIN, END = "<!-- peers: made by benchmarks/peers.py -->", "<!-- end of peers -->"
"""The table stands between them in a page."""

MAEFACE = """
import sys, time, maeface
predictor = maeface.Predictor(detector="embedded")
predictor([sys.argv[1]])
first = time.time()
from maeface import predict
import tempfile, pathlib, pandas
out = pathlib.Path(tempfile.mkdtemp()) / "table.parquet"
start = time.perf_counter()
predict.run([pathlib.Path(sys.argv[2])], None, out, detector="embedded")
report(first, len(set(pandas.read_parquet(out).frame)), time.perf_counter() - start)
"""
MEDIAPIPE = """
import sys, time, av, mediapipe
from mediapipe.tasks.python import BaseOptions, vision
def make(mode):
    base = BaseOptions(model_asset_path=sys.argv[3])
    return vision.FaceLandmarker.create_from_options(vision.FaceLandmarkerOptions(
        base_options=base, running_mode=mode, output_face_blendshapes=True))
make(vision.RunningMode.IMAGE).detect(mediapipe.Image.create_from_file(sys.argv[1]))
first, landmarker, count = time.time(), make(vision.RunningMode.VIDEO), 0
start = time.perf_counter()
for frame in av.open(sys.argv[2]).decode(video=0):
    image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=frame.to_ndarray(format="rgb24"))
    landmarker.detect_for_video(image, 40 * count)
    count += 1
report(first, count, time.perf_counter() - start)
"""
PY_FEAT = """
import sys, time, feat
detector = feat.Detectorv2()
detector.detect([sys.argv[1]], data_type="image")
first, start = time.time(), time.perf_counter()
table = detector.detect(sys.argv[2], data_type="video")
report(first, table["frame"].nunique(), time.perf_counter() - start)
"""
LIBREFACE = """
import sys, time, libreface
libreface.get_facial_attributes(sys.argv[1])
first, start = time.time(), time.perf_counter()
table = libreface.get_facial_attributes(sys.argv[2])
report(first, len(table), time.perf_counter() - start)
"""
OPENFACE = """
import subprocess, sys, time
subprocess.run([sys.executable, "-m", "openface.cli", "download"], check=True)
from openface import cli, demo
demo.process_image(image_path=sys.argv[1], output_dir="out", device="cpu")
first, start = time.time(), time.perf_counter()
table = demo.process_video(video_path=sys.argv[2], output_dir="out", device="cpu")
report(first, sum(1 for _ in open(table)) - 1, time.perf_counter() - start)
"""
PYFACEAU = """
import sys, time
from pyfaceau import FullPythonAUPipeline
pipeline = FullPythonAUPipeline()
pipeline.process_video(sys.argv[1])
first, start = time.time(), time.perf_counter()
table = pipeline.process_video(sys.argv[2])
report(first, len(table), time.perf_counter() - start)
"""
REPORT = """
def report(first, frames, seconds):
    import json
    print("RESULT " + json.dumps({"first": first, "frames": int(frames), "seconds": seconds}))
"""


@dataclass(frozen=True)
class Peer:
    """A tool: what uv installs, with which Python, and a script that measures a photo and a film."""

    packages: tuple[str, ...]
    script: str
    python: str = "3.11"


PEERS = {
    "maeface": Peer((str(ROOT),), MAEFACE),
    "MediaPipe": Peer(("mediapipe", "av"), MEDIAPIPE),
    "py-feat": Peer(("py-feat>=2",), PY_FEAT),
    "LibreFace": Peer(("libreface",), LIBREFACE, "3.9"),
    "OpenFace 3": Peer(("openface-test",), OPENFACE),
    "pyfaceau": Peer(("pyfaceau",), PYFACEAU),
}


def install(name: str, peer: Peer, folder: Path) -> dict[str, Any]:
    """Make the environment of a tool; return seconds and size, or the error."""
    environment = folder / name.replace(" ", "-")
    start = time.perf_counter()
    python = environment / "bin" / "python"
    for command in (
        ["uv", "venv", "-q", "--clear", "-p", peer.python, str(environment)],
        # as pip does: else the first start compiles hundreds of files
        ["uv", "pip", "install", "-q", "--compile-bytecode", "-p", str(python), *peer.packages],
    ):
        if error := _run(command, INSTALL_S)[1]:
            return {"python": peer.python, "error": f"cannot be installed: {error}"}
    seconds = time.perf_counter() - start
    size = int(subprocess.check_output(["du", "-sLm", environment], text=True).split()[0])
    return {"python": peer.python, "install_s": round(seconds, 1), "install_mb": size}


def measure(name: str, peer: Peer, folder: Path, arguments: list[str]) -> dict[str, Any]:
    """Run the script of a tool once; return its figures, or the error."""
    python = folder / name.replace(" ", "-") / "bin" / "python"
    start = time.time()
    command = [str(python), "-c", REPORT + peer.script, *arguments]
    measured = [sys.executable, "-c", MEASURED, *command]
    output, error = _run(measured, RUN_S, folder)
    if error:
        return {"error": f"cannot be run: {error}"}
    lines = output.splitlines()
    result = json.loads(next(line for line in lines if line.startswith("RESULT "))[7:])
    rate = result["frames"] / result["seconds"]
    return {"first_s": result["first"] - start, "frames_per_s": rate, "memory_mb": float(lines[-1])}


MEASURED = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
sys.exit(done.returncode)
"""


def main() -> None:
    """Measure all tools and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photo", type=Path)
    parser.add_argument("film", type=Path)
    parser.add_argument("--task", type=Path, required=True, help="MediaPipe's face_landmarker.task")
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    parser.add_argument("--page", type=Path, help="page whose table is replaced, such as docs/comparison.md")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tools", nargs="*", default=list(PEERS), choices=list(PEERS))
    given = parser.parse_args()
    arguments = [str(path.resolve()) for path in (given.photo, given.film, given.task)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = {tool: install(tool, PEERS[tool], folder) for tool in given.tools}
        runs: dict[str, list[dict[str, Any]]] = {tool: [] for tool in found if "error" not in found[tool]}
        for _ in range(given.repeats):
            for tool, rows in runs.items():
                if not any("error" in row for row in rows):
                    rows.append(measure(tool, PEERS[tool], folder, arguments))
                    print(tool, rows[-1], file=sys.stderr, flush=True)
        for tool, rows in runs.items():
            found[tool] |= next((row for row in rows if "error" in row), None) or _medians(rows)
            found[tool]["version"] = _version(folder, tool)
    header = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {_cpu()}, {os.cpu_count()} cores",
        "command": "python benchmarks/peers.py " + " ".join(Path(word).name for word in sys.argv[1:]),
        "repeats": given.repeats,
    }
    given.out.write_text(json.dumps(header | {"tools": found}, indent=2) + "\n", encoding="utf-8")
    print(render(header, found))
    if given.page:
        write_between(given.page, render(header, found))


def write_between(page: Path, text: str) -> None:
    """Replace what is between ``BEGIN`` and ``END`` in a page; ValueError if it has not each of them once."""
    before = page.read_text(encoding="utf-8")
    if before.count(BEGIN) != 1 or before.count(END) != 1:
        raise ValueError(f"{page} needs one line {BEGIN} and one line {END}")
    head, rest = before.split(BEGIN)
    page.write_text(f"{head}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}", encoding="utf-8")


def render(header: dict[str, Any], found: dict[str, dict[str, Any]]) -> str:
    """Return the figures as a table in Markdown."""
    lines = [
        f"`{header['command']}`, {header['machine']}, {header['date']}, n = {header['repeats']}",
        "",
        "| tool | install | first result | frames/s | memory |",
        "| --- | --- | --- | --- | --- |",
    ]
    for tool, row in found.items():
        title = f"{tool} {row.get('version', '')}".strip()
        if "error" in row:
            installed = f"{row['install_s']:.0f} s, {row['install_mb']} MB" if "install_s" in row else "–"
            lines.append(f"| {title} | {installed} | {row['error'].replace('|', '/')} | – | – |")
            continue
        lines.append(
            f"| {title} | {row['install_s']:.0f} s, {row['install_mb']} MB | {row['first_s']:.1f} s "
            f"| {row['frames_per_s']:.0f} | {row['memory_mb']:.0f} MB |"
        )
    return "\n".join(lines)


def _medians(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {key: round(statistics.median(row[key] for row in rows), 2) for key in rows[0]}


def _run(command: list[str], seconds: float, folder: Path | None = None) -> tuple[str, str]:
    """Return the output of a command, and the last line of its error; "" if there was none."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, cwd=folder)
    except subprocess.TimeoutExpired:
        return "", f"nothing after {seconds:.0f} s"
    if done.returncode == 0:
        return done.stdout, ""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return done.stdout, (lines or [f"exit code {done.returncode}"])[-1][:200]


def _version(folder: Path, tool: str) -> str:
    python = folder / tool.replace(" ", "-") / "bin" / "python"
    package = {"py-feat": "py-feat", "OpenFace 3": "openface-test"}.get(tool, tool.lower())
    script = f"from importlib.metadata import version; print(version({package!r}))"
    return _run([str(python), "-c", script], 60)[0].strip()


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
