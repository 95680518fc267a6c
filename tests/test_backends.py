"""The back ends: ONNX graphs agree with PyTorch, and a prediction on a CPU loads no PyTorch."""

import io
import json
import pickle
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from maeface import files, prepare
from maeface.data import manifest, shards
from maeface.errors import ConfigError, ResourceError, WeightsError
from maeface.faces import anchors, retinaface
from maeface.faces.detector import Detector
from maeface.faces.detector_weights import EMBEDDED
from maeface.faces.torch_detector import load_weights
from maeface.model import arrays, inputs, preprocessing, vit, weights, zoo
from maeface.model.au import AUModel
from maeface.model.file_format.description import describe
from maeface.model.file_format.metadata import Preprocessing, Unlike
from maeface.prediction import networks
from maeface.prediction.predictor import Predictor
from maeface.prediction.values import to_values
from maeface.runtime import backends, choice, tensors
from maeface.runtime.onnx_graph import Graph

INSTALLED = [name for name in backends.ONNX_BACKENDS if backends.is_installed(name)]
SIZE = 32


@pytest.fixture(scope="module")
def sample():
    """64 rendered faces of the package, (64, S, S, 3)."""
    folder = zoo.folder().parent / "sample"
    reader = shards.Shards(folder)
    rows = manifest.load(folder)
    pictures = [reader.read(row) for _, row in rows.head(64).iterrows()]
    return np.stack([np.array(Image.open(io.BytesIO(data)).convert("RGB")) for data in pictures])


@pytest.fixture(scope="module")
def scene(sample):
    """Four of them at several sizes in one image, with an odd number of rows."""
    image = np.full((501, 640, 3), 90, np.uint8)
    for k, (x, y, side) in enumerate(((20, 30, 256), (300, 40, 128), (450, 200, 170), (30, 320, 150))):
        image[y : y + side, x : x + side] = Image.fromarray(sample[8 * k]).resize((side, side))
    return image


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "maeface" / choice.FILE


def model_file(path, task="both", mirror=True):
    torch.manual_seed(0)
    model = AUModel(vit.ViT((48, 2, 3), SIZE, 8), (4, 12, 25), task)
    torch.nn.init.normal_(model.head.weight, std=2.0)
    torch.nn.init.normal_(model.head.bias)
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            torch.nn.init.normal_(module.weight, 1, 0.3)
            torch.nn.init.normal_(module.bias, std=0.3)
    weights.save(path, model, describe(model, Preprocessing(image_size=SIZE, mirror=mirror)))
    return path


def assert_same_faces(expected, found, box=1e-3, landmark=2e-3, score=1e-4):
    """Bounds in sides of the box: about a hundredth of the grid that crops are placed on."""
    assert len(expected) == len(found)
    for one, other in zip(expected, found, strict=True):
        side = max(one.box[2:] - one.box[:2])
        assert np.abs(one.box - other.box).max() <= box * side
        assert np.abs(one.landmarks - other.landmarks).max() <= landmark * side
        assert abs(one.score - other.score) <= score


@pytest.mark.parametrize("backend", INSTALLED)
def test_the_embedded_detector_finds_the_same_faces(backend, scene):
    reference = Detector(EMBEDDED)
    detector = Detector(EMBEDDED, backend=backend)
    assert (detector.backend, detector.device) == (backend, "cpu")
    windows = [scene, scene[:192, :192], scene[:33, :47], scene[::2, ::2]]
    for expected, found in zip(reference.find(windows), detector.find(windows), strict=True):
        assert_same_faces(expected, found)
    assert len(detector.find([scene])[0]) >= 3


@pytest.mark.parametrize("backend", INSTALLED)
def test_candidates_are_those_of_pytorch(backend, scene):
    """Also those of low scores, and of several images at once."""
    images = np.stack([scene, scene[:, ::-1]])
    expected = Detector(EMBEDDED).networks.detect(images, 0.02)
    found = Detector(EMBEDDED, backend=backend).networks.detect(images, 0.02)
    for one, other in zip(expected, found, strict=True):
        assert len(one) == len(other) > 20
        np.testing.assert_allclose(other, one, atol=2e-3)


@pytest.mark.parametrize("backend", INSTALLED)
def test_the_public_detector_finds_the_same_faces_on_photos(backend, shared):
    path = shared / "weights" / "retinaface_mobilenet0.25_Final.pth"
    photos = [*sorted((shared / "photos" / "congress").glob("*.jpg"))[::150]]
    photos.append(shared / "photos" / "group" / "congress_montage_12.jpg")
    images = [np.array(Image.open(photo).convert("RGB")) for photo in photos]
    found = Detector(path, backend=backend).find(images)
    for one, other in zip(Detector(path).find(images), found, strict=True):
        assert_same_faces(one, other)
    assert len(found[-1]) == 12


@pytest.mark.parametrize("backend", INSTALLED)
def test_landmarks_are_those_of_pytorch(backend):
    crops = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    expected = Detector(EMBEDDED).landmark_net(crops)
    found = Detector(EMBEDDED, backend=backend).landmark_net(crops)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_bfloat16_moves_boxes_by_less_than_the_grid_of_crops(scene):
    """0.3 % of the side at the 95th percentile on photos; here no more than 2 %."""
    rough = Detector(EMBEDDED, precision="bfloat16", backend="openvino")
    # by place: faces are sorted by their score, which changes too
    pairs = [
        sorted(each.find([scene])[0], key=lambda face: face.box[0]) for each in (Detector(EMBEDDED), rough)
    ]
    assert_same_faces(*pairs, 0.02, 0.02, 0.05)


def test_a_shape_that_comes_often_gives_the_same_faces(scene):
    detector = Detector(EMBEDDED, backend="openvino")
    first = detector.find([scene[:192, :192]])[0]
    for _ in range(backends.OFTEN + 1):
        again = detector.find([scene[:192, :192]])[0]
    assert len(first) == 1
    assert_same_faces(first, again, 1e-5, 1e-5, 1e-6)
    for side in range(200, 200 + 6):  # more shapes than are kept
        for _ in range(backends.OFTEN):
            detector.networks.detect(scene[None, :side, :side], 0.5)
    assert_same_faces(first, detector.find([scene[:192, :192]])[0], 1e-5, 1e-5, 1e-6)


def test_numbers_that_are_none_are_no_faces():
    detector = Detector(EMBEDDED, backend=INSTALLED[0])
    detector.networks._network = lambda images: np.full((1, 84, 15), np.nan, np.float32)
    assert detector.find([np.zeros((64, 32, 3), np.uint8)]) == [[]]


def test_anchors_and_offsets_are_those_of_pytorch():
    rng = np.random.default_rng(0)
    places = anchors.make_anchors(75, 101)
    np.testing.assert_array_equal(places, retinaface.make_anchors(75, 101).numpy())
    boxes, points = (rng.normal(0, 2, (len(places), n)).astype(np.float32) for n in (4, 10))
    expected = retinaface.decode(*map(torch.from_numpy, (places, boxes, points)))
    found = anchors.decode(places, boxes, points)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other, one.flatten(1).numpy(), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("backend", INSTALLED)
@pytest.mark.parametrize("task", ["detection", "intensity", "both"])
@pytest.mark.parametrize("mirror", [False, True])
def test_aus_are_those_of_pytorch(backend, task, mirror, tmp_path, sample):
    path = model_file(tmp_path / "au.safetensors", task, mirror)
    crops = [*sample[:35], sample[0, :100, :100], sample[1, :SIZE, :SIZE]]  # more than one batch, other sides
    reference = Predictor(path, "cpu", aligned=True, precision="fp32", backend="torch")
    predictor = Predictor(path, "cpu", aligned=True, precision="fp32", backend=backend)
    assert (predictor.backend, predictor.device, predictor.precision) == (backend, "cpu", "fp32")
    found = predictor.predict_crops(crops)
    assert found.dtype == np.float32 and found.shape == (37, 6 if task == "both" else 3)
    np.testing.assert_allclose(found, reference.predict_crops(crops), atol=1e-4)
    features = predictor.predict_crops(crops, "features")
    np.testing.assert_allclose(features, reference.predict_crops(crops, "features"), atol=1e-4)
    assert predictor.predict_crops([]).shape == (0, found.shape[1])
    np.testing.assert_array_equal(
        predictor.predict_crops(np.stack(crops[:3])), predictor.predict_crops(crops[:3])
    )


@pytest.mark.parametrize("backend", ["torch", *INSTALLED])
@pytest.mark.parametrize("task", ["detection", "intensity", "both"])
@pytest.mark.parametrize("mirror", [False, True])
def test_unlike_is_the_distance_of_the_features(backend, task, mirror, tmp_path, sample):
    path = model_file(tmp_path / "au.safetensors", task, mirror)
    before = Predictor(path, "cpu", aligned=True, precision="fp32", backend=backend)
    crops = sample[:35]
    features = [before.predict_crops(view, "features") for view in (crops, crops[:, :, ::-1].copy())]
    rng = np.random.default_rng(0)
    mean = features[0].mean(axis=0)
    factor = rng.normal(0, 0.3, (48, 48)).astype(np.float32)
    metadata = before.metadata.model_copy(update={"unlike": Unlike(data="faces", n=35, within=1.0)})
    tensors = {"unlike.mean": torch.from_numpy(mean), "unlike.factor": torch.from_numpy(factor)}
    weights.write_metadata(path, metadata, tensors)
    after = Predictor(path, "cpu", aligned=True, precision="fp32", backend=backend)
    values, unlike = after.predict_faces(crops)
    views = [np.linalg.norm((one - mean) @ factor, axis=1) for one in features]
    np.testing.assert_allclose(unlike, np.mean(views, axis=0) if mirror else views[0], rtol=1e-4)
    np.testing.assert_array_equal(values, before.predict_faces(crops)[0])
    np.testing.assert_array_equal(after.predict_crops(crops), before.predict_crops(crops))
    assert np.isnan(before.predict_faces(crops)[1]).all()
    assert np.isnan(after.predict_faces(crops, "features")[1]).all()
    rough = Predictor(path, "cpu", aligned=True, precision="bf16", backend=backend)
    np.testing.assert_allclose(rough.predict_faces(crops)[1], unlike, rtol=0.05)


@pytest.mark.parametrize("backend", ["torch", *INSTALLED])
def test_the_packaged_weights_in_every_precision(backend, sample):
    reference = Predictor(device="cpu", aligned=True, precision="fp32", backend="torch").predict_crops(sample)
    exact = Predictor(device="cpu", aligned=True, precision="fp32", backend=backend).predict_crops(sample)
    np.testing.assert_allclose(exact, reference, atol=1e-4)
    rough = Predictor(device="cpu", aligned=True, precision="bf16", backend=backend).predict_crops(sample)
    aus = reference.shape[1] // 2
    assert np.abs(rough - reference)[:, :aus].max() < 0.03  # of a probability
    assert np.abs(rough - reference)[:, aus:].max() < 0.15  # of an intensity, 0 to 5


def test_values_of_the_head_are_those_of_the_model():
    head = np.random.default_rng(0).normal(0, 3, (2, 5, 6)).astype(np.float32)
    head[0, 0, 0] = -1000
    torch.manual_seed(0)
    for task in ("detection", "intensity", "both"):
        model = AUModel(vit.ViT((16, 1, 2), 16, 8), tuple(range(3 if task == "both" else 6)), task)
        outputs = []
        for view in torch.from_numpy(head):
            halves = (
                (view, None)
                if task == "detection"
                else (None, view)
                if task == "intensity"
                else view.chunk(2, 1)
            )
            output = type(model.forward_head(torch.zeros(1, 16)))(*halves)
            kinds = [
                values for values in (output.probabilities(), output.intensities()) if values is not None
            ]
            outputs.append(torch.cat(kinds, dim=1))
        np.testing.assert_allclose(to_values(head, task), torch.stack(outputs).mean(dim=0).numpy(), atol=1e-6)


@pytest.mark.parametrize(("side", "size"), [(256, 64), (256, 224), (48, 64), (64, 64), (7, 64), (301, 112)])
def test_inputs_are_those_of_training(side, size):
    crops = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    expected = preprocessing.to_input(torch.from_numpy(crops).permute(0, 3, 1, 2), size).numpy()
    found = inputs.to_input(crops, size, inputs.IMAGENET_MEAN, inputs.IMAGENET_STD)
    assert found.dtype == np.float32 and found.flags.c_contiguous
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16", "int8"])
@pytest.mark.parametrize("part_bytes", [None, 60_000])
def test_arrays_are_the_tensors_of_the_model(tmp_path, dtype, part_bytes):
    path = tmp_path / "packed.safetensors"
    weights.repack(model_file(tmp_path / "au.safetensors"), path, dtype, part_bytes)
    found, metadata = arrays.load_arrays(path)
    model, expected = weights.load_model(path)
    assert metadata == expected
    tensors_of_model = {weights.published_name(name): value for name, value in model.state_dict().items()}
    assert found.keys() == tensors_of_model.keys()
    for name, value in tensors_of_model.items():
        np.testing.assert_array_equal(found[name], value.numpy())


@pytest.mark.parametrize("backend", INSTALLED)
def test_wrong_weights_are_refused_with_the_words_of_pytorch(backend, tmp_path):
    path = model_file(tmp_path / "au.safetensors")
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    (tmp_path / "flipped.safetensors").write_bytes(data)
    torch.save({"a": torch.zeros(2)}, tmp_path / "other.pth")
    for name, says in (
        ("flipped.safetensors", "SHA-256"),
        ("other.pth", "no maeface metadata"),
        ("gone", "cannot"),
    ):
        with pytest.raises(WeightsError, match=says):
            Predictor(tmp_path / name, aligned=True, device="cpu", backend=backend)
    for name, says in (
        ("au.safetensors", "does not fit"),
        ("other.pth", "does not fit"),
        ("no.pth", "no face det"),
    ):
        with pytest.raises(WeightsError, match=says):
            Detector(tmp_path / name, backend=backend)


def test_pytorch_files_are_read_without_their_code(tmp_path):
    state = {"a": torch.arange(6.0).view(2, 3).T, "b": torch.tensor(3), "c": torch.zeros(0, 2).half()}
    for legacy in (False, True):
        path = tmp_path / f"{legacy}.pth"
        torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=not legacy)
        found = tensors.read_torch_file(path)
        assert found.keys() == state.keys()
        for name, value in state.items():
            np.testing.assert_array_equal(found[name], value.numpy())

    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    torch.save({"a": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(pickle.UnpicklingError, match=r"asks for \w+\.print"):
        tensors.read_torch_file(tmp_path / "evil.pth")


def test_tensors_beyond_their_numbers_are_refused():
    storage = tensors._Storage("<f4", 4, np.zeros(4, np.float32))
    for offset, shape, strides in ((0, (5,), (1,)), (2, (3,), (1,)), (0, (2, 2), (4, 1)), (0, (2,), (-1,))):
        with pytest.raises(ValueError, match="numbers"):
            tensors._Tensor(storage, offset, shape, strides).to_numpy()


@pytest.mark.parametrize("backend", INSTALLED)
def test_a_graph_of_all_kinds_of_constants(backend):
    graph = Graph()
    x = graph.input("x", "float32", ["n", 3])
    x = graph.add("Add", x, graph.constant(np.array([1, 2, 300], np.float32)))
    x = graph.add("Reshape", graph.add("LeakyRelu", x, alpha=0.25), graph.constant([-1]))
    graph.output(graph.add("Mul", x, graph.constant(2.0)), "y", ["m"])
    onnx.checker.check_model(onnx.load_from_string(graph.to_bytes()), full_check=True)
    run = backends.open_network(graph.to_bytes(), backend)
    for rows in (1, 2, 300):
        np.testing.assert_allclose(run(np.full((rows, 3), -5, np.float32)), [-2, -1.5, 590] * rows)


TORCH_FREE = """
import sys
import numpy as np
from maeface.prediction.predictor import Predictor
from maeface.data.ingest.images import load_images
predictor = Predictor(backend=sys.argv[1], detector="embedded")
image = np.full((200, 300, 3), 90, np.uint8)
(batch,) = predictor.stream(load_images([image, image]))
assert [len(one.crops) for one in batch] == [0, 0]
assert predictor.predict_crops(image[None, :200, :200]).shape[0] == 1
assert predictor.predict_crops(image[None, :200, :200], "features").shape[0] == 1
loaded = [name for name in ("torch", "pandas") if name in sys.modules]
import maeface.predict, maeface.prepare, maeface.faces.finder, maeface.faces.landmarks
sys.exit(", ".join([*loaded, *(["torch, by a verb"] if "torch" in sys.modules else [])]) or None)
"""


@pytest.mark.parametrize("backend", ["auto", *INSTALLED])
def test_a_prediction_loads_no_pytorch(backend, cache):
    done = subprocess.run(
        [sys.executable, "-c", TORCH_FREE, backend], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def choose(monkeypatch, times, asked="auto", device="cpu"):
    """Return the choice between back ends that take so long, and those that were measured."""
    measured = []
    monkeypatch.setattr(choice, "is_installed", lambda name: name in times)
    monkeypatch.setattr(choice, "version", lambda name: "1")
    monkeypatch.setattr(choice, "_measure", lambda run: times[run])
    chosen = choice.choose_backend(asked, device, lambda: "net", lambda name: measured.append(name) or name)
    return chosen, measured


def test_the_fastest_is_measured_once(cache, monkeypatch):
    times = {"openvino": 2.0, "onnxruntime": 1.0}
    assert choose(monkeypatch, times) == (("onnxruntime", "cpu"), ["openvino", "onnxruntime"])
    assert choose(monkeypatch, {"openvino": 0.5, "onnxruntime": 1.0}) == (("onnxruntime", "cpu"), [])
    for damaged in ("", "[1]", "{", json.dumps([[key, "cuda"] for key, _ in json.loads(cache.read_text())])):
        cache.write_text(damaged)
        assert choose(monkeypatch, times)[1] == ["openvino", "onnxruntime"]
        assert choose(monkeypatch, times)[1] == []
    assert choose(monkeypatch, {"openvino": 9.0}) == (("openvino", "cpu"), ["openvino"])  # it may be broken
    assert choose(monkeypatch, {}) == (("torch", "cpu"), [])


def test_a_cache_that_cannot_be_written_changes_nothing(cache, monkeypatch):
    cache.parent.parent.write_text("a file where the folder should be")
    for _ in range(2):
        assert choose(monkeypatch, {"openvino": 2.0, "onnxruntime": 1.0})[0] == ("onnxruntime", "cpu")


def broken_library(folder, name, error):
    """Write a module that raises an error when it is imported."""
    (folder / f"{name}.py").write_text(f"raise {error}")


@pytest.fixture
def fake_libraries(tmp_path, monkeypatch, cache):
    """A folder of modules that are found before the installed ones; what is set aside is forgotten later."""
    folder = tmp_path / "libraries"
    folder.mkdir()
    for name in [*sys.modules]:
        if name.partition(".")[0] in backends.ONNX_BACKENDS:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(backends, "_set_aside", set())
    monkeypatch.setattr(choice, "version", lambda name: "1")
    backends._openvino.cache_clear()
    yield folder
    backends._openvino.cache_clear()


ERRORS = ["ImportError('no symbol\\nmore')", "OSError('no symbol')", "RuntimeError('no symbol')"]


@pytest.mark.parametrize("error", ERRORS)
def test_auto_uses_the_next_library_if_one_does_not_work(fake_libraries, monkeypatch, capsys, error):
    for name in backends.ONNX_BACKENDS:
        broken_library(fake_libraries, name, error)
    predictor = Predictor(device="cpu", detector="embedded")
    assert (predictor.backend, predictor.detector.backend) == ("torch", "torch")
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "does not work" in line] == [
        "backend openvino is installed but does not work here (no symbol); "
        "backend onnxruntime is installed but does not work here (no symbol); using torch"
    ]


def test_a_library_that_works_is_used_and_nothing_is_remembered(fake_libraries, cache, capsys):
    broken_library(fake_libraries, "openvino", ERRORS[0])
    ran = []

    def probe(name):
        if name == "openvino":
            backends.open_network(b"", name)
        return lambda: ran.append(name)

    (fake_libraries / "onnxruntime.py").write_text("")
    assert choice.choose_backend("auto", "cpu", lambda: "net", probe) == ("onnxruntime", "cpu")
    assert set(ran) == {"onnxruntime"} and not cache.exists()
    assert capsys.readouterr().err.count("using onnxruntime") == 1
    assert choice.choose_backend("auto", "cpu", lambda: "net", probe) == ("onnxruntime", "cpu")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("name", backends.ONNX_BACKENDS)
def test_a_library_that_was_asked_for_and_does_not_work_is_one_clear_line(fake_libraries, name, error):
    broken_library(fake_libraries, name, error)
    with pytest.raises(ResourceError) as raised:
        Predictor(device="cpu", detector="embedded", backend=name)
    assert str(raised.value) == (
        f"backend {name} is installed but does not work here (no symbol); "
        f"reinstall it (uv pip install --reinstall {name}), or ask for auto"
    )


def test_pytorch_is_chosen_on_a_gpu_and_asked_only_where_there_is_a_driver(cache, monkeypatch):
    times = {"openvino": 1.0, "torch": 1.0}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(choice, "_has_driver", lambda: True)
    assert choose(monkeypatch, times, device="auto")[0] == ("torch", "cuda")
    assert choose(monkeypatch, times, device="cuda:1")[0] == ("torch", "cuda:1")
    assert choose(monkeypatch, times, device="cpu")[0] == ("openvino", "cpu")
    assert choose(monkeypatch, times, "openvino", "auto")[0] == ("openvino", "cpu")
    assert choose(monkeypatch, times, "torch", "auto")[0] == ("torch", "cuda")
    assert choose(monkeypatch, times, "torch", "nonsense")[0] == ("torch", "nonsense")  # PyTorch refuses it
    monkeypatch.setattr(choice, "_has_driver", lambda: False)
    assert choose(monkeypatch, times, device="auto")[0] == ("openvino", "cpu")


def test_weights_too_large_for_a_graph_run_in_pytorch(cache, monkeypatch, tmp_path):
    path = model_file(tmp_path / "m.safetensors")
    monkeypatch.setattr(networks, "MAX_BYTES", 1)
    assert Predictor(path, "cpu", aligned=True).backend == "torch"
    with pytest.raises(ConfigError, match="backend openvino does not run "):
        Predictor(path, "cpu", aligned=True, backend="openvino")


def test_back_ends_that_cannot_be_used_are_refused(monkeypatch, tmp_path):
    with pytest.raises(ConfigError, match="backend openvino runs on the CPU only"):
        Predictor(backend="openvino", device="cuda", aligned=True)
    with pytest.raises(ConfigError, match="did you mean 'openvino'"):
        Predictor(backend="openvin", aligned=True)
    with pytest.raises(ConfigError, match="does not run the face detector's resnet50; ask for torch"):
        Detector(tmp_path / "x.pth", "resnet50", backend="openvino")
    monkeypatch.setattr(backends, "is_installed", lambda name: False)
    with pytest.raises(
        ResourceError, match=r"backend onnxruntime is not installed; .*pip install 'maeface\[onnxruntime\]'"
    ):
        Predictor(backend="onnxruntime", aligned=True)


def test_the_graph_needs_every_weight_of_the_detector():
    """A weight of a network that the graph does not know is refused, not left out."""
    from maeface.faces.detector_graphs import retinaface_graph

    network = retinaface.RetinaFace()
    load_weights(network, EMBEDDED)
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    retinaface_graph(state)
    for changed in (
        state | {"body.extra.weight": np.zeros(1, np.float32)},
        {name: value for name, value in state.items() if name != "ssh2.conv3X3.0.weight"},
        state | {"fpn.merge1.1.bias": np.zeros(3, np.float32)},
    ):
        with pytest.raises((KeyError, ValueError)):
            retinaface_graph(changed)


def test_the_cache_folder_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert files.cache_folder() == tmp_path / "maeface"


def test_prepare_records_the_back_end_and_resumes_with_another(tmp_path, monkeypatch, sample):
    monkeypatch.setenv("MAEFACE_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "in").mkdir()
    for k, pixels in enumerate(sample[:2]):
        Image.fromarray(pixels).resize((200, 200)).save(tmp_path / "in" / f"{k}.png")
    hashes = []
    for backend in ("torch", *INSTALLED):
        out = tmp_path / backend
        settings = prepare.Settings(backend=backend, device="cpu", workers=1)
        assert prepare.run([tmp_path / "in"], out, settings).faces == 2
        record = json.loads((out / "prepare.json").read_text())
        assert record["backend"].split()[0] == backend and record["devices"] == ["cpu"]
        assert "backend" not in record["settings"]
        hashes.append(files.sha256(out / "shards" / "00000.tar"))
        prepare.run([tmp_path / "in"], out, settings.model_copy(update={"backend": "torch"}))
    assert len(set(hashes)) == 1  # the crops are on a grid, so the last bits of the network change no pixel


def test_the_oldest_choices_of_back_ends_are_forgotten(tmp_path, monkeypatch):
    """Not those whose hash is the smallest, among them the one that was saved last."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for number in range(choice.MAX_ENTRIES):
        choice._save(f"b{number:03d}", "openvino")
    choice._save("a", "openvino")
    choice._save("c", "openvino")
    assert "a" in choice._load()


def test_no_home_folder_is_no_traceback(tmp_path, monkeypatch):
    """In a container, a user without a home folder and without an entry in the list of users."""
    monkeypatch.setattr(Path, "home", Mock(side_effect=RuntimeError("Could not determine home directory.")))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert choice._load() == {}
    choice._save("a", "openvino")
