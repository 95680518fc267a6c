"""The service: what it answers, what it refuses, and how it goes on after faults."""

import asyncio
import csv
import dataclasses
import gc
import http.client
import io
import itertools
import json
import os
import re
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace

import hypothesis
import numpy as np
import pyarrow.parquet as pq
import pytest
import schemathesis
from pydantic import ValidationError
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import negative_data_rejection, response_schema_conformance
from starlette.testclient import TestClient

import parts_cases
import serve_parts
from maeface import checks, facts, portable, predict, serve
from maeface.errors import ConfigError, DataError, ResourceError
from maeface.faces import media
from maeface.model.weights import read_metadata
from maeface.model.zoo import find
from maeface.prediction.tables import describe_unreadable
from maeface.service import app, film_process, films, guard, jobs, kinds, photos, replies, service, upload
from maeface.service.settings import Settings
from serve_parts import CRASH, HANG, LIMITS, MEMORY, WAIT, photo
from test_video import encode

TOKEN = "0123456789abcdef"
FORM = {"Content-Type": "multipart/form-data; boundary=xx"}
TIME = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00"


def until(found, seconds=240.0):
    """Wait for what a function finds, and return it."""
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return value


def start(folder, log=False, started=lambda error: None, **options):
    """Return a client of a service in this process; enter it to start the service."""
    settings = Settings(folder=folder, **{**LIMITS, **options})
    made = app.make_app(settings, log=log, started=started)
    client = TestClient(made, "http://localhost", raise_server_exceptions=False)
    client.folder = folder
    return client


def ready(client):
    until(lambda: client.get("/ready").status_code == 200)
    return client


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """A client of a service with the quick predictor."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(photos, "make_job", serve_parts.quick_job)
        patch.setattr(photos, "SILENT_S", 8.0)
        with start(tmp_path_factory.mktemp("service")) as client:
            yield ready(client)


def post(client, *contents, query="", field="files", name="x"):
    files = [(field, (name, content)) for content in contents]
    return client.post(f"/v1/images{query}", files=files)


def detail(answer, status):
    """Return the line of a refusal with this status."""
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["detail"]
    return answer.json()["detail"]


# Photos ----------------------------------------------------------------------------------------------------


def test_photos_come_back_in_their_order_with_null_for_what_is_not_known(client):
    found = post(client, photo(2), photo(0), photo(1, kind="BMP"))
    assert found.status_code == 200
    assert "NaN" not in found.text
    images = found.json()["images"]
    assert [one["image"] for one in images] == [0, 1, 2]
    assert [(one["status"], len(one["faces"])) for one in images] == [("ok", 2), ("no_face", 0), ("ok", 1)]
    face = images[0]["faces"][1]
    assert face["box"] == [1.5, 2.0, 51.25, 53.0]
    assert face["aus"]["AU12"] == {
        **{"present": True, "probability": None, "intensity": None, "left": None, "right": None}
    }
    assert face["aus"]["AU04"]["probability"] == pytest.approx(20 / 3 / 255)


def test_a_request_with_more_photos_than_a_batch_keeps_their_order(client):
    found = post(client, *(photo(k % 3) for k in range(12)))
    assert [len(one["faces"]) for one in found.json()["images"]] == [0, 1, 2] * 4


def test_csv_has_a_row_for_each_face_and_each_photo_without_one(client):
    found = post(client, photo(2), b"no photo", photo(0), query="?format=csv")
    assert found.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(found.text)))
    assert [(row["input"], row["face"], row["status"]) for row in rows] == [
        ("0", "0", "ok"),
        ("0", "1", "ok"),
        ("1", "-1", "not_an_image"),
        ("2", "-1", "no_face"),
    ]
    assert [row["AU12_p"] for row in rows] == ["", "", "", ""]


def test_an_unreadable_photo_has_its_reason_and_alone_it_is_refused(client):
    found = post(client, photo(1), photo(1)[:-20], b"<html>")
    assert [one["status"] for one in found.json()["images"]] == ["ok", "truncated", "not_an_image"]
    assert detail(post(client, b"<html>"), 422).startswith("not_an_image: ")


def test_a_bomb_is_refused_from_its_header(client):
    assert "too_large: 2000 x 2000, more than 1 million" in detail(post(client, photo(1, side=2000)), 422)


def batches(client):
    """Return the number of batches so far, and of those with more than two photos."""
    text = client.get("/metrics").text
    count = dict(re.findall(r'maeface_batch_photos_bucket\{le="(.+)"\} (.+)', text))
    return float(count["+Inf"]), float(count["+Inf"]) - float(count["2.0"])


def test_photos_of_several_requests_are_predicted_together(client):
    answers = []
    before = batches(client)
    threads = [
        threading.Thread(target=lambda k=k: answers.append((k, post(client, photo(k % 3))))) for k in range(6)
    ]
    hold = threading.Thread(target=post, args=(client, *[photo(1, WAIT)] * 2))
    hold.start()
    until(lambda: batches(client)[0] > before[0])  # it works on these
    for one in threads:
        one.start()
    for one in [hold, *threads]:
        one.join()
    for k, answer in answers:
        assert len(answer.json()["images"][0]["faces"]) == k % 3
    assert batches(client)[1] > before[1]


def test_a_photo_that_crashes_its_process_is_refused_and_the_others_of_its_batch_are_predicted(client):
    found = post(client, photo(1), photo(1, CRASH), photo(2))
    assert [one["status"] for one in found.json()["images"]] == ["ok", "crashed", "ok"]
    until(lambda: client.get("/ready").status_code == 200)
    assert detail(post(client, photo(1, CRASH)), 422).startswith("crashed")


def test_a_photo_that_hangs_its_process_is_given_up(client):
    until(lambda: client.get("/ready").status_code == 200)
    assert detail(post(client, photo(1, HANG)), 422).startswith("timeout")


def test_too_little_memory_is_a_matter_of_the_service(client):
    until(lambda: client.get("/ready").status_code == 200)
    refused = post(client, photo(1, MEMORY))
    assert "too little memory" in detail(refused, 503)
    assert refused.headers["retry-after"]
    until(lambda: client.get("/ready").status_code == 200)
    assert post(client, photo(1)).status_code == 200


def test_more_photos_than_may_wait_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(photos, "make_job", serve_parts.quick_job)
    with start(tmp_path, queue=2) as client:
        ready(client)
        refused = post(client, photo(1), photo(1), photo(1))
        assert "too many photos wait" in detail(refused, 503)
        assert refused.headers["retry-after"]
        assert post(client, photo(1), photo(1)).status_code == 200


def test_a_service_that_cannot_start_its_process_is_alive_and_not_ready(tmp_path, monkeypatch):
    monkeypatch.setattr(photos, "make_job", serve_parts.no_job)
    errors = []
    with start(tmp_path, started=errors.append) as client:
        until(lambda: [str(error) for error in errors[:1]] == ["no such device"])
        assert client.get("/health").json() == {"status": "ok"}
        assert client.get("/ready").status_code == 503
        assert "not ready" in detail(post(client, photo(1)), 503)


# Forms -----------------------------------------------------------------------------------------------------


def part(content=b"x", head=b'Content-Disposition: form-data; name="files"; filename="x"'):
    return b"--xx\r\n" + head + b"\r\n\r\n" + content + b"\r\n"


END = b"--xx--\r\n"
OTHER = b'Content-Disposition: form-data; name="other"'


@pytest.mark.parametrize(
    ("body", "headers", "status", "says"),
    [
        (b"", {"Content-Type": "multipart/form-data"}, 400, "boundary"),
        (b"", {"Content-Type": f"multipart/form-data; boundary={'x' * 300}"}, 400, "boundary"),
        (b"x" * 200_000, FORM, 400, "not well-formed"),
        (END, FORM, 422, "no file"),
        (part(), FORM, 400, "ends before"),
        (part() * 33 + END, FORM, 413, "too many files; expected at most 32"),
        (part() * 4000 + END, FORM, 413, "too many files; expected at most 32"),
        (part(head=b"X: " + b"y" * 100_000) + END, FORM, 400, "not well-formed"),
        (part(head=b"\r\n".join(b"X%d: y" % k for k in range(99))) + END, FORM, 400, "not well-formed"),
        (
            part(head=OTHER) + END,
            FORM,
            422,
            "has the field 'other'; expected a photo in 'files', and options in",
        ),
        (part(head=b"X: y") + END, FORM, 422, "has the field ''; expected a photo in 'files'"),
        (b"a=b&" * 60_000, {"Content-Type": "application/x-www-form-urlencoded"}, 415, "expected multipart"),
        (b'{"url": "http://127.0.0.1/x.jpg"}', {"Content-Type": "application/json"}, 415, "expected multip"),
        (b'{"url": "file:///etc/passwd"}', {}, 415, "expected multipart"),
        (part() + END, {**FORM, "Content-Encoding": "gzip"}, 415, "compressed"),
        (part(b"x" * 400_000) + END, FORM, 413, "expected at most 0.3 MB"),
        (part() + END, {**FORM, "Content-Length": "-5"}, 400, "Content-Length"),
        (part() + END, {**FORM, "Transfer-Encoding": "chunked", "Content-Length": "9"}, 400, "not both"),
    ],
)
def test_what_is_no_form_with_photos_is_refused(client, body, headers, status, says):
    answer = client.post("/v1/images", content=body, headers=headers)
    assert says in detail(answer, status)


def test_a_url_in_a_form_is_a_file_that_is_no_photo(client):
    assert "not_an_image" in detail(post(client, b"http://127.0.0.1/x.jpg"), 422)


@pytest.mark.parametrize("name", ["../../etc/passwd", "a\0b", "x" * 10_000, "/tmp/x", "Jane Doe.png"])
def test_the_name_of_a_file_is_used_for_nothing(client, name, capfd):
    head = f'Content-Disposition: form-data; name="files"; filename="{name}"'.encode()
    body = part(photo(1), head) + END
    answer = client.post("/v1/images?format=csv", content=body, headers=FORM)
    if len(name) < 5000:
        assert answer.status_code == 200
        assert answer.text.splitlines()[1].startswith("0,0,0.0,0,")
    else:
        assert "not well-formed" in detail(answer, 400)
    assert not any("passwd" in one or "Jane" in one for one in capfd.readouterr())


def test_a_boundary_in_any_pieces_gives_the_same_files(tmp_path):
    content = bytes(range(256)) * 20 + b"\r\n--x\r\n--x"
    body = part(content) + part(b"") + END
    for size in (1, 7, 100, 10_000):
        form = upload._Form(tmp_path / str(size), b"xx", kinds.PHOTOS, 2)
        (tmp_path / str(size)).mkdir()
        for start_ in range(0, len(body), size):
            form.parser.write(body[start_ : start_ + size])
            form.write()
        form.close()
        assert form.is_complete
        assert [path.read_bytes() for path in form.paths] == [content, b""]


def test_a_full_disk_is_said_and_leaves_nothing(client, small_files):
    assert "disk" in detail(post(client, os.urandom(100_000)), 507)
    assert not list(client.folder.glob("upload-*"))


# Access ----------------------------------------------------------------------------------------------------


def guarded(tmp_path, **options):
    made = app.make_app(Settings(folder=tmp_path), log=False, **options)
    return TestClient(made, "http://localhost", raise_server_exceptions=False)  # not started


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": TOKEN},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": b"Bearer \xe9"},
        [("Authorization", f"Bearer {TOKEN}"), ("Authorization", "Bearer x")],
    ],
)
def test_without_the_token_only_the_state_is_told(tmp_path, headers):
    client = guarded(tmp_path, token=TOKEN)
    for path in ("/metrics", "/openapi.json", "/v1/jobs/x", "/v1/images", "/none"):
        refused = client.get(path, headers=headers)
        assert "token" in detail(refused, 401).lower()
        assert refused.headers["www-authenticate"] == "Bearer"
    assert client.get("/health", headers=headers).status_code == 200


def test_the_token_opens_the_service_and_is_compared_in_constant_time(tmp_path, monkeypatch):
    compared = []
    same = guard.hmac.compare_digest
    monkeypatch.setattr(guard.hmac, "compare_digest", lambda a, b: compared.append(b) or same(a, b))
    client = guarded(tmp_path, token=TOKEN)
    for scheme in ("Bearer", "bearer"):  # RFC 9110: in upper or lower case
        answer = client.get("/openapi.json", headers={"Authorization": f"{scheme} {TOKEN}"})
        assert answer.status_code == 200
    assert compared == [TOKEN.encode()] * 2


def test_other_names_and_pages_of_other_sites_are_refused(tmp_path):
    client = guarded(tmp_path, hosts=serve.LOCAL)
    for host in ("localhost", "LOCALHOST:80", "127.0.0.1:8000", "[::1]:8000"):
        assert client.get("/health", headers={"Host": host}).status_code == 200
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", ""):
        assert "name" in detail(client.get("/health", headers={"Host": host}), 403)
    assert "other sites" in detail(client.get("/health", headers={"Origin": "http://evil.example"}), 403)
    assert "other sites" in detail(client.get("/health", headers={"Origin": "null"}), 403)
    answer = client.get("/health", headers={"Origin": "http://localhost"})
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_an_address_of_the_network_needs_a_token(tmp_path):
    settings = Settings(folder=tmp_path / "service")
    with pytest.raises(ConfigError, match=r"host 0\.0\.0\.0 is reached by others; give token_file"):
        serve.run(settings, "0.0.0.0")
    assert not settings.folder.exists()


@pytest.mark.parametrize(
    ("text", "mode", "says"),
    [
        (TOKEN, 0o644, "others can read"),
        ("short", 0o600, "holds no token"),
        ("two words of a token", 0o600, "holds no token"),
        ("é" * 20, 0o600, "expected ASCII"),
        (None, 0, "No such file"),
    ],
)
def test_a_file_without_a_safe_token_is_refused(tmp_path, text, mode, says):
    path = tmp_path / "token"
    if text is not None:
        path.write_text(text)
        path.chmod(mode)
    with pytest.raises(ConfigError, match=says):
        serve.read_token(path)


def test_a_token_is_read_without_its_line_break(tmp_path):
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    assert serve.read_token(path) == TOKEN


def test_a_missing_extra_is_one_line_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(serve, "find_spec", lambda name: None)
    with pytest.raises(ResourceError, match=r"needs fastapi, .*: uv pip install 'maeface\[serve\]'"):
        serve.run(Settings(folder=tmp_path))


def test_a_port_that_is_taken_and_a_folder_in_use_are_one_line(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ResourceError, match=r"cannot listen on 127\.0\.0\.1"):
            serve.run(Settings(folder=tmp_path), port=taken.getsockname()[1])
    code = f"from maeface import files\nwith files.lock(files.Path({str(tmp_path)!r})): print(); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-uc", code], **pipes) as other:
        other.stdout.readline()
        with pytest.raises(ResourceError, match="in use"):
            serve.run(Settings(folder=tmp_path))
        other.communicate(b"\n")


def test_unknown_paths_methods_and_options(client):
    assert client.get("/v1/../etc/passwd").status_code == 404
    assert client.get("/v2/models/x/load").status_code == 404
    assert client.get("/docs").status_code == 404
    refused = client.put("/v1/images")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    assert client.request("TRACE", "/health").status_code == 405
    assert "no such path: '/v1/jobs/../../x'" in detail(client.get("/v1/jobs/..%2f..%2fx"), 404)


def test_an_error_of_the_service_shows_nothing_of_it(tmp_path, capfd):
    made = app.make_app(Settings(folder=tmp_path), log=False)

    @made.get("/fault")
    async def fault():
        raise RuntimeError("the secret /tmp/jane.jpg")

    answer = TestClient(made, "http://localhost").get("/fault")
    assert detail(answer, 500) == "the service has failed"
    said = capfd.readouterr().err
    assert re.match(rf"{TIME} serve: RuntimeError at test_serve\.py:", said)
    assert "jane" not in said


# Films -----------------------------------------------------------------------------------------------------


@pytest.fixture
def filming(tmp_path, monkeypatch):
    """Starts services whose films have a quick predictor: ``filming("slow")``."""
    monkeypatch.setattr(photos, "make_job", serve_parts.quick_job)
    monkeypatch.setattr(films, "PROCESS", "serve_film")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))

    def begin(how, **options):
        monkeypatch.setenv("MAEFACE_TEST_FILM", how)
        return start(tmp_path / "service", **{"max_seconds": 60, "workers": 1, **options})

    return begin


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A film of 25 seconds, which is cut into three segments; one face in each frame."""
    pictures = [np.full((48, 64, 3), 15, np.uint8)] * 250
    return encode(tmp_path_factory.mktemp("film") / "film.mp4", pictures, rate=10)


def send(client, path, query=""):
    return client.post(f"/v1/videos{query}", files={"file": ("Jane Doe.mp4", path.read_bytes())})


def state(client, job):
    found = client.get(f"/v1/jobs/{job}").json()
    assert found["error"] in (None, films.ENDED), found["error"]
    return found


def deaths(folder):
    """Return the state and the deaths of each job."""
    with closing(sqlite3.connect(folder / jobs.FILE)) as database:
        return database.execute("SELECT state, deaths FROM jobs").fetchall()


def wait_for(client, job, *states):
    return until(lambda: (found := state(client, job))["state"] in states and found)


def test_a_film_is_a_job_with_the_rows_of_predict(filming, film, tmp_path):
    with filming("quick") as client:
        ready(client)
        answer = send(client, film, "?every=2")
        assert answer.status_code == 202
        job = answer.json()
        assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
        assert (job["frames_total"], job["seconds"]) == (125, pytest.approx(25, abs=0.2))
        refused = client.get(f"/v1/jobs/{job['id']}/result")
        assert "the job is" in detail(refused, 409)
        done = wait_for(client, job["id"], "done", "failed")
        assert (done["state"], done["progress"], done["error"]) == ("done", 1, None)
        table = client.get(f"/v1/jobs/{job['id']}/result?format=csv", headers={"Range": "bytes=0-1,0-2"})
        assert table.status_code == 200
        rows = list(csv.DictReader(io.StringIO(table.text)))
        predict.run([film], None, tmp_path / "t.csv", every=2, workers=1, make_predictor=parts_cases.quick)
        expected = list(csv.DictReader(io.StringIO((tmp_path / "t.csv").read_text())))
        assert [row | {"input": ""} for row in rows] == [row | {"input": ""} for row in expected]
        assert {row["input"] for row in rows} == {"film"}
        frames = client.get(f"/v1/jobs/{job['id']}/result").json()["frames"]
        assert [one["frame"] for one in frames] == list(range(0, 250, 2))
        assert [len(one["faces"]) for one in frames] == [1] * 125
        parquet = client.get(f"/v1/jobs/{job['id']}/result?format=parquet").content
        assert pq.read_table(io.BytesIO(parquet)).num_rows == 125
        assert client.get(f"/v1/jobs/{job['id']}/summary").text.startswith("input,track,au")
        names = sorted(path.name for path in (client.folder / "jobs" / job["id"]).iterdir())
        assert "film" not in names and "faces.parquet" in names
        assert client.delete(f"/v1/jobs/{job['id']}").status_code == 204
        assert detail(client.get(f"/v1/jobs/{job['id']}"), 404)
        assert not (client.folder / "jobs" / job["id"]).exists()


def test_a_job_goes_on_where_it_was_after_a_restart(filming, film):
    with filming("slow") as client:
        ready(client)
        job = send(client, film).json()["id"]
        parts = client.folder / "jobs" / job / "faces.parquet.parts"
        until(lambda: any(parts.glob("[0-9a-f]*.parquet")))  # the film has two
    assert deaths(client.folder) == [("running", 0)]
    with filming("quick") as client:
        before = state(client, job)
        assert before["frames"] > 0
        assert wait_for(client, job, "done", "failed")["state"] == "done"
        assert len(client.get(f"/v1/jobs/{job}/result").json()["frames"]) == 250
        log = (client.folder / "jobs" / job / "log").read_text()
        assert "have rows already" in log and re.findall(r"(\d+) images", log) == ["150"]


def test_a_job_is_stopped_and_deleted_while_it_runs(filming, film):
    with filming("slow") as client:
        ready(client)
        job = send(client, film).json()["id"]
        until(lambda: state(client, job)["frames"] > 0)
        assert client.delete(f"/v1/jobs/{job}").status_code == 204
        assert client.get(f"/v1/jobs/{job}").status_code == 404
        until(lambda: not list((client.folder / "jobs").iterdir()))
        done = send(client, film).json()["id"]  # the place is free
        wait_for(client, done, "running")


def test_a_job_whose_process_is_killed_goes_on_and_fails_after_three_times(filming, film, monkeypatch):
    monkeypatch.setattr(films, "PAUSE_S", 0.1)
    with filming("dies") as client:
        ready(client)
        job = send(client, film).json()["id"]
        failed = wait_for(client, job, "failed")
        assert failed["error"] == films.ENDED
        assert not (client.folder / "jobs" / job / "film").exists()
    with closing(sqlite3.connect(client.folder / jobs.FILE)) as database, database:
        database.execute("UPDATE jobs SET ended = ended - 90000")
    with filming("dies") as client:
        until(lambda: client.get(f"/v1/jobs/{job}").status_code == 404)  # old enough to be deleted


def test_films_that_are_none_or_too_long_or_too_many(filming, film, monkeypatch):
    with filming("slow", max_seconds=20, jobs=1) as client:
        ready(client)
        assert detail(send(client, film), 422) == "the film has 25 s; expected at most 20 s"
        answer = client.post("/v1/videos", files={"file": ("x", photo(1))})
        assert detail(answer, 422).startswith("no_video")
        assert (
            detail(send(client, film, "?every=2&fps=5"), 422) == "every is 2 and fps is 5; give one of them"
        )
        assert "too many files; expected one file" in detail(
            client.post("/v1/videos", files=[("file", ("x", b"x")), ("file", ("y", b"y"))]), 413
        )
        assert not list(client.folder.glob("upload-*"))
    with filming("slow", jobs=1) as client:
        ready(client)
        first = send(client, film).json()["id"]
        wait_for(client, first, "running")
        second = send(client, film).json()
        assert (second["state"], second["waiting"]) == ("queued", 0)
        refused = send(client, film)
        assert "too many films wait" in detail(refused, 503)
        assert refused.headers["retry-after"] == "60"


def test_files_of_jobs_that_nobody_knows_are_deleted(tmp_path):
    (tmp_path / "jobs" / "left").mkdir(parents=True)
    jobs.Jobs(tmp_path, 1.0).close()
    assert not (tmp_path / "jobs" / "left").exists()


# Over the network ------------------------------------------------------------------------------------------


READY = r"^ready: http://127\.0\.0\.1:(\d+) \(Ctrl-C stops it\)$"


class Server:
    """A service with the quick predictor in a process of its own."""

    def __init__(self, folder, *options):
        self.folder = folder
        tests = str(Path(__file__).parent)
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "serve_parts", str(folder / "service"), *options],
                env={**os.environ, "PYTHONPATH": tests},
                stderr=log,
                # a shell that starts the tests in the background has told them to ignore Ctrl-C
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        try:
            self.port = int(until(self._find_ready)[1])
        except BaseException:
            self._end()
            raise

    def _find_ready(self):
        assert self.process.poll() is None, self.log
        return re.search(READY, self.log, re.M)

    def _end(self):
        self.process.kill()
        self.process.wait()

    @property
    def log(self):
        return (self.folder / "log").read_text()

    def get(self, path):
        try:
            return self.ask("GET", path).status
        except OSError:
            return 0

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        answer.content = answer.read()
        connection.close()
        return answer

    def post(self, content):
        return self.ask("POST", "/v1/images", part(content) + END, FORM)

    def raw(self, data):
        """Send bytes on a new connection, and return it."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        connection.sendall(data)
        return connection

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        try:
            if self.process.poll() is None:
                self.stop()
        finally:
            self._end()


def said(connection):
    """Return the status that comes on a connection, and all else until it ends."""
    data = b""
    with connection:
        while piece := connection.recv(1 << 16):
            data += piece
    return int(data.split(b" ", 2)[1]), data


def head(path="/v1/images", *lines):
    text = "\r\n".join([f"POST {path} HTTP/1.1", "Host: localhost", *lines, "", ""])
    return text.encode()


MULTIPART = "Content-Type: multipart/form-data; boundary=xx"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("server")) as server:
        yield server


def test_a_body_that_is_announced_too_large_is_refused_before_it_is_read(server):
    connection = server.raw(head("/v1/images", MULTIPART, "Content-Length: 300001", "Expect: 100-continue"))
    status, data = said(connection)
    assert status == 413
    assert b"100 Continue" not in data and b"connection: close" in data


def chunk(data):
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def test_an_endless_body_is_cut_at_the_limit(server):
    connection = server.raw(head("/v1/images", MULTIPART, "Transfer-Encoding: chunked"))
    connection.sendall(chunk(part(b"")[:-2]))
    sent = 0
    with connection, pytest.raises(OSError):  # the service hangs up
        while sent < 2_000_000_000:
            connection.sendall(chunk(b"x" * 100_000))
            sent += 100_000
    assert 300_000 <= sent < 2_000_000_000
    assert not list((server.folder / "service").glob("upload-*"))
    assert server.get("/health") == 200


def test_the_answer_to_a_body_that_is_too_large_is_seen_by_a_client_that_sends_all(server):
    body = part(b"x" * 2_000_000) + END

    def chunks():
        for start_ in range(0, len(body), 50_000):
            yield body[start_ : start_ + 50_000]

    assert server.ask("POST", "/v1/images", chunks(), FORM).status == 413


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (head("/v1/images", MULTIPART, "Content-Length: -1"), 400),
        (head("/v1/images", MULTIPART, "Content-Length: x"), 400),
        (head("/v1/images", MULTIPART, "Content-Length: 5", "Content-Length: 6"), 400),
        (head("/v1/images", "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
        (head("/v1/images", MULTIPART, "Transfer-Encoding: chunked") + b"zz\r\n", 400),
        (b"GET /health HTTP/1.1\r\nX: " + b"y" * 100_000, 400),
        (b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00" * 50, 400),
    ],
)
def test_malformed_requests_are_refused(server, request_, status):
    found, data = said(server.raw(request_))
    assert found == status
    assert b"Traceback" not in data


def test_requests_in_one_packet_are_answered_in_turn(server):
    once = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = b"GET /none HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    _, data = said(server.raw(once + once + last))
    assert re.findall(rb"HTTP/1.1 (\d+)", data) == [b"200", b"200", b"404"]


def test_slow_clients_are_given_up_and_others_are_answered(server):
    slow_head = server.raw(b"GET /health HTTP/1.1\r\nHost: local")
    idle = server.raw(b"")
    again = server.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /he")
    slow_body = server.raw(head("/v1/images", MULTIPART, "Content-Length: 1000") + b"--xx\r\n")
    drip = server.raw(head("/v1/images", MULTIPART, "Content-Length: 1000"))

    def drop():
        with drip, pytest.raises(OSError):
            for one in part(b"x" * 900):
                drip.send(bytes([one]))
                time.sleep(0.1)

    thread = threading.Thread(target=drop)
    thread.start()
    assert server.post(photo(1)).status == 200
    assert said(slow_head)[0] == said(idle)[0] == said(slow_body)[0] == 408
    assert re.findall(rb"HTTP/1.1 (\d+)", said(again)[1]) == [b"200"]
    thread.join()


def test_a_client_that_goes_leaves_nothing(server):
    connection = server.raw(head("/v1/images", MULTIPART, "Content-Length: 5000") + part(b"")[:-2])
    folder = server.folder / "service"
    until(lambda: list(folder.glob("upload-*")))
    connection.close()
    until(lambda: not list(folder.glob("upload-*")))
    body = part(photo(1, WAIT)) + END
    connection = server.raw(head("/v1/images", MULTIPART, f"Content-Length: {len(body)}") + body)
    until(lambda: list(folder.glob("upload-*")))
    connection.close()
    until(lambda: not list(folder.glob("upload-*")))
    assert " images 499 " in server.log
    assert server.post(photo(1)).status == 200


def test_more_clients_than_are_answered_are_told_to_come_again(tmp_path):
    answers = []

    def ask():
        for _ in range(3):
            answer = server.post(photo(1))
            answers.append((answer.status, answer.getheader("retry-after")))

    with Server(tmp_path, "clients=4") as server:
        threads = [threading.Thread(target=ask) for _ in range(24)]
        for thread in threads:
            thread.start()
        assert server.get("/health") == 200
        for thread in threads:
            thread.join()
        assert server.post(photo(1)).status == 200
    assert set(answers) == {(200, None), (503, "1")}


def children(process):
    """Yield the id and the command of each process that a process has started."""
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):  # a thread has ended
            for pid in path.read_text().split():
                with suppress(OSError):  # a process has ended
                    yield int(pid), Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_process_that_is_killed_is_started_again(server):
    (worker,) = [pid for pid, command in children(server.process.pid) if b"spawn_main" in command]
    os.kill(worker, signal.SIGKILL)
    until(lambda: server.get("/ready") == 503)
    assert server.get("/health") == 200
    until(lambda: server.get("/ready") == 200)
    assert server.post(photo(1)).status == 200
    assert b"maeface_worker_restarts 1.0" in server.ask("GET", "/metrics").content


def test_a_service_that_is_stopped_finishes_what_it_has_begun(tmp_path):
    body = part(photo(1, WAIT)) + END
    with Server(tmp_path) as server:
        connection = server.raw(head("/v1/images", MULTIPART, f"Content-Length: {len(body)}") + body)
        until(lambda: list((tmp_path / "service").glob("upload-*")))
        begun = time.monotonic()
        assert server.stop() == 143
        assert time.monotonic() - begun < 30
    assert said(connection)[0] == 200
    assert not list((tmp_path / "service").glob("upload-*"))


def test_the_log_names_nobody(server):
    server.ask("POST", "/v1/images?format=jane", None, {"User-Agent": "jane", "X-Forwarded-For": "10.9.8.7"})
    server.ask("POST", "/v1/images", b"jane", FORM)
    known = re.compile(
        rf"{TIME} (GET|POST|DELETE|other) [a-z_]+ \d{{3}} \d+ ms"
        r"|Invalid HTTP request received\.|a file holds .*|face detector: .*"
    )
    lines = [line for line in server.log.splitlines() if not known.fullmatch(line)]
    assert lines[0] == "maeface serve: loading the networks"
    assert re.fullmatch(READY, lines[1]) and len(lines) == 2


PAGE = Path(__file__).parents[1] / "docs" / "user_guide" / "serve.md"


def test_the_commands_of_the_page_work(server, tmp_path):
    (tmp_path / "astronaut.jpg").write_bytes(photo(1, kind="JPEG"))
    (tmp_path / "group.jpg").write_bytes(photo(2, kind="JPEG"))
    encode(tmp_path / "interview.mp4", [np.full((48, 64, 3), 15, np.uint8)] * 20, rate=10)
    page = PAGE.read_text()

    def run(line):
        line = line.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}").partition(" #")[0].strip()
        done = subprocess.run(
            ["bash", "-c", f"{line} --fail -sS"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout

    of_photos = re.search(r"## Photos\n\n```sh\n(.*?)```", page, re.S)[1].splitlines()
    as_json, as_csv = map(run, of_photos)
    assert len(json.loads(as_json)["images"][0]["faces"]) == 1
    assert len(as_csv.splitlines()) == 4
    of_films = re.search(r"## Films\n\n```sh\n(.*?)```", page, re.S)[1].splitlines()
    job = json.loads(run(of_films[0]))["id"]
    until(lambda: json.loads(run(of_films[1].replace("ID", job)))["state"] == "done")
    for line in of_films[2:]:
        run(line.replace("ID", job))
    assert len((tmp_path / "interview.csv").read_text().splitlines()) == 21
    assert (tmp_path / "events.csv").read_text().startswith("input,track,au,event")


# The description -------------------------------------------------------------------------------------------


def test_the_service_is_as_it_describes_itself(server):
    checks = [not_a_server_error, response_schema_conformance, negative_data_rejection]
    few = hypothesis.settings(
        max_examples=5,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    described = schemathesis.openapi.from_url(f"http://127.0.0.1:{server.port}/openapi.json")
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) == 11
    tried = Counter()

    def try_some(mode, operation):
        @few
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def check(case):
            tried[mode, operation.label] += 1
            case.call_and_validate(checks=checks)

        check()

    for mode, operation in itertools.product(schemathesis.GenerationMode, operations):
        with suppress(hypothesis.errors.Unsatisfiable):  # some requests cannot be wrong
            try_some(mode, operation)
    right, wrong = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
    assert all(tried[right, operation.label] for operation in operations)
    assert tried[wrong, "POST /v1/images"] and tried[wrong, "GET /v1/jobs/{job}"]


def test_the_description_has_examples(client):
    found = client.get("/openapi.json").json()
    assert found["components"]["schemas"]["AU"]["properties"]["probability"]["examples"] == [0.98]
    form = found["paths"]["/v1/images"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert form["schema"]["required"] == ["files"]
    assert json.dumps(found).count("HTTPValidationError") == 0


# After faults of the machine -------------------------------------------------------------------------------


@pytest.fixture
def listed(tmp_path):
    """The jobs of a folder, and a function that adds one."""
    found = jobs.Jobs(tmp_path, 3600)
    numbers = itertools.count()

    def add():
        path = tmp_path / f"film{next(numbers)}"
        path.write_bytes(b"a film")
        return found.add(path, 1, None, 1.0, 10)

    found.make = add
    yield found
    found.close()


FULL = sqlite3.OperationalError("database or disk is full")


class FailsOnce:
    """A function that raises an error at its first call."""

    def __init__(self, function, error):
        self.function, self.error, self.calls = function, error, 0

    def __call__(self, *arguments, **options):
        self.calls += 1
        if self.calls == 1:
            raise self.error
        return self.function(*arguments, **options)


@pytest.mark.parametrize("error", [FULL, KeyError("a fault of ours")], ids=["full", "fault"])
def test_films_go_on_after_the_disk_was_full(tmp_path, listed, monkeypatch, error):
    monkeypatch.setattr(films, "PAUSE_S", 0.01)
    monkeypatch.setattr(films, "CLEAN_S", 0.01)
    done = listed.make()
    listed.end(done.id)
    listed.keep_s = -1
    waits = listed.make()
    for name in ("next", "delete_old", "end"):
        monkeypatch.setattr(listed, name, FailsOnce(getattr(listed, name), error))

    async def work():
        worked = films.Films(listed, Settings(folder=tmp_path))

        async def ended(*_):
            return {"finished": True, "frames": 10}

        monkeypatch.setattr(films, "PROCESS", "this")
        monkeypatch.setattr(worked, "_follow", ended)
        worked.start()
        async with asyncio.timeout(60):
            while listed.get(done.id) is not None or listed.get(waits.id) is not None:
                await asyncio.sleep(0.01)
        await worked.stop()

    asyncio.run(work())
    assert listed.end.calls == 2  # done again, because its end could not be noted


def test_a_job_that_cannot_be_listed_leaves_no_film(tmp_path, listed):
    listed.close()  # each statement fails from now on
    with pytest.raises(sqlite3.ProgrammingError):
        listed.make()
    assert not list(listed.folder.iterdir())


def test_the_files_of_a_job_are_deleted_even_if_its_row_cannot_be(listed):
    job = listed.make()
    listed.close()
    with pytest.raises(sqlite3.ProgrammingError):
        listed.delete(job.id)
    assert not list(listed.folder.iterdir())


def test_only_deaths_without_progress_between_them_count(listed):
    job = listed.make()
    for done, deaths in ((3, 1), (3, 2), (2, 3), (4, 1)):
        listed.note_progress(job.id, done)
        listed.note_death(job.id)
        assert listed.get(job.id).deaths == deaths
    assert listed.get(job.id).done == 4


def find_film_process():
    """Return the id of the process of a film that a service in this process has started."""
    return next((pid for pid, command in children("self") if b"serve_film" in command), None)


def test_what_ends_films_with_the_service_is_no_death(filming, film):
    with filming("slow") as client:
        ready(client)
        job = send(client, film).json()["id"]
        until(lambda: state(client, job)["frames"] > 0)
        process = until(find_film_process)
        assert os.getpgid(process) == process  # Ctrl-C in a terminal is sent to the group of the service
        os.kill(process, signal.SIGTERM)  # as a service manager does, which ends all processes
        until(lambda: find_film_process() is None)
        time.sleep(0.5)
        assert find_film_process() is None and state(client, job)["state"] == "running"
    assert deaths(client.folder) == [("running", 0)]


def test_a_process_that_could_not_be_started_is_started_later(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(photos, "make_job", serve_parts.quick_job)
    monkeypatch.setattr(photos, "HEARTBEAT_S", 0.1)
    real, faults = photos.workers.work, [OSError(11, "Resource temporarily unavailable"), ValueError()]

    def work(*arguments, **options):
        if faults:
            raise faults.pop(0)
        return real(*arguments, **options)

    monkeypatch.setattr(photos.workers, "work", work)
    with start(tmp_path) as client:
        assert post(ready(client), photo(1)).status_code == 200
    said = capfd.readouterr().err
    assert "auto failed: [Errno 11] Resource temporarily unavailable; the next in 0.1 s\n" in said
    assert "auto failed: ValueError; the next in 0.2 s\n" in said


def shorten(path, seconds):
    """Change the length in the header of a Matroska file."""
    data = path.read_bytes()
    at = data.index(b"\x44\x89\x88") + 3  # Duration, a number of 8 bytes, in milliseconds
    path.write_bytes(data[:at] + struct.pack(">d", seconds * 1000) + data[at + 8 :])
    return path


def test_a_film_is_as_long_as_its_frames_whatever_its_header_says(tmp_path):
    made = encode(tmp_path / "film.mkv", [np.full((48, 64, 3), 15, np.uint8)] * 250, rate=25)
    assert photos.measure_film(made) == (pytest.approx(10, abs=0.1), 250)
    assert media.read_clock(shorten(made, 1)) == (1, 25)
    assert photos.measure_film(made) == (10, 250)


def test_a_film_with_far_more_frames_than_announced_is_ended(tmp_path, listed, monkeypatch):
    endless = "import json\nfor n in range(10**9): print(json.dumps({'frames': n}), flush=True)"
    (tmp_path / "endless.py").write_text(endless)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(films, "PROCESS", "endless")
    job = listed.make()

    async def work():
        worked = films.Films(listed, Settings(folder=tmp_path, max_seconds=1))
        assert await worked._work(job, "cpu")
        assert not worked._processes

    asyncio.run(work())
    gc.collect()  # a pipe that is still open would warn here
    ended = listed.get(job.id)
    assert (ended.state, ended.error, ended.done) == ("failed", films.LONGER, 61)
    assert not listed.path(job.id, "film").exists()


def test_films_that_are_received_have_places(tmp_path):
    with Server(tmp_path, "jobs=1", "slow_s=100") as server:
        body = part(b"no film", b'Content-Disposition: form-data; name="file"') + END
        held = server.raw(head("/v1/videos", MULTIPART, "Content-Length: 1000") + b"--xx\r\n")
        until(lambda: list((tmp_path / "service").glob("upload-*")))
        refused = server.ask("POST", "/v1/videos", body, FORM)
        assert (refused.status, refused.getheader("retry-after")) == (503, "60")
        held.close()
        until(lambda: not list((tmp_path / "service").glob("upload-*")))
        assert server.ask("POST", "/v1/videos", body, FORM).status == 422


@pytest.mark.parametrize(("every", "total"), [(3, 4), (5, 2), (10, 1), (11, 1)])
def test_the_frames_of_a_job_are_those_that_will_be_read(tmp_path, listed, every, total):
    made = service.Service(Settings(folder=tmp_path))
    made.jobs, made.films = listed, films.Films(listed, made.settings)
    (tmp_path / "film").touch()
    options = service.FilmOptions(every=every)

    async def add():
        return made.add_film(tmp_path / "film", photos.FilmLength(1.0, 10), options)

    assert asyncio.run(add()).total == total


def test_a_finished_job_has_the_frames_that_were_read(listed):
    job = listed.make()
    listed.note_progress(job.id, 8)
    listed.end(job.id, done=7)  # of a total of 10; one was counted twice
    assert (listed.get(job.id).state, listed.get(job.id).done) == ("done", 7)


def test_a_folder_that_others_can_open_is_refused(tmp_path):
    made = serve.make_folder(tmp_path / "a" / "b")
    assert made.stat().st_mode & 0o777 == 0o700
    made.chmod(0o755)
    with pytest.raises(ConfigError, match=r"others can open .*b; make it yours alone \(chmod 700"):
        serve.make_folder(made)


def test_a_host_that_is_no_address_is_one_line(tmp_path):
    with pytest.raises(ResourceError, match=r"cannot listen on no such host!, port 0: (?!Unknown)\w+"):
        serve.open_socket("no such host!", 0)


def test_results_are_kept_for_a_year_at_most(tmp_path):
    assert Settings(folder=tmp_path, keep=8760).keep_s == 8760 * 3600
    with pytest.raises(ValidationError, match="keep"):
        Settings(folder=tmp_path, keep=8761)


def test_a_token_is_taken_where_modes_do_not_say_who_can_read(tmp_path, monkeypatch):
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o644)
    monkeypatch.setattr(portable, "fcntl", None)  # as on Windows
    assert serve.read_token(path) == TOKEN


def test_what_each_au_is_and_whether_to_rely_on_it(client):
    found = client.get("/v1/aus").json()
    assert len(found) == 20 and [name for name, au in found.items() if au["use"]] == ["AU06", "AU12", "AU25"]
    assert found["AU12"]["title"] == "AU12 Lip corner puller" and "real faces" in found["AU12"]["checked"]
    metadata = read_metadata(find())
    own = dict(zip(metadata.aus, metadata.thresholds, strict=True))
    assert {name: au["threshold"] for name, au in found.items()} == {
        facts.au_name(au): threshold for au, threshold in own.items()
    }


# What a new user meets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({}, "no token was given; send the header 'Authorization: Bearer TOKEN'"),
        (
            {"Authorization": TOKEN},
            "the header does not begin with 'Bearer '; send 'Authorization: Bearer TOKEN'",
        ),
        ({"Authorization": "Basic eDp5"}, "the header does not begin with 'Bearer '"),
        ({"Authorization": f"Bearer {TOKEN}x"}, "this token is not the right one"),
        ({"Authorization": "Bearer "}, "this token is not the right one"),
    ],
)
def test_no_token_and_a_wrong_one_are_told_apart(tmp_path, headers, says):
    refused = guarded(tmp_path, token=TOKEN).get("/metrics", headers=headers)
    assert detail(refused, 401).startswith(says)
    assert refused.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("job", ["short", "x" * 22, "x" * 5000, "a b", "%00", "é" * 22, "a'b"])
def test_an_id_that_no_job_has_is_no_such_job(client, job):
    for path in (f"/v1/jobs/{job}", f"/v1/jobs/{job}/result", f"/v1/jobs/{job}/events"):
        assert detail(client.get(path), 404) == "no such job"
    assert detail(client.delete(f"/v1/jobs/{job}"), 404) == "no such job"


@pytest.mark.parametrize(
    ("method", "path", "status", "says"),
    [
        ("POST", "/v1/images?format=xml", 422, "format is 'xml'; expected json or csv"),
        ("POST", "/v1/images?fromat=csv", 422, "unknown parameter 'fromat'; did you mean format?"),
        ("POST", "/v1/images?x=1", 422, "unknown parameter 'x'; expected format"),
        ("POST", "/v1/videos?x=1", 422, "unknown parameter 'x'; expected every or fps"),
        ("POST", "/v1/videos?every=0", 422, "every is '0'; expected a whole number, 1 to 1000000"),
        ("POST", "/v1/videos?every=x", 422, "every is 'x'; expected a whole number, 1 to 1000000"),
        ("POST", "/v1/videos?every=1.5", 422, "every is '1.5'; expected a whole number, 1 to 1000000"),
        ("POST", "/v1/videos?fps=nan", 422, "fps is 'nan'; expected a number, 0.001 to 1000"),
        ("POST", "/v1/videos?fps=", 422, "fps is ''; expected a number, 0.001 to 1000"),
        (
            "GET",
            f"/v1/jobs/{'x' * 22}/result?format=xls",
            422,
            "format is 'xls'; expected json, csv or parquet",
        ),
        ("GET", f"/v1/jobs/{'x' * 22}/rows", 404, "no such table; expected 'events', 'summary' or 'pairs'"),
        ("GET", "/health?x=1", 422, "unknown parameter 'x'; expected none"),
        ("GET", f"/health?{'x' * 99}=1", 422, f"unknown parameter '{'x' * 40}...'; expected none"),
        ("GET", "/v1/jobs", 404, "no such path: '/v1/jobs'; /openapi.json describes all paths"),
        ("POST", "/v1/images/", 404, "no such path: '/v1/images/'; /openapi.json describes all paths"),
        ("POST", "/v1/imgs", 404, "no such path: '/v1/imgs'; /openapi.json describes all paths"),
        ("GET", "/v1/images", 405, "'GET' is not possible here; expected POST"),
        ("PUT", f"/v1/jobs/{'x' * 22}", 405, "'PUT' is not possible here; expected GET, DELETE"),
    ],
)
def test_what_there_is_not_is_refused_in_plain_words(client, method, path, status, says):
    assert detail(client.request(method, path, content=b"some", headers=FORM), status) == says


def test_a_field_of_the_other_place_is_sent_there(client):
    refused = post(client, photo(1), field="file")
    says = "the form has the field 'file'; expected a photo in 'files'; a film goes to /v1/videos"
    assert detail(refused, 422) == says
    refused = client.post("/v1/videos", files=[("file", b"x"), ("every", b"2")])
    says = "the form has the field 'every'; expected a film in 'file', and options in the query (?name=value)"
    assert detail(refused, 422) == says
    refused = client.post("/v1/images", content=photo(1))
    says = (
        "expected multipart/form-data, got no Content-Type; send a photo in the field 'files', as curl does"
    )
    assert detail(refused, 415).startswith(says)


READ = "expected a photo as JPEG, PNG, WebP, BMP, GIF, AVIF or HEIC; a film goes to /v1/videos"
SEEN = "expected a film as MP4, MOV, Matroska, WebM, AVI or MPEG; a photo goes to /v1/images"


@pytest.mark.parametrize(
    ("content", "as_photo", "as_film"),
    [
        ("été\n" * 400, "not_an_image: this is text", "no_video: this is text"),
        ("%PDF-1.7\n", "refused_format: this is PDF", "no_video: this is PDF"),
        ("PK\x03\x04...", "not_an_image: this is a ZIP archive", "no_video: this is a ZIP archive"),
        ("ID3\x04", "not_an_image: this is sound (MP3)", "no_video: this is sound (MP3)"),
        ("\x00\x07", "not_an_image: this is of no known format", "no_video: this is of no known format"),
    ],
)
def test_what_is_neither_photo_nor_film_is_named(client, content, as_photo, as_film):
    for place, says, read in ((kinds.PHOTOS, as_photo, READ), (kinds.FILMS, as_film, SEEN)):
        said = detail(client.post(place.path, files={place.field: content.encode()}), 422)
        assert said.startswith(says) and said.endswith(f"; {read}") and len(said.splitlines()) == 1


def test_a_photo_among_films_and_a_film_among_photos_are_sent_where_they_belong(client, film):
    said = detail(client.post("/v1/videos", files={"file": photo(1)}), 422)
    assert said == "no_video: this is a photo (PNG); send it to /v1/images, in the field 'files'"
    advice = "this is a film; send it to /v1/videos, in the field 'file'"
    assert detail(post(client, film.read_bytes()), 422) == f"not_an_image: {advice}"
    found = post(client, photo(1), film.read_bytes()).json()["images"]
    assert [(one["status"], one["detail"]) for one in found] == [("ok", ""), ("not_an_image", advice)]


def test_photos_of_which_none_can_be_read_are_explained_in_one_line(client):
    said = detail(post(client, *[b"text"] * 5), 422)
    assert said.startswith("none of 5 photos can be read; photo 0: not_an_image: this is text; ")
    assert said.endswith("; 2 more") and said.count("photo 2:") == 1 and "photo 3" not in said


def test_an_ended_job_says_when_it_expires(tmp_path, listed):
    made = service.Service(Settings(folder=tmp_path, keep=2))
    made.jobs, made.films = listed, films.Films(listed, made.settings)
    job = listed.make()
    assert made.describe(job).expires is None
    listed.end(job.id)
    row = dataclasses.replace(listed.get(job.id), ended=1_800_000_000.0)
    assert made.describe(row).expires == "2027-01-15T10:00:00+00:00"


def test_successful_polls_are_not_logged_unless_they_shall_be(tmp_path, capfd):
    for log_polls in (False, True):
        made = app.make_app(Settings(folder=tmp_path, log_polls=log_polls))
        client = TestClient(made, "http://localhost")  # not started
        for path in ("/health", "/ready", "/v1/imgs"):
            client.get(path)
        lines = capfd.readouterr().err.splitlines()
        assert all(re.match(rf"{TIME} GET ", line) for line in lines)
        said = [line.rsplit(" ", 2)[0].partition(" GET ")[2] for line in lines]
        assert said == [*["health 200"] * log_polls, "ready 503", "none 404"]


def test_the_state_of_a_job_is_a_poll(filming, film, capfd):
    with filming("quick", log=True) as client:
        ready(client)
        job = send(client, film).json()["id"]
        wait_for(client, job, "done")
        assert client.get("/metrics").status_code == 200
        client.get(f"/v1/jobs/{'x' * 22}")
    lines = [line.partition(" ")[2].rsplit(" ", 2)[0] for line in capfd.readouterr().err.splitlines()]
    assert [line for line in lines if " job " in line or " metrics " in line] == ["GET job 404"]
    assert "POST videos 202" in lines


def test_the_line_that_says_ready_comes_when_photos_are_predicted(tmp_path):
    with Server(tmp_path) as server:  # waits for this line alone
        assert server.post(photo(1)).status == 200
        assert len(re.findall(READY, server.log, re.M)) == 1
        assert server.stop() == 143


def test_the_face_detector_is_found_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("MAEFACE_WEIGHTS", raising=False)
    used = []
    server = SimpleNamespace(run=lambda sockets: None, error=None)
    monkeypatch.setattr(serve, "_make_server", lambda made: server)
    made = app.make_app

    def make_app(settings, *arguments):
        used.append(settings.detector)
        return made(settings, *arguments)

    monkeypatch.setattr(app, "make_app", make_app)
    serve.run(Settings(folder=tmp_path / "service"), port=0)
    assert used[0] == "embedded"  # so that no process finds it again


def test_numbers_have_no_digits_of_the_conversion_from_32_bits():
    assert replies._number(float(np.float32(175.19751))) == 175.1975
    assert replies._number(float(np.float32(4.4793e-05))) == 4.4793e-05
    assert replies._number(float("nan")) is None


def test_a_damaged_list_of_jobs_is_one_line(tmp_path):
    (tmp_path / "jobs.sqlite").write_text("no database")
    tmp_path.chmod(0o700)
    with pytest.raises(
        ResourceError, match=r"cannot open the list of jobs, .*jobs\.sqlite: .*; move it away"
    ):
        serve.run(Settings(folder=tmp_path))


def test_a_request_that_a_stopping_service_gives_up_is_told_so(tmp_path):
    with Server(tmp_path, "slow_s=100") as server:
        connection = server.raw(head("/v1/videos", MULTIPART, "Content-Length: 1000") + b"--xx\r\n")
        until(lambda: list((tmp_path / "service").glob("upload-*")))
        assert server.stop() == 143
        status, data = said(connection)
        assert status == 503 and b"the service stops" in data
        assert "POST videos 503" in server.log and "Traceback" not in server.log
        assert not list((tmp_path / "service").glob("upload-*"))


def test_a_film_that_cannot_be_read_has_failed_in_plain_words(tmp_path):
    error = DataError(describe_unreadable(1, {"no_video": 1}))
    assert film_process.explain(error, tmp_path) == "the film cannot be read: no_video"
    error = DataError(f"{tmp_path}/film is damaged")
    assert film_process.explain(error, tmp_path) == "film is damaged"


def test_the_results_of_a_job_that_has_none_are_refused_with_the_reason(tmp_path, listed):
    made = app.make_app(Settings(folder=tmp_path), log=False)
    client = TestClient(made, "http://localhost")  # not started
    job = listed.make().id
    for change, says in (
        (lambda: None, "the job is queued; its results are there when it is done"),
        (lambda: listed.end(job, "cut short"), "the job has failed, and has no results: cut short"),
    ):
        change()
        known = {job: listed.get(job)}  # the list itself is of this thread alone
        made.state.service.jobs = SimpleNamespace(get=known.get, path=listed.path)
        for name in ("result", "events"):
            assert detail(client.get(f"/v1/jobs/{job}/{name}"), 409) == says


def test_a_token_and_none_are_not_asked_for_together(tmp_path):
    with checks.name_options(), pytest.raises(ConfigError, match="give --token-file or --no-token, not both"):
        serve.run(Settings(folder=tmp_path), token_file=tmp_path / "token", no_token=True)


def test_a_signal_that_comes_again_waits_for_no_request_and_ends_all_else_as_ever(tmp_path):
    with Server(tmp_path, "slow_s=100") as server:
        held = server.raw(head("/v1/videos", MULTIPART, "Content-Length: 1000") + b"--xx\r\n")
        until(lambda: list((tmp_path / "service").glob("upload-*")))
        server.process.send_signal(signal.SIGINT)
        until(lambda: server.get("/health") == 0)  # it has begun to stop, and takes no more connections
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(60) == 130
        held.close()
        assert "timeout graceful shutdown exceeded" not in server.log and "Traceback" not in server.log


def test_a_photo_that_hangs_twice_is_refused_before_its_request_is_given_up(tmp_path):
    assert 2 * photos.SILENT_S < Settings(folder=tmp_path).answer_s


def test_a_second_stop_does_not_break_off_the_end_of_a_film(tmp_path, listed, monkeypatch):
    lingers = """import signal, sys, time
def end(*_):
    time.sleep(1)
    sys.exit()
signal.signal(signal.SIGTERM, end)
print('{"frames": 1}', flush=True)
time.sleep(600)
"""
    (tmp_path / "lingers.py").write_text(lingers)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(films, "PROCESS", "lingers")
    monkeypatch.setattr(films, "STOP_S", 60.0)
    job = listed.make()

    async def work():
        worked = films.Films(listed, Settings(folder=tmp_path))
        worked.start()
        async with asyncio.timeout(60):
            while not listed.get(job.id).done:
                await asyncio.sleep(0.01)
        (process,) = worked._processes.values()
        first = asyncio.create_task(worked.stop())
        await asyncio.sleep(0.1)
        await worked.stop()
        await first
        assert process.returncode == 0

    asyncio.run(work())


def test_pipes_that_a_child_of_a_film_process_holds_are_closed(monkeypatch):
    monkeypatch.setattr(films, "STOP_S", 0.1)
    code = "import subprocess as s; p = s.Popen(['sleep', '600']); print(p.pid, flush=True); p.wait()"

    async def work():
        pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, **pipes)
        child = int(await process.stdout.readline())
        try:
            async with asyncio.timeout(60):
                await films._close(process)
            assert process.returncode is not None and process._transport.is_closing()
        finally:
            os.kill(child, signal.SIGKILL)

    asyncio.run(work())


def test_a_file_whose_client_is_gone_has_the_explanation_of_its_error(tmp_path):
    error = media.MediaError("not_an_image", "it cannot be opened")
    assert kinds.explain(error, tmp_path / "gone", kinds.PHOTOS) == "it cannot be opened"


def test_a_list_of_jobs_that_cannot_be_opened_is_closed(tmp_path, monkeypatch):
    opened = []
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **b: opened.append(connect(*a, **b)) or opened[0])
    (tmp_path / jobs.FILE).write_text("no database")
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        jobs.Jobs(tmp_path, 1.0)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].execute("SELECT 1")


def test_the_process_of_a_film_says_what_it_does(filming, film, tmp_path, monkeypatch):
    monkeypatch.setenv("MAEFACE_TEST_FILM", "quick")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    (tmp_path / jobs.FILM).write_bytes(film.read_bytes())
    given = json.dumps({"folder": str(tmp_path), "weights": None, "workers": 1})
    with subprocess.Popen(
        [sys.executable, "-m", "serve_film", given],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        said = [json.loads(line) for line in process.stdout]
    phases = [one["phase"] for one in said if "phase" in one]
    assert sorted(phases, key=["starting", "predicting", "writing results"].index) == phases
    assert "predicting" in phases
    assert said[-2] == {"phase": "writing results", "frames": 250}
    assert said[-1] == {"finished": True, "frames": 250}
    assert (tmp_path / jobs.REPORT).is_file()


def test_a_job_has_a_phase_until_it_ends(tmp_path, listed):
    worked = films.Films(listed, Settings(folder=tmp_path))
    job = listed.make()
    assert worked.phase_of(listed.get(job.id)) == "waiting"
    listed.next()
    assert worked.phase_of(listed.get(job.id)) == "starting"
    lines = [{"frames": 3, "phase": "predicting"}, {"phase": "writing results"}]
    seen = []

    class Said:
        async def __aiter__(self):
            for line in lines:
                yield json.dumps(line).encode()
                seen.append(worked.phase_of(listed.get(job.id)))

    asyncio.run(worked._follow(listed.get(job.id), SimpleNamespace(stdout=Said())))
    assert seen == ["predicting", "writing results"]
    listed.end(job.id)
    assert worked.phase_of(listed.get(job.id)) is None


def test_the_state_of_a_job_says_its_phase(filming, film):
    with filming("slow") as client:
        ready(client)
        job = send(client, film).json()["id"]
        until(lambda: state(client, job)["phase"] == "predicting")
        other = send(client, film).json()
        assert (other["state"], other["phase"]) == ("queued", "waiting")
        client.delete(f"/v1/jobs/{other['id']}")
        done = wait_for(client, job, "done")
        assert done["phase"] is None
    found = client.get("/openapi.json").json()["components"]["schemas"]["Job"]["properties"]["phase"]
    assert found["anyOf"][0]["enum"] == ["waiting", "starting", "predicting", "writing results"]
