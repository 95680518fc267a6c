import io
import multiprocessing
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter, ImageOps
from timm.data import auto_augment

import drawn
from maeface import config, files
from maeface.data.loading import augmentation, loader, photometric, randaugment
from maeface.data.loading import dataset as loading_dataset
from maeface.data.loading.augmentation import Crops
from maeface.data.loading.dataset import FaceDataset, gather_manifests
from maeface.data.loading.loader import InOrder, Loader, load_in_order
from maeface.data.loading.on_device import OnDevice
from maeface.data.loading.sampling import BatchOrder, keyed_generator
from maeface.errors import ConfigError, DataError, ResourceError
from maeface.model import preprocessing


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """24 drawn faces of 32 pixels."""
    return drawn.faces(tmp_path_factory.mktemp("crops"))


def dataset(folder, **options):
    rows = gather_manifests([folder])
    return FaceDataset([folder], rows, **({"image_size": 16, "seed": 3} | options))


def test_order_is_a_partition_that_depends_on_seed_and_epoch():
    order = BatchOrder(count=10, batch=4, seed=1)
    assert order.steps_per_epoch == 3
    first = np.concatenate([order.indices(step)[1] for step in range(3)])
    second = np.concatenate([order.indices(step)[1] for step in range(3, 6)])
    assert sorted(first) == sorted(second) == list(range(10))
    assert list(first) != list(second)
    assert [order.indices(step)[0] for step in range(7)] == [0, 0, 0, 1, 1, 1, 2]
    again = BatchOrder(count=10, batch=4, seed=1)
    assert list(again.indices(4)[1]) == list(order.indices(4)[1])
    other = BatchOrder(count=10, batch=4, seed=2)
    assert list(np.concatenate([other.indices(step)[1] for step in range(3)])) != list(first)


def test_whole_batches_only_where_there_is_one():
    assert BatchOrder(10, 4, 0, drop_last=True).steps_per_epoch == 2
    assert BatchOrder(3, 4, 0, drop_last=True).steps_per_epoch == 1
    assert len(BatchOrder(3, 4, 0, drop_last=True).indices(0)[1]) == 3


def collect(loader, start, stop):
    steps = [list(step) for step in loader.steps(start, stop)]
    names = ("image", "draws", "noise", "index")
    return [{name: torch.cat([batch[name] for batch in step]) for name in names} for step in steps]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("micro_batch", [None, 2])
def test_samples_do_not_depend_on_workers_restarts_and_micro_batches(folder, workers, micro_batch):
    data = dataset(folder, randaugment="rand-m9-mstd0.5-inc1", patches=4)
    order = BatchOrder(len(data), 10, seed=3)
    plain = collect(Loader(data, order), 0, 6)
    others = collect(Loader(data, order, micro_batch, workers), 4, 6)
    for expected, got in zip(plain[4:], others, strict=True):
        for name in expected:
            assert torch.equal(expected[name], got[name]), name


def test_ranks_share_a_batch_in_order_even_if_there_is_too_little(folder):
    data = dataset(folder)
    order = BatchOrder(len(data), 23, seed=0)
    whole = collect(Loader(data, order), 0, 2)
    halves = [collect(Loader(data, order, rank=rank, world=2), 0, 1)[0]["index"] for rank in range(2)]
    assert [len(half) for half in halves] == [12, 11]
    assert torch.equal(torch.cat(halves), whole[0]["index"])
    # the second step has one sample: nothing is left for rank 1
    assert [len(list(step)) for step in Loader(data, order, rank=1, world=2).steps(1, 2)] == [0]


def test_epochs_differ_and_global_generators_stay_as_they_were(folder):
    data = dataset(folder, randaugment="rand-m9-mstd0.5-inc1", patches=4)
    random.seed(5), np.random.seed(5)
    expected = random.random(), np.random.random()
    random.seed(5), np.random.seed(5)
    first, second = data.__getitems__([(7, 0)]), data.__getitems__([(7, 1)])
    assert (random.random(), np.random.random()) == expected
    for name in ("image", "draws", "noise"):
        assert not torch.equal(first[name], second[name]), name
    assert first["image"].dtype == torch.uint8 and first["image"].shape == (1, 3, 32, 32)


def test_evaluation_is_the_same_in_every_epoch(folder):
    data = dataset(folder, patches=4, training=False)
    first, second = data.__getitems__([(7, 0)]), data.__getitems__([(7, 1)])
    assert torch.equal(first["noise"], second["noise"]) and torch.equal(first["image"], second["image"])
    assert torch.equal(first["image"][0].permute(1, 2, 0), torch.tensor(np.asarray(drawn.face(7))))


def test_labels_travel_with_their_samples(folder):
    data = dataset(folder, labels={"au": np.arange(48, dtype=np.float32).reshape(24, 2)})
    batch = data.__getitems__([(5, 0), (1, 0)])
    assert batch["au"].tolist() == [[10, 11], [2, 3]]
    assert batch["id"] == ["05.png#0.0", "01.png#0.0"]


def test_every_sample_once_in_order(folder):
    got = list(load_in_order(dataset(folder, training=False), 10, workers=1))
    assert torch.cat([batch["index"] for batch in got]).tolist() == list(range(24))


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A prepared folder of 12 JPEGs of 64 pixels, and their bytes."""
    folder = tmp_path_factory.mktemp("stored")
    return folder, drawn.prepared(folder, 12, 64)


def test_jpegs_are_decoded_as_pillow_does(stored):
    folder, jpegs = stored
    images = dataset(folder, image_size=32).__getitems__([(n, 0) for n in range(12)])["image"]
    for image, jpeg in zip(images, jpegs, strict=True):
        expected = torch.tensor(np.asarray(Image.open(io.BytesIO(jpeg))))
        assert torch.equal(image.permute(1, 2, 0), expected)


@pytest.mark.parametrize("least_area", [None, 0.9])
def test_a_cut_or_altered_jpeg_is_an_error_at_every_scale(tmp_path, least_area):
    jpeg = drawn.jpeg(drawn.face(1, 128))
    middle = len(jpeg) // 2
    damaged = {
        "cut": jpeg[:middle],
        "no_end": jpeg[:-2],
        "altered": jpeg[:middle] + b"\xff\xd0" + jpeg[middle + 2 :],
    }
    for name, data in damaged.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "0.jpg").write_bytes(jpeg)
        (folder / "1.jpg").write_bytes(jpeg)
        faces = dataset(folder, least_area=least_area)
        assert faces.side == (32 if least_area else 64)  # of 128: a quarter, or the limit
        (folder / "1.jpg").write_bytes(data)
        error = faces.__getitems__([(1, 0)])["error"]
        assert isinstance(error, DataError) and "1.jpg#0.0" in str(error), name


def test_crops_are_decoded_at_a_half_where_the_smallest_part_still_has_all_pixels(tmp_path):
    for number in range(2):
        drawn.face(number, 128).filter(ImageFilter.GaussianBlur(1.5)).save(
            tmp_path / f"{number}.jpg", quality=95
        )
    sides = {
        area: dataset(tmp_path, image_size=32, least_area=area).side for area in (None, 1.0, 0.5, 0.3, 0)
    }
    assert sides == {None: 128, 1.0: 48, 0.5: 64, 0.3: 128, 0: 128}  # the narrowest part of .3 has .47 of 64
    assert dataset(tmp_path, image_size=32, least_area=0.5, randaugment="rand-m9-mstd0.5-inc1").side == 128
    half, full = (dataset(tmp_path, image_size=32, least_area=area) for area in (0.5, None))
    plain = [(n % 2, n) for n in range(40)]
    batches = [faces.__getitems__(plain) for faces in (half, full)]
    assert torch.equal(batches[0]["draws"], batches[1]["draws"])
    crops = augmentation.random_crops(batches[0]["draws"], (0.5, 1.0), flip=True)
    seen = [augmentation.resample(preprocessing.as_float(one["image"]), crops, 32) for one in batches]
    assert (seen[0] - seen[1]).abs().mean() < 0.01
    sharpness = [image.diff(dim=3).square().mean() + image.diff(dim=2).square().mean() for image in seen]
    assert 0.9 < sharpness[0] / sharpness[1] < 1.15


def test_the_cache_is_bounded_over_all_workers(folder, monkeypatch):
    monkeypatch.setattr(loading_dataset, "CACHE_BYTES", 10 * 32 * 32 * 3)
    data = dataset(folder)
    data.__getitems__([(n, 0) for n in range(24)])
    assert len(data._cache) == 10
    monkeypatch.setattr(loading_dataset, "get_worker_info", lambda: SimpleNamespace(num_workers=3))
    data = dataset(folder)
    data.__getitems__([(n, 0) for n in range(24)])
    assert len(data._cache) == 3


def test_rows_are_found_in_several_folders_of_both_kinds(folder, stored):
    folders = [folder, stored[0], stored[0]]
    data = FaceDataset(folders, gather_manifests(folders), image_size=16, seed=0)
    data.check()
    sizes = {index: Image.open(io.BytesIO(data._read(index))).size for index in (0, 23, 24, 47)}
    assert sizes == {0: (32, 32), 23: (32, 32), 24: (64, 64), 47: (64, 64)}
    assert data._read(24) == data._read(36) == stored[1][0]


def test_workers_of_an_evaluation_stay_and_do_not_hash(stored, monkeypatch):
    data = dataset(stored[0], training=False)
    with InOrder(data, 5, workers=1) as batches:
        passes = []
        for _ in range(2):
            passes.append(torch.cat([batch["image"] for batch in batches]))
            passes.append({process.pid for process in multiprocessing.active_children()})
            monkeypatch.setattr(files, "sha256", None)
    assert torch.equal(passes[0], passes[2]) and len(passes[0]) == 12
    assert passes[1] == passes[3] and len(passes[1]) == 1
    assert not multiprocessing.active_children()
    with InOrder(dataset(stored[0], training=False), 5, workers=1) as batches:  # of which nothing was hashed
        assert sum(len(batch["id"]) for batch in batches) == 12


def test_workers_by_default_are_the_share_of_the_cores(monkeypatch):
    monkeypatch.setattr(loader, "count_cores", lambda: 16)
    assert (loader.count_workers(gpu=True), loader.count_workers(gpu=False)) == (16, 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert loader.count_workers(gpu=True) == 4
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "32")
    assert (loader.count_workers(gpu=True), loader.count_workers(gpu=False)) == (1, 1)


def test_crops_on_the_device_give_the_same_batches(stored):
    labels = {"au": np.arange(24, dtype=np.float32).reshape(12, 2)}
    plain = dataset(stored[0], patches=4, labels=labels)
    order = BatchOrder(12, 5, seed=3)
    resident = OnDevice(plain, torch.device("cpu"), workers=1)
    plain._read = None  # nothing is read any more
    got = collect(Loader(resident, order, micro_batch=2, workers=2), 0, 6)
    for expected, one in zip(collect(Loader(dataset(stored[0], patches=4), order), 0, 6), got, strict=True):
        assert all(torch.equal(expected[name], one[name]) for name in expected)
        assert expected["image"].stride() == one["image"].stride()  # so sums are in the same order
    in_order = list(load_in_order(resident, 5, workers=2))
    assert torch.cat([batch["au"] for batch in in_order]).tolist() == labels["au"].tolist()
    assert [len(batch["id"]) for batch in in_order] == [5, 5, 2]


def test_crops_that_do_not_fit_on_the_device_are_refused(stored, monkeypatch):
    monkeypatch.setattr("os.sysconf", {"SC_PHYS_PAGES": 36, "SC_PAGE_SIZE": 4096}.get)  # 12 x 64 x 64 x 3
    with pytest.raises(
        ResourceError, match=r"^data.on_device: 12 crops of 64 px take .* half of the memory of cpu"
    ):
        OnDevice(dataset(stored[0]), torch.device("cpu"), 0)
    monkeypatch.setattr("os.sysconf", {"SC_PHYS_PAGES": 72, "SC_PAGE_SIZE": 4096}.get)
    OnDevice(dataset(stored[0]), torch.device("cpu"), 0)


def test_randaugment_and_crops_on_the_device_are_refused_together():
    with pytest.raises(ConfigError, match="on_device=true keeps the crops where randaugment cannot run"):
        config.load(config.Finetune, "detection", ["data.on_device=true"])
    assert config.load(
        config.Finetune, "detection", ["data.on_device=true", "data.randaugment="]
    ).data.on_device


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_crop_is_named_in_one_line(folder, tmp_path, workers):
    for number in range(3):
        drawn.face(number).save(tmp_path / f"{number}.png")
    data = dataset(tmp_path)
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:60])
    with pytest.raises(DataError, match=r"^1.png#0.0 in .* is not a whole") as raised:
        list(load_in_order(data, 2, workers))
    assert "\n" not in str(raised.value)
    # the error's traceback is still held here; workers ignore SIGTERM, so one that lives would block the exit
    assert not multiprocessing.active_children()


def test_an_unknown_randaugment_is_named(folder):
    with pytest.raises(ConfigError, match="augmix-m3"):
        dataset(folder, randaugment="augmix-m3")


def test_more_layers_than_weighted_operations_are_refused(folder):
    with pytest.raises(ConfigError, match="rand-tweights-n16"):
        dataset(folder, randaugment="rand-tweights-n16")
    dataset(folder, randaugment="rand-tweights-n15")


RANDAUGMENTS = [
    f"rand-m{magnitude}-mstd{noise}-mmax{most}-{kind}"
    for magnitude, noise, most in ((0, 0, 10), (9, 0.5, 10), (10, 101, 10), (30, 5, 30))
    for kind in ("inc1", "inc0", "t3a", "t3aw-n5", "tweights-n9")
]


@pytest.mark.parametrize("name", RANDAUGMENTS)
def test_every_operation_of_randaugment_runs_at_every_magnitude(name):
    ours = randaugment.build_randaugment(name, 32)
    image = drawn.face(0, 32).convert("RGB")
    random.seed(0)
    for operation in ours.ops:
        operation.prob, operation.magnitude_std = 1.0, 0
        for magnitude in (0, 0.1, 2.4, 5, 7.5, 9.9, 10, 12.5, 20, 30, 100):
            operation.magnitude = magnitude
            assert operation(image).size == image.size, (operation.name, magnitude)


def old_posterize(image, bits):
    """What Pillow 12 does, with any number of bits."""
    mask = ~(2 ** (8 - bits) - 1)
    return Image.fromarray(np.asarray(image) & np.uint8(mask & 255))


@pytest.mark.parametrize("name", ["rand-m9-mstd0.5-inc1", "rand-m1-mstd2-inc0", "rand-m20-mstd9-mmax30-inc1"])
def test_randaugment_is_timms_with_the_posterize_of_old_pillow(name, monkeypatch):
    options = {
        "translate_const": int(32 * 0.45),
        "img_mean": randaugment.FILL,
        "interpolation": Image.Resampling.BICUBIC,
    }
    ours, theirs = randaugment.build_randaugment(name, 32), auto_augment.rand_augment_transform(name, options)
    monkeypatch.setattr(ImageOps, "posterize", old_posterize)
    pixels = np.asarray(drawn.face(0, 32).convert("RGB"))
    black = 0
    for seed in range(2000):
        got = randaugment.apply_seeded(ours, pixels, seed)
        assert np.array_equal(got, randaugment.apply_seeded(theirs, pixels, seed)), seed
        black += not got.any()
    assert black  # 0 bits were drawn


@pytest.mark.parametrize("bits", range(1, 10))
def test_posterize_is_that_of_the_installed_pillow(bits):
    image = drawn.face(0, 32).convert("RGB")
    expected = np.asarray(auto_augment.posterize(image, bits))
    assert np.array_equal(np.asarray(randaugment.posterize(image, bits, fillcolor=(1, 2, 3))), expected)


@pytest.mark.parametrize("bits", [0, -1, -8])
def test_no_bits_are_a_black_image(bits):
    image = drawn.face(0, 32).convert("RGB")
    pixels = np.asarray(randaugment.posterize(image, bits))
    assert pixels.shape == (32, 32, 3) and not pixels.any()
    assert np.array_equal(pixels, np.asarray(old_posterize(image, bits)))


def test_timm_itself_stays_as_it_was():
    before = auto_augment.NAME_TO_OP["PosterizeIncreasing"]
    randaugment.build_randaugment("rand-m9-mstd0.5-inc1", 32)
    assert auto_augment.NAME_TO_OP["PosterizeIncreasing"] is before is auto_augment.posterize


def test_crops_of_other_sizes_are_brought_to_one(tmp_path):
    drawn.face(1, 40).save(tmp_path / "a.png")
    drawn.face(1, 20).save(tmp_path / "b.png")
    assert dataset(tmp_path).__getitems__([(0, 0), (1, 0)])["image"].shape == (2, 3, 40, 40)


# augmentation on the device ----------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "size"), [(32, 16), (32, 32), (30, 17), (24, 56)])
def test_the_whole_crop_is_resized_as_in_evaluation(side, size):
    image = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    whole = Crops(torch.tensor([[0.0, 0.0, 1.0, 1.0]] * 2), torch.tensor([False, True]))
    got = augmentation.resample(image, whole, size)
    expected = preprocessing.resize(image, size)
    torch.testing.assert_close(got[0], expected[0], atol=2e-5, rtol=0)
    torch.testing.assert_close(got[1], expected[1].flip(2), atol=2e-5, rtol=0)


def test_a_box_is_cut_as_pillow_cuts_it():
    face = drawn.face(4, 64).filter(ImageFilter.GaussianBlur(2))  # no overshoot, which Pillow cuts off
    image = torch.tensor(np.asarray(face)).permute(2, 0, 1)[None] / 255
    box = torch.tensor([[0.25, 0.125, 0.75, 0.875]])
    got = augmentation.resample(image, Crops(box, torch.tensor([False])), 20)[0]
    expected = face.resize((20, 20), Image.Resampling.BICUBIC, box=(16, 8, 48, 56))
    difference = got - torch.tensor(np.asarray(expected)).permute(2, 0, 1) / 255
    assert difference.abs().max() <= 1.5 / 255  # Pillow rounds to whole values, twice


def test_random_boxes_have_the_area_and_shape_that_is_asked():
    uniform = torch.rand(2000, augmentation.DRAWS, generator=torch.Generator().manual_seed(0))
    crops = augmentation.random_crops(uniform, (0.2, 1.0), flip=True)
    x1, y1, x2, y2 = crops.box.unbind(1)
    assert crops.box.min() >= 0 and crops.box.max() <= 1 + 1e-6
    area, ratio = (x2 - x1) * (y2 - y1), (x2 - x1) / (y2 - y1)
    assert 0.2 - 1e-5 <= area.min() and area.max() <= 1 + 1e-6 and 0.5 < area.mean() < 0.65
    assert 3 / 4 - 1e-5 <= ratio.min() and ratio.max() <= 4 / 3 + 1e-5
    assert 0.45 < crops.flip.float().mean() < 0.55
    assert not augmentation.random_crops(uniform, (0.2, 1.0), flip=False).flip.any()


def test_erasing_fills_rectangles_of_some_samples():
    uniform = torch.rand(400, augmentation.DRAWS, generator=torch.Generator().manual_seed(0))
    images = torch.full((400, 3, 16, 16), 9.0)
    erased = (augmentation.erase(images, uniform, 0.25) != 9.0).all(dim=1).flatten(1).float().mean(dim=1)
    assert 0.18 < (erased > 0).float().mean() < 0.32
    assert erased.max() < 0.45
    assert torch.equal(augmentation.erase(images, uniform, 0.0), images)
    alone = augmentation.erase(images[:5], uniform[:5], 1.0)
    assert torch.equal(alone, augmentation.erase(images, uniform, 1.0)[:5])


def test_noise_is_normal_and_another_for_each_sample_place_and_purpose():
    draws = torch.rand(300, 4, generator=torch.Generator().manual_seed(0))
    noise = photometric.normal_noise(draws, (300, 3, 17, 17), photometric.Stream.SENSOR)
    assert abs(float(noise.mean())) < 0.01 and float(noise.std()) == pytest.approx(1, abs=0.01)
    assert float((noise.abs() > 1.96).float().mean()) == pytest.approx(0.05, abs=0.003)
    assert noise.isfinite().all() and len(noise.unique()) > 0.99 * noise.numel()
    of_samples = torch.corrcoef(noise.flatten(1))
    assert of_samples.fill_diagonal_(0).abs().max() < 0.2  # of 867 values: a standard deviation of 0.034
    of_places = torch.corrcoef(noise.flatten(1).T)
    assert of_places.fill_diagonal_(0).abs().max() < 0.36  # of 300 samples: 0.058
    other = photometric.normal_noise(draws, (300, 3, 17, 17), photometric.Stream.ERASED)
    assert abs(float((noise * other).mean())) < 0.01


# photometric ---------------------------------------------------------------------------------------------


def photo(side=64):
    """A drawn face without sharp noise, (1, 3, S, S) on 0..1."""
    face = drawn.face(4, side).filter(ImageFilter.GaussianBlur(1))
    return torch.tensor(np.asarray(face)).permute(2, 0, 1)[None] / 255


def drawn_numbers(count=200, seed=0):
    return torch.rand(count, photometric.DRAWS, generator=torch.Generator().manual_seed(seed))


def changed(after, before):
    return (after - before).abs().flatten(1).amax(dim=1) > 1e-6


def test_the_papers_recipes_leave_pictures_as_they_are():
    images = photo().expand(4, -1, -1, -1)
    off = config.FinetuneData().photometric
    assert not any(off.model_dump().values())
    assert photometric.apply(images, drawn_numbers(4), off) is images


@pytest.mark.parametrize("kind", list(config.Photometric.model_fields))
def test_each_change_meets_as_many_as_is_asked_and_always_the_same(kind):
    images, draws = photo(32).expand(400, -1, -1, -1), drawn_numbers(400)
    some = photometric.apply(images, draws, config.Photometric(**{kind: 0.3}))
    assert some.shape == images.shape and some.min() >= 0 and some.max() <= 1
    least = 0.45 if kind == "blur" else 0.97  # of 32 pixels, half the blur is none
    assert 0.3 * least - 0.07 < changed(some, images).float().mean() < 0.37
    every = photometric.apply(images, draws, config.Photometric(**{kind: 1.0}))
    assert changed(every, images).float().mean() > least
    # what happens to a sample does not depend on who else is in the batch
    alone = photometric.apply(images[7:9], draws[7:9], config.Photometric(**{kind: 1.0}))
    torch.testing.assert_close(alone, every[7:9], atol=1e-5, rtol=0)


@pytest.mark.parametrize("quality", [10, 35, 60, 90])
def test_jpeg_is_as_bad_as_pillows(quality):
    image = photo(64)
    stored = io.BytesIO()
    whole = (image[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    Image.fromarray(whole).save(stored, "JPEG", quality=quality, subsampling=2)
    theirs = torch.tensor(np.asarray(Image.open(stored))).permute(2, 0, 1)[None] / 255
    ours = photometric.jpeg(image, torch.tensor([float(quality)]))
    assert (ours - theirs).abs().mean() < 0.35 * (theirs - image).abs().mean() + 0.5 / 255
    assert (ours - image).abs().mean() == pytest.approx(float((theirs - image).abs().mean()), rel=0.25)


def test_sides_that_are_no_whole_blocks():
    assert photometric.jpeg(photo(30), torch.tensor([50.0])).shape == (1, 3, 30, 30)


def test_shrinking_is_down_by_areas_and_up_again():
    image, draws = photo(64), torch.zeros(1, photometric.DRAWS)
    draws[:, 14] = 1.0  # all the way: 8 pixels
    small = torch.nn.functional.avg_pool2d(image, 8)
    expected = torch.nn.functional.interpolate(small, size=64, mode="bilinear", align_corners=False)
    got = photometric.apply(image, draws, config.Photometric(shrink=1.0))
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    draws[:, 14] = 0.0
    torch.testing.assert_close(photometric.apply(image, draws, config.Photometric(shrink=1.0)), image)


def test_blur_spreads_a_point_as_far_as_it_says():
    image, draws = torch.zeros(1, 3, 101, 101), torch.zeros(1, photometric.DRAWS)
    image[..., 50, 50] = 1
    draws[:, 12] = 1.0
    across = photometric.apply(image, draws, config.Photometric(blur=1.0))[0, 0].sum(dim=0)
    place = torch.arange(101) - 50.0
    assert float(across.sum()) == pytest.approx(1, abs=1e-4)
    assert float((across * place**2).sum().sqrt()) == pytest.approx(photometric.BLUR * 101, rel=0.02)


def test_grey_has_one_value_and_light_changes_both_ways():
    images = photo(32).expand(300, -1, -1, -1)
    grey = photometric.apply(images, drawn_numbers(300), config.Photometric(grey=1.0))
    assert torch.equal(grey[:, 0], grey[:, 1]) and torch.equal(grey[:, 1], grey[:, 2])
    lit = photometric.apply(images, drawn_numbers(300), config.Photometric(light=1.0)).mean(dim=(1, 2, 3))
    brighter = (lit > images[0].mean()).float().mean()
    assert 0.3 < brighter < 0.7 and lit.std() > 0.05


def mixed(mixup, cutmix, seed=0):
    images = torch.stack([torch.zeros(3, 8, 8), torch.ones(3, 8, 8)])
    labels = torch.tensor([[0.0, 1.0, 5.0], [1.0, 1.0, float("nan")]])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    partner, generator = torch.tensor([1, 0]), keyed_generator(seed, "step", 1)
    return augmentation.mix(images, labels, mask, partner, generator, mixup, cutmix)


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.8, 0.0), (0.0, 0.8)])
def test_mixed_labels_are_as_much_of_each_as_the_images_are(mixup, cutmix):
    for seed in range(20):
        images, labels, mask = mixed(mixup, cutmix, seed)
        torch.testing.assert_close(images.mean(dim=(1, 2, 3)), labels[:, 0])
        assert labels[:, 1].tolist() == pytest.approx([1, 1])
        assert mask.tolist() == [[True, True, False]] * 2  # one of the two is unknown: so is the mixture
        assert not labels.isnan().any()


def test_cutmix_keeps_pixels_whole_and_both_are_used():
    kinds = [set(mixed(0.8, 0.8, seed)[0].unique().tolist()) <= {0.0, 1.0} for seed in range(40)]
    assert 8 < sum(kinds) < 32
