import errno
import io
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from maeface import files, prepare
from maeface.data import manifest
from maeface.data.shards import Shards, ShardWriter
from maeface.errors import ConfigError, DataError, ResourceError
from maeface.faces.finder import FaceCrop
from maeface.faces.geometry import Face, Square, crop

READY = prepare.Settings(aligned=True, size=32, min_side=16, per_shard=4)


def fake_find(settings, weights):
    """A quick finder: as many faces as the red of the first pixel says in tens."""

    def find(images, film=False):
        return [
            [found(image, number, settings.size) for number in range(int(image[0, 0, 0]) // 10)]
            for image in images
        ]

    return find


def found(image, number, size):
    face = Face(np.array([1, 2, 11, 12 + number], np.float32), np.full((5, 2), 3.5, np.float32), 0.9)
    square = Square(10, 10, 16, 5.0)
    return FaceCrop(face, square, crop(image, square, size))


def slow_find(settings, weights):
    (Path(os.environ["PIDS"]) / str(os.getpid())).touch()
    quick = fake_find(settings, weights)

    def find(images, film=False):
        time.sleep(0.05)
        return quick(images)

    return find


def photo(path, shade=10, size=(48, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, shade, shade)).save(path)
    return path


def gallery(folder, count=14):
    for number in range(count):
        rng = np.random.default_rng(number)
        picture = rng.integers(0, 20, (40, 40, 3), dtype=np.uint8)
        picture[0, 0] = 20 if number % 5 == 0 else 10
        folder.mkdir(exist_ok=True)
        Image.fromarray(picture).save(folder / f"{number:02d}.png")
    (folder / "08.png").write_text("not a photo")
    return folder


def digests(folder):
    return {
        str(path.relative_to(folder)): files.sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture
def inline(monkeypatch):
    """The work without processes, for speed."""
    inline_work(monkeypatch)


def inline_work(monkeypatch):
    def work(setup, items, count, notify, *rest):
        job = setup()
        for item in items:
            yield item, job(item, notify)

    monkeypatch.setattr(prepare.workers, "work", work)


@pytest.fixture
def weights(shared, monkeypatch):
    monkeypatch.setenv("MAEFACE_WEIGHTS", str(shared / "weights"))


def test_rows_faces_and_bytes(inline, tmp_path):
    for name, shade in (("b/one.png", 10), ("a/two.png", 20), ("none.png", 0)):
        photo(tmp_path / "in" / name, shade)
    summary = prepare.run([tmp_path / "in"], tmp_path / "out", prepare.Settings(size=24), fake_find)
    rows = manifest.load(tmp_path / "out", all_rows=True)
    assert rows["id"].tolist() == ["a/two.png#0.0", "a/two.png#0.1", "b/one.png#0.0", "none.png#0"]
    assert rows["status"].tolist() == ["ok", "ok", "ok", "no_face"]
    assert rows["face"].tolist() == [0, 1, 0, -1]
    assert rows[["x1", "y1", "x2", "y2", "p4y", "angle"]].iloc[1].tolist() == [1, 2, 11, 13, 3.5, 5.0]
    assert rows["clip"].isna().all()
    shards = Shards(tmp_path / "out")
    for _, row in manifest.load(tmp_path / "out").iterrows():
        picture = Image.open(io.BytesIO(shards.read(row)))
        assert picture.size == (24, 24)
        assert picture.format == "JPEG"
        assert [layer[1:3] for layer in picture.layer] == [(1, 1)] * 3  # colour at full resolution
    assert (summary.faces, summary.files, summary.files_dropped, summary.images) == (3, 3, 1, 3)
    assert "3 faces of 3 files; dropped: 1 no_face" in str(summary)
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.name != ".lock") == [
        "inputs.parquet",
        "manifest.parquet",
        "prepare.json",
        "shards",
        "shards.json",
    ]


def test_max_bad_is_told(inline, tmp_path):
    photo(tmp_path / "in" / "a.png", 10)
    photo(tmp_path / "in" / "b.png", 0)
    allowed = prepare.Settings(max_bad=0.5)
    assert not prepare.run([tmp_path / "in"], tmp_path / "out", allowed, fake_find).too_many_bad
    strict = prepare.Settings(max_bad=0.4)
    summary = prepare.run([tmp_path / "in"], tmp_path / "out", strict, fake_find)
    assert summary.too_many_bad
    assert "1 of 2 files gave no face, more than allowed" in str(summary)


def png_of_400_megapixels():
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(1)
    row = bytes(2501)
    data = b"".join(packer.compress(row) for _ in range(20_000)) + packer.flush()
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_every_bad_file_has_a_row_with_its_reason(inline, tmp_path):
    folder = tmp_path / "in"
    good = photo(folder / "good.jpg", 10, (200, 200))
    whole = good.read_bytes()
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("<html>no photo</html>")
    (folder / "notes.txt").write_text("notes")
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    photo(folder / "small.png", 10, (8, 8))
    photo(folder / "strip.png", 10, (4000, 33))
    (folder / "huge.png").write_bytes(png_of_400_megapixels())
    photo(folder / "old.tif", 10)
    (folder / "stub.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(12))
    (folder / "gone.jpg").symlink_to(folder / "nowhere")
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe.jpg")
    (folder / "dir.jpg").mkdir()
    (folder / ".DS_Store").touch()
    photo(folder / os.fsdecode(b"caf\xe9\n.png"), 10)
    summary = prepare.run([folder], tmp_path / "out", prepare.Settings(), fake_find)
    rows = manifest.load(tmp_path / "out", all_rows=True).set_index("source")
    assert rows["status"].to_dict() == {
        "good.jpg": "ok",
        "caf\\xe9\n.png": "ok",
        "empty.jpg": "empty",
        "text.jpg": "not_an_image",
        "notes.txt": "not_an_image",
        "cut.jpg": "truncated",
        "small.png": "too_small",
        "strip.png": "bad_aspect",
        "huge.png": "too_large",
        "old.tif": "refused_format",
        "stub.mp4": "unreadable",
        "gone.jpg": "unreadable",
        "loop": "unreadable",
        "pipe.jpg": "unreadable",
    }
    assert rows.loc["stub.mp4", "clip"] == "stub.mp4"
    assert (summary.faces, summary.files, summary.files_dropped) == (2, 14, 12)


def test_nothing_to_prepare(inline, tmp_path):
    with pytest.raises(ConfigError, match="no such file or folder"):
        prepare.run([tmp_path / "missing"], tmp_path / "out")
    with pytest.raises(ConfigError, match="no input; give files"):
        prepare.run([], tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no file in"):
        prepare.run([tmp_path / "empty"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_all_bad(inline, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_text("x")
    for _ in range(2):
        with pytest.raises(DataError, match=r"no face in any of 1 files \(1 not_an_image\)"):
            prepare.run([tmp_path / "in"], tmp_path / "out", make_find=fake_find)
    assert not list((tmp_path / "out" / "shards").iterdir())


def test_names_of_several_sources(inline, tmp_path):
    photo(tmp_path / "one" / "train" / "a.png")
    photo(tmp_path / "two" / "train" / "a.png", 20)
    sources = [tmp_path / "one" / "train", tmp_path / "two" / "train"]
    prepare.run(sources, tmp_path / "out", make_find=fake_find)
    assert manifest.load(tmp_path / "out")["source"].unique().tolist() == [
        "one/train/a.png",
        "two/train/a.png",
    ]
    photo(tmp_path / "two" / "b.png")
    apart = [tmp_path / "one", tmp_path / "two" / "b.png", tmp_path / "one" / "train" / "a.png"]
    prepare.run(apart, tmp_path / "apart", make_find=fake_find)
    assert manifest.load(tmp_path / "apart")["source"].tolist() == ["b.png", "train/a.png"]


def test_the_result_may_lie_within_the_source(inline, tmp_path):
    photo(tmp_path / "a.png")
    for _ in range(2):
        assert prepare.run([tmp_path], tmp_path / "out", make_find=fake_find).files == 1


def test_another_dataset_is_not_mixed_in(inline, tmp_path):
    folder = gallery(tmp_path / "in")
    prepare.run([folder], tmp_path / "out", READY)
    again = prepare.run([folder], tmp_path / "out", READY.model_copy(update={"workers": 7}))
    assert (again.faces, again.images) == (13, 0)
    with pytest.raises(
        ConfigError, match="was prepared with other settings or inputs: size was 32, now 64; choose another"
    ):
        prepare.run([folder], tmp_path / "out", READY.model_copy(update={"size": 64}))
    photo(folder / "new.png")
    (folder / "00.png").unlink()
    photo(folder / "01.png", size=(300, 300))
    with pytest.raises(
        ConfigError, match=r"1 input file is new \(such as new.png\); 1 .* gone .*00.png.*changed"
    ):
        prepare.run([folder], tmp_path / "out", READY)
    (tmp_path / "foreign" / "shards").mkdir(parents=True)
    with pytest.raises(ConfigError, match="holds another dataset"):
        prepare.run([folder], tmp_path / "foreign", READY)


def test_one_run_at_a_time(inline, tmp_path):
    photo(tmp_path / "a.png")
    with files.lock(tmp_path / "out"), pytest.raises(ResourceError, match="in use by another run"):
        prepare.run([tmp_path / "a.png"], tmp_path / "out", READY)


def test_a_full_disk(inline, tmp_path, monkeypatch):
    folder = gallery(tmp_path / "in")
    add = ShardWriter.add

    def full(self, jpeg):
        if self._key == "00002":
            raise OSError(errno.ENOSPC, "No space left on device")
        return add(self, jpeg)

    with monkeypatch.context() as patched:
        patched.setattr(ShardWriter, "add", full)
        with pytest.raises(ResourceError, match="No space left on device"):
            prepare.run([folder], tmp_path / "out", READY)
    prepare.run([folder], tmp_path / "out", READY)
    prepare.run([folder], tmp_path / "whole", READY)
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


class Stop(BaseException):
    pass


def test_stopped_before_and_after_every_write(inline, tmp_path, monkeypatch):
    folder = gallery(tmp_path / "in")
    prepare.run([folder], tmp_path / "whole", READY)
    expected = digests(tmp_path / "whole")
    stops = 0
    replace = Path.replace
    for after in (False, True):
        for nth in range(1, 100):
            out = tmp_path / f"{after}{nth}"
            calls = 0

            def stop(self, target, after=after, nth=nth):
                nonlocal calls
                calls += 1
                if calls == nth and not after:
                    raise Stop
                replace(self, target)
                if calls == nth:
                    raise Stop

            with monkeypatch.context() as patched:
                patched.setattr(Path, "replace", stop)
                try:
                    prepare.run([folder], out, READY)
                    break
                except Stop:
                    stops += 1
            prepare.run([folder], out, READY)
            assert digests(out) == expected
    assert stops == 2 * (1 + 2 * 4 + 3)  # the list; shard and part of each unit; manifest, index, account


SCRIPT = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits "ignored"
sys.path.insert(0, {tests!r})
import test_prepare
from maeface import prepare
settings = prepare.Settings(size=32, min_side=16, per_shard=2, workers=2)
prepare.run([Path({source!r})], Path({out!r}), settings, test_prepare.slow_find)
"""


def started(tmp_path, out):
    script = SCRIPT.format(tests=str(Path(__file__).parent), source=str(tmp_path / "in"), out=str(out))
    (tmp_path / "pids").mkdir(exist_ok=True)
    environment = {**os.environ, "PIDS": str(tmp_path / "pids")}
    return subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.PIPE)


def parts(out):
    return len(list((out / "parts").glob("[0-9]*"))) if (out / "parts").is_dir() else 0


def wait_for(condition, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.002)


def alive(pids):
    """Processes that still run; one that has ended but was not collected yet (Z) does not."""
    running = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        running += [pid] if state != "Z" else []
    return running


def test_killed_again_and_again(tmp_path, monkeypatch):
    gallery(tmp_path / "in", 16)
    out = tmp_path / "out"
    for signal_, at_least in ((signal.SIGKILL, 2), (signal.SIGINT, 4)):
        process = started(tmp_path, out)
        try:
            wait_for(lambda run=process, count=at_least: parts(out) >= count or run.poll() is not None)
            process.send_signal(signal_)
            error = process.communicate(timeout=60)[1].decode()
        finally:
            process.kill()
        assert process.returncode != 0, error
        assert ("KeyboardInterrupt" in error) == (signal_ == signal.SIGINT)
        pids = [path.name for path in (tmp_path / "pids").iterdir()]
        assert pids
        wait_for(lambda pids=pids: not alive(pids))
        assert not (out / "prepare.json").exists()
    one = prepare.Settings(size=32, min_side=16, per_shard=2, workers=1)
    prepare.run([tmp_path / "in"], tmp_path / "whole", one, fake_find)
    inline_work(monkeypatch)
    prepare.run([tmp_path / "in"], out, one, fake_find)
    assert digests(out) == digests(tmp_path / "whole")


def test_ready_crops_need_no_torch():
    code = (
        "import sys\nfrom pathlib import Path\nfrom maeface import prepare\n"
        "from maeface.data.ingest import face_finder\n"
        "import numpy\n"
        "find = face_finder.make_find(prepare.Settings(aligned=True), None)\n"
        "assert len(find([numpy.zeros((40, 40, 3), 'uint8')], False)) == 1\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_portraits(shared, weights, tmp_path):
    photos = sorted((shared / "photos" / "congress").iterdir())[:12]
    summary = prepare.run(photos, tmp_path / "out", prepare.Settings(workers=2, per_shard=6))
    assert summary.counts == {"ok": 12}
    rows = manifest.load(tmp_path / "out")
    assert rows["score"].min() > 0.9
    assert rows["angle"].abs().max() < 20
    assert ((rows["x2"] - rows["x1"]) > 50).all()


def test_a_montage_and_a_video(shared, weights, tmp_path):
    photos = [Image.open(path) for path in sorted((shared / "photos" / "congress").iterdir())[:12]]
    montage = Image.new("RGB", (4 * 225, 3 * 275))
    for number, picture in enumerate(photos):
        montage.paste(picture, (number % 4 * 225, number // 4 * 275))
    montage.save(tmp_path / "montage.png")
    video = shared / "videos" / "intel_head-pose-face-detection-female-and-male.mp4"
    settings = prepare.Settings(faces="all", fps=1)
    prepare.run([tmp_path / "montage.png", video], tmp_path / "out", settings)
    rows = manifest.load(tmp_path / "out", all_rows=True)
    on_montage = rows[rows["source"] == "montage.png"]
    assert on_montage["status"].tolist() == ["ok"] * 12
    assert on_montage["face"].tolist() == list(range(12))
    frames = rows[rows["source"] == video.name]
    assert (frames["clip"] == video.name).all()
    assert frames["time_s"].is_monotonic_increasing
    assert frames["frame"].nunique() > 3
    assert pd.Series(rows["id"]).is_unique


def test_a_run_that_failed_at_once_binds_nobody(inline, tmp_path):
    gallery(tmp_path / "in", 3)

    def no_gpu(settings, weights):
        raise ResourceError("no GPU")

    with pytest.raises(ResourceError):
        prepare.run([tmp_path / "in"], tmp_path / "out", prepare.Settings(device="cuda"), no_gpu)
    summary = prepare.run([tmp_path / "in"], tmp_path / "out", prepare.Settings(aligned=True))
    assert summary.faces == 3


def test_settings_without_effect_are_told(tmp_path, capsys):
    photo(tmp_path / "in" / "a.png")
    settings = prepare.Settings(aligned=True, threshold=0.7, faces="all", every=3, workers=1)
    prepare.run([tmp_path / "in"], tmp_path / "out", settings)
    said = capsys.readouterr().err
    assert "faces and threshold have no effect: the images are ready crops (aligned)" in said
    assert "every has no effect: no input is a video" in said
    prepare.run([tmp_path / "in"], tmp_path / "other", prepare.Settings(aligned=True, workers=1))
    assert "effect" not in capsys.readouterr().err
