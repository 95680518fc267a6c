"""Films with their frames drawn on: times, sound, size, missing frames."""

from fractions import Fraction

import av
import numpy as np
import pandas as pd
import pytest

from maeface.errors import ConfigError, ResourceError
from maeface.faces import film_writer, media
from maeface.faces.film_writer import write_film
from maeface.faces.formats import MediaError
from maeface.faces.numbering import MissingFrames
from maeface.report.film_overlay import FilmOverlay
from maeface.report.overlay import track_colour

MS = Fraction(1, 1000)


def film(path, stamps, size=(64, 48), tick=MS, sound=None, codec="libx264", container=None, seconds=2):
    """A film whose frame n is grey of value 20 + 4 n, at ``stamps`` in ticks."""
    with av.open(path, "w", format=container) as out:
        stream = out.add_stream(codec, rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = stream.time_base = tick
        voice = out.add_stream(sound, rate=48_000) if sound else None
        if voice is not None:
            voice.layout = "mono"
        for n, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), 20 + 4 * n, np.uint8), "rgb24")
            frame.pts, frame.time_base = stamp, tick
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        for k in range(seconds * 48 if voice is not None else 0):
            wave = np.sin(np.arange(k * 1000, (k + 1) * 1000) / 20).astype(np.float32)[None] / 2
            samples = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            samples.sample_rate, samples.pts, samples.time_base = 48_000, k * 1000, Fraction(1, 48_000)
            out.mux(voice.encode(samples))
        if voice is not None:
            out.mux(voice.encode(None))
    return path


def plain(rgb, number, time_s, reason):
    return rgb


def times(path):
    return [one.time_s for one in media.read_frames(path)]


def stamps_of(path):
    with av.open(path) as file:
        return [frame.pts * frame.time_base for frame in file.decode(video=0)]


def packets_of(path):
    with av.open(path) as file:
        stream = file.streams.audio[0]
        return [(one.pts * one.time_base, bytes(one)) for one in file.demux(stream) if one.size]


UNEVEN = np.cumsum([0, 40, 20, 41, 333, 1, 7, 500, 40, 40, 1003, 17]).tolist()


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv"])
def test_times_of_a_variable_frame_rate_are_those_of_the_film(tmp_path, name):
    source = film(tmp_path / name, UNEVEN)
    summary = write_film(source, tmp_path / "out.mp4", plain)
    assert stamps_of(tmp_path / "out.mp4") == stamps_of(source) == [one * MS for one in UNEVEN]
    assert times(tmp_path / "out.mp4") == times(source)
    assert (summary.frames, summary.missing, summary.codec, summary.sound) == (12, 0, "h264", "")


def test_a_rate_that_is_no_whole_number_and_a_late_start_are_kept(tmp_path):
    tick = Fraction(1001, 30_000)
    source = film(tmp_path / "v.mp4", range(10), tick=tick)
    write_film(source, tmp_path / "out.mp4", plain)
    assert stamps_of(tmp_path / "out.mp4") == [n * tick for n in range(10)]
    source = film(tmp_path / "late.mp4", [500 + 40 * n for n in range(10)], sound="aac")
    write_film(source, tmp_path / "late_out.mp4", plain)
    assert times(tmp_path / "late_out.mp4") == pytest.approx(times(source), abs=1e-6)
    assert times(source)[0] > 0.4


@pytest.mark.parametrize(("name", "codec"), [("v.mp4", "aac"), ("v.ts", "aac"), ("v.mp4", "ac3")])
def test_sound_is_copied_and_keeps_its_time(tmp_path, name, codec):
    tick = Fraction(1, 90_000)
    source = film(tmp_path / name, [3600 * n for n in range(50)], tick=tick, sound=codec)
    summary = write_film(source, tmp_path / "out.mp4", plain)
    assert summary.sound == "copied"
    before, after = packets_of(source), packets_of(tmp_path / "out.mp4")
    headers = 7 if name == "v.ts" else 0  # of ADTS
    assert [data[headers:] for _, data in before] == [data for _, data in after]
    lag = [first[0] - second[0] for first, second in zip(before, after, strict=True)]
    assert max(lag) - min(lag) < 1e-4
    frames = [stamps_of(path)[0] for path in (source, tmp_path / "out.mp4")]
    assert float(lag[0]) == pytest.approx(float(frames[0] - frames[1]), abs=1e-3)


def test_sound_that_an_mp4_should_not_have_is_encoded(tmp_path):
    source = film(tmp_path / "v.mkv", [40 * n for n in range(50)], sound="pcm_s16le")
    assert write_film(source, tmp_path / "out.mp4", plain).sound == "encoded"
    with av.open(tmp_path / "out.mp4") as file:
        assert file.streams.audio[0].codec_context.name == "aac"
        wave = np.concatenate([one.to_ndarray()[0] for one in file.decode(audio=0)])
    assert len(wave) / 48_000 == pytest.approx(2, abs=0.05)
    assert np.sqrt(np.mean(wave[2000:-2000] ** 2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


def test_pictures_come_out_as_they_were_drawn(tmp_path):
    source = film(tmp_path / "v.mp4", [40 * n for n in range(5)], size=(64, 48))

    def draw(rgb, number, time_s, reason):
        rgb = rgb.copy()
        rgb[8:40, 8:30] = (220, 30, 60)
        rgb[8:40, 34:56] = (40, 90, 230)
        return rgb

    write_film(source, tmp_path / "out.mp4", draw)
    for one in media.read_frames(tmp_path / "out.mp4"):
        assert np.abs(one.rgb[20:28, 14:24].astype(int) - (220, 30, 60)).max() < 12
        assert np.abs(one.rgb[20:28, 40:50].astype(int) - (40, 90, 230)).max() < 12
        assert abs(int(one.rgb[2, 2, 0]) - 20 - 4 * one.index) < 4


def test_a_film_in_hd_keeps_its_colours(tmp_path):
    source = film(tmp_path / "v.mp4", [0, 40], size=(960, 720))
    write_film(source, tmp_path / "out.mp4", lambda rgb, *_: np.full_like(rgb, (30, 200, 60)))
    colour = next(iter(media.read_frames(tmp_path / "out.mp4"))).rgb.mean((0, 1))
    assert np.abs(colour - (30, 200, 60)).max() < 4


def test_odd_sizes_are_padded(tmp_path):
    source = film(tmp_path / "v.mkv", [40 * n for n in range(3)], size=(33, 31), codec="ffv1")
    assert next(iter(media.read_frames(source))).rgb.shape == (31, 33, 3)
    write_film(source, tmp_path / "out.mp4", lambda rgb, *_: np.full_like(rgb, 120))
    frame = next(iter(media.read_frames(tmp_path / "out.mp4"))).rgb
    assert frame.shape == (32, 34, 3)
    assert np.abs(frame.astype(int) - 120).max() < 4  # no dark edge


def test_a_turned_film_is_written_upright(tmp_path):
    path = film(tmp_path / "v.mp4", [40 * n for n in range(4)], size=(64, 48))
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version 0: the matrix
    quarter = [0, 0x10000, 0, -0x10000 & 0xFFFFFFFF, 0, 0, 0, 0, 0x40000000]
    data[at : at + 36] = b"".join(value.to_bytes(4, "big") for value in quarter)
    path.write_bytes(data)
    assert next(iter(media.read_frames(path))).rgb.shape == (64, 48, 3)
    write_film(path, tmp_path / "out.mp4", plain)
    assert next(iter(media.read_frames(tmp_path / "out.mp4"))).rgb.shape == (64, 48, 3)
    with av.open(tmp_path / "out.mp4") as file:
        assert (file.streams.video[0].width, file.streams.video[0].height) == (48, 64)


def test_frames_of_another_size_are_fitted():
    tall = film_writer._fit(np.full((80, 40, 3), 200, np.uint8), 40, 60)
    assert tall.shape == (40, 60, 3)
    assert tall[:, 20:40].min() == 200 and tall[:, :19].max() == 0 and tall[:, 41:].max() == 0


def test_missing_frames_are_shown_as_such(tmp_path):
    source = film(tmp_path / "v.mkv", [40 * n for n in range(40)], codec="mjpeg")
    data = bytearray(source.read_bytes())
    with av.open(source) as file:
        sizes = [(one.pos, one.size) for one in file.demux(video=0) if one.size]
    for number in (10, 11, 20):
        at = data.index(b"\xff\xd8", sizes[number][0])
        data[at : at + sizes[number][1]] = bytes(sizes[number][1])
    source.write_bytes(data)
    missing = [one for one in media.read_frames(source) if isinstance(one, MissingFrames)]
    assert sum(one.count for one in missing) == 3
    seen = []

    def draw(rgb, number, time_s, reason):
        seen.append((number, time_s, reason, round((float(rgb.mean()) - 20) / 4)))
        return np.zeros_like(rgb) if reason else rgb

    summary = write_film(source, tmp_path / "out.mp4", draw)
    assert (summary.frames, summary.missing) == (40, 3)
    assert [one[0] for one in seen] == list(range(40))
    assert [one[0] for one in seen if one[2]] == [10, 11, 20]
    assert [one[3] for one in seen if one[2]] == [9, 9, 19]  # the picture before
    assert [one[1] for one in seen] == pytest.approx([n / 25 for n in range(40)], abs=1e-3)
    dark = [one.index for one in media.read_frames(tmp_path / "out.mp4") if one.rgb.mean() < 10]
    assert dark == [10, 11, 20]


def test_a_truncated_film_ends_with_one_frame_that_says_so(tmp_path):
    source = film(tmp_path / "v.mkv", [40 * n for n in range(40)], codec="mjpeg")
    data = source.read_bytes()
    source.write_bytes(data[: len(data) * 2 // 3])
    reasons = []
    write_film(source, tmp_path / "out.mp4", lambda rgb, n, t, reason: reasons.append(reason) or rgb)
    assert reasons[-1] == "truncated" and reasons.count("truncated") == 1
    assert 10 < len(times(tmp_path / "out.mp4")) == len(reasons) < 40


def test_without_an_encoder_for_h264_it_is_mpeg4_with_the_same_times(tmp_path, monkeypatch):
    source = film(tmp_path / "v.mp4", UNEVEN, tick=MS)
    add_stream = av.container.OutputContainer.add_stream

    class Container:
        def add_stream(self, codec, **settings):
            if codec == "libx264":
                raise av.codec.codec.UnknownCodecError(codec)
            return add_stream(self.container, codec, **settings)

    real = film_writer._add_stream

    def without(container, *rest):
        fake = Container()
        fake.container = container
        return real(fake, *rest)

    monkeypatch.setattr(film_writer, "_add_stream", without)
    assert write_film(source, tmp_path / "out.mp4", plain).codec == "mpeg4"
    assert stamps_of(tmp_path / "out.mp4") == [one * MS for one in UNEVEN]


def test_progress_counts_every_frame(tmp_path):
    source = film(tmp_path / "v.mp4", [40 * n for n in range(7)])
    counts = []
    write_film(source, tmp_path / "out.mp4", plain, counts.append)
    assert counts == [1] * 7 and media.count_frames(source) == 7


def test_bad_outputs_are_refused_before_any_work(tmp_path):
    source = film(tmp_path / "v.mp4", [0, 40])
    with pytest.raises(ConfigError, match=r"name a \.mp4 file"):
        write_film(source, tmp_path / "out.avi", plain)
    with pytest.raises(ConfigError, match="would replace the film"):
        write_film(source, tmp_path / "." / "v.mp4", plain)
    (tmp_path / "p.mp4").write_bytes(b"no film" * 200)
    with pytest.raises(MediaError):
        write_film(tmp_path / "p.mp4", tmp_path / "out.mp4", plain)
    assert not (tmp_path / "out.mp4").exists()


def test_a_full_disk_is_one_clear_error_and_leaves_nothing(tmp_path, monkeypatch):
    source = film(tmp_path / "v.mp4", [40 * n for n in range(5)])

    def fails(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(film_writer._Writer, "_mux", fails)
    with pytest.raises(ResourceError, match=r"out\.mp4"):
        write_film(source, tmp_path / "out.mp4", plain)
    assert [one.name for one in tmp_path.iterdir()] == ["v.mp4"]


def test_a_film_with_its_table_has_each_box_in_its_frame(tmp_path):
    source = film(tmp_path / "v.mp4", [40 * n for n in range(4)], size=(320, 240))
    rows = pd.DataFrame({"frame": range(4), "face": [0, 0, -1, 0], "status": ["ok", "ok", "no_face", "ok"]})
    rows = rows.assign(input="v.mp4", track=3, x1=[40, 80, None, 160], y1=60, y2=160, AU12=1, AU12_i=4.0)
    rows["x2"] = rows["x1"] + 60
    show = FilmOverlay(rows, [12])
    assert write_film(source, tmp_path / "out.mp4", show).frames == 4
    for one, x1 in zip(media.read_frames(tmp_path / "out.mp4"), (40, 80, None, 160), strict=True):
        assert one.rgb.shape == (240, 320, 3)
        pink = np.abs(one.rgb.astype(int) - track_colour(3)).max(-1) < 90
        bright = one.rgb.max(-1) > 150
        columns = np.flatnonzero((pink & bright)[70:150].sum(0) > 60)
        if x1 is None:
            assert not len(columns)
        else:
            assert columns.min() == pytest.approx(x1, abs=2) and columns.max() == pytest.approx(
                x1 + 60, abs=2
            )
