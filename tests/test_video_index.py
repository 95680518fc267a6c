"""The index of a video, reading of parts by seeking, segments, and what is left of damaged files."""

import random
import struct
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest

from maeface.data.ingest import images, inputs, segments, unit_part, units
from maeface.faces import media, timestamps, video
from maeface.faces import video_index as indexing
from maeface.faces.media import MissingFrames
from maeface.faces.timestamps import BLOCK_S, block_of

RNG = np.random.default_rng(3)
NOISE = RNG.integers(0, 255, (96, 128, 3), np.uint8)

FILMS = {  # name: codec, container, options
    "mpeg4 with B-frames": ("mpeg4", "mp4", {"bf": "2"}),
    "mpeg4 in mkv": ("mpeg4", "mkv", {"bf": "2"}),
    "h264": ("libx264", "mp4", {}),
    "h264 in mkv": ("libx264", "mkv", {}),
    "h265": ("libx265", "mp4", {"x265-params": "log-level=none:open-gop=0"}),
    "vp8": ("libvpx", "webm", {"auto-alt-ref": "1", "lag-in-frames": "12"}),
    "vp9": ("libvpx-vp9", "webm", {"auto-alt-ref": "1", "lag-in-frames": "12"}),
    "av1": ("libsvtav1", "mp4", {"preset": "12", "svtav1-params": "keyint=12"}),
    "mjpeg": ("mjpeg", "mov", {}),
}


def film(path, codec="mpeg4", options=None, count=60, rate=25, stamps=None, gop=12, size=(96, 128)):
    """Write a film of moving noise whose corner tells the frame."""
    if codec not in av.codecs_available:
        pytest.skip(f"no {codec}")
    noise = np.resize(NOISE, (*size, 3))
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.gop_size = gop
        if stamps is not None:
            stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for n in range(count):
            picture = np.roll(noise, 3 * n, 1).copy()
            picture[: size[0] // 3, : size[1] // 3] = 4 * n % 250
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = (
                (n, Fraction(1, rate)) if stamps is None else (stamps[n], Fraction(1, 1000))
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def faststart(path):
    """Write the same film with its table before the pictures."""
    out = path.with_name(f"fast_{path.name}")
    with av.open(path) as source, av.open(out, "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return out


def fields(frames):
    return [
        (one.index, one.time_s, one.reason, one.count)
        if isinstance(one, MissingFrames)
        else (one.index, one.time_s, one.rgb.tobytes())
        for one in frames
    ]


def sequential(path, **settings):
    """Read without an index, from the start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexing, "build_index", lambda file, demuxer, advance: None)
        return list(media.read_frames(path, **settings))


def index_of(path):
    index = media.index_video(path)
    assert index is not None
    return index


def same_as_decoded(path, index, frames=None):
    frames = sequential(path) if frames is None else frames
    assert [one.index for one in frames] == list(range(len(index)))
    assert [one.time_s for one in frames] == index.times_s.tolist()
    return frames


# The index -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FILMS)
def test_the_index_has_the_frames_and_times_of_decoding(tmp_path, kind):
    codec, suffix, options = FILMS[kind]
    path = film(tmp_path / f"v.{suffix}", codec, options)
    index = index_of(path)
    same_as_decoded(path, index)
    assert len(index) == 60 and index.key_frames[0] == 0
    assert len(index.absent) == 0 and not index.truncated
    assert len(index.key_frames) >= (1 if kind in ("av1", "vp8", "vp9") else 5)
    assert all(
        array.itemsize == 8 for array in (index.stamps, index.times_s, index.key_frames, index.key_dts)
    )


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv"])
def test_the_index_of_a_varying_rate(tmp_path, name):
    stamps = np.cumsum([0, *RNG.integers(15, 200, 39).tolist()]).tolist()
    path = film(tmp_path / name, count=40, stamps=stamps, options={"bf": "2"})
    frames = same_as_decoded(path, index_of(path))
    assert [one.time_s for one in frames] == pytest.approx([stamp / 1000 for stamp in stamps], abs=2e-3)


def test_the_index_counts_what_an_edit_list_shows(tmp_path):
    path = film(tmp_path / "v.mp4", count=30, gop=5)
    data = bytearray(path.read_bytes())
    start = data.index(b"elst") + 4
    with av.open(path) as container:
        ticks = 1 / container.streams.video[0].time_base
    data[start + 8 : start + 16] = struct.pack(
        ">Ii", 600, round(7 / 25 * ticks)
    )  # 15 frames of 30, from the 8th
    path.write_bytes(data)
    index = index_of(path)
    frames = same_as_decoded(path, index)
    assert len(index) == 15 and index.key_frames[0] > 0
    for spans in (((1, 2),), ((4, 9),), ((9, 15),), ((14, 15),)):
        chosen = [one for one in frames if spans[0][0] <= one.index < spans[0][1]]
        assert fields(media.read_frames(path, spans=spans)) == fields(chosen)


@pytest.mark.parametrize("name", ["v.avi", "v.ts", "v.mpg", "v.m4v"])
def test_other_containers_have_no_index(tmp_path, name):
    codec = "mpeg2video" if name in ("v.ts", "v.mpg") else "mpeg4"
    path = film(tmp_path / name, codec, count=10)
    if name == "v.m4v":  # the raw stream
        with av.open(tmp_path / "raw", "w", format="m4v") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            container.mux([*stream.encode(frame), *stream.encode()])
        path = tmp_path / "raw"
    assert media.index_video(path) is None


def test_interlaced_films_have_no_index(tmp_path):
    options = {"flags": "+ilme+ildct"}
    path = film(tmp_path / "v.mp4", "mpeg4", options, count=10)
    if not any(one.frame.interlaced_frame for one in decoded(path)):
        pytest.skip("the encoder did not interlace")
    assert media.index_video(path) is None


def decoded(path):
    from types import SimpleNamespace

    with av.open(path) as container:
        return [SimpleNamespace(frame=frame) for frame in container.decode(video=0)]


def test_key_frames_of_an_open_gop_are_not_used(tmp_path):
    open_gop = film(tmp_path / "open.mp4", "libx264", {"x264-params": "open-gop=1:keyint=12:scenecut=0"})
    with av.open(open_gop) as container:
        marked = sum(packet.is_keyframe for packet in container.demux(video=0))
    assert marked > 2 and index_of(open_gop).key_frames.tolist() == [0]
    refreshed = film(tmp_path / "refresh.mkv", "libx264", {"x264-params": "intra-refresh=1:keyint=12"})
    assert index_of(refreshed).key_frames.tolist() == [0]
    for path in (open_gop, refreshed):
        frames = sequential(path)
        assert fields(media.read_frames(path, spans=((30, 33),))) == fields(frames[30:33])


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv"])
def test_frames_after_an_open_key_frame_of_h265_are_exact(tmp_path, name):
    options = {"x265-params": "log-level=none:open-gop=1:keyint=12:min-keyint=12:bframes=4:b-pyramid=1"}
    path = film(tmp_path / name, "libx265", options)
    index = index_of(path)
    assert len(index.key_frames) >= 4
    frames = sequential(path)
    for start in range(60):
        assert fields(media.read_frames(path, spans=((start, start + 1),), index=index)) == fields(
            [frames[start]]
        )


# Reading by seeking --------------------------------------------------------------------------------------


def draw_spans(rng, count):
    limits = sorted(rng.sample(range(count + 1), 2 * rng.choice((1, 1, 2, 3))))
    return tuple(zip(limits[::2], limits[1::2], strict=True))


@pytest.mark.parametrize("kind", FILMS)
def test_parts_are_those_of_the_whole_to_the_bit(tmp_path, kind):
    codec, suffix, options = FILMS[kind]
    path = film(tmp_path / f"v.{suffix}", codec, options)
    index = index_of(path)
    rng = random.Random(kind)
    choices = [{}, {"every": 3}, {"fps": 7.0}, {"fps": 25.0}]
    whole = [fields(sequential(path, **choice)) for choice in choices]
    for _ in range(12):
        spans = draw_spans(rng, 60)
        for choice, frames in zip(choices, whole, strict=True):
            expected = [one for one in frames if any(start <= one[0] < stop for start, stop in spans)]
            assert fields(media.read_frames(path, spans=spans, index=index, **choice)) == expected, spans
    assert fields(sequential(path, spans=((20, 31),), fps=7.0)) == [
        one for one in whole[2] if 20 <= one[0] < 31
    ]


def test_reading_begins_at_the_key_frame(tmp_path, monkeypatch):
    path = film(tmp_path / "v.mp4", "libx264", count=100, gop=10)
    read = []
    real = media.video._decode_packet

    def count(packet):
        read.append(packet.pts)
        yield from real(packet)

    monkeypatch.setattr(media.video, "_decode_packet", count)
    frames = list(media.read_frames(path, spans=((85, 88),), index=index_of(path)))
    assert [one.index for one in frames] == [85, 86, 87] and len(read) < 30


@pytest.mark.parametrize("fault", ["stamps", "key"])
def test_an_index_that_is_wrong_is_noticed(tmp_path, fault):
    path = film(tmp_path / "v.mp4", "libx264", count=60, gop=10)
    index = index_of(path)
    if fault == "stamps":
        index.stamps[35:] += 3
    else:
        index.key_frames[:] = [number + 3 * (number > 0) for number in index.key_frames]
    frames = fields(sequential(path))
    assert fields(media.read_frames(path, spans=((33, 40),), index=index)) == frames[33:40]


def test_interlaced_frames_that_the_header_hides_are_read_from_the_start(tmp_path, monkeypatch):
    path = film(tmp_path / "v.mp4", "mpeg4", {"flags": "+ilme+ildct", "bf": "0"}, gop=10)
    monkeypatch.setattr(indexing, "_probe", lambda packet: None)
    monkeypatch.setattr(indexing, "_PROGRESSIVE", range(10))
    index = index_of(path)
    if not any(one.frame.interlaced_frame for one in decoded(path)):
        pytest.skip("the encoder did not interlace")
    frames = sequential(path)
    assert fields(media.read_frames(path, spans=((45, 48),), index=index)) == fields(frames[45:48])


# Segments ------------------------------------------------------------------------------------------------


def test_blocks():
    assert [block_of(time_s) for time_s in (0, 0.4, 0.4985, 0.4995, 0.5, 0.999, 59.9999)] == [
        0,
        0,
        0,
        1,
        1,
        2,
        120,
    ]
    assert block_of(-0.0005) == 0


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv"])
def test_segments_cover_a_film_once(tmp_path, name):
    path = film(tmp_path / name, count=1800, rate=30, gop=37, size=(32, 32), options={"bf": "2"})
    index = index_of(path)
    cut = segments.cut_into_segments(index)
    assert len(cut) == 5 or len(cut) == 6
    frames = [number for ((start, stop),) in cut for number in range(start, stop)]
    assert frames == list(range(1800))
    for ((start, stop),) in cut:
        assert index.times_s[stop - 1] - index.times_s[start] >= segments.SEGMENT_S - 0.1
        assert start == 0 or block_of(index.times_s[start]) > block_of(index.times_s[start - 1])
        assert min(start - key for key in index.key_frames if key <= start) <= BLOCK_S * 30
    assert fields(
        one for spans in cut for one in media.read_frames(path, fps=7, spans=spans, index=index)
    ) == (fields(media.read_frames(path, fps=7)))


def test_films_of_one_segment(tmp_path):
    assert segments.cut_into_segments(None) == [()]
    path = film(tmp_path / "v.mp4", count=19 * 25, size=(32, 32))
    assert segments.cut_into_segments(index_of(path)) == [()]


# Damage --------------------------------------------------------------------------------------------------


def packets_of(path):
    with av.open(path) as container:
        return [(packet.pos, packet.size, packet.pts) for packet in container.demux(video=0) if packet.size]


def damage(path, packet, length=None, skip=12):
    data = bytearray(path.read_bytes())
    position, size, _ = packets_of(path)[packet]
    length = length or size - skip
    data[position + skip : position + skip + length] = RNG.integers(0, 256, length, np.uint8).tobytes()
    out = path.with_name(f"damaged_{path.name}")
    out.write_bytes(data)
    return out


def check_numbers(frames, clean):
    """Check that the frames that are left have the numbers and times of the whole film, and none vanishes."""
    times = {one.index: one.time_s for one in clean}
    position = 0
    for one in frames:
        assert one.index == position
        if one.index in times:
            assert one.time_s == pytest.approx(times[one.index], abs=2e-3)
        position += one.count if isinstance(one, MissingFrames) else 1
    assert position == len(clean)


DAMAGED = ["mpeg4 with B-frames", "mpeg4 in mkv", "h264", "h264 in mkv", "h265", "vp8", "mjpeg"]


@pytest.mark.parametrize("kind", DAMAGED)
@pytest.mark.parametrize("packet", [25, 40])
@pytest.mark.parametrize("length", [None, 2000])
def test_frames_after_damage_keep_their_numbers(tmp_path, kind, packet, length):
    codec, suffix, options = FILMS[kind]
    path = film(tmp_path / f"v.{suffix}", codec, options)
    clean = sequential(path)
    broken = damage(path, packet, length)
    frames = list(media.read_frames(broken))
    check_numbers(frames, clean)
    missing = [one for one in frames if isinstance(one, MissingFrames)]
    if length:
        assert missing and {one.reason for one in missing} <= {"damaged", "lost"}
    pixels = {one.index: one.rgb for one in clean}
    same = [
        np.array_equal(one.rgb, pixels[one.index]) for one in frames if not isinstance(one, MissingFrames)
    ]
    assert sum(same) >= 24
    index = media.index_video(broken)
    assert index is not None and len(index) == 60
    for spans in (((50, 60),), ((10, 30),), ((0, 60),)):
        part = list(media.read_frames(broken, spans=spans, index=index))
        numbers = {one.index for one in part if not isinstance(one, MissingFrames)}
        assert numbers <= set(range(*spans[0]))
        for one in part:
            assert isinstance(one, MissingFrames) or one.time_s == pytest.approx(
                clean[one.index].time_s, abs=2e-3
            )


@pytest.mark.parametrize("kind", ["mpeg4 with B-frames", "h264", "h265"])
@pytest.mark.parametrize("share", [0.35, 0.7])
def test_an_mp4_that_is_cut(tmp_path, kind, share):
    codec, suffix, options = FILMS[kind]
    path = faststart(film(tmp_path / f"v.{suffix}", codec, options))
    clean = sequential(path)
    cut = tmp_path / "cut.mp4"
    data = path.read_bytes()
    cut.write_bytes(data[: int(share * len(data))])
    frames = list(media.read_frames(cut))
    check_numbers(frames, clean)
    assert frames[-1].reason == "truncated" and frames[-1].count > 5
    index = index_of(cut)
    assert index.truncated and len(index) == 60
    (last,) = (one for one in media.read_frames(cut, spans=((55, 60),), index=index))
    assert (last.index, last.reason, last.count) == (55, "truncated", 5)


@pytest.mark.parametrize("kind", ["mpeg4 in mkv", "h264 in mkv", "vp9"])
def test_a_matroska_file_that_is_cut(tmp_path, kind):
    codec, suffix, options = FILMS[kind]
    path = film(tmp_path / f"v.{suffix}", codec, options)
    clean = sequential(path)
    data = path.read_bytes()
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(data[: packets_of(path)[40][0] + 5])
    frames = list(media.read_frames(cut))
    check_numbers(frames, clean)
    assert frames[-1].reason == "truncated" and 17 <= frames[-1].count <= 24


def test_a_whole_film_has_no_record(tmp_path):
    for kind, (codec, suffix, options) in FILMS.items():
        path = film(tmp_path / f"{codec}.{suffix}", codec, options, count=30)
        assert not [one for one in media.read_frames(path) if isinstance(one, MissingFrames)], kind


def test_gaps_of_a_varying_rate_are_not_missing_frames(tmp_path):
    stamps = [40 * n + 400 * (n // 10) for n in range(40)]
    for name in ("v.mkv", "v.mp4"):
        frames = list(media.read_frames(film(tmp_path / name, stamps=stamps, count=40)))
        assert [one.index for one in frames] == list(range(40))
        assert not any(isinstance(one, MissingFrames) for one in frames)


def test_packets_lost_from_a_broadcast_leave_their_numbers(tmp_path):
    path = film(tmp_path / "v.ts", "mpeg2video", gop=6)
    clean = sequential(path)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 // 188 * 188
    del data[middle : middle + 188 * 40]
    path.write_bytes(data)
    frames = list(media.read_frames(path))
    check_numbers(frames, clean)
    assert any(isinstance(one, MissingFrames) for one in frames)


def test_an_avi_that_is_cut(tmp_path):
    path = film(tmp_path / "v.avi")
    clean = sequential(path)
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"00dc", 0, len(data) // 2) + 2])
    frames = list(media.read_frames(path))
    check_numbers(frames, clean)
    assert frames[-1].reason == "truncated"


# The reader of prepare and predict -----------------------------------------------------------------------


def test_missing_frames_are_entries_and_one_line(tmp_path, capsys):
    path = film(tmp_path / "v.mkv", "libx264")
    broken = damage(path, 40, 2000)
    whole = film(tmp_path / "w.mkv", "libx264", count=5)
    (tmp_path / "bad.mp4").write_bytes(b"\0\0\0\x18ftypisom")
    listing = inputs.find_inputs([broken, whole, tmp_path / "bad.mp4"])
    skipped = images.SkippedInputs()
    entries = list(images.read_inputs(listing, skipped=skipped))
    missing = [one for one in entries if isinstance(one, images.UnreadableInput)]
    assert (missing[0].name, missing[0].reason, missing[0].count) == ("bad.mp4", "unreadable", 0)
    assert {one.name for one in missing[1:]} == {broken.name} and missing[1].detail
    assert (
        sum(isinstance(one, images.SourceImage) for one in entries) + sum(one.count for one in missing) == 65
    )
    assert skipped.damaged_films == 1 and str(skipped) == "1 unreadable; films with damage: 1"
    lines = capsys.readouterr().err.splitlines()
    (line,) = (line for line in lines if broken.name in line)
    assert (
        "is damaged" in line and f"{sum(one.count for one in missing if one.reason == 'lost')} lost" in line
    )


def test_prepare_and_predict_have_rows_for_missing_frames(tmp_path):
    path = damage(film(tmp_path / "v.mp4", "libx264", {"bf": "0"}), 30, 300)
    unit = inputs.split_into_units(inputs.find_inputs([path]))[0]
    shown = len(sequential(film(tmp_path / "w.mp4", "libx264", {"bf": "0"})))
    summary = units.prepare_unit(
        unit, tmp_path, units.Settings(), lambda pixels, film: [[] for _ in pixels], lambda count: None
    )
    rows = [row for table in unit_part.read_rows(unit, tmp_path) for row in table.to_pylist()]
    statuses = {row["status"] for row in rows}
    assert statuses - {"no_face"} and statuses <= {"no_face", "damaged", "lost"}
    assert summary.images == summary.statuses["no_face"] < shown
    assert [row["frame"] for row in rows] == sorted({row["frame"] for row in rows})
    assert all(row["detail"] for row in rows if row["status"] != "no_face")


def test_a_part_that_cannot_be_read_has_its_own_first_frame(tmp_path):
    path = film(tmp_path / "v.mp4", count=20)
    index = index_of(path)
    path.unlink()
    part = inputs.Input("v", str(path), 1, True, ((5, 20),))
    (entry,) = images.read_inputs([part], indexes={str(path): index})
    assert (entry.frame, entry.time_s, entry.reason) == (5, index.times_s[5], "unreadable")


def test_absent_frames_are_not_chosen_in_place_of_others():
    numbers = np.arange(10)
    none, absent = np.zeros(0, np.int64), np.array([5])
    index = indexing.VideoIndex(numbers, numbers / 10, none, none, absent, False, True)
    chooses = video._choose(index, timestamps.Sampler(1, 2.0, (), 0.1))
    assert [n for n in range(10) if chooses(n, n / 10)] == [0, 6]


def test_a_ready_index_is_used(tmp_path, monkeypatch):
    path = film(tmp_path / "v.mp4", count=20)
    index = index_of(path)
    monkeypatch.setattr(indexing, "build_index", lambda file, demuxer: pytest.fail("made again"))
    listing = [
        inputs.Input("v", str(path), 1, True, ((3, 5),)),
        inputs.Input("v", str(path), 1, True, ((9, 10),)),
    ]
    entries = list(images.read_inputs(listing, indexes={str(path): index}))
    assert [one.frame.index for one in entries] == [3, 4, 9]


def test_the_reader_loads_neither_torch_nor_pandas():
    code = "import sys, maeface.data.ingest.images; print({'torch', 'pandas'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_a_segment_costs_the_same_in_a_longer_film(tmp_path, monkeypatch):
    """Which frames of a segment are chosen must not take a step for each frame of the whole film."""
    path = film(tmp_path / "v.mp4", 1000)
    index = media.index_video(path)
    asked = []
    real = timestamps.Sampler.chooses
    monkeypatch.setattr(
        timestamps.Sampler, "chooses", lambda self, *frame: asked.append(frame) or real(self, *frame)
    )
    assert len(list(media.read_frames(path, spans=((500, 525),), index=index))) == 25
    assert len(asked) < 200
