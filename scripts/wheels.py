"""Build the wheels and source packages, check what is in them, and try them in empty environments.

uv run scripts/wheels.py                               # build and check, in seconds
uv run scripts/wheels.py --python 3.11 --python 3.13   # and install and run them, in minutes each
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST_OF_FILE, MOST_OF_PACKAGE = 3_000_000, 25_000_000
"""Bytes of a file, and of a wheel or source package."""
NEEDED = {
    "maeface": (
        "maeface/zoo/maeface-nano-96.safetensors",
        "maeface/zoo/maeface-nano-motion.safetensors",
        "maeface/zoo/maeface-nano.safetensors",
        "maeface/faces/weights/retinaface-maeface.safetensors",
        "maeface/sample/manifest.parquet",
        "maeface/sample/shards/00000.tar",
        "maeface/recipes/detection.toml",
        "maeface/datasets/disfa.toml",
        "maeface/published/table1.toml",
        "maeface/au_pictures/AU12.jpg",
        "maeface/report/page/uPlot.iife.min.js",
        "maeface/service/page/index.html",
        "maeface/service/page/page.css",
        "maeface/service/page/page.js",
        "maeface/py.typed",
        "entry_points.txt",
        "licenses/LICENSE",
        "licenses/src/maeface/report/page/uPlot.LICENSE",
    ),
    "maeface_studio": (
        "maeface_studio/camera/shaders/surface.frag",
        "maeface_studio/weights/recipes/maeface-nano-96.toml",
        "maeface_studio/weights/recipes/maeface-nano-motion.toml",
        "maeface_studio/py.typed",
        "entry_points.txt",
        "licenses/LICENSE",
    ),
}
"""What a wheel must have, by the ends of the names."""
NEEDED_OF_SOURCE = ("/pyproject.toml", "/README.md", "/LICENSE", "/tests/")
FOREIGN = ("tests/", "benchmarks/", "docs/", "examples/", "scripts/", "studio/")
"""Folders that belong in no wheel."""


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder of the packages")
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        help="try the wheels on this Python, too: a version or a path; uv gets it if it is not there",
    )
    arguments = parser.parse_args()
    wheels = build(arguments.out)
    for python in arguments.python:
        with tempfile.TemporaryDirectory() as folder:
            print(f"Python {python}: {try_out(wheels, python, Path(folder))}")


def build(out: Path) -> list[Path]:
    """Build and check the packages; return the wheels."""
    for old in (*out.glob("maeface*.whl"), *out.glob("maeface*.tar.gz")):
        old.unlink()
    subprocess.run(["uv", "build", "--quiet", "--all-packages", "--out-dir", out], cwd=ROOT, check=True)
    packages = sorted((*out.glob("maeface*.whl"), *out.glob("maeface*.tar.gz")))
    for path in packages:
        names = contents(path)
        faults = check(path.name, names, path.stat().st_size)
        if faults:
            sys.exit(f"{path.name}: " + "; ".join(faults))
        print(f"{path.name}: {len(names)} files, {path.stat().st_size / 1e6:.1f} MB")
    return [path for path in packages if path.suffix == ".whl"]


def contents(path: Path) -> dict[str, int]:
    """Return the sizes of the files in a wheel or source package, in bytes, by name."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            return {one.filename: one.file_size for one in wheel.infolist() if not one.is_dir()}
    with tarfile.open(path) as source:
        return {one.name: one.size for one in source if one.isfile()}


def check(package: str, names: Mapping[str, int], size: int) -> list[str]:
    """Return what is wrong with a package of this file name; nothing if all is well."""
    faults = [f"{name} has {there / 1e6:.1f} MB" for name, there in names.items() if there > MOST_OF_FILE]
    if size > MOST_OF_PACKAGE:
        faults.append(f"it has {size / 1e6:.1f} MB, at most {MOST_OF_PACKAGE / 1e6:.0f} are allowed")
    faults += [f"{name} is in it" for name in names if name.endswith(".pyc") or "__pycache__" in name]
    name = package.split("-")[0]
    if package.endswith(".whl"):
        faults += [f"{one} is missing" for one in NEEDED[name] if not _has(names, one)]
        faults += [f"{one} is in it" for one in names if one.startswith(FOREIGN) or "/tests/" in one]
        return faults
    inner = [one.partition("/")[2] for one in names]
    faults += [
        f"{one} is missing"
        for one in NEEDED_OF_SOURCE
        if not any(f"/{each}".startswith(one) for each in inner)
    ]
    faults += [f"{one} is in it" for one in inner if one.startswith("studio/")]
    return faults + [f"{one} is missing" for one in NEEDED[name][:-2] if "/" in one and not _has(names, one)]


def _has(names: Iterable[str], end: str) -> bool:
    return any(f"/{name}".endswith(f"/{end}") for name in names)


def try_out(wheels: list[Path], python: str, folder: Path) -> str:
    """Install the wheels in an empty environment and run them; return what was seen, or end the program."""
    environment = folder / "environment"
    if subprocess.run(["uv", "venv", "--quiet", "--python", python, environment], check=False).returncode:
        sys.exit(f"no environment with Python {python}; uv says why. If there is none, give the path of one")
    scripts = environment / ("Scripts" if os.name == "nt" else "bin")
    interpreter = scripts / "python"
    command = ["uv", "pip", "install", "--quiet", "--python", interpreter, *wheels]
    if subprocess.run(command, check=False).returncode:  # libraries of the registry, these two of here
        sys.exit(f"the wheels cannot be installed on Python {python}; uv says why")
    return run_installed(scripts, folder)


def run_installed(scripts: Path, folder: Path) -> str:
    """Run the commands of an environment, in a folder that is no copy of the repository."""

    def run(command: str, *arguments: str | Path) -> str:
        line = [scripts / command, *arguments]
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(line, cwd=folder, env=kept, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(map(str, line))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    version = run("maeface", "--version").strip()
    run("maeface-studio", "--help")
    report = json.loads(run("maeface", "doctor", "--json", "--time-limit", "600"))
    package = run(
        "python", "-c", "import maeface, pathlib; print(pathlib.Path(maeface.__file__).parent)"
    ).strip()
    table = folder / "faces.csv"
    run("maeface", "predict", Path(package) / "au_pictures" / "AU12.jpg", "--out", table)
    with table.open(encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: float(row["x1"]))
    smiles = [float(row["AU12_i"]) for row in rows]
    if len(smiles) != 6 or not smiles[0] < 1 <= smiles[-1]:
        sys.exit(f"expected six faces, from left to right with more of AU12, got intensities of {smiles}")
    speeds = [
        one["detail"] for one in report["findings"] if one["group"] == "back end" and one["state"] == "ok"
    ]
    return f"maeface {version}, 6 faces of a picture, {len(speeds)} back ends work ({'; '.join(speeds)})"


if __name__ == "__main__":
    main()
