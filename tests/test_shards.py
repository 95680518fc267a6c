import hashlib
import json
import multiprocessing
import os
import pickle
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from maeface import files
from maeface.data.shards import OPEN_AT_ONCE, Shards, ShardWriter
from maeface.errors import DataError


def write(folder, shards):
    """Shards from {name: [bytes]}; returns rows."""
    (folder / "shards").mkdir(exist_ok=True)
    index, rows = {}, []
    for name, crops in shards.items():
        path = folder / "shards" / name
        with ShardWriter(path, name.split(".")[0]) as writer:
            for crop in crops:
                offset, size = writer.add(crop)
                rows.append({"shard": name, "offset": offset, "size": size, "source": "x"})
        index[name] = {"sha256": files.sha256(path), "bytes": path.stat().st_size, "count": len(crops)}
    files.write_json(folder / "shards.json", index)
    return rows


@pytest.fixture
def prepared(tmp_path):
    return tmp_path, write(tmp_path, {"00000.tar": [b"a" * 10, b"b" * 700], "00001.tar": [b"c" * 512]})


def test_random_access(prepared):
    folder, rows = prepared
    shards = Shards(folder)
    assert [shards.read(row)[:1] for row in reversed(rows)] == [b"c", b"b", b"a"]
    assert shards.read_range("00000.tar", rows[1]["offset"], rows[1]["size"]) == b"b" * 700


def test_the_tar_files_are_plain_and_the_same_each_time(prepared, tmp_path):
    folder, _ = prepared
    with tarfile.open(folder / "shards" / "00000.tar") as tar:
        members = tar.getmembers()
        assert [member.name for member in members] == ["00000-000000.jpg", "00000-000001.jpg"]
        assert {(m.mtime, m.uid, m.gid, m.uname, m.mode) for m in members} == {(0, 0, 0, "", 0o644)}
        assert tar.extractfile(members[1]).read() == b"b" * 700
    again = tmp_path / "again"
    again.mkdir()
    write(again, {"00000.tar": [b"a" * 10, b"b" * 700]})
    ours = [(base / "shards" / "00000.tar").read_bytes() for base in (folder, again)]
    assert hashlib.sha256(ours[0]).digest() == hashlib.sha256(ours[1]).digest()


def test_a_writer_keeps_nothing_of_the_crops_it_has_written(tmp_path):
    with ShardWriter(tmp_path / "0.tar", "0") as writer:
        writer.add(b"crop")
        tracemalloc.start()
        for _ in range(500):
            writer.add(b"crop")
        grown, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert grown < 50_000  # tarfile keeps 0.6 to 1 kB of each
    with tarfile.open(tmp_path / "0.tar") as tar:
        assert len(tar.getmembers()) == 501


def test_pickled_and_read_in_another_process(prepared):
    folder, rows = prepared
    shards = Shards(folder)
    shards.read(rows[0])
    assert pickle.loads(pickle.dumps(shards)).read(rows[2]) == b"c" * 512
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(shards.read, rows) == [shards.read(row) for row in rows]


@pytest.fixture
def hashed(monkeypatch):
    """The names of the shards that are hashed in this process, in their order."""
    names, sha256 = [], files.sha256

    def counted(path):
        names.append(path.name)
        return sha256(path)

    monkeypatch.setattr(files, "sha256", counted)
    return names


def test_a_shard_is_hashed_once_for_all_datasets_and_workers(prepared, hashed):
    folder, rows = prepared
    shards = Shards(folder)
    shards.check(["00000.tar", "00001.tar", "00000.tar"])
    assert sorted(hashed) == ["00000.tar", "00001.tar"]
    again = Shards(folder)
    again.check(["00000.tar"])
    assert [again.read(row)[:1] for row in rows] == [b"a", b"b", b"c"] and len(hashed) == 2

    def fail(path):
        raise AssertionError("a worker hashes")

    files.sha256 = fail  # which the forked workers inherit
    with multiprocessing.get_context("fork").Pool(1) as pool:
        for one in (shards, Shards(folder)):  # known from a pickled copy, and from the process itself
            assert pool.map(one.read, rows) == [b"a" * 10, b"b" * 700, b"c" * 512]


def test_what_has_changed_is_hashed_again(prepared, hashed):
    folder, rows = prepared
    path = folder / "shards" / "00000.tar"
    shards = Shards(folder)
    shards.check(["00000.tar"])
    before = path.stat()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    shards.check(["00000.tar"])
    assert hashed == ["00000.tar"] * 2
    data = bytearray(path.read_bytes())
    data[600] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="is altered"):
        shards.check(["00001.tar", "00000.tar"])
    with pytest.raises(DataError, match="is altered"):
        shards.read(rows[0])
    with pytest.raises(DataError, match=r"does not list '9\.tar'"):
        shards.check(["9.tar"])


def open_files():
    handles = Path("/proc/self/fd")
    return len(list(handles.iterdir())) if handles.is_dir() else 0


def test_many_shards_do_not_use_up_the_file_handles(tmp_path):
    rows = write(tmp_path, {f"{n:05d}.tar": [bytes([n])] for n in range(OPEN_AT_ONCE + 20)})
    before = open_files()
    shards = Shards(tmp_path)
    assert [shards.read(row)[0] for row in rows] == list(range(OPEN_AT_ONCE + 20))
    assert shards.read(rows[0]) == b"\0"
    assert open_files() - before <= OPEN_AT_ONCE
    shards.close()


def test_a_truncated_shard(prepared):
    folder, rows = prepared
    path = folder / "shards" / "00000.tar"
    path.write_bytes(path.read_bytes()[:-1024])
    with pytest.raises(DataError, match=r"00000\.tar is truncated: 9216 bytes, expected 10240"):
        Shards(folder).read(rows[0])
    assert Shards(folder).read(rows[2]) == b"c" * 512


def test_an_altered_shard(prepared):
    folder, rows = prepared
    path = folder / "shards" / "00000.tar"
    data = bytearray(path.read_bytes())
    data[600] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="is altered: its sha256"):
        Shards(folder).read(rows[1])
    assert Shards(folder, verify=False).read(rows[1]) == b"b" * 700


def test_missing_and_foreign(prepared):
    folder, rows = prepared
    with pytest.raises(DataError, match=r"does not list '9\.tar'"):
        Shards(folder).read({**rows[0], "shard": "9.tar"})
    with pytest.raises(DataError, match="do not belong together"):
        Shards(folder).read({**rows[0], "offset": 10_000, "size": 1000})
    (folder / "shards" / "00001.tar").unlink()
    with pytest.raises(DataError, match=r"cannot read .*00001.tar: No such file"):
        Shards(folder).read(rows[2])


@pytest.mark.parametrize(
    "index",
    ['{"format": 2, "shards": []}', "[]", "{", '{"../x.tar": {"sha256": "", "bytes": 1}}', '{"a": {}}'],
)
def test_an_index_that_is_not_ours(tmp_path, index):
    (tmp_path / "shards.json").write_text(index)
    with pytest.raises(DataError, match=r"shards.json is not the index of this maeface"):
        Shards(tmp_path)


def test_a_plain_folder(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"jpeg")
    row = {"shard": None, "offset": 0, "size": 0, "source": "a.jpg"}
    assert Shards(tmp_path).read(row) == b"jpeg"
    with pytest.raises(DataError, match="cannot read"):
        Shards(tmp_path).read({**row, "source": "b.jpg"})


def test_the_index_is_json_that_people_can_read(prepared):
    folder, _ = prepared
    index = json.loads((folder / "shards.json").read_text())
    assert index["00001.tar"]["count"] == 1


def test_a_plain_folder_is_not_left(tmp_path):
    folder = tmp_path / "crops"
    folder.mkdir()
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.jpg").write_bytes(b"secret")
    (folder / "own.jpg").write_bytes(b"own")
    (folder / "inside.jpg").symlink_to("own.jpg")
    (folder / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "alias").symlink_to(folder)  # the folder itself may be a link
    shards = Shards(tmp_path / "alias")
    assert shards.read_file("own.jpg") == shards.read_file("inside.jpg") == b"own"
    outside = [
        "../secret.jpg",
        str(tmp_path / "secret.jpg"),
        "link.jpg",
        "linked/a.jpg",
        "x/../../secret.jpg",
    ]
    for source in [*outside, "\\x2e\\x2e/secret.jpg", "../crops/own.jpg"]:
        with pytest.raises(DataError, match="is outside the folder"):
            shards.read_file(source)
    for source in ("loop.jpg", "a\0b.jpg", ".", "own.jpg/x"):
        with pytest.raises(DataError, match="cannot read"):
            shards.read_file(source)
