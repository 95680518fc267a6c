"""What is drawn over a frame, and which rows over which frame."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from maeface.report import overlay as drawing
from maeface.report.au_bars import bars_of, trusted_aus
from maeface.report.film_overlay import FilmOverlay, format_time
from maeface.report.overlay import FaceMark, Overlay, track_colour
from maeface.report.panel_place import Placer

GREY = np.full((360, 640, 3), 90, np.uint8)


def bars(count=4, present=True):
    row = {}
    for au in range(1, count + 1):
        row |= {f"AU{au:02d}": int(present), f"AU{au:02d}_i": 2.5 if present else 0.5}
    return bars_of(row, range(1, count + 1))


def count_of(picture, colour):
    return int((picture == colour).all(-1).sum())


def test_colours_of_twelve_people_differ_and_stay():
    colours = [track_colour(track) for track in range(12)]
    apart = [np.abs(np.subtract(a, b)).sum() for a, b in combinations(colours, 2)]
    assert min(apart) > 60
    marks = [FaceMark((40 + 45 * n, 100, 70 + 45 * n, 140), n) for n in range(12)]
    drawer = Overlay()
    for order in (marks, marks[::-1], marks[3:]):
        picture = drawer.draw(GREY, order)
        for mark in order:
            x1, _, _, y2 = mark.box
            assert tuple(picture[y2, x1 + 5]) == track_colour(mark.track)


def test_the_frame_is_not_changed_and_the_size_is_kept():
    frame = GREY.copy()
    mark = FaceMark((100, 50, 200, 180), 0, np.full((5, 2), 120.0), bars())
    assert Overlay().draw(frame, [mark], "0:00").shape == frame.shape
    assert (frame == 90).all()


def test_points_and_bars_are_where_they_belong():
    points = [[120, 90], [170, 92], [145, 115], [125, 150], [165, 151]]
    picture = Overlay().draw(GREY, [FaceMark((100, 50, 200, 180), 2, points, bars())])
    for x, y in points:
        assert tuple(picture[y, x]) == track_colour(2)
    left, right = count_of(picture[:, :95], track_colour(2)), count_of(picture[50:, 210:], track_colour(2))
    assert left == 0 and right > 100  # the bars are to the right of the face
    absent = Overlay().draw(GREY, [FaceMark((100, 50, 200, 180), 2, points, bars(present=False))])
    assert count_of(absent[60:, 210:], track_colour(2)) == 0  # bars of what is absent are grey


def test_a_doubtful_face_has_a_dashed_box_and_grey_bars():
    sure, doubtful = (
        Overlay().draw(GREY, [FaceMark((100, 80, 200, 180), 0, None, bars(), doubtful)])
        for doubtful in (False, True)
    )
    edge = slice(105, 195)
    assert count_of(sure[180:181, edge], track_colour(0)) == 90
    assert 20 < count_of(doubtful[180:181, edge], track_colour(0)) < 70
    assert count_of(doubtful[90:, 210:], track_colour(0)) == 0


@pytest.mark.parametrize("shape", [(360, 640), (1080, 1920), (120, 160), (640, 360), (33, 31)])
def test_any_size_and_any_box_can_be_drawn(shape):
    frame = np.full((*shape, 3), 60, np.uint8)
    boxes = [(-50, -40, 20, 30), (0, 0, *shape[::-1]), (shape[1] - 5, shape[0] - 5, 5000, 4000)]
    marks = [FaceMark(box, n, np.full((5, 2), -7.0), bars(20)) for n, box in enumerate(boxes)]
    assert Overlay().draw(frame, marks, "a caption", "a warning").shape == frame.shape


def test_letters_are_as_large_as_the_picture_needs():
    heights = [drawing._Picture(np.zeros((h, w, 3), np.uint8)).font for h, w in ((360, 640), (1080, 1920))]
    assert heights[0] >= 11 and heights[1] >= 2 * heights[0]


def test_a_warning_dims_the_picture():
    picture = Overlay().draw(GREY, [], warning="frame 3 is damaged")
    assert picture[300, 300].tolist() == [36, 36, 36]
    assert count_of(picture, (200, 30, 30)) > 500


# Places of the panels ---------------------------------------------------------------------------------------


def test_panels_cover_neither_faces_nor_each_other():
    boxes = [(100, 80, 180, 180), (300, 80, 380, 180)]
    places = Placer().place([0, 1], boxes, [(110, 150)] * 2, (640, 360))
    areas = [*boxes, *places]
    for a, b in combinations(areas, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_a_panel_does_not_shake_and_does_not_jump():
    placer = Placer()
    seen = set()
    for n in range(20):
        x = 100 + n % 3
        seen |= set(placer.place([0], [(x, 80, x + 80, 180)], [(110, 150)], (640, 360)))
    assert len(seen) == 1
    sides = [
        placer.place([0], [(x, 80, x + 80, 180)], [(110, 150)], (640, 360))[0] for x in range(100, 400, 5)
    ]
    assert all(place[0] > 180 for place in sides)  # to the right all the time


def test_a_crowd_has_names_instead_of_bars():
    boxes = [
        (20 + 100 * (n % 6), 20 + 160 * (n // 6), 100 + 100 * (n % 6), 130 + 160 * (n // 6))
        for n in range(12)
    ]
    places = Placer().place(range(12), boxes, [(110, 150)] * 12, (640, 360))
    assert places.count(None) > 6
    marks = [FaceMark(box, n, None, bars(9)) for n, box in enumerate(boxes)]
    picture = Overlay().draw(GREY, marks)
    assert picture.shape == GREY.shape and (picture[135:150, 20:100] == 255).any()


# Rows -------------------------------------------------------------------------------------------------------


def table(frames, **columns):
    count = len(frames)
    base = {
        "frame": frames,
        "time_s": [n / 25 for n in frames],
        "face": [0] * count,
        "status": ["ok"] * count,
    }
    base |= {"track": pd.array([0] * count, "Int64"), "x1": 100.0, "y1": 50.0, "x2": 200.0, "y2": 150.0}
    base |= {"AU12": pd.array([1] * count, "Int8"), "AU12_p": 0.9, "AU12_i": 3.2}
    return pd.DataFrame({**base, **columns})


@pytest.fixture
def drawn(monkeypatch):
    calls = []

    def draw(self, rgb, faces, caption="", warning=""):
        calls.append((faces, caption, warning))
        return rgb

    monkeypatch.setattr(Overlay, "draw", draw)
    return calls


def test_each_frame_has_its_own_rows(drawn):
    rows = table([0, 1, 1, 2])
    rows["x1"] = [10.0, 11.0, 12.0, 13.0]
    rows["face"] = [0, 0, 1, 0]
    pieces = [rows[:2], rows[2:]]  # a frame may be in two pieces
    show = FilmOverlay(iter(pieces), [12])
    for n in range(3):
        show(GREY, n, n / 25)
    assert [[mark.box[0] for mark in faces] for faces, _, _ in drawn] == [[10], [11, 12], [13]]
    assert drawn[1][1] == "0:00:00.040  frame 1"
    bar = drawn[0][0][0].bars[0]
    assert (bar.label, bar.text, bar.present) == ("AU12", "3.2", True)


def test_frames_without_rows_have_those_before_and_say_so(drawn):
    show = FilmOverlay(table([2, 5]), [12])
    for n in range(7):
        show(GREY, n, n / 25)
    assert [len(faces) for faces, _, _ in drawn] == [0, 0, 1, 1, 1, 1, 1]
    assert [caption.partition("(")[2] for _, caption, _ in drawn] == [
        "", "", "", "values of frame 2)", "values of frame 2)", "", "values of frame 5)"
    ]  # fmt: skip


def test_rows_without_a_face_and_missing_frames_are_told(drawn):
    rows = table([0, 1, 2], status=["no_face", "damaged", "low_quality"], face=[-1, -1, 0])
    rows.loc[:1, ["track", "x1", "AU12", "AU12_i"]] = pd.NA
    show = FilmOverlay(rows, [12])
    for n, reason in enumerate(["", "damaged", ""]):
        show(GREY, n, n / 25, reason)
    assert drawn[0][0] == [] and drawn[0][1].endswith("no face")
    assert drawn[1][2] == "frame 1 is damaged: the one before it is shown"
    assert drawn[2][0][0].doubtful


def test_points_of_the_table_are_drawn_if_all_are_there(drawn):
    names = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
    points = {f"{name}_{axis}": [3.0, 4.0] for name in names for axis in "xy"}
    rows = table([0, 1], **points)
    rows.loc[1, "nose_x"] = np.nan
    show = FilmOverlay(rows, [12])
    show(GREY, 0, 0.0)
    show(GREY, 1, 0.04)
    assert np.shape(drawn[0][0][0].points) == (5, 2) and drawn[1][0][0].points is None


def test_bars_of_every_kind_of_table():
    (both,) = bars_of({"AU12": 0, "AU12_p": 0.9, "AU12_i": 0.5}, [12])
    assert (both.fraction, both.threshold, both.present, both.text) == (0.1, 0.2, False, "0.5")
    (detection,) = bars_of({"AU12_p": 0.6}, [12], {12: 0.7}, titles=True)
    assert detection == ("AU12 Lip corner puller", 0.6, 0.7, False, "0.60")
    (intensity,) = bars_of({"AU12_i": 1.0}, [12])
    assert intensity.present and intensity.text == "1.0"
    (missing,) = bars_of({"AU12_i": pd.NA, "AU12": pd.NA}, [12])
    assert np.isnan(missing.fraction) and not missing.present and missing.text == "-"


def test_only_trusted_action_units_are_shown():
    columns = ["frame", "AU01", "AU01_p", "AU12", "AU12_i", "AU99_p"]
    assert trusted_aus(None, columns) == [1, 12, 99]
    assert trusted_aus({"AU12": {"use": True}, "AU01": {"use": False}}, columns) == [12]


def test_times_are_written_as_on_a_clock():
    assert format_time(3723.5) == "1:02:03.500" and format_time(0.0404) == "0:00:00.040"
