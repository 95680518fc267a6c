"""Checkpoints and weights that are damaged, hostile or of another version, and faults while one is saved."""

import errno
import json
import os
import pickle
import signal
import struct
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from maeface import files
from maeface.errors import ResourceError
from maeface.model import weights
from maeface.model.file_format import storage
from maeface.model.vit import ViT
from maeface.train import checkpoint
from test_loop import settings, train
from test_weights import Gadget, mae_model, published, refused, to_transformers

EVERY_STEP = settings(run={"checkpoint_every_s": 0})


def names(folder):
    return sorted(path.name for path in (folder / checkpoint.FOLDER).iterdir())


def write(folder, step):
    checkpoint.write(folder, step, {"model.a": torch.full((3000,), float(step))}, {"step": step})
    return folder / checkpoint.FOLDER / f"{step:08d}.safetensors"


# Files -----------------------------------------------------------------------------------------------------


def tensor(first, last, shape=(4,), kind="F32"):
    return {"dtype": kind, "shape": shape, "data_offsets": [first, last]}


TWICE = f'{{"a":{json.dumps(tensor(0, 16))},"a":{json.dumps(tensor(16, 32))}}}'
HEADERS = {
    "10 GB of header": (10 * 2**30, "{}", 0),
    "tensors that overlap": (None, {"a": tensor(0, 16), "b": tensor(8, 24)}, 24),
    "a tensor beyond the end": (None, {"a": tensor(0, 4000, [1000])}, 64),
    "bytes of no tensor": (None, {"a": tensor(0, 16), "b": tensor(32, 48)}, 48),
    "bytes after the last": (None, {"a": tensor(0, 16)}, 64),
    "an offset below 0": (None, {"a": tensor(-16, 0)}, 16),
    "a name twice": (None, TWICE, 32),
    "more values than can be counted": (None, {"a": tensor(0, 16, [2**62, 2**62])}, 16),
    "an unknown type": (None, {"a": tensor(0, 16, kind="F99")}, 16),
    "deeply nested": (None, "{" + '"a":[' * 50_000, 0),
    "nested metadata": (
        None,
        {"__metadata__": {"maeface": "[" * 50_000, "state": "[" * 50_000, "sha256": ""}, "a": tensor(0, 16)},
        16,
    ),
}


@pytest.mark.parametrize("what", HEADERS)
def test_a_header_that_lies_is_refused_and_a_checkpoint_falls_back(tmp_path, capsys, what):
    length, header, body = HEADERS[what]
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    data = struct.pack("<Q", length or len(text)) + text + bytes(body)
    path = tmp_path / "w.safetensors"
    path.write_bytes(data)
    for load in (weights.load_model, weights.load_encoder):
        refused(lambda load=load: load(path), "damaged")
    write(tmp_path, 5)
    write(tmp_path, 7).write_bytes(data)
    assert checkpoint.read_latest(tmp_path)[1] == {"step": 5}
    assert "00000007.safetensors is damaged" in capsys.readouterr().err


def test_a_flipped_bit_anywhere_in_a_checkpoint_is_seen(tmp_path):
    write(tmp_path, 5)
    newest = write(tmp_path, 7)
    data = newest.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    for place in [*range(8), *range(8, length + 8, 7), *range(length + 8, len(data), 1999), len(data) - 1]:
        flipped = bytearray(data)
        flipped[place] ^= 0x04
        newest.write_bytes(flipped)
        assert checkpoint.read_latest(tmp_path)[1] == {"step": 5}, place


def test_a_pickle_in_the_place_of_a_checkpoint_is_not_run(tmp_path):
    trace = tmp_path / "ran"
    write(tmp_path, 5)
    newest = write(tmp_path, 7)
    gadget = {"model": Gadget(os.system, f"touch {trace}")}
    for save in (torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))):
        save(gadget, newest)
        assert checkpoint.read_latest(tmp_path)[1] == {"step": 5}
    assert not trace.exists()


CONFIGS = {
    "nested": "[" * 100_000,
    "nested objects": '{"a":' * 100_000,
    "no numbers": '{"num_attention_heads": NaN}',
    "far too many heads": '{"num_attention_heads": 1' + "0" * 4000 + "}",
    "text": "\x00\xff",
}


@pytest.mark.parametrize("what", CONFIGS)
def test_a_hostile_config_is_one_line(tmp_path, what):
    save_file(to_transformers(published(mae_model()), 5), tmp_path / "w.safetensors")
    (tmp_path / "config.json").write_text(CONFIGS[what])
    refused(lambda: weights.load_encoder(tmp_path / "w.safetensors"), r"config\.json")


def test_only_the_heads_are_taken_from_a_config(tmp_path):
    model = mae_model()
    save_file(to_transformers(published(model), 5), tmp_path / "w.safetensors")
    hostile = {
        "_name_or_path": "../../etc/passwd",
        "auto_map": {"AutoModel": "evil.Model"},
        "image_size": 9**9,
    }
    content = {"num_attention_heads": 3, "architectures": ["Other"], "hidden_size": -1} | hostile
    (tmp_path / "config.json").write_text(json.dumps(content))
    vit, _ = weights.load_encoder(tmp_path / "w.safetensors")
    assert (vit.shape.heads, vit.image_size) == (3, 16)
    assert torch.equal(vit.pos_embed, model.encoder.pos_embed)


def test_patches_of_another_size_are_refused_whatever_is_asked(tmp_path):
    save_file(published(mae_model()), tmp_path / "w.safetensors")
    for interpolate in (False, True):
        refused(
            lambda interpolate=interpolate: weights.load_encoder_into(
                ViT((12, 2, 3), 16, 8), tmp_path / "w.safetensors", interpolate=interpolate
            ),
            r"patch_embed\.proj\.weight is 12x3x4x4, expected 12x3x8x8",
        )


def other_version(tensors, state, what):
    match what:
        case "a number more":
            return tensors, state | {"momentum": 1}
        case "a tensor more":
            return tensors | {"model.norm": torch.zeros(2)}, state
        case "a tensor less":
            return {name: value for name, value in tensors.items() if name != "exp_avg.layer.bias"}, state
        case "another shape":
            return tensors | {"model.layer.weight": torch.zeros(1, 5)}, state


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("a number more", "newer maeface, with momentum; upgrade this one"),
        ("a tensor more", r"model\.norm is not expected"),
        ("a tensor less", r"exp_avg\.layer\.bias is missing"),
        ("another shape", r"model\.layer\.weight is 1x5, expected 1x4"),
    ],
)
def test_a_checkpoint_of_another_version_is_refused_whole(tmp_path, what, message):
    train(tmp_path)
    tensors, state = checkpoint.read_latest(tmp_path)[:2]
    checkpoint.write(tmp_path, 9, *other_version(tensors, state, what))
    layer = nn.ModuleDict({"layer": nn.Linear(4, 1)})
    optimizer = torch.optim.AdamW(
        [{"params": [*layer.parameters()], "names": ["layer.weight", "layer.bias"]}]
    )
    learner = checkpoint.Learner(layer, optimizer)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    refused(lambda: checkpoint.restore(tmp_path, learner, torch.device("cpu")), message)
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
    assert learner.state == checkpoint.State() and not optimizer.state


def test_what_can_be_read_is_kept_and_what_cannot_makes_room(tmp_path):
    for step in (5, 6, 10):
        write(tmp_path, step)
    write(tmp_path, 20).write_bytes(b"")
    assert checkpoint.read_latest(tmp_path)[1] == {"step": 10}
    write(tmp_path, 12)  # as a run that went on after step 10 does
    assert names(tmp_path) == ["00000010.safetensors", "00000012.safetensors"]
    write(tmp_path, 12)
    assert names(tmp_path) == ["00000010.safetensors", "00000012.safetensors"]


# Saving ----------------------------------------------------------------------------------------------------

KILLED = """
import json, os, pathlib, signal, sys
import torch
from maeface import files
from maeface.model.file_format import storage
from maeface.train import checkpoint

folder = pathlib.Path(sys.argv[1])

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def after(real):
    def action(*given, **named):
        real(*given, **named)
        die()
    return action

def half(tensors, path, metadata):
    path.with_name(".tmpAbC123").write_bytes(b"half")  # where safetensors writes before its own rename
    path.write_bytes(b"half")
    die()

POINTS = {
    "before the temporary file": lambda: setattr(files, "_create_locked", die),
    "in the middle of writing": lambda: setattr(storage, "save_file", half),
    "before the sync": lambda: setattr(os, "fsync", die),
    "before the rename": lambda: setattr(pathlib.Path, "replace", die),
    "after the rename": lambda: setattr(pathlib.Path, "replace", after(pathlib.Path.replace)),
    "before the old one is removed": lambda: setattr(checkpoint, "_paths", die),
    "while old ones are removed": lambda: setattr(pathlib.Path, "unlink", after(pathlib.Path.unlink)),
}

def write(where, step):
    checkpoint.write(where, step, {"model.a": torch.full((3000,), float(step))}, {"step": step})

codes = {}
for number, (name, patch) in enumerate(POINTS.items()):
    where = folder / str(number)
    for step in (5, 6):
        write(where, step)
    child = os.fork()
    if child == 0:
        patch()
        write(where, 7)
        os._exit(0)
    codes[name] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(json.dumps(codes))
"""


def test_killed_at_any_point_of_saving_a_checkpoint_can_be_read(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    codes = json.loads(done.stdout)
    assert set(codes.values()) == {-signal.SIGKILL} and len(codes) == 7
    for number, point in enumerate(codes):
        folder = tmp_path / str(number)
        tensors, state = checkpoint.read_latest(folder)[:2]
        expected = 7 if point.startswith(("after", "before the old", "while")) else 6
        assert state == {"step": expected} and tensors["model.a"][0] == expected, point
        assert set(names(folder)) >= {f"{expected:08d}.safetensors"}
        files.remove_temporary(folder / checkpoint.FOLDER)  # as the next start does
        write(folder, 8)
        assert names(folder) == [f"{expected:08d}.safetensors", "00000008.safetensors"], point


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fails_while_saving_ends_the_run_which_then_goes_on(tmp_path, monkeypatch, number):
    whole, _ = train(tmp_path / "whole")
    real = storage.save_file

    def save(tensors, path, metadata):
        if json.loads(metadata["state"])["step"] == 6:
            Path(path).write_bytes(b"half")
            raise OSError(number, os.strerror(number))
        real(tensors, path, metadata)

    with monkeypatch.context() as patched:
        patched.setattr(storage, "save_file", save)
        with pytest.raises(ResourceError, match=r"cannot write .*00000006\.safetensors: ") as raised:
            train(tmp_path / "run", chosen=EVERY_STEP)
    assert raised.value.exit_code == 5 and os.strerror(number) in str(raised.value)
    assert names(tmp_path / "run") == ["00000004.safetensors", "00000005.safetensors"]
    again, state = train(tmp_path / "run", chosen=EVERY_STEP)
    assert state.finished
    torch.testing.assert_close(again.state_dict(), whole.state_dict(), atol=0, rtol=0)


@pytest.fixture
def small_disk(tmp_path):
    """A folder with room for 200 kB: a file system of its own, or, where none may be mounted, a limit."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", folder]
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if mounted:
        yield folder
        subprocess.run(["umount", folder], check=True)
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield folder
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_keeps_the_checkpoints_before(small_disk):
    write(small_disk, 5)
    write(small_disk, 6)
    big = {"model.a": torch.zeros(60_000)}
    with pytest.raises(ResourceError, match=r"cannot write .*00000007\.safetensors: .*(No space|too large)"):
        checkpoint.write(small_disk, 7, big, asdict(checkpoint.State(7)))
    assert names(small_disk) == ["00000005.safetensors", "00000006.safetensors"]
    assert checkpoint.read_latest(small_disk)[1] == {"step": 6}


def test_a_file_keeps_its_permissions_when_it_is_written_again(tmp_path):
    for mode in (0o600, 0o660, 0o644):
        path = tmp_path / "table.csv"
        path.write_text("old")
        path.chmod(mode)
        files.write_text(path, "new")
        assert path.read_text() == "new" and path.stat().st_mode & 0o777 == mode
        model = mae_model()
        weights.save(path, model, weights.describe(model, weights.Preprocessing(image_size=16)))
        assert load_file(path) and path.stat().st_mode & 0o777 == mode


def test_a_checkpoint_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    assert write(tmp_path, 5).stat().st_mode == (tmp_path / "plain").stat().st_mode
