import io
import os
import struct
import subprocess
import sys
import time
import zlib
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, features

from maeface.faces import media
from maeface.faces import photo as photo_module
from maeface.faces.media import MediaError

RNG = np.random.default_rng(7)


def picture(height=90, width=120):
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 7), np.cos(y / 9), np.sin((x + y) / 11)]
    return np.clip(128 + 90 * np.stack(waves, -1) + RNG.normal(0, 8, (height, width, 1)), 0, 255).astype(
        np.uint8
    )


def encoded(image, kind="JPEG", **options):
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def put(tmp_path):
    def put(data, name="photo.jpg"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return put


def reason(path, read=media.read_image):
    with pytest.raises(MediaError) as caught:
        result = read(path)
        if read is media.read_frames:
            list(result)
    return caught.value.reason


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width, height, bits=8, colour=2):
    return b"\x89PNG\r\n\x1a\n" + png_chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    )


# Photos --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP", "GIF", "JPEG"])
def test_allowed_formats_by_content_whatever_the_name(put, kind):
    image = picture()
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}
    pixels = media.read_image(put(encoded(image, kind, **options), "no-ending"))
    assert pixels.shape == image.shape and pixels.dtype == np.uint8 and pixels.flags.c_contiguous
    limit = {"GIF": 40, "JPEG": 16}.get(kind, 0)
    assert np.abs(pixels.astype(int) - image).mean() <= limit / 4
    assert media.detect_kind(put(encoded(image, kind, **options), "x.txt")) == "image"


@pytest.mark.parametrize("cut", [2, 10, 0.5, 0.9])
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_jpeg_cut_short_is_truncated_never_padded(put, cut, options):
    data = encoded(picture(), quality=90, **options)
    keep = len(data) - cut if isinstance(cut, int) else int(len(data) * cut)
    assert reason(put(data[:keep])) == "truncated"


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP", "GIF"])
@pytest.mark.parametrize("part", [0.3, 0.7, 0.98])
def test_other_formats_cut_short_are_truncated(put, kind, part):
    data = encoded(picture(), kind)
    assert reason(put(data[: int(len(data) * part)])) == "truncated"


def pillow(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def next_table(data):
    return data.index(b"\xff\xc4")


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0, "restart_marker_blocks": 4}]
)
@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-2] + bytes(range(16)) + data[-2:],
        lambda data: data[:-2] + bytes(300) + data[-2:],
        lambda data: data[:-2] + b"\xff" * 5000 + data[-2:],
        lambda data: with_app1(data[:-2] + bytes(40) + data[-2:], b"Exif\0\0" + encoded(picture(40, 40))),
        lambda data: data[:-2] + b"\x20" * 700 + data[-2:] + b"and a film behind it\xff\xd9",
        lambda data: data[:2] + b"\xff" * 3 + data[2:],
        lambda data: data[: next_table(data)] + b"\0" + data[next_table(data) :],
        lambda data: data[: next_table(data)] + b"\xff\0abcdefgh" + data[next_table(data) :],
        lambda data: data + bytes(5) + encoded(picture()),
    ],
)
def test_padding_in_a_jpeg_is_no_damage(put, options, change):
    plain = encoded(picture(), quality=90, **options)
    data = change(plain)
    pixels = media.read_image(put(data))
    np.testing.assert_array_equal(pixels, pillow(plain))
    np.testing.assert_array_equal(pixels, pillow(data))


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("value", [b"\0", b"\x20", b"\xff"])
def test_a_cut_jpeg_that_was_filled_up_is_refused(put, options, share, value):
    data = encoded(picture(), quality=90, **options)
    keep = int(len(data) * share)
    for end in (b"", b"\xff\xd9"):
        filled = data[:keep] + value * 20 * len(data) + end
        assert reason(put(filled)) in ("truncated", "corrupt")


def test_long_gaps_in_a_jpeg_are_corrupt(put):
    data = encoded(picture(), quality=90)
    noise = RNG.integers(1, 255, 200, np.uint8).tobytes()
    assert reason(put(data[:-2] + noise + data[-2:])) == "corrupt"
    assert reason(put(data[: next_table(data)] + noise + data[next_table(data) :])) == "corrupt"


def test_many_gaps_in_a_jpeg_cost_little(put):
    path = put(b"\xff\xd8" + b"\xff\xe0\0\2\0" * 2_000_000 + b"\xff\xd9")
    begin = time.perf_counter()
    assert reason(path) == "truncated"
    assert time.perf_counter() - begin < 20


def test_every_length_of_a_cut_jpeg_has_a_reason(put):
    data = encoded(picture(40, 40), quality=60)
    for keep in range(3, len(data) - 1, 7):
        assert reason(put(data[:keep])) in ("truncated", "corrupt"), keep


def test_bytes_flipped_in_the_scan_are_corrupt(put):
    data = bytearray(encoded(picture(), quality=90))
    middle = len(data) // 2
    for place in range(middle, middle + 40):
        data[place] ^= 0x55
    assert reason(put(bytes(data))) == "corrupt"


def test_a_wrong_checksum_in_a_png_is_corrupt(put):
    data = bytearray(encoded(picture(), "PNG"))
    data[len(data) // 2] ^= 0x10
    assert reason(put(bytes(data))) == "corrupt"


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_bytes_give_pixels_or_a_reason_and_nothing_else(put, data):
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP"]))
    whole = bytearray(
        encoded(Image.fromarray(np.arange(40 * 40 * 3, dtype=np.uint8).reshape(40, 40, 3)), kind)
    )
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(4, len(whole) - 1), st.integers(0, 255)), max_size=6)
    ):
        whole[place] = value
    try:
        pixels = media.read_image(put(bytes(whole), "fuzz"))
    except MediaError as bad:
        assert bad.reason.isidentifier()
    else:
        assert pixels.ndim == 3


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>404</html>", "not_an_image"),
        (b'{"error": 1}', "not_an_image"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 100, "corrupt"),
        (b"%PDF-1.7\n", "refused_format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "refused_format"),
        (b"8BPS\0\1" + b"\0" * 40, "refused_format"),
        (b"II*\0" + b"\0" * 40, "refused_format"),
        (b"\0\0\0\x18ftypavif" + b"\0" * 40, "corrupt"),
        (b"SIMPLE  =                    T", "refused_format"),
    ],
)
def test_what_is_no_allowed_photo(put, data, expected):
    if data.startswith(b"\xff\xd8"):
        data += b"\xff\xd9"
    assert reason(put(data)) == expected


def test_a_real_tiff_is_refused(put):
    assert reason(put(encoded(picture(), "TIFF"), "photo.jpg")) == "refused_format"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_orientation_is_applied_once(put, orientation, kind):
    upright = picture()
    undo = {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: 1, 7: 3, 8: 3}[orientation]
    stored = upright[:, ::-1] if orientation in (2, 4) else upright
    if orientation in (5, 7):
        stored = upright[:, ::-1]
    stored = np.rot90(stored, {0: 0, 2: 2, 1: 1, 3: -1}[undo])
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = (
        {"lossless": True} if kind == "WEBP" else {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    )
    pixels = media.read_image(put(encoded(np.ascontiguousarray(stored), kind, exif=exif, **options)))
    from PIL import ImageOps

    peer = np.array(
        ImageOps.exif_transpose(Image.open(put(encoded(np.ascontiguousarray(stored), "PNG", exif=exif))))
    )
    limit = 25 if kind == "JPEG" else 0
    assert pixels.shape == peer.shape and np.abs(pixels.astype(int) - peer).max() <= limit
    assert pixels.shape == upright.shape and np.abs(pixels.astype(int) - upright).max() <= limit


def exif(kind, value, order=">"):
    head = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(order + "I", 8)
    size = {"B": 1, "H": 3, "I": 4}[kind]
    entry = struct.pack(order + "HHHI", 1, 0x0112, size, 1) + struct.pack(order + kind, value).ljust(4, b"\0")
    return b"Exif\0\0" + head + entry + bytes(4)


def xmp(text):
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description {text}</x:xmpmeta>'.encode()


def with_app1(data, *payloads):
    parts = [b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload for payload in payloads]
    return data[:2] + b"".join(parts) + data[2:]


XAP = b"http://ns.adobe.com/xap/1.0/\0"
ATTRIBUTE, ELEMENT = xmp('tiff:Orientation="6"/>'), xmp("><tiff:Orientation>6</tiff:Orientation>")


@pytest.mark.parametrize(
    ("payloads", "turned"),
    [
        *(([exif(kind, 6, order)], True) for kind in "BHI" for order in "<>"),
        ([XAP + ATTRIBUTE], True),
        ([XAP + ELEMENT], True),
        ([XAP + ATTRIBUTE, exif("H", 1)], False),  # EXIF counts where both have one
        ([exif("I", 6), XAP + xmp('tiff:Orientation="3"/>')], True),
        ([exif("I", 600)], False),
        ([XAP + xmp('tiff:Orientation="9"/>')], False),
    ],
)
def test_orientation_of_every_kind(put, payloads, turned):
    plain = encoded(picture(), quality=90)
    stored = np.asarray(Image.open(io.BytesIO(plain)).convert("RGB"))
    pixels = media.read_image(put(with_app1(plain, *payloads)))
    np.testing.assert_array_equal(pixels, np.rot90(stored, -1) if turned else stored)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_orientation_in_xmp_and_in_text_of_imagemagick(put, kind):
    image = picture()
    upright = np.rot90(image, -1)
    if kind == "WEBP":
        data = encoded(image, "WEBP", lossless=True, xmp=ATTRIBUTE)
        np.testing.assert_array_equal(media.read_image(put(data)), upright)
        return
    for keyword, raw in (("exif", exif("H", 6)), ("APP1", exif("I", 6)), ("xmp", ELEMENT)):
        digits = raw.hex()
        lines = [digits[start : start + 72] for start in range(0, len(digits), 72)]
        text = "\n".join(["", keyword, f"{len(raw):8d}", *lines, ""]).encode()
        chunk = png_chunk(b"zTXt", f"Raw profile type {keyword}".encode() + b"\0\0" + zlib.compress(text))
        data = encoded(image, "PNG")
        for place in (33, -12):  # behind the header, and before the end
            np.testing.assert_array_equal(media.read_image(put(data[:place] + chunk + data[place:])), upright)
    nonsense = png_chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 3\nxyz\n")
    np.testing.assert_array_equal(media.read_image(put(data[:33] + nonsense + data[33:])), image)


def test_nonsense_in_exif_says_nothing(put):
    image = picture()
    for exif in (
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0" + b"\xff" * 60_000,
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff",
    ):
        assert media.read_image(put(encoded(image, exif=exif))).shape == image.shape


def test_ten_megabytes_of_metadata_cost_little(put):
    data = encoded(picture())
    segment = b"\xff\xe1" + struct.pack(">H", 65_535) + b"Exif\0\0" + b"x" * (65_533 - 6)
    path = put(data[:2] + segment * 160 + data[2:])
    started = time.monotonic()
    assert media.read_image(path).shape == (90, 120, 3)
    assert time.monotonic() - started < 2


def test_colour_modes_become_rgb(put):
    rgb = picture()
    grey = np.asarray(Image.fromarray(rgb).convert("L"))
    three = np.repeat(grey[..., None], 3, -1)
    assert np.array_equal(media.read_image(put(encoded(grey, "PNG"))), three)
    assert np.abs(media.read_image(put(encoded(grey, quality=95))).astype(int) - three).max() < 16
    deep = Image.fromarray((grey.astype(np.uint16) << 8) + 77)
    assert np.array_equal(media.read_image(put(encoded(deep, "PNG"))), three)
    palette = Image.fromarray(rgb).quantize(64)
    assert np.array_equal(media.read_image(put(encoded(palette, "PNG"))), np.asarray(palette.convert("RGB")))
    bits = Image.fromarray(grey).convert("1")
    assert set(np.unique(media.read_image(put(encoded(bits, "PNG"))))) == {0, 255}
    assert np.array_equal(media.read_image(put(encoded(rgb, "PNG", icc_profile=b"x" * 200))), rgb)


def test_a_jpeg_of_twelve_bits_is_named(put):
    data = bytearray(encoded(picture()))
    data[data.index(b"\xff\xc0") + 4] = 12
    assert reason(put(bytes(data))) == "refused_format"


def test_transparent_pixels_lie_on_black(put):
    rgba = np.dstack([picture(), np.full((90, 120), 255, np.uint8)])
    rgba[:45, :, 3] = 0
    rgba[60:, :, 3] = 128
    pixels = media.read_image(put(encoded(rgba, "PNG")))
    assert not pixels[:45].any()
    assert np.array_equal(pixels[45:60], rgba[45:60, :, :3])
    assert np.abs(pixels[60:].astype(int) - rgba[60:, :, :3] // 2).max() <= 1
    grey_alpha = Image.fromarray(rgba).convert("LA")
    assert not media.read_image(put(encoded(grey_alpha, "PNG")))[:45].any()
    palette = Image.fromarray(np.zeros((40, 40), np.uint8)).convert("P")
    palette.putpalette([200, 100, 50] * 256)
    assert not media.read_image(put(encoded(palette, "PNG", transparency=0))).any()


@pytest.mark.parametrize("version", [4, 5])
def test_a_bmp_whose_alpha_is_0_everywhere_is_opaque(put, version):
    image = picture()
    size = {4: 108, 5: 124}[version]

    def bmp(alpha):
        rows = np.dstack([image[::-1, :, ::-1], np.broadcast_to(alpha, image.shape[:2])]).astype(np.uint8)
        masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
        header = struct.pack("<IiiHHIIiiII", size, 120, 90, 1, 32, 3, rows.size, 0, 0, 0, 0) + masks
        start = 14 + size
        return (
            struct.pack("<2sIHHI", b"BM", start + rows.size, 0, 0, start)
            + header.ljust(size, b"\0")
            + rows.tobytes()
        )

    np.testing.assert_array_equal(media.read_image(put(bmp(0))), image)
    np.testing.assert_array_equal(media.read_image(put(bmp(255))), image)
    alpha = np.zeros((90, 120))
    alpha[:, :60] = 255  # a real one: rows are stored from the bottom
    np.testing.assert_array_equal(media.read_image(put(bmp(alpha)))[:, :60], image[:, :60])
    assert not media.read_image(put(bmp(alpha)))[:, 60:].any()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_several_pictures_the_first_is_used_and_one_line_says_so(put, kind, capsys):
    photo_module._note_first_picture.cache_clear()
    first, second = (Image.fromarray(picture()) for _ in range(2))
    options = {"lossless": True} if kind == "WEBP" else {}
    alone = media.read_image(put(encoded(first, kind, **options)))
    assert capsys.readouterr().err == ""
    path = put(encoded(first, kind, save_all=True, append_images=[second], **options))
    np.testing.assert_array_equal(media.read_image(path), alone)
    media.read_image(path)
    assert capsys.readouterr().err.count("several pictures") == 1


def test_cmyk_jpegs(put):
    rgb = picture()
    cmyk = Image.fromarray(rgb).convert("CMYK")
    data = encoded(cmyk, quality=95)
    pixels = media.read_image(put(data))
    assert np.abs(pixels.astype(int) - rgb).mean() < 6
    peer = np.array(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.abs(pixels.astype(int) - peer).max() <= 2
    assert reason(put(data[:-10])) == "truncated"


def test_animations_give_their_first_frame(put):
    pages = [Image.fromarray(np.full((40, 50, 3), value, np.uint8)) for value in (30, 200)]
    for kind in ("GIF", "WEBP", "PNG"):
        data = encoded(pages[0], kind, save_all=True, append_images=pages[1:], duration=50)
        assert np.abs(media.read_image(put(data)).astype(int) - 30).max() < 4, kind


def test_a_name_or_trailing_bytes_do_not_matter(put):
    image = picture()
    assert np.array_equal(media.read_image(put(encoded(image, "PNG"), "really.jpg")), image)
    assert media.read_image(put(encoded(image) + b"trailing" * 50)).shape == image.shape
    assert np.array_equal(media.read_image(put(encoded(image, "PNG") + b"trailing")), image)


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (1, 1, "too_small"),
        (8, 8, "too_small"),
        (400, 31, "too_small"),
        (30_000, 20, "bad_aspect"),
        (40, 2100, "bad_aspect"),
    ],
)
def test_sizes_that_are_of_no_use(put, width, height, expected):
    assert reason(put(encoded(Image.new("RGB", (width, height)), "PNG"))) == expected


def test_the_least_side_is_a_setting(put):
    path = put(encoded(picture(90, 120)))
    assert media.read_image(path, min_side=90).shape == (90, 120, 3)
    assert reason(path, lambda path: media.read_image(path, min_side=91)) == "too_small"


BOMB = """
import resource, sys
from pathlib import Path
from maeface.faces import media, photo as photo_module
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name in sys.argv[1:]:
    try:
        media.read_image(Path(name))
    except media.MediaError as bad:
        print(bad.reason)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
print("torch" in sys.modules)
"""


def test_bombs_are_refused_from_their_headers(put):
    row = zlib.compress(b"\0" * 20_000 * 3 * 100, 9) * 10
    paths = [put(png_header(20_000, 20_000) + png_chunk(b"IDAT", row) + png_chunk(b"IEND", b""), "bomb.png")]
    canvas = (16_382).to_bytes(3, "little")
    body = b"VP8X" + struct.pack("<I", 10) + b"\2\0\0\0" + canvas * 2 + b"\0" * 40
    paths.append(put(b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body, "bomb.webp"))
    paths.append(
        put(b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + b"\0\0\0" + b"\x2c" + b"\0" * 40, "bomb.gif")
    )
    done = subprocess.run(
        [sys.executable, "-c", BOMB, *map(str, paths)], capture_output=True, text=True, check=True
    )
    *reasons, megabytes, torch = done.stdout.split()
    assert reasons == ["too_large"] * 3
    assert int(megabytes) < 50
    assert torch == "False"


def test_files_that_cannot_be_opened_are_passed_over_and_never_block(tmp_path, put):
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    for name in ("folder.jpg", "dangling.jpg", "loop.jpg", "pipe.jpg", "nowhere.jpg"):
        assert reason(tmp_path / name) == "unreadable", name
        assert reason(tmp_path / name, media.read_frames) == "unreadable", name
    from pathlib import Path

    assert reason(Path("/dev/zero")) == "unreadable"
    if os.geteuid():
        path = put(encoded(picture()))
        path.chmod(0)
        assert reason(path) == "unreadable"


def test_a_disk_that_fails_is_a_reason(put, monkeypatch):
    class Failing(io.BytesIO):
        def read(self, *_):
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(media, "_open", lambda path: Failing())
    for read in (media.read_image, media.read_frames):
        assert reason(put(b"x"), read) == "unreadable"
    assert media.detect_kind(put(b"x", "x.png")) == "image"


def test_kind_goes_by_content_then_by_name(put):
    assert media.detect_kind(put(b"<html>", "x.jpg")) == "image"
    assert media.detect_kind(put(b"", "x.MP4")) == "video"
    assert media.detect_kind(put(b"a,b\n1,2\n", "x.csv")) is None
    assert media.detect_kind(put(b"%PDF-1.7", "x.pdf")) is None
    assert media.detect_kind(put(encoded(picture(), "TIFF"), "x.tif")) == "image"
    assert media.detect_kind(put(b"#EXTM3U\nhttp://example.org/a.ts\n", "x.m3u8")) is None


# HEIC and AVIF -------------------------------------------------------------------------------------------


def box(kind, *parts, flags=None):
    body = (b"" if flags is None else struct.pack(">I", flags)) + b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + kind + body


def heic(tmp_path, image, turns=0, size=None):
    """A HEIC file: a key frame of H.265 in the boxes of HEIF (ISO/IEC 23008-12)."""
    if "libx265" not in av.codecs_available:
        pytest.skip("no libx265")
    with av.open(tmp_path / "v.mkv", "w") as container:
        stream = container.add_stream("libx265", rate=25, options={"x265-params": "log-level=none:crf=8"})
        stream.height, stream.width, stream.pix_fmt = *image.shape[:2], "yuv420p"
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(tmp_path / "v.mkv") as container:
        settings = bytes(container.streams.video[0].codec_context.extradata)
        sample = bytes(next(container.demux(video=0)))
    width, height = size or image.shape[1::-1]
    properties = box(b"hvcC", settings) + box(b"ispe", struct.pack(">II", width, height), flags=0)
    properties += box(b"irot", bytes([turns]))
    links = box(b"ipma", struct.pack(">IHB3B", 1, 1, 3, 0x81, 2, 0x83), flags=0)
    item = box(b"infe", struct.pack(">HH4sx", 1, 0, b"hvc1"), flags=0x2000000)

    def meta(offset):
        location = struct.pack(">BBHHHHII", 0x44, 0, 1, 1, 0, 1, offset, len(sample))
        return box(
            b"meta",
            box(b"hdlr", b"\0" * 4 + b"pict" + b"\0" * 13, flags=0),
            box(b"pitm", struct.pack(">H", 1), flags=0),
            box(b"iloc", location, flags=0),
            box(b"iinf", struct.pack(">H", 1), item, flags=0),
            box(b"iprp", box(b"ipco", properties), links),
            flags=0,
        )

    head = box(b"ftyp", b"heic", b"\0" * 4, b"mif1", b"heic")
    return head + meta(len(head) + len(meta(0)) + 8) + box(b"mdat", sample)


@pytest.mark.parametrize("turns", range(4))
def test_heic_is_read_upright(tmp_path, put, turns):
    pytest.importorskip("pi_heif")
    image = picture(96, 128)
    path = put(heic(tmp_path, image, turns), "x.heic")
    pixels = media.read_image(path)
    assert pixels.shape == np.rot90(image, turns).shape and media.detect_kind(path) == "image"
    assert np.abs(pixels.astype(int) - np.rot90(image, turns)).mean() < 6


def test_heic_is_checked(tmp_path, put, monkeypatch):
    pytest.importorskip("pi_heif")
    data = heic(tmp_path, picture(96, 128))
    assert reason(put(data[: len(data) // 2], "cut.heic")) in ("truncated", "corrupt")
    assert reason(put(heic(tmp_path, picture(96, 128), size=(60_000, 50_000)), "large.heic")) == "too_large"
    assert reason(put(heic(tmp_path, picture(16, 128)), "small.heic")) == "too_small"
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with pytest.raises(MediaError, match=r"refused_format: .*pip install 'maeface\[heif\]'"):
        media.read_image(put(data, "x.heic"))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_avif_is_read_upright(put, orientation):
    if not features.check("avif"):
        pytest.skip("this Pillow does not read AVIF")
    image = picture(96, 128)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(image, "AVIF", quality=90, exif=exif)
    pixels = media.read_image(put(data, "x.avif"))
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(pixels, np.array(expected.convert("RGB")))
    assert pixels.shape[:2] == ((96, 128) if orientation < 5 else (128, 96))
    assert reason(put(data[: len(data) // 2], "cut.avif")) in ("truncated", "corrupt")


# Videos --------------------------------------------------------------------------------------------------


def video(path, times=None, count=20, codec="mpeg4", width=64, height=48, gop=4):
    """A video whose n-th frame has the grey value 10 n."""
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.gop_size = gop
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for n, time_s in enumerate(times or [n / 25 for n in range(count)]):
            frame = av.VideoFrame.from_ndarray(
                np.full((height, width, 3), 10 * n % 250, np.uint8), format="rgb24"
            )
            frame.pts, frame.time_base = round(time_s * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_every_frame_with_its_index_time_and_pixels(tmp_path):
    path = video(tmp_path / "v.mp4")
    frames = list(media.read_frames(path))
    assert [frame.index for frame in frames] == list(range(20))
    assert [frame.time_s for frame in frames] == pytest.approx([n / 25 for n in range(20)], abs=1e-3)
    for frame in frames:
        assert frame.rgb.shape == (48, 64, 3)
        assert abs(frame.rgb.mean() - 10 * frame.index) < 6
    assert media.detect_kind(path) == "video"


def test_a_varying_rate_keeps_its_timestamps(tmp_path):
    times = [0, 0.04, 0.5, 0.54, 2.0]
    frames = list(media.read_frames(video(tmp_path / "v.mkv", times)))
    assert [frame.time_s for frame in frames] == pytest.approx(times, abs=2e-3)


def test_every_nth_frame_or_so_many_a_second(tmp_path):
    path = video(tmp_path / "v.mp4")
    assert [frame.index for frame in media.read_frames(path, every=6)] == [0, 6, 12, 18]
    assert [frame.index for frame in media.read_frames(path, fps=5)] == [0, 5, 10, 15]
    assert [frame.index for frame in media.read_frames(path, fps=100)] == list(range(20))
    times = [0, 0.1, 0.2, 1.0, 1.9, 2.0]
    assert [f.index for f in media.read_frames(video(tmp_path / "w.mkv", times), fps=1)] == [0, 3, 5]


def rotated(data, degrees):
    """The same mp4 with the display matrix of its track set, clockwise."""
    data = bytearray(data)
    matrix = data.index(b"tkhd") + 4 + 40
    one, cos, sin = 0x10000, *{90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    values = [cos * one, sin * one, 0, -sin * one, cos * one, 0, 0, 0, 0x40000000]
    data[matrix : matrix + 36] = struct.pack(">9i", *values)
    return bytes(data)


@pytest.mark.parametrize(("degrees", "turns"), [(90, -1), (180, 2), (270, 1)])
def test_rotation_in_the_container_is_applied(tmp_path, put, degrees, turns):
    path = tmp_path / "v.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        frame = av.VideoFrame.from_ndarray(picture(48, 64), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    stored = next(media.read_frames(path)).rgb
    turned = next(media.read_frames(put(rotated(path.read_bytes(), degrees), "turned.mp4"))).rgb
    assert np.array_equal(turned, np.rot90(stored, turns))


def test_damage_in_the_middle_is_passed_over(tmp_path, put):
    data = bytearray(video(tmp_path / "v.mkv", count=60, width=320, height=240).read_bytes())
    third = len(data) // 3
    data[third : third + 200] = bytes(RNG.integers(0, 256, 200, np.uint8))
    frames = list(media.read_frames(put(bytes(data), "damaged.mkv")))
    assert frames[0].index == 0 and 30 <= len(frames) <= 60
    assert frames[-1].time_s == pytest.approx(59 / 25, abs=0.05)
    times = [frame.time_s for frame in frames]
    assert times == sorted(times)


def test_a_video_without_its_index_is_unreadable_at_once(tmp_path, put):
    data = video(tmp_path / "v.mp4").read_bytes()
    assert data.index(b"moov") > data.index(b"mdat")
    started = time.monotonic()
    assert reason(put(data[: data.index(b"moov") - 4], "cut.mp4"), media.read_frames) == "unreadable"
    assert time.monotonic() - started < 5


def test_files_without_video(tmp_path, put):
    path = tmp_path / "sound.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("aac", rate=16_000)
        stream.layout = "mono"
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate, sound.pts = 16_000, 0
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    assert reason(path, media.read_frames) == "no_video"
    assert reason(put(b"", "empty.mp4"), media.read_frames) == "empty"
    assert reason(put(b"", "empty.mp4"), media.index_video) == "empty"
    assert reason(put(b"", "empty.jpg"), media.read_frames) == "empty"
    assert reason(put(b"nothing of the kind", "x.mp4"), media.read_frames) == "unreadable"


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{path}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{path}'\n",
        "<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'></MPD>",
        "v=0\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    ],
)
@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4", "list.txt"])
def test_playlists_are_refused(tmp_path, put, text, name):
    path = video(tmp_path / "v.mp4")
    assert reason(put(text.format(path=path).encode(), name), media.read_frames) in (
        "not_an_image",
        "unreadable",
    )


def test_addresses_are_only_ever_names(tmp_path):
    from pathlib import Path

    for name in ("http://127.0.0.1:9/x.mp4", "concat:a.mp4|b.mp4", "/dev/stdin\0"):
        assert reason(Path(name), media.read_frames) == "unreadable"


def test_a_photo_is_one_frame(put):
    image = picture()
    (frame,) = media.read_frames(put(encoded(image, "PNG")), every=5)
    assert (frame.index, frame.time_s) == (0, 0.0) and np.array_equal(frame.rgb, image)


def test_frames_come_one_at_a_time(tmp_path):
    iterator = media.read_frames(video(tmp_path / "v.mp4", count=200))
    assert [next(iterator).index for _ in range(3)] == [0, 1, 2]
    iterator.close()


def test_the_clips_have_their_real_counts(shared):
    counts = {"grid_bbaf2n.mpg": 75, "intel_face-demographics-walking.mp4": 35, "pyfeat_single_face.mp4": 72}
    for name, count in counts.items():
        frames = [(frame.index, frame.time_s) for frame in media.read_frames(shared / "videos" / name)]
        assert len(frames) == count
        assert frames[0] == (0, 0.0) and frames == sorted(frames)
