"""A release: what is in its way, what is in its packages, and that nothing is done without being asked."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import release  # noqa: E402
import wheels  # noqa: E402


@pytest.fixture
def copy(tmp_path):
    """The files that name the version, in a repository without tags."""
    for name in ("pyproject.toml", "studio/pyproject.toml", "CITATION.cff", "CHANGELOG.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    git(tmp_path, "init", "--quiet")
    commit(tmp_path)
    return tmp_path


def git(folder, *arguments):
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
    )


def commit(folder):
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "all")


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_this_version_can_be_released(copy):
    version = release.version_of(copy)
    assert release.check(copy, version) == [] and release.look_for_missing(copy, version) == []


def test_what_is_in_the_way_is_named(copy):
    replace(copy / "pyproject.toml", 'version = "0.1.0"', 'version = "0.2.0"')
    version = release.version_of(copy)
    assert version == "0.2.0"
    assert release.check(copy, version) == [
        "studio/pyproject.toml has version 0.1.0",
        "studio/pyproject.toml does not ask for maeface>=0.2,<0.3",
        "CITATION.cff has version 0.1.0",
    ]
    assert release.look_for_missing(copy, version) == [
        "CHANGELOG.md has no entry '## [0.2.0] - YYYY-MM-DD'",
        "there are changes that are not committed",
    ]


def test_an_entry_has_a_date_and_says_something(copy):
    replace(copy / "CHANGELOG.md", "[0.1.0] - 2026-11-28", "[0.1.0] - soon")
    commit(copy)
    assert release.look_for_missing(copy, "0.1.0") == ["CHANGELOG.md dates 0.1.0 soon, expected YYYY-MM-DD"]
    (copy / "CHANGELOG.md").write_text(
        "# Changelog\n\n## [0.1.0] - 2026-11-28\n\n## [0.0.1] - 2026-11-01\n\n- a\n"
    )
    commit(copy)
    assert release.look_for_missing(copy, "0.1.0") == ["CHANGELOG.md says nothing of 0.1.0"]


def test_a_version_is_released_once(copy):
    git(copy, "tag", "v0.1.0")
    (fault,) = release.look_for_missing(copy, "0.1.0")
    assert fault.startswith("the tag v0.1.0 is there already")


def test_a_dry_run_says_what_it_would_do_and_does_nothing(monkeypatch, capsys, tmp_path):
    built, ran = [], []
    monkeypatch.setattr(sys, "argv", ["release.py", "--out", str(tmp_path)])
    monkeypatch.setattr(release, "look_for_missing", lambda root, version: ["no entry"])
    monkeypatch.setattr(wheels, "build", built.append)
    monkeypatch.setattr(release.subprocess, "run", lambda *words, **options: ran.append(words))
    release.main()
    lines = capsys.readouterr().out.splitlines()
    assert built == [tmp_path] and ran == []
    assert lines.pop(0) == "in the way of a release: no entry"
    assert [line.split()[:2] for line in lines] == [["would", "do:"]] * 4
    assert "git tag --annotate v0.1.0" in lines[1] and f"{tmp_path}/maeface-0.1.0*" in lines[3]


def test_a_fault_ends_the_release_before_anything_is_built(monkeypatch):
    monkeypatch.setattr(wheels, "build", lambda out: pytest.fail("built"))
    monkeypatch.setattr(release, "look_for_missing", lambda root, version: ["no entry"])
    monkeypatch.setattr(sys, "argv", ["release.py", "--do"])
    with pytest.raises(SystemExit, match=r"^release 0.1.0: no entry$"):
        release.main()
    monkeypatch.setattr(release, "check", lambda root, version: ["versions differ"])
    monkeypatch.setattr(sys, "argv", ["release.py"])
    with pytest.raises(SystemExit, match=r"^release 0.1.0: versions differ\n"):
        release.main()


def whole(package):
    return dict.fromkeys((*wheels.NEEDED[package], "maeface/cli.py"), 1000)


def test_what_belongs_in_a_wheel():
    names = whole("maeface")
    assert wheels.check("maeface-0.1.0-py3-none-any.whl", names, 10_000_000) == []
    wrong = names | {"tests/test_au.py": 1, "maeface/a.pyc": 1, "maeface/zoo/large.safetensors": 90_000_000}
    del wrong["maeface/zoo/maeface-nano.safetensors"]
    assert wheels.check("maeface-0.1.0-py3-none-any.whl", wrong, 80_000_000) == [
        "maeface/zoo/large.safetensors has 90.0 MB",
        "it has 80.0 MB, at most 25 are allowed",
        "maeface/a.pyc is in it",
        "maeface/zoo/maeface-nano.safetensors is missing",
        "tests/test_au.py is in it",
    ]


def test_what_belongs_in_a_source_package():
    names = {f"maeface-0.1.0/src/{name}": size for name, size in whole("maeface").items()}
    names |= dict.fromkeys(
        (f"maeface-0.1.0{one}" for one in ("/pyproject.toml", "/README.md", "/LICENSE")), 1
    )
    names |= {"maeface-0.1.0/tests/test_au.py": 1}
    assert wheels.check("maeface-0.1.0.tar.gz", names, 1) == []
    names["maeface-0.1.0/studio/src/maeface_studio/__init__.py"] = 1
    del names["maeface-0.1.0/LICENSE"]
    assert wheels.check("maeface-0.1.0.tar.gz", names, 1) == [
        "/LICENSE is missing",
        "studio/src/maeface_studio/__init__.py is in it",
    ]


def test_packaged_files_that_are_named_are_in_the_repository():
    for package, folder in (("maeface", "src"), ("maeface_studio", "studio/src")):
        for name in wheels.NEEDED[package]:
            if name.startswith(package):
                assert (ROOT / folder / name).is_file(), name


def test_a_python_that_is_not_there_is_one_line(tmp_path):
    missing = tmp_path / "python3.99"
    with pytest.raises(SystemExit, match=r"no environment with Python .*python3\.99; uv says why"):
        wheels.try_out([], str(missing), tmp_path)
