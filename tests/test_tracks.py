"""Track numbers in rows, batches of frames, and films that are cut into segments."""

import json
from dataclasses import replace

import av
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from maeface import predict
from maeface.data.ingest import workers
from maeface.data.ingest.images import PIXELS_TOGETHER, SourceImage, UnreadableInput, batch_images
from maeface.data.ingest.inputs import find_inputs
from maeface.data.loading.dataset import FaceDataset, gather_manifests
from maeface.data.loading.loader import load_in_order
from maeface.errors import ConfigError
from maeface.faces.finder import FaceCrop
from maeface.faces.geometry import Face, Square
from maeface.faces.media import Frame
from maeface.faces.tracking import DESCRIPTOR_SIZE
from maeface.prediction.columns import BOX, FACE
from maeface.prediction.rows import ImagePrediction, rows_of
from maeface.prediction.table_writer import WHERE
from maeface.prediction.tracks import number_tracks
from parts_cases import QuickPredictor, run, work_here

COLUMNS = [*WHERE, *FACE, "AU12_p"]


@pytest.fixture(autouse=True)
def clear(monkeypatch):
    """The faces here have no pixels, and would be of low quality."""
    monkeypatch.setattr(
        "maeface.prediction.rows.is_low_quality", lambda measures: np.zeros(len(measures), bool)
    )


def looks(person):
    descriptor = np.zeros(DESCRIPTOR_SIZE, np.float16)
    descriptor[person::7] = 1
    return descriptor / np.linalg.norm(descriptor)


def face(x, followed, person=None):
    box = np.array([x, 50, x + 40, 90], np.float32)
    descriptor = None if person is None else looks(person)
    return FaceCrop(
        *(Face(box, np.zeros((5, 2), np.float32), 0.9), Square(0, 0, 1), np.zeros((1, 1, 3), np.uint8)),
        *(True, followed, descriptor),
    )


def rows(name, *frames, video=True, fps=10):
    """Rows of frames, each a list of faces; None for a frame that is damaged."""
    predictions = []
    for k, faces in enumerate(frames):
        image = SourceImage(name, Frame(np.zeros((480, 640, 3), np.uint8), k, k / fps), video)
        if faces is None:
            image = UnreadableInput(name, k, k / fps, "damaged")
        predictions.append(
            ImagePrediction(image, faces or [], np.full((len(faces or []), 1), 0.5, np.float32))
        )
    return rows_of(predictions, COLUMNS)


def numbered(*pieces, keep=None):
    return pa.concat_tables(number_tracks(pieces, keep)).to_pandas()


def test_followed_faces_keep_their_tracks_through_blocks_and_pieces():
    first = rows("a.mp4", [face(0, 0, 1), face(100, 1, 2)], [face(2, 0), face(98, 1)])
    # A new block numbers its faces anew, in another order.
    second = rows("a.mp4", [], [], [face(96, 0, 2), face(4, 1, 1)], [face(94, 0), face(6, 1)]).slice(2)
    table = numbered(first, second)
    assert table["track"].tolist() == [0, 1, 0, 1, 1, 0, 1, 0]
    assert list(table.columns) == COLUMNS


def test_a_face_that_appears_within_a_block_is_numbered_there():
    table = numbered(
        rows("a.mp4", [face(0, 0, 1)], [face(2, 0, 1), face(200, 1, 2)], [face(4, 0), face(202, 1)])
    )
    assert table["track"].tolist() == [0, 0, 1, 0, 1]


def test_frames_without_a_face_photos_and_other_films_have_tracks_of_their_own():
    film = rows("a.mp4", [face(0, 0, 1)], [], None)
    other = rows("b.mp4", [face(300, 0, 2)])
    photo = rows("c.jpg", [face(0, -1)], video=False)
    table = numbered(film, other, photo)
    assert table["status"].tolist() == ["ok", "no_face", "damaged", "ok", "ok"]
    assert table["track"].isna().tolist() == [False, True, True, False, True]
    assert table["track"].dropna().tolist() == [0, 0]


def test_segments_of_a_damaged_film_may_overlap_in_time():
    """Timestamps that step back do not end the numbering, and the person keeps the number."""
    frames = rows("a.mp4", [face(0, 0, 1)], [face(2, 0)], [face(4, 0, 1)], [face(6, 0)])
    again = rows("a.mp4", *[[]] * 1, [face(4, 0, 1), face(200, 1, 2)], [face(6, 0), face(202, 1)]).slice(1)
    later = rows("a.mp4", *[[]] * 4, [face(8, 0, 1), face(204, 1, 2)]).slice(4)
    table = numbered(frames, again, later)
    assert table["time_s"].tolist() == pytest.approx([0, 0.1, 0.2, 0.3, 0.1, 0.1, 0.2, 0.2, 0.4, 0.4])
    assert table["track"].tolist() == [0, 0, 0, 0, 0, 1, 0, 1, 0, 1]


def test_one_track_is_kept_and_every_frame_has_a_row():
    film = rows(
        "a.mp4", [face(0, 0, 1), face(200, 1, 2)], [face(2, 0)], [], None, [face(200, 0, 2), face(4, 1, 1)]
    )
    table = numbered(film, keep=1)
    assert table["frame"].tolist() == [0, 1, 2, 3, 4]
    assert table["status"].tolist() == ["ok", "absent", "no_face", "damaged", "ok"]
    assert table["face"].tolist() == [1, -1, -1, -1, 0]
    assert table["x1"].fillna(-1).tolist() == [200, -1, -1, -1, 200]
    photo = rows("c.jpg", [face(0, -1)], video=False)
    assert numbered(photo, keep=1)["status"].tolist() == ["ok"]


class TwoPeople(QuickPredictor):
    """Sees a person in all frames, at 10 a second, and another one in the first second."""

    def predict(self, one):
        index = one.frame.index
        described = index % 5 == 0
        faces = [face(0, 0, 1 if described else None), face(200, 1, 2 if described else None)]
        faces = faces[: 2 if index < 10 else 1]
        return ImagePrediction(one, faces, np.full((len(faces), 4), 0.5, np.float32))


@pytest.mark.parametrize("video", [True, False])
def test_boxes_end_at_the_border_of_the_image(video):
    """A face that is followed out of the picture has the part of its box that is inside."""
    inside = np.array([0.1, 2.7, 9.9, 7.3], np.float32)
    for box, expected in (
        (inside, inside),
        (np.array([-3.5, 2, 30, 9], np.float32), [0, 2, 20, 9]),
        (np.array([15, -4, 19, 12.5], np.float32), [15, 0, 19, 10]),
        (np.array([21, 11, 25, 14], np.float32), [20, 10, 20, 10]),
    ):
        image = SourceImage("a", Frame(np.zeros((10, 20, 3), np.uint8), 0, 0.0), video)
        crop = replace(face(0, 0), face=Face(box, np.zeros((5, 2), np.float32), 0.9))
        rows = rows_of([ImagePrediction(image, [crop], np.zeros((1, 1), np.float32))], COLUMNS)
        assert [rows[name][0].as_py() for name in BOX] == list(map(float, expected))


@pytest.fixture
def short_film(tmp_path):
    path = tmp_path / "short.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(15):
            container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(stream.encode(None))
    return path


def test_the_record_and_the_summary_count_the_rows_of_the_table(short_film, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "work", work_here)
    out = tmp_path / "t.csv"
    summary = run(short_film, out, lambda options: TwoPeople(), aligned=False, track=1)
    assert json.loads((tmp_path / "t.csv.json").read_text())["statuses"] == {"absent": 5, "ok": 10}
    assert (summary.images, summary.faces, summary.skipped) == (15, 10, {})
    assert pd.read_csv(out)["track"].dropna().tolist() == [1] * 10


def test_only_one_track_is_printed(short_film, capsys):
    run(short_film, None, lambda options: TwoPeople(), aligned=False, track=1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10 and all("face 1" in line for line in lines)


# Batches --------------------------------------------------------------------------------------------------


def frames(name, count, fps=30, shape=(10, 10, 3), start=0):
    return [
        SourceImage(name, Frame(np.zeros(shape, np.uint8), k, k / fps), True) for k in range(start, count)
    ]


def sizes(images):
    return [
        [image.frame.index if isinstance(image, SourceImage) else None for image in batch] for batch in images
    ]


def test_batches_of_films_are_blocks_wherever_reading_begins():
    whole = sizes(batch_images(frames("a", 61)))
    assert [len(batch) for batch in whole] == [15, 15, 15, 15, 1]
    assert sizes(batch_images(frames("a", 61, start=30))) == whole[2:]
    assert [len(batch) for batch in sizes(batch_images(frames("a", 8, fps=1)))] == [1] * 8


def test_batches_do_not_mix_films_and_photos_and_missing_frames_do_not_end_them():
    photo = SourceImage("c.jpg", Frame(np.zeros((10, 10, 3), np.uint8), 0, 0.0), False)
    missing = UnreadableInput("a", 3, 0.1, "damaged")
    film = frames("a", 15)
    images = [photo, photo, *film[:3], missing, *film[4:], *frames("b", 3), photo]
    batches = [[image.name if image else None for image in batch] for batch in batch_images(images)]
    assert batches == [["c.jpg"] * 2, ["a"] * 15, ["b"] * 3, ["c.jpg"]]


def test_batches_are_bounded_in_pixels_and_in_number():
    wide = np.broadcast_to(np.uint8(0), (5000, PIXELS_TOGETHER // 20000, 3))
    film = [SourceImage("a", Frame(wide, k, k / 1000), True) for k in range(9)]
    assert [len(batch) for batch in batch_images(film)] == [4, 4, 1]
    lost = [UnreadableInput(str(k), 0, 0.0, "corrupt") for k in range(70)]
    assert [len(batch) for batch in batch_images(lost)] == [32, 32, 6]


# Segments -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """40 seconds of a rendered face that moves, leaves and comes back; a key frame each second."""
    from importlib.resources import files

    folder = files("maeface") / "sample"
    manifest = gather_manifests([folder])
    crops = FaceDataset([folder], manifest.iloc[[3]], 96, seed=0, training=False)
    pixels = next(iter(load_in_order(crops, 1, 0)))["image"][0].permute(1, 2, 0).numpy()
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=10, options={"g": "10", "bf": "0", "qscale": "3"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for k in range(400):
            canvas = Image.new("RGB", (320, 240), (90, 100, 110))
            x = int(100 + 90 * np.sin(k / 15))
            if not 120 <= k < 150:
                canvas.paste(Image.fromarray(pixels).resize((128, 128)), (x, 50 + k % 7))
            container.mux(stream.encode(av.VideoFrame.from_image(canvas)))
        container.mux(stream.encode(None))
    return path


def test_a_film_gives_the_same_table_whether_it_is_cut_or_not(film, tmp_path, monkeypatch):
    options = {"device": "cpu", "detector": "embedded", "precision": "fp32"}
    predict.run([film], None, tmp_path / "cut.csv", **options, workers=2)
    from maeface.data.ingest import segments

    assert len(segments.cut_film(find_inputs([film])[0], tmp_path / "index.npz")) > 1
    monkeypatch.setattr(segments, "cut_into_segments", lambda index: [()])
    predict.run([film], None, tmp_path / "whole.csv", **options, workers=1)
    assert (tmp_path / "cut.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    table = pd.read_csv(tmp_path / "cut.csv")
    assert table["frame"].tolist() == list(range(400))
    seen = table[table["status"] == "ok"]
    assert set(seen["track"]) == {0} and len(seen) > 300
    assert not seen["frame"].between(125, 149).any()
    record = json.loads((tmp_path / "cut.csv.json").read_text())
    assert record["inputs"][0]["images"] == 400


def test_a_person_who_is_not_there_is_named_and_the_table_stays(film, tmp_path, capsys):
    options = {"device": "cpu", "detector": "embedded", "fps": 0.5}
    out = tmp_path / "t.csv"
    predict.run([film], None, out, **options)
    before = out.read_bytes(), (tmp_path / "t.csv.json").read_bytes()
    with pytest.raises(ConfigError, match=r"no person 7 in film\.mp4; --track takes one of 0"):
        predict.run([film], None, out, **options, track=7)
    assert (out.read_bytes(), (tmp_path / "t.csv.json").read_bytes()) == before
    capsys.readouterr()
    assert predict.run([film], None, out, **options, track=0).faces > 0
    assert "1 of 1 inputs have rows" in capsys.readouterr().err  # nothing is predicted again
    assert not (tmp_path / "t.csv.parts").exists()


def test_tables_of_a_folder_are_made_but_of_films_without_the_person(film, short_film, tmp_path):
    options = {"device": "cpu", "detector": "embedded", "fps": 0.5}
    out = tmp_path / "tables"
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"no person 7 in film\.mp4.*The other tables are made"):
            predict.run([film, short_film], None, out, **options, track=7)
        # nobody is seen in the other film, whatever the track
        assert {path.name for path in out.glob("*.csv")} >= {"short.mp4.csv", "short.mp4.summary.csv"}
        assert not (out / "film.mp4.csv").exists()
    assert predict.run([film, short_film], None, out, **options, track=0).faces > 0
    assert (out / "film.mp4.csv").exists() and not (out / ".parts").exists()
