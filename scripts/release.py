"""Release a version: check that it can be released, build it, and say, or do, what is left.

    uv run scripts/release.py          # checks, builds, and says what it would do
    uv run scripts/release.py --do     # also tries the wheels, tags the commit, and uploads

The version is that of pyproject.toml. The other places that name it must agree.
"""

import argparse
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import wheels

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
"""On which a release is tried; `uv` gets those that are not on the machine."""


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--do", action="store_true", help="do what is left, and do not only say it")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder of the packages")
    arguments = parser.parse_args()
    version = version_of(ROOT)
    faults, missing = check(ROOT, version), look_for_missing(ROOT, version)
    if faults or (missing and arguments.do):
        sys.exit("\n".join(f"release {version}: {one}" for one in (*faults, *missing)))
    wheels.build(arguments.out)
    for one in missing:
        print(f"in the way of a release: {one}")
    for command in steps(version, arguments.out):
        print(f"{'does' if arguments.do else 'would do'}: {shlex.join(command)}", flush=True)
        if arguments.do:
            subprocess.run(command, cwd=ROOT, check=True)


def version_of(root: Path) -> str:
    """Return the version of the package."""
    return str(tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["version"])


def check(root: Path, version: str) -> list[str]:
    """Return where the places that name the version do not agree with it; nothing if they do."""
    faults = []
    studio = tomllib.loads((root / "studio" / "pyproject.toml").read_text("utf-8"))["project"]
    major, minor, *_ = version.split(".")
    wanted = f"maeface>={major}.{minor},<{major}.{int(minor) + 1}"
    if studio["version"] != version:
        faults.append(f"studio/pyproject.toml has version {studio['version']}")
    if wanted not in studio["dependencies"]:
        faults.append(f"studio/pyproject.toml does not ask for {wanted}")
    cited = re.search(
        r"^version: [\"']?([^\"'\n]+)", (root / "CITATION.cff").read_text("utf-8"), re.MULTILINE
    )
    if not cited or cited[1] != version:
        faults.append(f"CITATION.cff has version {cited[1] if cited else 'none'}")
    return faults


def look_for_missing(root: Path, version: str) -> list[str]:
    """Return what has to be done before this version is released: most of the time there is something."""
    missing = []
    changes = (root / "CHANGELOG.md").read_text("utf-8")
    entry = re.search(
        rf"^## \[{re.escape(version)}\] - (\S+)$\n(.*?)(?=^## |\Z)", changes, re.MULTILINE | re.DOTALL
    )
    if not entry:
        missing.append(f"CHANGELOG.md has no entry '## [{version}] - YYYY-MM-DD'")
    elif not re.fullmatch(r"\d{4}-\d\d-\d\d", entry[1]):
        missing.append(f"CHANGELOG.md dates {version} {entry[1]}, expected YYYY-MM-DD")
    elif not re.search(r"^- ", entry[2], re.MULTILINE):
        missing.append(f"CHANGELOG.md says nothing of {version}")
    if git(root, "tag", "--list", f"v{version}"):
        missing.append(f"the tag v{version} is there already: raise the version in pyproject.toml")
    if git(root, "status", "--porcelain"):
        missing.append("there are changes that are not committed")
    return missing


def steps(version: str, out: Path) -> list[list[str]]:
    """Return the commands that are left when the packages are built and checked."""
    pythons = [word for python in PYTHONS for word in ("--python", python)]
    return [
        [sys.executable, "scripts/wheels.py", "--out", str(out), *pythons],
        ["git", "tag", "--annotate", f"v{version}", "--message", f"maeface {version}"],
        ["git", "push", "origin", f"v{version}"],
        ["uv", "publish", *(str(out / f"{name}-{version}*") for name in ("maeface", "maeface_studio"))],
    ]


def git(root: Path, *arguments: str) -> str:
    """Return what a command of git says; "" where there is no git, as in an unpacked source package."""
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
