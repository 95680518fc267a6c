"""Every extra, taken away: the error of what needs it is one line with the command that installs it."""

import sys
from pathlib import Path

import pytest

from maeface import errors, serve
from maeface.data.ingest.ray_work import _connect
from maeface.data.readers.imdbwiki import _read_list
from maeface.deployment import onnx_files
from maeface.diagnosis.libraries import EXTRAS
from maeface.errors import MaefaceError
from maeface.faces import photo
from maeface.faces.media import MediaError
from maeface.model import hub
from maeface.runtime import backends
from maeface.train import sinks

USES = {
    "onnxruntime": ("onnxruntime", lambda folder: backends.require_backend("onnxruntime")),
    "readers": ("scipy.io", lambda folder: _read_list(folder / "imdb.mat", "imdb")),
    "heif": ("pi_heif", lambda folder: photo._reader("heif")),
    "trackio": ("trackio", lambda folder: sinks.require_libraries(["trackio"])),
    "wandb": ("wandb", lambda folder: sinks.require_libraries(["wandb"])),
    "int8": ("nncf", lambda folder: onnx_files.quantize_model(None, b"", [])),
    "hub": ("huggingface_hub", lambda folder: hub.fetch("hf:someone/weights")),
    "serve": ("fastapi", lambda folder: serve.run(serve.Settings(folder=folder))),
    "ray": ("ray", lambda folder: _connect("local")),
}


def test_every_extra_is_here():
    assert USES.keys() == EXTRAS.keys()


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_missing_extra_is_named_with_the_command_that_installs_it(extra, tmp_path: Path, monkeypatch):
    module, use = USES[extra]
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(backends, "is_installed", lambda name: False)
    with pytest.raises((MaefaceError, MediaError)) as raised:
        use(tmp_path)
    assert f"uv pip install 'maeface[{extra}]'" in str(raised.value) and "\n" not in str(raised.value)


def test_messages_take_commands_that_install_from_one_place():
    root = Path(errors.__file__).parent
    found = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if "pip install" in path.read_text(encoding="utf-8")
    }
    # doctor also says how to install maeface and the studio themselves
    assert found == {"errors.py", "diagnosis/finding.py", "diagnosis/libraries.py"}
    assert errors.install_command("int8", "onnxruntime") == "uv pip install 'maeface[int8,onnxruntime]'"
    assert errors.reinstall_command("a", "b") == "uv pip install --reinstall a b"
