"""Frames of films on a device of PyTorch. Here it is the CPU, on which the way of a GPU can be followed."""

import gc
import io
import threading
import weakref
from contextlib import contextmanager

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from maeface.data import manifest, shards
from maeface.data.ingest.images import (
    GroupLimits,
    SourceImage,
    UnreadableInput,
    batch_images,
    group_blocks,
    read_inputs,
)
from maeface.data.ingest.inputs import find_inputs
from maeface.data.ingest.read_ahead import read_ahead
from maeface.faces import finder, imaging, media, quality, tracking
from maeface.faces.detector import Detector
from maeface.faces.detector_weights import EMBEDDED
from maeface.faces.device_frames import upload
from maeface.faces.following import follow_faces
from maeface.faces.geometry import GRID_STEPS, Face, Square
from maeface.model import zoo
from maeface.prediction import face_finder
from maeface.prediction.predictor import Predictor

BLOCK = 7


@pytest.fixture(scope="module")
def images():
    """Three smooth images of one shape, and a rough one of another."""
    rng = np.random.default_rng(0)
    smooth = [Image.fromarray(rng.integers(0, 256, (37, 61, 3), dtype=np.uint8)) for _ in range(3)]
    rough = rng.integers(0, 256, (200, 300, 3), dtype=np.uint8)
    return [*(np.array(one.resize((610, 373), Image.Resampling.BILINEAR)) for one in smooth), rough]


@pytest.fixture(scope="module")
def frames():
    """A film of two rendered faces that move: three blocks, the second with one face, with a cut."""
    folder = zoo.folder().parent / "sample"
    reader, rows = shards.Shards(folder), manifest.load(folder)
    faces = [
        Image.open(io.BytesIO(reader.read(rows.iloc[number]))).convert("RGB").resize((150, 150))
        for number in (0, 8)
    ]
    film = []
    for k in range(3 * BLOCK):
        level = 60 if k < BLOCK + 3 else 140
        picture = Image.new("RGB", (480, 270), (level, level, level))
        picture.paste(faces[0], (20 + 4 * k, 30 + k))
        if k // BLOCK != 1:
            picture.paste(faces[1].rotate(k / 2), (300, 90 - 2 * k))
        film.append(np.array(picture))
    return film


@pytest.mark.parametrize("bilinear", [True, False])
@pytest.mark.parametrize("size", [32, 96])
def test_crops_are_those_of_the_cpu(images, bilinear, size):
    rng = np.random.default_rng(1)
    regions = [Square(*rng.uniform([-20, -20, 5, -180], [620, 380, 400, 180]).tolist()) for _ in range(40)]
    regions += [Square(-900, 50, 40), Square(305, 186.5, 373, 90), Square(32, 32, 2.0 * size)]
    which = rng.integers(0, len(images), len(regions))
    expected = np.stack(imaging.crop([images[i] for i in which], regions, size, bilinear)).astype(int)
    on_device = upload(images, "cpu")
    crops = imaging.crop([on_device[i] for i in which], regions, size, bilinear)
    found = imaging.stack(crops).numpy().astype(int)
    assert found.shape == expected.shape == (len(regions), size, size, 3)
    assert np.abs(found - expected).max() <= 1
    assert (found != expected).mean() < 1e-3


@pytest.mark.parametrize("factor", [1, 2, 3, 7])
def test_shrinking_and_turning_are_those_of_the_cpu(images, factor):
    for image, frame in zip(images, upload(images, "cpu"), strict=True):
        assert np.array_equal(np.asarray(imaging.shrink(frame, factor)), imaging.shrink(image, factor))
        turned = imaging.turn(frame, factor)
        assert turned.shape == imaging.turn(image, factor).shape
        assert np.array_equal(np.asarray(turned), imaging.turn(image, factor))


def test_pixels_of_frames_of_several_stacks(images):
    first, second = upload(images[:2], "cpu"), upload(images[2:3], "cpu")
    rows, columns = np.array([[[0], [300]]]), np.array([[[5, 6, 600]]])
    mixed, arrays = [second[0], first[1], first[0]], [images[2], images[1], images[0]]
    for own in (rows, rows + np.arange(3)[:, None, None]):  # the same in all, or others in each
        of_each = np.broadcast_to(own, (3, 2, 1))
        expected = np.stack([one[row, columns[0]] for one, row in zip(arrays, of_each, strict=True)])
        assert expected.shape == (3, 2, 3, 3)
        assert np.array_equal(imaging.pick(arrays, own, columns), expected)
        assert np.array_equal(imaging.pick(mixed, own, columns), expected)
    assert np.array_equal(imaging.stack(mixed).numpy(), np.stack(arrays))


@pytest.fixture
def copies(monkeypatch):
    """The shapes of the tensors that are copied to NumPy: each time a GPU is waited for."""
    seen = []
    monkeypatch.setattr(Tensor, "cpu", lambda tensor: seen.append(tuple(tensor.shape)) or tensor)
    return seen


def test_faces_are_described_with_one_copy_for_all(images, copies):
    rng = np.random.default_rng(2)
    faces = [
        Face(np.array([x, y, x + 90, y + 100], np.float32), rng.uniform(0, 370, (5, 2)).astype(np.float32), 1)
        for x, y in rng.uniform(0, 300, (6, 2))
    ]
    which = [0, 1, 0, 3, 2, 3]  # of two shapes
    expected = [tracking.describe(images[k], face) for k, face in zip(which, faces, strict=True)]
    on_device = upload(images, "cpu")
    found = tracking.describe_faces([on_device[k] for k in which], faces)
    assert np.array_equal(found, expected)
    assert [shape[0] for shape in copies] == [6]


def test_sharpness_is_measured_with_few_copies(images, copies, monkeypatch):
    regions = [Square(300, 180, side, angle) for side in (90, 140, 200) for angle in (0, 7, 50)]
    crops = imaging.crop([upload(images, "cpu")[0]] * len(regions), regions, 96)
    expected = quality.measure_sharpness([np.asarray(crop) for crop in crops])
    copies.clear()
    assert np.array_equal(quality.measure_sharpness(crops), expected)
    assert copies == [(9, 96, 96, 3)]
    copies.clear()
    monkeypatch.setattr(imaging, "COPIED_BYTES", 4 * 96 * 96 * 3)
    assert np.array_equal(quality.measure_sharpness(crops), expected)
    assert [shape[0] for shape in copies] == [4, 4, 1]


def test_frames_are_uploaded_to_the_second_gpu_from_pinned_memory_of_it(images, monkeypatch):
    """There is no GPU here, so what PyTorch is asked for is recorded."""
    asked = []

    @contextmanager
    def on(device):
        asked.append(f"on {device}")
        yield
        asked.append("left")

    def to(tensor, device, non_blocking=False):
        asked.append(f"{tuple(tensor.shape)} to {device}, {non_blocking}")
        return tensor

    def empty(shape, dtype, pin_memory):
        asked.append(f"pinned {pin_memory}")
        return torch.zeros(shape, dtype=dtype)

    monkeypatch.setattr(torch.cuda, "device", on)
    monkeypatch.setattr(torch, "empty", empty)
    monkeypatch.setattr(Tensor, "to", to)
    frames = upload(images[:2], "cuda:1")
    assert asked == ["on cuda:1", "pinned True", "(2, 373, 610, 3) to cuda:1, True", "left"]
    assert np.array_equal(frames[1].frames.pixels.numpy(), np.stack(images[:2]))


def assert_same(found, expected, box_px):
    assert [len(one) for one in found] == [len(one) for one in expected]
    for ours, theirs in zip(found, expected, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert one.face.box == pytest.approx(other.face.box, abs=box_px)
            assert one.followed == other.followed
            assert (one.descriptor is None) == (other.descriptor is None)


def test_many_blocks_on_a_device_are_followed_as_one_by_one_on_the_cpu(frames):
    detector = Detector(EMBEDDED, threads=1)
    blocks = [frames[start : start + BLOCK] for start in (0, BLOCK, 2 * BLOCK)]
    blocks[1] = blocks[1][:4]  # they need not have one length
    expected = [follow_faces(detector, [block], min_face=16)[0] for block in blocks]
    assert [len(one) for one in expected[0]] == [2] * BLOCK
    detector.batched = True
    rest = iter(upload([frame for block in blocks for frame in block], "cpu"))
    on_device = [[next(rest) for _ in block] for block in blocks]
    for found, one_by_one in zip(follow_faces(detector, on_device, min_face=16), expected, strict=True):
        assert_same(found, one_by_one, box_px=0.5)


@pytest.fixture
def source(frames):
    film = [
        SourceImage("film", media.Frame(frame, k, k / BLOCK / 2), video=True)
        for k, frame in enumerate(frames)
    ]
    film.insert(9, UnreadableInput("film", 9, 9 / BLOCK / 2, "damaged", count=1))
    photo = SourceImage("photo", media.Frame(frames[0], 0, 0.0), video=False)
    return [photo, *film[:10], *film[10:], photo]


def test_the_way_of_a_gpu_gives_the_rows_of_the_cpu(source):
    predictor = Predictor(device="cpu", backend="torch", detector="embedded", precision="fp32", threads=1)
    expected = [one for batch in predictor.stream(source) for one in batch]
    predictor.face_finder.on_device = predictor.face_finder.film_detector.batched = True
    found = [one for batch in predictor.stream(source) for one in batch]
    assert [one.image for one in found] == [one.image for one in expected] == source
    same, count = 0, len(predictor.metadata.aus)
    for one, other in zip(found, expected, strict=True):
        assert len(one.crops) == len(other.crops)
        for ours, theirs, *values in zip(one.crops, other.crops, one.values, other.values, strict=True):
            a, b = ours.square, theirs.square
            step = 2 ** round(np.log2(b.side)) / GRID_STEPS
            assert max(abs(a.cx - b.cx), abs(a.cy - b.cy), abs(a.side - b.side)) <= step
            assert abs(a.angle_deg - b.angle_deg) <= 1
            assert ours.pixels.shape == theirs.pixels.shape
            if a == b:
                same += 1
                ours, theirs = (one[count : 2 * count] for one in values)  # probabilities
                assert ours == pytest.approx(theirs, abs=0.02)
    assert same >= 0.7 * sum(len(one.crops) for one in expected)  # others are a step of the grid away
    assert len(found[1].crops) == 2


def test_groups_hold_blocks_of_films_and_photos_stay_by_themselves(source):
    batches = list(batch_images(source))
    assert [len(group) for group in group_blocks(batches, GroupLimits())] == [1] * len(batches)
    many = GroupLimits(10**9, 10**9, 10**9)
    groups = list(group_blocks(batches, many))
    assert [len(group) for group in groups] == [1, len(batches) - 2, 1]
    assert [image for group in groups for batch in group for image in batch] == source
    pixels = source[0].frame.rgb.size // 3
    for limits in (many._replace(pixels=8 * pixels), many._replace(images=8), many._replace(batches=2)):
        assert max(len(group) for group in group_blocks(batches, limits)) == 2


def test_crops_are_made_of_some_blocks_at_a_time(source, monkeypatch):
    """So that a group of frames with 50 faces in each does not fill the memory of a GPU."""
    sizes, crop_faces = [], finder.crop_faces

    def crop(frames, located, size):
        sizes.append(sum(map(len, located)))
        return crop_faces(frames, located, size)

    predictor = Predictor(device="cpu", backend="torch", detector="embedded", precision="fp32", threads=1)
    predictor.face_finder.on_device = predictor.face_finder.film_detector.batched = True
    film = [one for one in source if one.name == "film"]
    together = [one for batch in predictor.stream(film) for one in batch]
    monkeypatch.setattr(finder, "crop_faces", crop)
    monkeypatch.setattr(face_finder, "CROPS_TOGETHER", 15)
    found = [one for batch in predictor.stream(film) for one in batch]
    faces = [len(one.crops) for one in together]
    assert [len(one.crops) for one in found] == faces
    for one, other in zip(found, together, strict=True):
        assert one.image is other.image
        assert one.values == pytest.approx(other.values, abs=1e-4)
    assert sum(sizes) == sum(faces) > 30
    assert len(sizes) == 2  # the blocks have 14, 7 or more, and 14 faces


def test_items_are_read_ahead_in_order_and_errors_come_where_they_belong():
    made = []

    def make():
        for number in range(3):
            made.append(number)
            yield number
        raise OSError("no more")

    items = read_ahead(make())
    assert next(items) == 0
    seen = []
    with pytest.raises(OSError, match="no more"):
        seen += items
        seen.extend(items)
    assert made == [0, 1, 2]
    assert list(read_ahead([])) == []


def count_readers():
    return sum(thread.name.startswith("read-ahead") for thread in threading.enumerate())


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_reading_ends_when_the_consumer_stops(error):
    ended = []

    def make():
        try:
            yield from range(100)
        finally:
            ended.append(True)

    items = read_ahead(make())
    assert next(items) == 0 and count_readers() == 1
    with pytest.raises(error) as caught:
        items.throw(error)
    assert caught.traceback and ended and not count_readers()


@pytest.mark.parametrize("on_device", [True, False])
def test_an_error_closes_the_film_while_its_traceback_is_kept(frames, tmp_path, monkeypatch, on_device):
    film, opened, open_file = tmp_path / "film.mp4", [], media._open
    with av.open(str(film), "w") as container:
        stream = container.add_stream("mpeg4", rate=14, width=480, height=270, pix_fmt="yuv420p")
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        container.mux(stream.encode(None))
    monkeypatch.setattr(media, "_open", lambda path: opened.append(open_file(path)) or opened[-1])
    predictor = Predictor(device="cpu", backend="torch", detector="embedded", precision="fp32", threads=1)
    predictor.face_finder.on_device = on_device

    def fail(*arguments):
        raise RuntimeError("no memory")

    monkeypatch.setattr(predictor.face_finder, "find", fail)
    with pytest.raises(RuntimeError, match="no memory") as caught:
        list(predictor.stream(read_inputs(find_inputs([film]))))
    assert caught.traceback and opened
    assert all(file.closed for file in opened) and not count_readers()


def test_the_memory_of_frames_is_free_as_soon_as_nothing_uses_them(images):
    """Cycles would be found by the garbage collector, which does not know that a GPU is full."""
    frames = upload(images[:3], "cpu")
    crops = imaging.crop(frames, [Square(300, 200, 250)] * 3, 64)
    imaging.shrink(frames[0], 2)
    stacks = [weakref.ref(frames[0].frames), weakref.ref(crops[0].frames)]
    gc.disable()
    try:
        del frames, crops
        assert [stack() for stack in stacks] == [None, None]
    finally:
        gc.enable()
