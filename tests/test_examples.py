"""The examples of the documentation run."""

import re
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from maeface.data import manifest, shards
from maeface.faces import media
from maeface.model import zoo

PAGE = Path(__file__).parents[1] / "docs" / "user_guide" / "examples.md"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A film of two rendered people, labels, and a table of another tool."""
    sample = zoo.folder().parent / "sample"
    reader, rows = shards.Shards(sample), manifest.load(sample)
    faces = [
        Image.fromarray(media.decode_image(reader.read(rows.iloc[number]), "jpeg")).resize((140, 140))
        for number in (0, 8)
    ]
    with av.open(tmp_path / "talk.mp4", "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 480, 240, "yuv420p", 4_000_000
        for k in range(12):
            picture = Image.new("RGB", (480, 240), (90, 90, 90))
            picture.paste(faces[0], (40 + k, 50))
            picture.paste(faces[1], (300, 60 - k))
            frame = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    frames = np.arange(20)
    labels = {"source": "talk.mp4", "frame": frames, "AU12_o": frames % 2, "AU25_o": frames % 3 % 2}
    pd.DataFrame(labels).to_csv(tmp_path / "labels.csv", index=False)
    table = {"frame": frames, "face_id": 0, "timestamp": frames / 25, "confidence": 0.9, "success": 1}
    table |= {"AU12_r": 2.0 * (frames % 2), "AU12_c": frames % 2, "AU25_r": 0.5, "AU25_c": frames % 2}
    pd.DataFrame(table).to_csv(tmp_path / "openface.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_five_examples(folder, capsys):
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.S | re.M)
    assert len(blocks) == 5
    names = {}
    for block in blocks:
        exec(block, names)
    assert set(names["table"].track.dropna()) == {0, 1}
    assert (folder / "for_r.csv").is_file()
    assert names["together"].shape == (12, 2)
    printed = capsys.readouterr().out
    assert "smiling: [" in printed
    assert "object at 0x" not in printed  # an example shows values, not what Python calls an object
