"""Exported networks: what they compute, what is written beside them, and what is refused."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import types
from importlib import resources
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from maeface import Predictor, checks, cli, export
from maeface.deployment import description, parity, torch_files, writing
from maeface.deployment.faces import load_faces
from maeface.deployment.parity import AUParity, Bounds
from maeface.errors import ConfigError, ResourceError, WeightsError
from maeface.model import weights, zoo
from maeface.model.au import AUModel
from maeface.model.inputs import to_input
from maeface.model.vit import ViT
from maeface.model.weights import Preprocessing
from maeface.runtime import backends

ROOT = Path(__file__).parents[1]
SAMPLE = Path(str(resources.files("maeface") / "sample"))
PAGE = (ROOT / "docs" / "user_guide" / "export.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Weights of a small network with random values, large enough that faces differ."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    torch.manual_seed(0)
    model = AUModel(ViT((24, 2, 3), 32, 8), (1, 12, 25), "both", unlike=True)
    torch.nn.init.normal_(model.head.weight, std=0.5)
    torch.nn.init.normal_(model.unlike.factor)
    metadata = weights.describe(model, Preprocessing(image_size=32, mirror=True))
    unlike = {"data": "faces", "n": 10, "within": 0.9}
    metadata = type(metadata).model_validate(metadata.model_dump() | {"unlike": unlike, "licence": "MIT"})
    weights.save(path, model.eval(), metadata)
    return path


@pytest.fixture(scope="module")
def packaged(tmp_path_factory):
    """The packaged weights as ONNX files that prepare the pixels themselves."""
    out = tmp_path_factory.mktemp("packaged") / "exported"
    summary = export.run(None, "onnx", out, with_preprocessing=True)
    return out, summary


def run_onnx(path, values):
    session = onnxruntime.InferenceSession(path)
    return session.run(None, {session.get_inputs()[0].name: values})[0]


def crops(count, side):
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3)).astype(np.uint8)


def test_the_packaged_weights_compute_the_same_without_maeface(packaged):
    out, summary = packaged
    predictor = Predictor(aligned=True, backend="torch", precision="fp32", device="cpu")
    faces = crops(5, 101)
    unlike = predictor.predict_faces(faces)[1]
    wanted = np.hstack([predictor.predict_crops(faces), unlike[:, None]])
    found = run_onnx(out / "au.onnx", faces)  # five, a batch that was never seen
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert max(one.difference for one in summary.aus.values()) < 1e-4
    assert summary.aus[25].auc == pytest.approx(0.99, abs=0.02)  # on the labels of the packaged faces
    assert "rendered faces" in str(summary)


def test_what_is_beside_them_says_how_to_run_them(packaged):
    out, _ = packaged
    facts = json.loads((out / "preprocessing.json").read_text())
    metadata = Predictor(aligned=True).metadata
    assert facts["au"]["columns"][0] == "AU01_p"
    assert facts["au"]["columns"][20] == "AU01_i"
    assert facts["au"]["columns"][-1] == "unlike"
    assert [au["threshold"] for au in facts["au"]["aus"]] == list(metadata.thresholds)
    assert facts["au"]["aus"][8]["facs"] == "AU12 Lip corner puller"
    assert facts["au"]["aus"][8]["trust"]["use"] is True
    assert facts["weights"]["licence"] == "Apache-2.0"
    source = zoo.find()
    assert facts["weights"]["sha256"] == {source.name: hashlib.sha256(source.read_bytes()).hexdigest()}
    for entry in facts["files"].values():
        assert entry["sha256"] == hashlib.sha256((out / entry["file"]).read_bytes()).hexdigest()
    record = json.loads((out / "parity.json").read_text())
    assert record["faces"] == {
        "source": "rendered faces that come with the package, no photographs",
        "rendered": True,
        "count": 224,
    }
    assert record["ran_on"].startswith("onnxruntime")
    assert record["aus"]["AU12"]["probability"] < 1e-4
    assert record["networks"]["detector"]["px"] < 0.01
    assert record["networks"]["detector"]["candidates"] > 0


def test_the_example_of_the_page_runs_without_maeface(packaged, tmp_path):
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.S | re.M)
    shutil.copytree(packaged[0], tmp_path / "exported")
    shutil.copy(ROOT / "docs" / "images" / "astronaut.jpg", tmp_path / "photo.jpg")
    blocked = "import sys; sys.modules.update(maeface=None, torch=None, openvino=None, onnx=None)\n"
    done = subprocess.run(
        [sys.executable, "-c", blocked + code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert_near_predict(done.stdout, tmp_path / "photo.jpg")


def test_crops_of_any_size_are_prepared_inside_as_outside(tiny, tmp_path):
    inside = export.run(tiny, "onnx", tmp_path / "inside", with_preprocessing=True)
    outside = export.run(tiny, "onnx", tmp_path / "outside")
    metadata = weights.read_metadata(tiny)
    settings = metadata.preprocessing
    for side in (32, 20, 75, 200):
        faces = crops(3, side)
        images = to_input(faces, settings.image_size, settings.mean, settings.std)
        np.testing.assert_allclose(
            run_onnx(inside.folder / "au.onnx", faces),
            run_onnx(outside.folder / "au.onnx", images),
            atol=2e-5,
        )


def test_openvino_and_fewer_bits(tiny, tmp_path):
    sizes = {}
    for to, precision, name in (
        ("openvino", "fp32", "au.bin"),
        ("openvino", "fp16", "au.bin"),
        ("onnx", "fp32", "au.onnx"),
        ("onnx", "bf16", "au.onnx"),
    ):
        out = tmp_path / f"{to}-{precision}"
        export.run(tiny, to, out, precision=precision)
        sizes[to, precision] = (out / name).stat().st_size
    assert sizes["openvino", "fp16"] < 0.7 * sizes["openvino", "fp32"]
    assert sizes["onnx", "bf16"] < 0.8 * sizes["onnx", "fp32"]


def test_torch_takes_batches_and_images_of_other_sizes(tiny, tmp_path):
    out = tmp_path / "torch"
    summary = export.run(tiny, "torch", out, with_preprocessing=True)
    assert max(one.difference for one in summary.aus.values()) < 1e-5
    au = torch.export.load(out / "au.pt2").module()
    assert au(torch.from_numpy(crops(7, 40))).shape == (7, 7)
    detector = torch.export.load(out / "detector.pt2").module()
    image = crops(1, 90)[:, :70]
    found = detector(torch.from_numpy(image)).detach().numpy()
    wanted = writing.read_graphs(writing.EMBEDDED, decoded=True)[0]
    np.testing.assert_allclose(found, backends.open_network(wanted, "onnxruntime")(image), atol=1e-3)


def test_a_batch_that_the_exporter_would_fix_is_an_error(tmp_path):
    class OfTwo(torch.nn.Module):
        def forward(self, x):
            return x.float().sum(dim=(1, 2, 3)).reshape(2, 1)

    with pytest.raises(Exception, match="batch"):
        torch_files.write(tmp_path / "x.pt2", OfTwo(), 8, from_pixels=True, any_sides=False)


def test_what_computes_something_else_is_refused_and_leaves_nothing(tiny, tmp_path, monkeypatch):
    honest = writing.au_graph

    def wrong(arrays, *rest):
        return honest(arrays | {"head.bias": arrays["head.bias"] + np.float32(0.1)}, *rest)

    monkeypatch.setattr(writing, "au_graph", wrong)
    with pytest.raises(WeightsError, match=r"refused, nothing was written: AU\d\d differs from PyTorch"):
        export.run(tiny, "onnx", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    export.run(tiny, "onnx", tmp_path / "out", max_difference=0.2)  # the bound is the user's
    assert (tmp_path / "out" / "au.onnx").is_file()


def test_a_detector_that_computes_something_else_is_refused(tiny, tmp_path, monkeypatch):
    honest = writing.read_graphs
    monkeypatch.setattr(writing, "read_graphs", lambda path, decoded: honest(path, decoded=False))
    with pytest.raises(WeightsError, match="the detector network differs from PyTorch"):
        export.run(tiny, "onnx", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_int8(tiny, tmp_path, to):
    summary = export.run(tiny, to, tmp_path / "out", precision="int8", max_fall=0.05)
    assert summary.faces.startswith("112 ")  # the other half gave the ranges of values
    assert 1e-5 < max(one.difference for one in summary.aus.values()) < 0.2  # rounded, and not nonsense
    with pytest.raises(WeightsError, match=r"refused, nothing was written: .* falls by"):
        export.run(tiny, to, tmp_path / "strict", precision="int8", max_fall=0)
    assert not (tmp_path / "strict").exists()


def test_int8_without_nncf_says_what_to_install(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(ResourceError, match=re.escape("uv pip install 'maeface[int8]'")):
        export.run(tiny, "onnx", tmp_path / "out", precision="int8")
    assert list(tmp_path.iterdir()) == []


def test_accepted_is_what_the_bounds_say():
    one = AUParity(0.02, 0.05, 0.999, 0.9, 0.88)
    parity.refuse({12: one}, Bounds(0.05, 0.05))
    with pytest.raises(WeightsError, match=r"AU12 differs from PyTorch by 0\.02"):
        parity.refuse({12: one}, Bounds(0.01, 0.05))
    with pytest.raises(WeightsError, match=r"the AUC of AU12 falls by 0\.02"):
        parity.refuse({12: one}, Bounds(0.05, 0.01))
    unlabelled = AUParity(0.02, None, 0.9, None, None)
    with pytest.raises(WeightsError, match=r"the correlation with PyTorch of AU12 falls by 0\.1"):
        parity.refuse({12: unlabelled}, Bounds(0.05, 0.01))
    with pytest.raises(WeightsError, match="no AU's accuracy can be compared"):
        parity.refuse({12: AUParity(0.02, None, None, None, None)}, Bounds(np.inf, 0.01))


def test_photos_and_prepared_faces_with_labels(tiny, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    shutil.copy(ROOT / "docs" / "images" / "astronaut.jpg", photos / "a.jpg")
    (tmp_path / "labels.csv").write_text("source,AU12_o,AU25_o\na.jpg,1,\n")
    faces = load_faces(photos, tmp_path / "labels.csv", 32)
    assert (len(faces.crops), faces.rendered, faces.source) == (1, False, "faces of photos")
    assert faces.labels[12].tolist() == [1.0]
    assert np.isnan(faces.labels[25]).all()
    summary = export.run(tiny, "onnx", tmp_path / "out", photos=photos)
    assert summary.faces == "1 faces of photos"
    assert summary.aus[12].auc is None
    prepared = load_faces(SAMPLE, SAMPLE / "labels.parquet", 32)
    assert len(prepared.crops) == 896
    assert np.nansum(prepared.labels[12]) > 50


def test_a_folder_for_a_hub_is_loaded_as_it_was(tiny, tmp_path):
    out = tmp_path / "model"
    export.run(tiny, "hub", out)
    faces = crops(4, 50)
    one, other = (
        Predictor(path, aligned=True, backend="torch", precision="fp32").predict_crops(faces)
        for path in (tiny, str(out))
    )
    np.testing.assert_array_equal(one, other)
    config = json.loads((out / "config.json").read_text())["maeface"]
    digest = hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()
    assert config["sha256"] == {"model.safetensors": digest}
    card = (out / "README.md").read_text()
    assert card.startswith("---\nlicense: mit\n")
    assert "| AU12 |" in card
    assert "These weights were not checked" in card


def test_the_card_of_the_packaged_weights_has_the_measured_tables(tmp_path):
    export.run(None, "hub", tmp_path / "model", precision="int8")
    card = (tmp_path / "model" / "README.md").read_text()
    assert re.search(r"\| AU12 Lip corner puller \| yes \| 0\.\d\d \| AUC 0\.\d\d \[", card)
    assert "Licence of the weights: Apache-2.0" in card
    assert weights.read_metadata(tmp_path / "model").licence == "Apache-2.0"


@pytest.fixture
def hub(tiny, tmp_path, monkeypatch):
    """A stand-in for the download: the folder that a hub would give, and what it was asked for."""
    folder, asked = tmp_path / "snapshot", []
    export.run(tiny, "hub", folder)

    def snapshot_download(repository, revision, allow_patterns):
        asked.append((repository, revision))
        if repository == "org/missing":
            raise OSError("404 Client Error\nlong text")
        return str(folder)

    library = types.SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", library)
    return folder, asked


def test_weights_of_a_hub_by_name(hub, tiny):
    folder, asked = hub
    assert zoo.find("hf:org/name@v1") == folder
    checks.require_weights(["hf:org/name"])  # is no path
    predictor = Predictor("hf:org/name", aligned=True)
    assert predictor.metadata.aus == (1, 12, 25)
    assert asked == [("org/name", "v1"), ("org/name", None)]
    with pytest.raises(ResourceError, match=r"cannot download hf:org/missing \(404 Client Error\)"):
        zoo.find("hf:org/missing")
    with pytest.raises(ConfigError, match="expected hf:ORG/NAME"):
        zoo.find("hf:name")


def test_weights_of_a_hub_are_those_that_were_exported(hub, tiny):
    folder, _ = hub
    shutil.copy(tiny, folder / "other.safetensors")
    with pytest.raises(WeightsError, match="do not have the SHA-256"):
        zoo.find("hf:org/name")
    (folder / "other.safetensors").unlink()
    (folder / "model.safetensors").write_bytes(tiny.read_bytes()[:-1] + b"\x00")
    with pytest.raises(WeightsError, match="do not have the SHA-256"):
        zoo.find("hf:org/name")
    (folder / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"has no config\.json with the SHA-256"):
        zoo.find("hf:org/name")


def test_without_the_library_of_the_hub_a_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ResourceError, match=re.escape("uv pip install 'maeface[hub]'")):
        zoo.find("hf:org/name")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "hub", "--with-preprocessing"], "--with-preprocessing has no effect on --to hub"),
        (["--to", "onnx", "--labels", "labels.csv"], "--labels needs --photos"),
        (["--to", "onnx", "--photos", "nowhere"], "no such folder: nowhere"),
        (["--to", "onnx", "--out", "full"], "full has files already"),
    ],
)
def test_settings_that_do_not_go_together(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    out = [] if "--out" in words else ["--out", "out"]
    monkeypatch.setattr(sys, "argv", ["maeface", "export", *words, *out])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert [one.name for one in tmp_path.iterdir()] == ["full"]


def test_the_command_prints_the_table(tiny, tmp_path, monkeypatch, capsys):
    words = ["export", str(tiny), "--to", "onnx", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["maeface", *words])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert "AU25" in printed
    assert all(
        len(line) <= 80 and "…" not in line for line in printed.partition("onnxruntime ")[0].splitlines()
    )
    for words in (
        "probability",
        "intensity",
        "differs by",
        "with PyTorch",
        "0.5 is chance",
        "largest difference",
    ):
        assert words in printed, words


def network_changed(monkeypatch, name, change):
    """Make the exported network ``name`` give ``change`` of what it gives."""
    honest = writing._open

    def opened(paths, backend):
        written = honest(paths, backend)
        run = written.networks[name]
        written.networks[name] = lambda values: change(run(values).copy())
        return written

    monkeypatch.setattr(writing, "_open", opened)


def set_column(columns, value):
    def change(values):
        values[:, columns] = value
        return values

    return change


def test_int8_with_intensities_of_0_is_refused(tiny, tmp_path, monkeypatch):
    network_changed(monkeypatch, "au", set_column(slice(3, 6), 0))
    with pytest.raises(
        WeightsError, match=r"PyTorch of the intensity of AU\d\d falls by 1, accepted is 0\.05"
    ):
        export.run(tiny, "onnx", tmp_path / "out", precision="int8", max_fall=0.05)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("precision", "message"),
    [("fp32", r"unlike differs from PyTorch by [\d.e+]+ of its range"), ("int8", "of unlike falls by 1,")],
)
def test_another_unlike_is_refused(tiny, tmp_path, monkeypatch, precision, message):
    network_changed(monkeypatch, "au", set_column(6, 123))
    with pytest.raises(WeightsError, match=message):
        export.run(tiny, "onnx", tmp_path / "out", precision=precision, max_fall=0.05)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", writing.NETWORKS)
def test_values_that_are_not_finite_are_refused_of_every_network(tiny, tmp_path, monkeypatch, name):
    network_changed(monkeypatch, name, lambda values: np.full_like(values, np.nan))
    label = "AU" if name == "au" else name
    with pytest.raises(WeightsError, match=f"the {label} network differs .* values that are not finite"):
        export.run(tiny, "onnx", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_how_far_unlike_agrees_is_written(packaged):
    record = json.loads((packaged[0] / "parity.json").read_text())
    assert 0 < record["unlike"]["difference"] < 1e-4 and record["unlike"]["correlation"] > 0.9999
    assert record["aus"]["AU12"]["intensity_correlation"] > 0.9999


def test_int8_as_onnx_without_onnx_runtime_says_what_to_install(tiny, tmp_path, monkeypatch):
    installed = backends.is_installed
    monkeypatch.setattr(backends, "is_installed", lambda name: name != "onnxruntime" and installed(name))
    with pytest.raises(
        ResourceError, match=re.escape("uv pip install 'maeface[int8,onnxruntime]'")
    ) as raised:
        export.run(tiny, "onnx", tmp_path / "out", precision="int8")
    assert "\n" not in str(raised.value) and list(tmp_path.iterdir()) == []


def assert_near_predict(said, photo):
    """The example has printed the AUs that are reliable on real people, near what ``predict`` finds."""
    found = {line[:4]: float(line.rsplit(" ", 1)[1]) for line in said.splitlines()}
    assert list(found) == ["AU12", "AU25"]
    row = Predictor(faces="largest", detector="embedded")(photo).iloc[0]
    for au in found:
        assert found[au] == pytest.approx(row[f"{au}_p"], abs=0.05)


def run_example(packaged, folder, photo):
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.S | re.M)
    shutil.copytree(packaged[0], folder / "exported")
    photo(folder / "photo.jpg")
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )


def test_the_example_of_the_page_stops_where_there_is_no_face(packaged, tmp_path):
    done = run_example(packaged, tmp_path, Image.linear_gradient("L").resize((400, 300)).save)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "no face found\n")


def test_the_example_of_the_page_turns_photos_as_their_exif_says(packaged, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 8  # shown after a turn by 90 degrees to the left
    with Image.open(ROOT / "docs" / "images" / "astronaut.jpg") as upright:
        turned = upright.transpose(Image.Transpose.ROTATE_270)
    done = run_example(packaged, tmp_path, lambda path: turned.save(path, exif=exif, quality=95))
    assert_near_predict(done.stdout, tmp_path / "photo.jpg")


def test_weights_with_the_name_of_every_run_are_called_by_their_folder(tiny, tmp_path):
    for name, known in (("weights.safetensors", "smiles"), ("other.safetensors", "other")):
        path = tmp_path / "smiles" / name
        path.parent.mkdir(exist_ok=True)
        shutil.copy(tiny, path)
        assert description.describe_weights(path, weights.read_metadata(path))["name"] == known
    export.run(tmp_path / "smiles" / "weights.safetensors", "hub", tmp_path / "hub")
    assert "\n# smiles\n" in (tmp_path / "hub" / "README.md").read_text()


def test_the_example_of_the_page_has_thirty_lines():
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.S | re.M)
    assert "These 30 lines" in PAGE
    assert sum(bool(line) for line in code.splitlines()) == 30


def test_weights_of_a_folder_are_those_that_were_exported(tiny, tmp_path):
    folder = tmp_path / "model"
    export.run(tiny, "hub", folder)
    assert zoo.find(folder) == zoo.find(str(folder)) == folder
    shutil.copy(zoo.find(), folder / "model.safetensors")  # whole, and others
    for given in (folder, str(folder)):
        with pytest.raises(
            WeightsError, match=r"model: the weights do not have the SHA-256 that config\.json"
        ):
            Predictor(given, aligned=True)
    (folder / "config.json").write_text('{"architectures": ["ViTModel"]}')  # of another program
    assert zoo.find(folder) == folder


def test_torch_in_eight_bits_needs_no_nncf_and_rounds_as_a_hub(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nncf", None)
    summary = export.run(tiny, "torch", tmp_path / "out", precision="int8", max_fall=0.05)
    assert summary.faces.startswith("224 ")
    assert 1e-5 < max(one.difference for one in summary.aus.values()) < 0.2
    program = torch.export.load(tmp_path / "out" / "au.pt2")
    kinds = [value.dtype for value in program.state_dict.values()]
    assert kinds.count(torch.int8) == 10  # four of each of two blocks, the patches, the head
    hub = export.run(tiny, "hub", tmp_path / "hub", precision="int8", max_fall=0.05)
    for au, one in hub.aus.items():
        assert summary.aus[au].probability == pytest.approx(one.probability, abs=1e-5)
