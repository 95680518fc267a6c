"""Bad input at the door: one clear line each, its exit code, and no traceback."""

import json
import os
import pickle
import re
import struct
import subprocess
import sys
import zlib
from importlib.metadata import version
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch
import typer.main
from PIL import Image

import drawn
from maeface import checks, cli, config, predict
from maeface.errors import ConfigError, WeightsError
from maeface.model import weights
from maeface.model.au import AUModel
from maeface.model.file_format.description import describe
from maeface.model.file_format.metadata import Preprocessing
from maeface.model.mae import MAE
from maeface.model.vit import ViT


@pytest.fixture
def maeface(monkeypatch, capsys):
    """Runs the command line in this process: (exit code, stdout, stderr)."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["maeface", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        out, err = capsys.readouterr()
        return stopped.value.code, out, err

    return run


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Good faces and labels, weights of both kinds, and every kind of bad file."""
    folder = tmp_path_factory.mktemp("files")
    drawn.faces(folder / "faces", 8, 64)
    drawn.labels(folder / "labels.csv", 8)
    torch.manual_seed(0)
    size = Preprocessing(image_size=16)
    au = AUModel(ViT((16, 1, 2), 16, 8), (4, 12), "both")
    weights.save(folder / "au.safetensors", au, describe(au, size, thresholds=[0.5, 0.5]))
    mae = MAE(ViT((16, 1, 2), 16, 8), 16, 1, 2)
    weights.save(folder / "mae.safetensors", mae, describe(mae, size))
    whole = (folder / "au.safetensors").read_bytes()
    (folder / "short.safetensors").write_bytes(whole[: len(whole) // 2])
    with (folder / "hostile.pth").open("wb") as file:
        pickle.dump({"model": RunsCode(folder / "it-ran")}, file)
    bad = folder / "bad"
    bad.mkdir()
    (bad / "text.jpg").write_text("this is no picture")
    drawn.face(1, 64).save(bad / "whole.jpg")
    jpeg = (bad / "whole.jpg").read_bytes()
    (bad / "whole.jpg").unlink()
    (bad / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (bad / "huge.png").write_bytes(png_of_400_megapixels())
    (bad / "empty.mp4").write_bytes(b"")
    (folder / "nothing").mkdir()
    (folder / "folder.csv").mkdir()
    return folder


class RunsCode:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def png_of_400_megapixels():
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000))


CASES = {
    # name: (command, exit code, what the line says)
    "missing file": ("predict {f}/no.jpg --weights {f}/au.safetensors --out {o}/p.csv", 2, "no.jpg"),
    "missing folder": ("prepare {f}/absent --out {o}/d", 2, "no such file or folder"),
    "empty folder": ("prepare {f}/nothing --out {o}/d --aligned", 3, "nothing"),
    "text as jpg": (
        "predict {f}/bad/text.jpg --aligned --weights {f}/au.safetensors --out {o}/p.csv",
        3,
        "not_an_image",
    ),
    "truncated jpeg": (
        "predict {f}/bad/cut.jpg --aligned --weights {f}/au.safetensors --out {o}/p.csv",
        3,
        "truncated",
    ),
    "400 megapixels": (
        "predict {f}/bad/huge.png --aligned --weights {f}/au.safetensors --out {o}/p.csv",
        3,
        "too_large",
    ),
    "video without bytes": (
        "predict {f}/bad/empty.mp4 --aligned --weights {f}/au.safetensors --out {o}/p.csv",
        3,
        "empty",
    ),
    "labels for unknown images": (
        "finetune detection --data {f}/bad-names --labels {f}/labels.csv --init random --out {o}/r",
        3,
        "no label matches a face",
    ),
    "AU that the labels lack": (
        "finetune detection --data {f}/faces --labels {f}/labels.csv --init random --out {o}/r "
        "--set model.aus=[43] --set model.size=tiny",
        3,
        "AU43",
    ),
    "weights of another task": (
        "predict {f}/faces --aligned --weights {f}/mae.safetensors --out {o}/p.csv",
        4,
        "expected",
    ),
    "truncated weights": (
        "predict {f}/faces --aligned --weights {f}/short.safetensors --out {o}/p.csv",
        4,
        "short.safetensors",
    ),
    "no weights": (
        "predict {f}/faces --aligned --weights {f}/absent.safetensors --out {o}/p.csv",
        4,
        "absent.safetensors",
    ),
    "no weights of this name": (
        "predict {f}/faces --aligned --weights maeface-tny --out {o}/p.csv",
        4,
        "no weights 'maeface-tny'",
    ),
    "a start of no name": (
        "finetune detection --data {f}/faces --labels {f}/labels.csv --init maeface-tny --out {o}/r",
        4,
        "no weights 'maeface-tny'",
    ),
    "a recipe that reproduces nothing": (
        "reproduce detection --data {f} --out {o}/r",
        2,
        "detection is a recipe of `maeface finetune`",
    ),
    "pickle that runs code": (
        "finetune detection --data {f}/faces --labels {f}/labels.csv --init {f}/hostile.pth --out {o}/r",
        4,
        "hostile.pth",
    ),
    "weights of other sizes": (
        "pretrain mae-face --data {f}/faces --out {o}/r --init {f}/mae.safetensors --set run.device=cpu "
        "--set model.size=tiny --set model.image_size=16 --set model.patch_size=8",
        4,
        "mae.safetensors",
    ),
    "unknown recipe": ("pretrain no-such --data {f}/faces --out {o}/r", 2, "mae-face"),
    "unknown recipe key": (
        "pretrain mae-face --data {f}/faces --out {o}/r --set optim.epoch=3",
        2,
        "did you mean 'optim.epochs'",
    ),
    "value out of range": (
        "pretrain mae-face --data {f}/faces --out {o}/r --set model.mask_ratio=2",
        2,
        "model.mask_ratio",
    ),
    "labels as predictions": (
        "evaluate --labels {f}/labels.csv --predictions {f}/bad/text.jpg",
        3,
        "text.jpg",
    ),
    "output of another kind": (
        "predict {f}/faces --aligned --weights {f}/au.safetensors --out {o}/p.xlsx",
        2,
        "p.xlsx",
    ),
    "output that is the source": ("prepare {f}/faces --out {f}/faces", 2, "both source and output"),
    "output below a file": (
        "predict {f}/faces --aligned --weights {f}/au.safetensors --out {f}/labels.csv/p.csv",
        5,
        "cannot write",
    ),
    "output that is a folder": (
        "predict {f}/faces --aligned --weights {f}/au.safetensors --out {f}/folder.csv",
        2,
        "it is a folder; name a file",
    ),
    "pictures that are a file": (
        "predict {f}/faces --aligned --weights {f}/au.safetensors --pictures {f}/labels.csv",
        2,
        "it is a file; name a folder",
    ),
    "scores that are a folder": (
        "evaluate --labels {f}/labels.csv --predictions {f}/labels.csv --out {f}/folder.csv",
        2,
        "it is a folder; name a file",
    ),
    "a device of no name": ("predict {f}/faces --device cudaa", 2, "did you mean 'cuda'"),
    "a device of no name for prepare": (
        "prepare {f}/faces --out {o}/d --device gpu",
        2,
        "cuda:N; did you mean 'cuda'",
    ),
    "a GPU by number": ("predict {f}/faces --device GPU:1", 2, "did you mean 'cuda:1'"),
    "a device of no name in a recipe": (
        "pretrain mae-face --data {f}/faces --out {o}/r --set run.device=gpu",
        2,
        "auto, cpu, cuda, cuda:N",
    ),
    "a rate that is no number": ("predict {f}/faces --fps inf", 2, "finite number above 0"),
    "a rate that is no number for prepare": ("prepare {f}/faces --out {o}/d --fps inf", 2, "fps"),
    "two choices of frames": (
        "prepare {f}/faces --out {o}/d --fps 2 --every 2",
        2,
        "--every is 2 and --fps is 2.0; give one of them",
    ),
    "two choices of frames for predict": (
        "predict {f}/faces --every 4 --fps 3",
        2,
        "--every is 4 and --fps is 3.0; give one of them",
    ),
    "a folder of tables with the name of a table": (
        "predict {f}/faces --aligned --weights {f}/au.safetensors --out {o}/t.csv/",
        2,
        "t.csv/: the name of a folder must not end with .csv",
    ),
    "a setting that is no number": (
        "pretrain mae-face --data {f}/faces --out {o}/r --set optim.base_lr=inf",
        2,
        "optim.base_lr",
    ),
}


NOT_FOLDERS = {
    "prepare": "prepare {f}/faces --aligned --out {x}",
    "pretrain": "pretrain mae-face --data {f}/faces --out {x}",
    "finetune": "finetune detection --data {f}/faces --labels {f}/labels.csv --init random --out {x}",
    "demo": "demo --out {x}",
    "reproduce": "reproduce ex3 --data {f} --out {x}",
    "pictures": "predict {f}/faces --aligned --pictures {x}",
}


@pytest.mark.parametrize("case", NOT_FOLDERS)
def test_a_folder_that_cannot_be_one_is_refused_first(case, maeface, files, monkeypatch):
    """A file, what lies below a file, and a folder that may not be written."""

    def last_line(place):
        code, out, err = maeface(*NOT_FOLDERS[case].format(f=files, x=place).split())
        return code, out, err.strip().splitlines()

    code, out, err = last_line(files / "labels.csv")
    assert (code, out, len(err)) == (2, "", 1) and err[0].endswith("it is a file; name a folder")
    code, out, err = last_line(files / "labels.csv" / "d")
    assert (code, out, len(err)) == (5, "", 1) and "cannot write" in err[0]
    monkeypatch.setattr(os, "access", lambda place, mode: not mode & os.W_OK)
    code, out, err = last_line(files / "shut" / "d")
    assert (code, out, len(err)) == (5, "", 1) and f"nothing can be written in {files}" in err[0]
    assert not (files / "shut").exists()


MISTYPED = {
    # name: (command, exit code, what is meant)
    "photo": ("predict {f}/faces/03.ipg", 2, "faces/03.png"),
    "folder": ("predict {f}/facse", 2, "faces"),
    "case": ("predict {f}/LABELS.csv", 2, "labels.csv"),
    "a folder on the way": (
        "evaluate --labels {f}/faecs/../labels.csv --predictions {f}/labels.csv",
        2,
        "faces/../labels.csv",
    ),
    "weights": ("predict {f}/faces --weights {f}/au.safetensor", 4, "au.safetensors"),
    "source": ("prepare {f}/face --out {o}/d", 2, "faces"),
    "data of pretrain": ("pretrain mae-face --data {f}/faces1 --out {o}/r", 2, "faces"),
    "init of pretrain": (
        "pretrain mae-face --data {f}/faces --init {f}/mae.safetensor --out {o}/r",
        2,
        "mae.s",
    ),
    "data of finetune": (
        "finetune detection --data {f}/faces1 --labels {f}/labels.csv --init random --out {o}/r",
        2,
        "faces",
    ),
    "labels of finetune": (
        "finetune detection --data {f}/faces --labels {f}/label.csv --init random --out {o}/r",
        2,
        "labels.csv",
    ),
    "init of finetune": (
        "finetune detection --data {f}/faces --labels {f}/labels.csv --init {f}/mae.safetensor --out {o}/r",
        2,
        "mae.safetensors",
    ),
    "guide": (
        "finetune detection --data {f}/faces --labels {f}/labels.csv --guide {f}/g --init random --out {o}/r",
        2,
        None,
    ),
    "labels": ("evaluate --labels {f}/label.csv --predictions {f}/labels.csv", 2, "labels.csv"),
    "predictions": ("evaluate --labels {f}/labels.csv --predictions {f}/label.csv", 2, "labels.csv"),
    "data of reproduce": ("reproduce ex3 --data {f}/faces1 --out {o}/r", 2, "faces"),
    "weights of reproduce": (
        "reproduce ex3 --data {f} --weights in1k={f}/mae.safetensor --out {o}/r",
        4,
        "mae.safetensors",
    ),
    "suffix": ("predict {f}/faces --out {o}/p.cvs", 2, None),
    "suffix of scores": (
        "evaluate --labels {f}/labels.csv --predictions {f}/labels.csv --out s.jsn",
        2,
        None,
    ),
}

ASKS = """
import json, sys
from maeface import checks, cli
answers = []
for words in json.load(sys.stdin):
    sys.argv = ["maeface", *words]
    try:
        cli.main()
    except SystemExit as end:
        answers.append(end.code)
    print("--", file=sys.stderr, flush=True)
slow = [name for name in ("torch", "pandas", "pyarrow", "matplotlib") if name in sys.modules]
print(json.dumps([answers, slow]))
"""


def test_a_mistyped_path_is_told_at_once(files, tmp_path):
    """One process for all of them: what takes seconds to come is not even loaded, and the name is told."""
    commands = [command.format(f=files, o=tmp_path).split() for command, _, _ in MISTYPED.values()]
    done = subprocess.run(
        [sys.executable, "-c", ASKS], input=json.dumps(commands), capture_output=True, text=True, check=True
    )
    codes, slow = json.loads(done.stdout)
    assert slow == []
    lines = done.stderr.split("--\n")
    for name, code, line in zip(MISTYPED, codes, lines, strict=False):
        assert code == MISTYPED[name][1], (name, line)
        assert line.startswith("maeface: ") and line.count("\n") == 1, (name, line)
        near = MISTYPED[name][2]
        assert ("did you mean" in line) == (near is not None), (name, line)
        assert near is None or f"did you mean {files / near}" in line, (name, line)


def test_weights_in_parts_are_not_mistyped(files, tmp_path):
    for k in (1, 2):
        (tmp_path / f"big-0000{k}-of-00002.safetensors").write_bytes(b"")
    checks.require_weights([str(tmp_path / "big.safetensors"), str(tmp_path), "maeface-nano", None])


def test_a_name_too_long_for_a_file_is_a_missing_file():
    for name in ("a" * 300, f"{'a' * 300}/b.jpg"):
        with pytest.raises(ConfigError, match="no such file or folder"):
            checks.require_inputs([Path(name)])
        with pytest.raises(WeightsError, match="no such weights file"):
            checks.require_weights([f"{name}.pth"])


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_line_and_an_exit_code(maeface, files, tmp_path, case):
    drawn.faces(files / "bad-names" / "other", 8, 64)
    command, expected, says = CASES[case]
    code, out, err = maeface(*command.format(f=files, o=tmp_path).split())
    assert code == expected, err
    assert out == ""
    *_, last = err.strip().splitlines()
    assert last.startswith("maeface: ")
    assert says in last
    assert "Traceback" not in err
    assert not (files / "it-ran").exists()


COMMANDS = {
    "prepare": "prepare {f}/faces --aligned --out {o}/d",
    "evaluate": "evaluate --labels {f}/labels.csv --predictions {f}/labels.csv",
    "predict": "predict {f}/faces --aligned --weights {f}/au.safetensors",
    "demo": "demo --out {o}/demo",
    "plan": "plan mae-face",
    "export": "export {f}/au.safetensors --to onnx --out {o}/networks",
    "doctor": "doctor --no-speed",
    "serve": "serve --folder {o}/serve --weights {f}/au.safetensors",
}
CAMERA = "predict --camera lavfi:testsrc"


def numbers():
    """All options whose value is a number: (command, option)."""
    for verb, command in typer.main.get_command(cli.app).commands.items():
        types = get_type_hints(getattr(cli, verb))
        for parameter in command.params:
            kinds = {types.get(parameter.name), *get_args(types.get(parameter.name))}
            if kinds & {int, float} and parameter.opts[0].startswith("--"):
                yield verb, parameter.opts[0]


def test_numbers_of_every_command_are_known():
    assert {verb for verb, _ in numbers()} == COMMANDS.keys()
    assert len(list(numbers())) > 20


@pytest.mark.parametrize(("verb", "option"), [*numbers(), ("predict", "--au-threshold")])
def test_a_wrong_number_is_told_by_the_name_of_its_option(maeface, files, tmp_path, verb, option):
    command = CAMERA if option == "--seconds" else COMMANDS[verb].format(f=files, o=tmp_path)
    code, out, err = maeface(*command.split(), option, "-1")
    assert (code, out) == (2, "")
    assert option in err and not re.search(rf"(?<!-){option[2:].replace('-', '_')} is", err)


WRONG = {
    "--max-bad 2": "--max-bad is 2; expected a fraction, 0 to 1",
    "--face-threshold nan": "--face-threshold is nan; expected a fraction, 0 to 1",
    "--min-face inf": "--min-face is inf; expected a number, 0 or more",
    "--file-timeout 0": "--file-timeout is 0; expected a number above 0",
    "--au-threshold 2": "--au-threshold is 2; expected a fraction, 0 to 1",
    "--au-threshold AU12=2": "--au-threshold is 2; expected a fraction, 0 to 1",
    "--au-threshold high": "--au-threshold is 'high'; expected a fraction, 0 to 1, or AU12=0.4",
    "--au-threshold 0.5 --au-threshold AU12=0.4": "--au-threshold is given for all AUs and again",
    "--au-threshold AU25=0.5": "a threshold is given for AU25, which the weights do not predict; they "
    "predict AU04, AU12",
    "--smooth inf": "--smooth is inf; expected a number, 0 or more",
    "--faces 0": "--faces is 0; expected largest, central, all, or a number from 1 on",
    "--format excel": "--format is 'excel'; expected one of openface, pyfeat, libreface, long, jsonl\n",
    "--annotations x": "--annotations is 'x'; expected one of elan, srt, boris\n",
    "--device tpux": "--device is 'tpux'; expected one of auto, cpu, cuda, cuda:N\n",
    "--explain AU12": "--explain needs a folder for its pictures; give --pictures DIR too",
    "--explain smile --pictures {o}": "--explain is 'smile'; expected an action unit, such as AU12",
    "--camera-size 640x480": "--camera-size is for a camera; give --camera too",
    "--seconds 3": "--seconds is for a camera; give --camera too",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_option_of_predict_is_one_line_with_its_name(maeface, files, tmp_path, wrong):
    command = f"{COMMANDS['predict']} {wrong}".format(f=files, o=tmp_path)
    code, out, err = maeface(*command.split())
    assert (code, out) == (2, "")
    assert err.startswith(f"maeface: {WRONG[wrong]}") and err.count("\n") == 1


def test_predict_without_an_input_or_with_two_kinds_says_what_is_wrong(maeface, files):
    assert maeface("predict")[2] == (
        "maeface: nothing to predict; give photos, videos or folders, or a camera (--camera 0)\n"
    )
    assert maeface("predict", files / "faces", "--camera", "0")[2] == (
        "maeface: give photos, videos or folders, or a camera (--camera 0), not both\n"
    )


def test_options_without_effect_are_told_by_their_names(maeface, files):
    words = COMMANDS["predict"].format(f=files, o="").split()
    code, _, err = maeface(*words, "--workers", 2, "--smooth", 1, "--min-face", 8)
    assert code == 0
    assert "--workers has no effect: lines are printed; give --out" in err
    assert "--smooth has no effect" in err and "--min-face has no effect" in err


def test_in_python_arguments_have_their_own_names():
    with pytest.raises(ConfigError, match=r"^max_bad is 2; expected"):
        predict.run([Path(__file__)], None, None, max_bad=2)
    with pytest.raises(ConfigError, match=r"^face_threshold is 2; expected"):
        predict.run([Path(__file__)], None, None, face_threshold=2)
    with pytest.raises(ConfigError, match=r"^au_thresholds is -1; expected"):
        predict.run([Path(__file__)], None, None, au_thresholds={"AU12": -1})
    with pytest.raises(ConfigError, match=r"^run.device is 'gpu'; expected"):
        config.load(config.Pretrain, "mae-face", ["run.device=gpu"])


def test_a_key_of_a_recipe_has_its_own_name_on_the_command_line_too(maeface, files, tmp_path):
    words = ["pretrain", "mae-face", "--data", files / "faces", "--out", tmp_path / "r", "--set"]
    assert maeface(*words, "run.device=gpu")[2].startswith("maeface: run.device is 'gpu'; expected one of")
    assert (
        "unknown key 'run.fast_mode'; expected run.seed, run.device," in maeface(*words, "run.fast_mode=1")[2]
    )


def test_dropped_files_beyond_the_allowance_exit_1(maeface, files, tmp_path):
    Image.new("RGB", (64, 64)).save(files / "bad" / "good.png")
    words = ["prepare", files / "bad", "--out", tmp_path / "d", "--aligned", "--workers", 1]
    code, out, err = maeface(*words, "--max-bad", "0.5")
    assert code == 1, err
    assert "1 not_an_image" in out and "1 truncated" in out and "1 too_large" in out and "1 empty" in out


def test_predict_has_an_allowance_as_prepare_has(maeface, files, tmp_path):
    words = ["predict", files / "bad" / "cut.jpg", *(files / "faces").rglob("*.png"), "--aligned"]
    words += ["--weights", files / "au.safetensors", "--out", tmp_path / "p.csv"]
    assert maeface(*words)[0] == 0
    code, out, err = maeface(*words, "--max-bad", "0.1")
    assert code == 1, err
    assert "1 of 9 inputs could not be read, more than allowed (--max-bad)" in out
    assert "truncated" in (tmp_path / "p.csv").read_text()


def test_images_without_labels_are_counted(maeface, files, tmp_path):
    some = tmp_path / "some.csv"
    some.write_text("\n".join((files / "labels.csv").read_text().splitlines()[:7]))
    code, out, err = maeface(
        *("finetune", "detection", "--data", files / "faces", "--labels", some, "--init", "random"),
        *("--out", tmp_path / "r", "--set", "optim.epochs=0", "--set", "model.size=tiny"),
        *("--set", "model.image_size=16", "--set", "model.patch_size=8", "--set", "run.device=cpu"),
    )
    assert code == 0, err
    assert "2 faces without a label" in err
    assert out.strip().endswith("weights.safetensors")


def test_usage_is_exit_2(maeface):
    assert maeface("prepare")[0] == 2
    assert maeface("no-such-verb")[0] == 2
    assert maeface("predict", "x.jpg", "--out", "p.csv")[0] == 2


def test_version(maeface):
    assert maeface("--version")[:2] == (0, version("maeface") + "\n")


def test_the_module_of_the_command_line_runs(tmp_path):
    command = [sys.executable, "-m", "maeface", "--version"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, version("maeface") + "\n"), done.stderr
