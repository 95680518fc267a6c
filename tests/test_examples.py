"""The examples of the documentation run."""

import inspect
import re
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from maeface import serve
from maeface.data import manifest, shards
from maeface.faces import media
from maeface.model import zoo

ROOT = Path(__file__).parents[1]
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


def test_the_server_of_the_browser_example_says_that_its_port_is_taken():
    script = ROOT / "examples" / "browser" / "serve.py"
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = subprocess.run(
            [sys.executable, script, str(port)], capture_output=True, text=True, check=False
        )
    assert done.returncode == 1 and not done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"cannot listen on port {port} (") and f"python serve.py {port + 1}" in line


def test_the_browser_example_and_the_service_have_ports_of_their_own():
    page = (ROOT / "examples" / "browser" / "README.md").read_text(encoding="utf-8")
    port = runpy.run_path(str(ROOT / "examples" / "browser" / "serve.py"))["PORT"]
    assert port != inspect.signature(serve.run).parameters["port"].default
    assert f"http://localhost:{port};" in page
