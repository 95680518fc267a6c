"""``maeface doctor``: what works, what is missing, what is broken, and what to do."""

import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from maeface import console, doctor
from maeface.diagnosis import finding, libraries, machine, weights
from maeface.diagnosis.finding import LONGER, MARK, Clock, Finding
from maeface.errors import ConfigError

ROOT = Path(__file__).parents[1]


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Makes installed libraries of some code: {name: code}."""

    def install(**codes):
        for name, code in codes.items():
            (tmp_path / f"{name}.py").write_text(code)
            (tmp_path / f"{name}-1.5.dist-info").mkdir()
            (tmp_path / f"{name}-1.5.dist-info" / "METADATA").write_text(f"Name: {name}\nVersion: 1.5\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return install


def test_libraries_that_work_fail_crash_and_hang(packages, monkeypatch):
    packages(
        one="",
        two="raise OSError('libx.so: no such file')",
        three="import os; os.abort()",
        four="",
        five="print(1)",
    )
    names = ["one", "two", "not-there", "three", "four", "five"]
    monkeypatch.setattr(libraries, "requirements", lambda: [(name, "") for name in names])
    found = {one.name: one for one in libraries.find_libraries(Clock(600))}
    assert [found[name].state for name in names] == ["ok", "broken", "missing", "broken", "ok", "ok"]
    assert found["two"].detail == "1.5: OSError: libx.so: no such file"
    assert found["three"].detail == "1.5: the process crashed, exit code -6"
    assert found["four"].detail == "1.5"
    assert found["not-there"].advice == "uv pip install --reinstall not-there"
    assert [one.name for one in doctor.Report(tuple(found.values())).broken] == ["not-there", "two", "three"]


def test_a_library_that_hangs(packages, monkeypatch):
    packages(six="import time; time.sleep(60)", seven="")
    six, seven = libraries._import(["six", "seven"], Clock(8))
    assert six == ("six", "stopped", "1.5: stopped after 4 s") and seven[0] == "seven"


def test_no_time_is_left(packages, monkeypatch):
    packages(six="", seven="")
    monkeypatch.setattr(libraries, "requirements", lambda: [("six", ""), ("seven", "ray")])
    clock = Clock(7)
    monkeypatch.setattr(finding.time, "monotonic", lambda: clock._end + 1)
    *_, needed = libraries.find_libraries(clock)
    assert needed == Finding("version", "six", "stopped", "1.5: not tried: 7 s were over", True, LONGER)
    report = doctor.Report((needed, *libraries.find_extras(clock)))
    assert report.findings[1].detail == "seven: not checked in time"
    assert doctor.conclude(report) == f"six is stopped: {LONGER}"
    more = doctor.Report((needed, replace(needed, name="eight")))
    assert doctor.conclude(more) == f"six, eight are stopped: {LONGER}"


def test_extras_say_what_they_bring_and_how_to_get_them(packages, monkeypatch):
    packages(pi_heif="raise ImportError('no libheif')", ray="")
    monkeypatch.setattr(
        libraries, "requirements", lambda: [("pi_heif", "heif"), ("ray", "ray"), ("nope", "wandb")]
    )
    found = {one.name: one for one in libraries.find_extras(Clock(600))}
    assert not any(one.needed for one in found.values())
    assert found["ray"] == Finding("extra", "ray", "ok", "ray 1.5: prepare and predict on many machines")
    assert found["wandb"].state == "missing"
    assert found["wandb"].detail.endswith("Weights & Biases: uv pip install 'maeface[wandb]'")
    assert found["heif"].advice == "uv pip install --reinstall pi_heif"


@pytest.mark.parametrize(
    ("there", "state", "detail"),
    [
        (
            {},
            "missing",
            "optional: maeface serve: FastAPI and uvicorn; without one, two: uv pip install 'maeface[serve]'",
        ),
        ({"two": ""}, "missing", "optional: {}; without one: uv pip install 'maeface[serve]'"),
        ({"one": "", "two": ""}, "ok", "one 1.5, two 1.5: {}"),
        ({"one": "raise OSError('no libc')", "two": ""}, "broken", "one 1.5: OSError: no libc"),
    ],
)
def test_an_extra_of_several_libraries_has_one_line(there, state, detail, packages, monkeypatch):
    packages(**there)
    monkeypatch.setattr(libraries, "requirements", lambda: [("one", "serve"), ("two", "serve")])
    (found,) = libraries.find_extras(Clock(600))
    assert (found.name, found.state) == ("serve", state)
    assert found.detail == detail.format(libraries.EXTRAS["serve"])


def test_extras_are_those_of_the_package_and_stand_on_their_page():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert libraries.EXTRAS.keys() == project["optional-dependencies"].keys()
    page = (ROOT / "docs" / "user_guide" / "installation.md").read_text()
    for extra, brings in libraries.EXTRAS.items():
        assert re.search(rf"^\| `{extra}` \| {re.escape(brings)}", page, re.MULTILINE), extra
    names = {re.match(r"[\w.-]+", line)[0] for line in project["dependencies"]}
    assert names <= {name for name, extra in libraries.requirements() if not extra}


def test_other_packages_add_checks(packages, tmp_path, monkeypatch):
    packages(checked="def good(): return 'fine, 4.5'\ndef bad(): raise RuntimeError('no screen')")
    (tmp_path / "checked-1.5.dist-info" / "entry_points.txt").write_text(
        "[maeface.doctor]\nGood = checked:good\nBad = checked:bad\n"
    )
    found = {one.name: (one.state, one.detail, one.needed) for one in libraries.find_studio(Clock(600))}
    assert found["Good"] == ("ok", "fine, 4.5", False)
    assert found["Bad"] == ("broken", "RuntimeError: no screen", False)


def test_the_studio_checks_opengl():
    assert [point.value for point in metadata.entry_points(group=libraries.CHECKS, name="OpenGL")] == [
        "maeface_studio.camera.opengl:describe"
    ]


def test_a_back_end_is_measured_and_its_values_are_checked(capsys, monkeypatch):
    monkeypatch.setattr(machine, "MEASURED_S", 0.1)
    monkeypatch.setattr(machine, "FACES", 6)
    machine.measure("onnxruntime", "cpu")
    speed, precision, wrong = json.loads(capsys.readouterr().out.rpartition(MARK)[2])
    assert speed > 0 and precision == "fp32" and wrong == ""
    monkeypatch.setattr(machine, "AU", "AU28")  # which the picture does not show
    machine.measure("onnxruntime", "cpu")
    assert "wrong: AU28 of 6 faces should rise" in capsys.readouterr().out


@pytest.mark.parametrize(("right", "needed"), [((), 1), (("torch",), 0)])
def test_one_back_end_has_to_work(monkeypatch, right, needed):
    def run(module, function, arguments, clock):
        if function == "find_gpus":
            return [], "ok", ""
        backend, _ = arguments
        if backend == "openvino":
            return [], "broken", "the process crashed, exit code -4"
        return [[12.25, "fp32", "" if backend in right else "wrong: AU12"]], "ok", ""

    monkeypatch.setattr(machine, "in_process", run)
    found = list(machine.find_backends(Clock(600)))
    assert [one.name for one in found[:3]] == ["openvino on cpu", "onnxruntime on cpu", "torch on cpu"]
    assert found[0].state == "broken" and found[0].advice == "uv pip install --reinstall openvino"
    assert sum(one.needed and one.state != "ok" for one in found) == needed
    if right:
        assert found[2].detail == "12.2 faces/s in one process, fp32" and found[2].faces_per_s == 12.25


def test_the_cpu_and_its_features(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text("model name\t: Some CPU\nflags\t\t: fpu avx2 amx_bf16\n")
    assert machine.describe_cpu(tmp_path) == ("Some CPU", ["avx2", "amx_bf16"])
    kind, features = machine.describe_cpu(tmp_path / "elsewhere")
    assert kind and features == []


def test_weights_with_size_licence_and_place(tmp_path, monkeypatch):
    (tmp_path / "FaRL-Base-Patch16-LAIONFace20M-ep64.pth").write_bytes(b"0" * 250_000)
    monkeypatch.setenv("MAEFACE_WEIGHTS", str(tmp_path))
    found = {one.name: one for one in weights.find_weights(Clock(600))}
    assert found["maeface-nano-96"].detail.endswith("Apache-2.0, in the package: the default AU model")
    assert found["FaRL-Base-Patch16-LAIONFace20M-ep64.pth"].detail == f"0.2 MB, MIT, in {tmp_path}"
    monkeypatch.setenv("MAEFACE_WEIGHTS", str(tmp_path / "gone"))
    found = {one.name: one for one in weights.find_weights(Clock(600))}
    assert found["MAEFACE_WEIGHTS"].state == "broken" and not found["MAEFACE_WEIGHTS"].needed


def test_weights_that_the_package_lacks(tmp_path, monkeypatch):
    monkeypatch.setattr(weights.zoo, "folder", lambda: tmp_path)
    monkeypatch.setattr(weights.detector_weights, "EMBEDDED", tmp_path / "retinaface.safetensors")
    report = doctor.Report(tuple(weights.find_weights(Clock(600))))
    assert [one.name for one in report.broken] == ["maeface-nano-96", "retinaface"]
    assert doctor.conclude(report).startswith(f"maeface-nano-96, retinaface are missing: {finding.REINSTALL}")


def test_the_command_works_where_pytorch_does_not(packages, tmp_path):
    packages(torch="raise ImportError('libcudart.so.13: cannot open shared object file')")
    done = subprocess.run(
        [sys.executable, "-m", "maeface", "doctor", "--json", "--no-speed", "--time-limit", "600"],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    report = json.loads(done.stdout)
    assert (done.returncode, report["ok"]) == (5, False), done.stderr
    found = {one["name"]: one for one in report["findings"]}
    assert found["torch"]["state"] == "broken" and "libcudart.so.13" in found["torch"]["detail"]
    assert found["numpy"]["state"] == "ok" and "FFmpeg" in found["av"]["detail"]
    assert "PyTorch cannot say: ImportError: libcudart" in found["GPU"]["detail"]
    assert found["maeface-nano"]["state"] == "ok"
    assert "torch is broken: uv pip install --reinstall torch" in done.stderr.splitlines()


def test_a_group_that_fails_does_not_hide_the_others(monkeypatch):
    def fail(clock):
        raise RuntimeError("no metadata")

    monkeypatch.setattr(libraries, "find_libraries", fail)
    monkeypatch.setattr(doctor, "GROUPS", {name: doctor.GROUPS[name] for name in ("version", "weights")})
    report = doctor.run()
    assert report.findings[0].detail == "RuntimeError: no metadata" and report.findings[0].needed
    assert {one.group for one in report.findings} == {"version", "weights"}
    table = doctor.render(report)
    assert table.row_count == len(report.findings)


def test_advice_about_maeface_and_the_studio_needs_no_registry(monkeypatch):
    assert "uv pip install --reinstall . " in finding.REINSTALL

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(libraries.metadata, "version", missing)
    studio = next(iter(libraries.find_studio(Clock(600))))
    assert studio.state == "missing" and "uv pip install ./studio " in studio.advice


def test_back_ends_that_had_no_time_are_not_called_broken(monkeypatch):
    monkeypatch.setattr(machine, "in_process", lambda *given: ([], "stopped", "stopped after 20 s"))
    *found, last = machine.find_backends(Clock(60))
    assert {(one.state, one.detail, one.advice) for one in found} == {
        ("stopped", "stopped after 20 s", LONGER)
    }
    assert (last.state, last.needed, last.advice) == ("stopped", True, LONGER)


def test_pytorch_on_a_gpu_is_measured_where_it_finds_one(monkeypatch):
    asked = []

    def run(module, function, arguments, clock):
        asked.append((function, *arguments))
        return ([["H100", "cuda:0"]] if function == "find_gpus" else [[9.0, "bf16", ""]]), "ok", ""

    monkeypatch.setattr(machine, "in_process", run)
    clock = Clock(60)
    assert [one.name for one in machine.find_devices(clock)] == ["CPU", "H100"]
    assert [one.name for one in machine.find_backends(clock)][-1] == "torch on cuda"
    assert sum(function == "find_gpus" for function, *_ in asked) == 1


def test_groups_that_take_seconds_and_minutes_have_no_time_left(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "GROUPS", {"weights": doctor.GROUPS["weights"]})
    monkeypatch.setattr(console, "PLAIN_LINE_EVERY_S", 0)
    doctor.run()
    assert capsys.readouterr().err.splitlines()[-1] == "doctor: 1/1 groups  weights"


@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_time_limit_is_above_0(value):
    with pytest.raises(ConfigError, match=rf"^time_limit is {value:g}; expected a number above 0"):
        doctor.run(time_limit=value)


def test_what_is_optional_and_not_there_reads_as_no_fault(monkeypatch, capsys):
    monkeypatch.setattr(machine, "in_process", lambda *given: ([], "ok", ""))
    gpu = list(machine.find_devices(Clock(60)))[-1]
    needed = Finding("version", "numpy", "missing", "", True, finding.REINSTALL)
    console.print_result(doctor.render(doctor.Report((gpu, needed))))
    shown = capsys.readouterr().out
    assert re.search(r"^device +GPU +not found +optional: PyTorch finds none;", shown, re.MULTILINE)
    assert re.search(r"^version +numpy +missing", shown, re.MULTILINE)
    read = json.loads(doctor.to_json(doctor.Report((gpu, needed))))["findings"][0]
    assert (read["state"], read["needed"]) == ("missing", False)


def test_back_ends_are_looked_at_first_and_stand_in_their_place(monkeypatch):
    """Libraries may take all the time on a busy machine."""
    looked_at = []

    def find(group, clock):
        looked_at.append(group)
        yield Finding(group, "x", "ok", "", False)

    monkeypatch.setattr(doctor, "_find", find)
    report = doctor.run()
    assert looked_at[:2] == ["device", "back end"] and len(looked_at) == 6
    assert [one.group for one in report.findings] == list(doctor.GROUPS)
