"""What the decoding of videos yields: the picture that a player shows, its number and its time."""

import io
import struct
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

from maeface.faces import media
from maeface.faces.media import MediaError
from maeface.faces.timestamps import Clock, Sampler

WIDTH, HEIGHT = 64, 48


def corners(height=HEIGHT, width=WIDTH):
    """A picture without symmetry: grey, with one bright corner and one dark edge."""
    pixels = np.full((height, width, 3), 120, np.uint8)
    pixels[: height // 3, : width // 4] = 230
    pixels[height // 2 :, -width // 8 :] = 20
    return pixels


def encode(
    path, pictures=None, stamps=None, codec="mpeg4", rate=25, tick=Fraction(1, 1000), sound=False, **settings
):
    """Write a video. ``stamps`` are the pts in ticks; by default those of the rate."""
    pictures = [corners()] * 20 if pictures is None else pictures
    options = settings.pop("options", {})
    settings = {"pix_fmt": "yuv420p", "gop_size": 4} | settings
    with av.open(path, "w", format=settings.pop("container", None)) as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        voice = (
            container.add_stream("aac" if path.suffix == ".mp4" else "mp2", rate=48_000) if sound else None
        )
        first = pictures[0]
        yuv = isinstance(first, av.VideoFrame)
        stream.width, stream.height = (first.width, first.height) if yuv else first.shape[1::-1]
        for name, value in settings.items():
            setattr(stream.codec_context if name != "pix_fmt" else stream, name, value)
        stream.codec_context.time_base = tick if codec == "mpeg4" else Fraction(1, rate)
        if codec == "mpeg4":
            stream.time_base = tick
        for n, picture in enumerate(pictures):
            frame = picture if yuv else av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = round(n / rate / tick) if stamps is None else stamps[n]
            frame.time_base = tick
            container.mux(stream.encode(frame))
            if voice is not None and n == 0:
                container.mux(voice.encode(silence(voice)))
        container.mux(stream.encode())
        if voice is not None:
            container.mux(voice.encode())
    return path


def silence(stream):
    kind = "fltp" if stream.codec_context.name == "aac" else "s16"
    data = np.zeros((1, 4800), np.float32 if kind == "fltp" else np.int16)
    frame = av.AudioFrame.from_ndarray(data, format=kind, layout="mono")
    frame.sample_rate, frame.pts = 48_000, 0
    return frame


def read(path, **settings):
    return list(media.read_frames(path, **settings))


def yuv_frame(y, u, v, height, width=64, fmt="yuv420p"):
    frame = av.VideoFrame(width, height, fmt)
    for plane, value in zip(frame.planes, (y, u, v), strict=True):
        size = plane.buffer_size // (2 if "10" in fmt else 1)
        plane.update(np.full(size, value, np.uint16 if "10" in fmt else np.uint8).tobytes())
    return frame


# The picture ---------------------------------------------------------------------------------------------

MATRICES = {  # a b c d of the track header, and the picture that is shown
    (1, 0, 0, 1): lambda p: p,
    (-1, 0, 0, 1): lambda p: p[:, ::-1],
    (1, 0, 0, -1): lambda p: p[::-1],
    (-1, 0, 0, -1): lambda p: p[::-1, ::-1],
    (0, 1, -1, 0): lambda p: np.rot90(p, -1),
    (0, -1, 1, 0): lambda p: np.rot90(p, 1),
    (0, 1, 1, 0): lambda p: p.transpose(1, 0, 2),
    (0, -1, -1, 0): lambda p: p[::-1, ::-1].transpose(1, 0, 2),
}


@pytest.mark.parametrize("matrix", MATRICES)
def test_all_eight_display_matrices_are_applied(tmp_path, matrix):
    path = encode(tmp_path / "v.mp4")
    stored = read(path)[0].rgb
    data = bytearray(path.read_bytes())
    a, b, c, d = (0x10000 * value for value in matrix)
    start = data.index(b"tkhd") + 44
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 0x40000000)
    path.write_bytes(data)
    frames = read(path)
    assert len(frames) == 20
    assert np.array_equal(frames[0].rgb, MATRICES[matrix](stored))


@pytest.mark.parametrize(
    ("aspect", "shape"),
    [
        (Fraction(4, 3), (48, 85)),
        (Fraction(64, 45), (48, 91)),
        (Fraction(8, 9), (54, 64)),
        (Fraction(1), (48, 64)),
        (Fraction(1, 900), (48, 64)),
    ],
)
@pytest.mark.parametrize("name", ["v.mp4", "v.mkv"])
def test_pixels_become_square_and_none_are_lost(tmp_path, aspect, shape, name):
    frames = read(encode(tmp_path / name, sample_aspect_ratio=aspect))
    assert len(frames) == 20
    assert frames[0].rgb.shape == (*shape, 3)
    bright = frames[0].rgb[2, :, 0] > 180
    assert abs(bright.sum() - shape[1] / 4) <= 2


def expected_rgb(y, u, v, red, blue, full=False):
    """Arithmetic of BT.601 or BT.709 by the weights of red and blue."""
    luma, cb, cr = (y / 255, (u - 128) / 255, (v - 128) / 255)
    if not full:
        luma, cb, cr = ((y - 16) / 219, (u - 128) / 224, (v - 128) / 224)
    r, b = luma + 2 * (1 - red) * cr, luma + 2 * (1 - blue) * cb
    return 255 * np.clip([r, (luma - red * r - blue * b) / (1 - red - blue), b], 0, 1)


BT601, BT709 = (0.299, 0.114), (0.2126, 0.0722)


@pytest.mark.parametrize(
    ("height", "tags", "weights"),
    [
        (576, {}, BT601),
        (720, {}, BT709),
        (576, {"colorspace": 1}, BT709),
        (720, {"colorspace": 6}, BT601),
        (720, {"color_range": 2}, BT709),
        (576, {"color_range": 2}, BT601),
    ],
)
def test_colours_without_a_tag_go_by_the_height(tmp_path, height, tags, weights):
    frame = yuv_frame(120, 90, 170, height)
    path = encode(tmp_path / "v.mkv", [frame], codec="ffv1", gop_size=1, **tags)
    values = expected_rgb(120, 90, 170, *weights, full="color_range" in tags)
    assert np.abs(read(path)[0].rgb.mean((0, 1)) - values).max() < 2


@pytest.mark.parametrize(("transfer", "signal"), [(18, 0.75), (16, 0.5807)])
def test_hdr_white_is_bright_but_not_clipped(tmp_path, transfer, signal):
    tags = {"color_trc": transfer, "color_primaries": 9, "colorspace": 9, "color_range": 1}
    grey = []
    for level in (0.2, 0.4, signal, 1.0):
        frame = yuv_frame(round(64 + 876 * level), 512, 512, 64, fmt="yuv420p10le")
        path = tmp_path / f"{level}.mkv"
        encode(path, [frame], codec="ffv1", gop_size=1, **({"pix_fmt": "yuv420p10le"} | tags))
        rgb = read(path)[0].rgb.mean((0, 1))
        assert np.ptp(rgb) < 3
        grey.append(rgb.mean())
    if not hasattr(frame, "color_trc"):
        pytest.skip("this PyAV does not return the transfer function")
    assert grey == sorted(grey) and grey[3] > 250
    assert abs(grey[2] - 214) < 4  # reference white: 0.68 of the light, by the curve


def combed(count=12, height=96, width=96):
    """Interlaced pictures of a bar that moves 6 px from one field to the next."""
    pictures = []
    for n in range(count):
        picture = np.full((height, width, 3), 40, np.uint8)
        for field in (0, 1):
            left = 4 + 12 * (n % 4) + 6 * field
            picture[field::2, left : left + 24] = 220
        pictures.append(picture)
    return pictures


def comb(rgb):
    rows = rgb[..., 1].astype(int)
    return np.abs(2 * rows[1:-1] - rows[:-2] - rows[2:]).mean()


@pytest.mark.parametrize("flags", ["+ilme+ildct", ""])
def test_interlaced_frames_are_deinterlaced_and_others_are_not(tmp_path, flags):
    options = {"flags": flags, "qmin": "1", "qmax": "2"} if flags else {"qmin": "1", "qmax": "2"}
    path = encode(tmp_path / "v.mpg", combed(), codec="mpeg2video", bit_rate=8_000_000, options=options)
    frames = read(path)
    assert [frame.index for frame in frames] == list(range(12))
    assert [frame.time_s for frame in frames] == pytest.approx([n / 25 for n in range(12)], abs=1e-3)
    assert media.count_frames(path, exact=True) == 12
    assert (comb(frames[5].rgb) < 12) == bool(flags)
    for n in (0, 5, 11):  # the bar is where the first or the second field has it
        left = int(np.argmax(frames[n].rgb[48, :, 1] > 130))
        assert 4 + 12 * (n % 4) - 2 <= left <= 4 + 12 * (n % 4) + 8
    assert [frame.index for frame in read(path, every=5)] == [0, 5, 10]
    assert [frame.index for frame in read(path, spans=((3, 5), (11, 12)))] == [3, 4, 11]


# The stream ----------------------------------------------------------------------------------------------


def atom(kind, body):
    return struct.pack(">I", 8 + len(body)) + kind + body


def add_cover(data, first):
    """Add a cover picture to an MP4 whose index is at its end."""
    picture = io.BytesIO()
    Image.fromarray(corners()).save(picture, "JPEG")
    item = atom(b"data", struct.pack(">II", 13, 0) + picture.getvalue())
    handler = atom(b"hdlr", b"\0" * 8 + b"mdirappl" + b"\0" * 9)
    cover = atom(b"udta", atom(b"meta", b"\0" * 4 + handler + atom(b"ilst", atom(b"covr", item))))
    start = data.index(b"moov") - 4
    moov = data[start + 8 : start + int.from_bytes(data[start : start + 4], "big")]
    header = int.from_bytes(moov[:4], "big")
    moov = moov[:header] + cover + moov[header:] if first else moov + cover
    return data[:start] + atom(b"moov", moov)


@pytest.mark.parametrize("first", [True, False])
def test_a_cover_is_not_the_film(tmp_path, first):
    path = encode(tmp_path / "v.mp4")
    path.write_bytes(add_cover(path.read_bytes(), first))
    with av.open(path) as container:
        assert len(container.streams.video) == 2
    assert len(read(path)) == media.count_frames(path) == 20


def test_a_sound_file_with_a_cover_has_no_video(tmp_path):
    path = tmp_path / "v.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("aac", rate=48_000)
        stream.layout = "mono"
        container.mux(stream.encode(silence(stream)))
        container.mux(stream.encode())
    path.write_bytes(add_cover(path.read_bytes(), True))
    for function in (read, media.count_frames):
        with pytest.raises(MediaError) as caught:
            function(path)
        assert caught.value.reason == "no_video"


# Times and numbers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv"])
def test_a_picture_that_starts_late_starts_late(tmp_path, name):
    stamps = [500 + 40 * n for n in range(20)]
    late = [frame.time_s for frame in read(encode(tmp_path / name, stamps=stamps, sound=True))]
    assert late == pytest.approx([0.5 + n / 25 for n in range(20)], abs=0.03)


def test_a_clock_that_does_not_start_at_zero_is_counted_from_its_start(tmp_path):
    stamps = [90_000 * 100 + 3600 * n for n in range(20)]
    path = encode(tmp_path / "v.ts", stamps=stamps, tick=Fraction(1, 90_000), codec="mpeg2video")
    assert [frame.time_s for frame in read(path)] == pytest.approx([n / 25 for n in range(20)], abs=1e-6)


@pytest.mark.parametrize("name", ["v.ts", "v.mpg"])
@pytest.mark.parametrize("later", [0, 300])
def test_joined_recordings_go_on(tmp_path, name, later):
    parts = []
    for start in (0, later):
        stamps = [90_000 * start + 3600 * n for n in range(20)]
        path = encode(tmp_path / name, stamps=stamps, tick=Fraction(1, 90_000), codec="mpeg2video")
        parts.append(path.read_bytes())
    path.write_bytes(b"".join(parts))
    frames = read(path)
    assert [frame.index for frame in frames] == list(range(40)) and media.count_frames(path, exact=True) == 40
    assert [frame.time_s for frame in frames] == pytest.approx([n / 25 for n in range(40)], abs=1e-6)
    assert len(read(path, fps=25)) == 40


@pytest.mark.parametrize("frames_between", ["0", "2"])
@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_an_avi_has_the_times_of_its_rate(tmp_path, codec, frames_between):
    if codec not in av.codecs_available:
        pytest.skip(f"no {codec}")
    path = encode(tmp_path / "v.avi", codec=codec, tick=Fraction(1, 25), options={"bf": frames_between})
    frames = read(path)
    assert [frame.index for frame in frames] == list(range(20))
    assert [frame.time_s for frame in frames] == pytest.approx([n / 25 for n in range(20)])


def clocked(times, rate=25, demuxer="mov", duration=None):
    stream = SimpleNamespace(start_time=0, time_base=Fraction(1, 1000), average_rate=rate, base_rate=rate)
    clock = Clock(SimpleNamespace(start_time=0, streams=[stream]), stream, demuxer)
    frames = [SimpleNamespace(time=time, duration=duration, time_base=Fraction(1, 1000)) for time in times]
    return [clock.read(frame) for frame in frames]


def regular(count):
    return pytest.approx([n / 25 for n in range(count)])


def test_wrong_timestamps_are_rebuilt_from_the_rate():
    assert clocked([None] * 5) == regular(5)
    assert clocked([0.0] * 5) == regular(5)
    assert clocked([0, 0.04, None, 0.12]) == regular(4)
    assert clocked([0, 0.04, 0.04, 0.12]) == regular(4)
    assert clocked([0, 0.04, 0.0, 0.12]) == regular(4)
    assert clocked([*(n / 25 for n in range(50)), 0.3, 51 / 25, 52 / 25]) == regular(53)
    assert clocked([n % 20 / 25 for n in range(60)]) == regular(60)
    assert clocked([-0.08, -0.04, 0, 0.04]) == regular(4)
    assert clocked([None] * 3, duration=20) == pytest.approx([0, 0.02, 0.04])


def test_gaps_of_a_varying_rate_stay_and_jumps_of_a_joined_file_do_not():
    times = [0, 0.04, 30, 30.5]
    assert clocked(times) == pytest.approx(times)
    assert clocked([0, 0.04, 8, 8.5], demuxer="mpegts") == pytest.approx([0, 0.04, 8, 8.5])
    assert clocked(times, demuxer="mpegts") == pytest.approx([0, 0.04, 0.08, 0.58])


def test_an_edit_list_decides_which_frames_there_are(tmp_path):
    path = encode(tmp_path / "v.mp4", [np.full((48, 64, 3), 10 * n, np.uint8) for n in range(20)])
    data = bytearray(path.read_bytes())
    start = data.index(b"elst") + 4
    assert data[start] == 0 and data[start + 4 : start + 8] == b"\0\0\0\1"
    with av.open(path) as container:
        ticks = 1 / container.streams.video[0].time_base
    data[start + 8 : start + 16] = struct.pack(">Ii", 400, round(6 / 25 * ticks))  # 10 frames of 20
    path.write_bytes(data)
    frames = read(path)
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert [round(frame.rgb.mean() / 10) for frame in frames] == list(range(6, 16))
    assert [frame.time_s for frame in frames] == pytest.approx([n / 25 for n in range(10)], abs=1e-3)
    assert media.count_frames(path) == media.count_frames(path, exact=True) == 10


@pytest.mark.parametrize(
    ("rate", "fps", "step"),
    [
        (30, 30, 1),
        (Fraction(30_000, 1001), 30, 1),
        (30, 29.97, 1),
        (60, 30, 2),
        (60, 29.97, 2),
        (Fraction(60_000, 1001), 30, 2),
        (Fraction(24_000, 1001), 12, 2),
        (25, 5, 5),
        (240, 30, 8),
        (30, 100, 1),
    ],
)
@pytest.mark.parametrize("start", [0, 0.5])
def test_frames_per_second_are_even_whatever_the_rounding(rate, fps, step, start):
    for digits in (3, 9):
        sampler = Sampler(1, fps, (), 1 / float(rate))
        times = [round(start + n / float(rate), digits) for n in range(72)]
        chosen = [n for n, time in enumerate(times) if sampler.chooses(n, time)]
        assert chosen == list(range(0, 72, step)), digits


@pytest.mark.parametrize("options", [(1, 7.0), (1, 29.97), (3, None), (1, None)])
@pytest.mark.parametrize("spans", [(), ((3, 40), (100, 180))])
def test_all_frames_at_once_are_chosen_as_one_by_one(options, spans):
    rng = np.random.default_rng(0)
    times = np.round(0.3 + np.cumsum(rng.choice([0.0005, 0.01, 0.033, 0.04, 0.5], 200)), 3)
    numbers = np.flatnonzero(rng.random(200) > 0.1)
    one_by_one, together = (Sampler(*options, spans, 1 / 25) for _ in range(2))
    expected = [one_by_one.chooses(int(n), float(times[n])) for n in numbers]
    assert together.choose(numbers, times[numbers]).tolist() == expected
    assert not len(together.choose(numbers[:0], times[:0]))


def test_frames_per_second_that_do_not_divide_the_rate_are_the_first_on_time():
    sampler = Sampler(1, 4, (), 1 / 25)
    assert [n for n in range(34) if sampler.chooses(n, n / 25)] == [0, 7, 13, 19, 25, 32]


def test_frames_per_second_of_a_file_with_milliseconds(tmp_path):
    stamps = [round(n / 0.03) for n in range(30)]
    path = encode(tmp_path / "v.mkv", [corners()] * 30, stamps, rate=30)
    assert [frame.index for frame in read(path, fps=30)] == list(range(30))
    assert [frame.index for frame in read(path, fps=15)] == list(range(0, 30, 2))


# Containers ----------------------------------------------------------------------------------------------


def test_packets_of_camcorders_and_broadcasts(tmp_path):
    data = encode(tmp_path / "v.ts", codec="mpeg2video").read_bytes()
    packets = [data[start : start + 188] for start in range(0, len(data), 188)]
    for name, before, after in (("v.MTS", b"\0\0\1\2", b""), ("v.m2ts", b"", b"\0" * 16)):
        path = tmp_path / name
        path.write_bytes(b"".join(before + packet + after for packet in packets))
        assert len(read(path)) == 20 and media.detect_kind(path.rename(tmp_path / "x")) == "video"


@pytest.mark.parametrize(
    ("codec", "container"), [("libx264", "h264"), ("libx265", "hevc"), ("mpeg4", "m4v"), ("mpeg2video", None)]
)
def test_streams_without_a_container(tmp_path, codec, container):
    if codec not in av.codecs_available:
        pytest.skip(f"no {codec}")
    container = container or "mpeg2video"
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = encode(tmp_path / "v", codec=codec, container=container, options=options)
    assert media.detect_kind(path) == "video"
    frames = read(path)
    assert [frame.index for frame in frames] == list(range(20))
    steps = np.diff([frame.time_s for frame in frames])
    assert steps == pytest.approx(np.full(19, steps[0])) and steps[0] > 0.01


def test_dv_has_wide_pixels_and_is_deinterlaced(tmp_path):
    path = encode(tmp_path / "v.dv", [corners(576, 720)] * 5, codec="dvvideo", container="dv")
    frames = read(path)
    assert len(frames) == 5 and frames[0].rgb.shape in ((576, 768, 3), (576, 786, 3), (576, 788, 3))
    assert media.count_frames(path, exact=True) == 5


def test_other_videos_are_named_as_such(tmp_path):
    path = tmp_path / "v.mxf"
    path.write_bytes(b"\x06\x0e\x2b\x34" * 50)
    with pytest.raises(MediaError, match="the content is of no video format that is read"):
        read(path)


# Reported files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "count", "shape", "last"),
    [
        ("01_transpose.mp4", 30, (320, 180), 0.967),
        ("02_hdv_sar43.mp4", 30, (180, 320), 0.967),
        ("02_pal_sar6445.mpg", 30, (180, 320), 0.967),
        ("05_00001.MTS", 30, (180, 320), 0.972),
        ("05_picam.h264", 30, (180, 320), 0.967),
        ("06_joined.ts", 30, (180, 320), 0.967),
        ("06_joined.vob", 30, (180, 320), 0.967),
        ("09_trimmed.mp4", 15, (180, 320), 0.467),
        ("11_late.mp4", 30, (180, 320), 1.467),
    ],
)
def test_reported_files(shared, name, count, shape, last):
    path = shared / "cases" / name
    if not path.exists():
        pytest.skip(f"no {name}")
    frames = read(path)
    assert len(frames) == media.count_frames(path) == media.count_frames(path, exact=True) == count
    assert frames[0].rgb.shape == (*shape, 3)
    assert frames[-1].time_s == pytest.approx(last, abs=1e-3)
    assert len(read(path, fps=30)) == count
