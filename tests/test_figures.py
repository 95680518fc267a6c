import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

from maeface.report import charts, figures, html
from maeface.report.document import Document, Picture, Section, Table


def crops(n=3, side=32):
    return np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def test_reconstructions_show_every_pixel_of_all_three():
    masked, made, original = crops(), crops() // 2, crops() // 3
    sheet = np.asarray(figures.reconstructions(masked, made, original, columns=1))
    scale = round(figures.TILE / 32)
    step = 32 * scale + figures.GAP
    top = sheet.shape[0] - 3 * step  # below the titles
    for k, images in enumerate((masked, made, original)):
        for i in range(3):
            x = figures.GAP + k * step
            tile = sheet[top + i * step :, x:][: 32 * scale : scale, : 32 * scale : scale]
            np.testing.assert_array_equal(tile, images[i])


@pytest.mark.parametrize("faces", [0, 1, 2, 7])
def test_au_bars_has_room_for_every_face(faces):
    photo = np.full((120, 200, 3), 90, dtype=np.uint8)
    bars = [
        figures.FaceBars((10 * k, 10, 10 * k + 30, 50), 0.9, [0.2, 0.9], [np.nan, 4.0]) for k in range(faces)
    ]
    picture = figures.au_bars(photo, [1, 12], bars)
    assert picture.mode == "RGB"
    plain = figures.au_bars(photo, [1, 12], [])
    assert plain.size == (400, 240)
    if faces:
        assert picture.width * picture.height > plain.width * plain.height
    else:
        assert (np.asarray(picture) == 90).all()


def test_faces_are_counted_from_0_as_in_tables(monkeypatch):
    written = []
    text = ImageDraw.ImageDraw.text

    def write(self, place, words, *given, **named):
        written.append(words)
        return text(self, place, words, *given, **named)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", write)
    faces = [figures.FaceBars((10 * k, 10, 10 * k + 30, 50), 0.9, [0.2]) for k in range(3)]
    figures.au_bars(np.full((120, 200, 3), 90, dtype=np.uint8), [12], faces)
    numbers = [words for words in written if words.isdigit()]
    assert sorted(numbers) == ["0", "0", "1", "1", "2", "2"]  # at the box and over the bars


def test_au_bars_are_as_long_as_the_numbers():
    photo = np.full((100, 100, 3), 90, dtype=np.uint8)

    def coloured(probability):
        face = figures.FaceBars((0, 0, 1, 1), float("nan"), [probability])
        panel = np.asarray(figures.au_bars(photo, [12], [face]))[40:, 205:].astype(int)
        return (np.ptp(panel, axis=2) > 40).sum()

    assert coloured(0.0) < coloured(0.25) < coloured(0.5) < coloured(1.0)
    assert coloured(float("nan")) == 0


def test_a_face_of_low_quality_has_a_dashed_box_its_reason_and_grey_bars(monkeypatch):
    written = []
    text = ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw,
        "text",
        lambda self, at, words, *a, **b: written.append(words) or text(self, at, words, *a, **b),
    )
    photo = np.full((300, 400, 3), 90, dtype=np.uint8)

    def drawn(low):
        face = figures.FaceBars((100, 50, 200, 150), 0.9, [0.9], None, low, "small face")
        return np.asarray(figures.au_bars(photo, [1], [face]))

    sure, doubtful = drawn(False), drawn(True)
    blue = [
        (picture[235:245, 200:310] == (0, 0x72, 0xB2)).all(-1).any(0).mean() for picture in (sure, doubtful)
    ]
    assert blue[0] == 1 and 0.3 < blue[1] < 0.7  # the lower side of the box
    panels = [picture[40:, 640 + 190 :].astype(int) for picture in (sure, doubtful)]
    assert [(np.ptp(panel, axis=2) > 40).any() for panel in panels] == [True, False]
    assert [words for words in written if "score" in words] == [
        "detector score 0.90",
        "detector score 0.90, low quality (small face)",
    ]


def test_the_box_is_where_the_face_is():
    photo = np.full((300, 400, 3), 90, dtype=np.uint8)
    face = figures.FaceBars((100, 50, 200, 150), 0.9, [0.2])
    picture = np.asarray(figures.au_bars(photo, [1], [face]))
    scale = 640 / 400
    y, x = np.nonzero((picture[:, :640] == (0, 0x72, 0xB2)).all(axis=2))
    assert abs(x.min() - 100 * scale) <= 2
    assert abs(x.max() - 200 * scale) <= 2
    assert abs(y.max() - 150 * scale) <= 2


def test_intensity_curve_with_and_without_labels():
    time = np.arange(50) / 25
    predicted = np.where(time > 1, np.nan, time)
    one = charts.intensity_curve(time, None, predicted, 12)
    two = charts.intensity_curve(time, time, {"from MAE": predicted, "from scratch": time * 0}, 12)
    assert two.height > one.height > 100  # the legend


def test_training_curves_take_rows_with_holes():
    rows = [{"epoch": i, "train_loss": 1 / (i + 1), "note": "text"} for i in range(4)]
    rows[2] |= {"validation_loss": 0.4, "lr": 1e-3, "bad": float("nan")}
    assert charts.training_curves(rows).width > charts.training_curves(rows[:2]).width


def test_comparison_bars_take_undefined_scores():
    table = pd.DataFrame({"from MAE": [0.5, np.nan], "from scratch": [0.4, 0.1]}, index=[1, 12])
    assert charts.comparison_bars(table, "F1").width > 300


def test_charts_leave_pyplot_alone():
    code = (
        "import sys\nfrom maeface.report import charts\ncharts.intensity_curve([0, 1], None, [1, 2], 12)\n"
        "sys.exit('matplotlib.pyplot' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.seen = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


def test_page_is_one_file_and_escapes():
    data = pd.DataFrame(
        {"F1": [0.5, np.nan], "faces": [3, 4]}, index=pd.Index(["<i>AU01", "AU12"], name="AU")
    )
    sections = [
        Section("One", ["<b>bold</b>"], [Table(data, "<caption>")]),
        Section("Two", pictures=[Picture(Image.new("RGB", (8, 4)), 'a "quoted" name.jpg')]),
    ]
    text = html.render(Document("A & <script>alert(1)</script>", sections, footer="maeface"))
    tags = Tags(text).seen
    names = [tag for tag, _ in tags]
    assert not {"script", "b", "i", "link"} & set(names)
    (image,) = (attrs for tag, attrs in tags if tag == "img")
    assert image["src"].startswith("data:image/png;base64,")
    assert image["alt"] == 'a "quoted" name.jpg'
    assert image["width"] == "8"
    assert "http" not in text
    assert "url(" not in text
    assert re.findall(r'class="number">([^<]*)<', text) == ["F1", "faces", "0.500", "3", "–", "4"]
