"""The service under load and over time: what it holds in memory, gives up, keeps and counts."""

import itertools
import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

import serve_parts
from maeface.errors import is_out_of_memory
from maeface.service import app, jobs, photos
from maeface.service.page_files import PATHS
from maeface.service.settings import Settings
from serve_parts import WAIT, photo
from test_serve import END, FORM, MULTIPART, TOKEN, Server, children, chunk, head, part, said, start, until


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("server"), "max_film_mb=300") as server:
        yield server


def metrics(server):
    """Return {(name, labels): value}."""
    found = text_string_to_metric_families(server.ask("GET", "/metrics").content.decode())
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for one in found
        for sample in one.samples
    }


def peak_mb(process):
    """Return the most memory that a process has used so far."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())[1]) / 1000


def test_an_upload_is_never_in_memory(server):
    before = peak_mb(server.process.pid)
    connection = server.raw(head("/v1/videos", MULTIPART, "Transfer-Encoding: chunked"))
    name = b'Content-Disposition: form-data; name="file"; filename="x"'
    connection.sendall(chunk(part(b"", name)[:-2]))
    for _ in range(200):
        connection.sendall(chunk(bytes(1_000_000)))
    connection.sendall(chunk(b"\r\n" + END) + b"0\r\n\r\n")
    connection.settimeout(60)
    assert b" 422 " in connection.recv(1 << 16).split(b"\r\n")[0]  # 200 MB of nothing are no film
    connection.close()
    assert peak_mb(server.process.pid) - before < 60


def test_photos_of_a_client_that_is_gone_are_not_predicted(server):
    before = metrics(server)["maeface_batch_photos_sum",]
    five_seconds = 5 * part(photo(1, WAIT)) + END
    busy = threading.Thread(target=server.ask, args=("POST", "/v1/images", five_seconds, FORM))
    busy.start()
    until(lambda: metrics(server)["maeface_batch_photos_sum",] - before == 5)  # the process works on them now
    body = part(photo(1)) + END
    connection = server.raw(head("/v1/images", MULTIPART, f"Content-Length: {len(body)}") + body)
    until(lambda: metrics(server)["maeface_photos_waiting",] == 1)
    connection.close()
    until(lambda: " images 499 " in server.log)
    busy.join()
    assert server.post(photo(1)).status == 200
    after = metrics(server)
    assert after["maeface_photos_waiting",] == 0
    assert after["maeface_batch_photos_sum",] - before == 6  # those of the clients that have waited


def test_what_is_answered_is_counted_by_route_and_status(server):
    before = metrics(server)
    server.get("/none")
    server.get("/v1/aus")
    server.get("/v1/aus")
    after = metrics(server)
    grown = {key: after[key] - before.get(key, 0) for key in after if key[0] == "maeface_requests_total"}
    asked = {key[1:]: value for key, value in grown.items() if value}
    assert asked == {("200", "GET", "aus"): 2, ("404", "GET", "none"): 1, ("200", "GET", "metrics"): 1}
    assert (
        after["maeface_request_seconds_count", "aus"]
        - before.get(("maeface_request_seconds_count", "aus"), 0)
        == 2
    )


def test_a_form_without_a_length_and_without_a_body_is_refused(server):
    status, data = said(server.raw(head("/v1/images", MULTIPART, "Connection: close")))
    assert status == 400 and b"ends before the multipart/form-data does" in data


def test_parts_with_heads_of_megabytes_are_refused_before_they_have_come(server):
    """The refusal comes while the client still sends: nothing is collected until the end of the head."""
    connection = server.raw(head("/v1/videos", MULTIPART, "Content-Length: 100000000"))
    connection.sendall(b"--xx\r\nX: " + b"y" * 1_000_000)
    status, data = said(connection)
    assert status == 400 and b"not well-formed" in data


# Without a process -----------------------------------------------------------------------------------------


@pytest.fixture
def guarded(tmp_path):
    return TestClient(app.make_app(Settings(folder=tmp_path), log=False), "http://localhost")  # not started


def test_ranges_of_the_page_are_not_served(guarded):
    for path in PATHS:
        whole = guarded.get(path)
        many = guarded.get(path, headers={"Range": "bytes=" + ",".join(["0-"] * 1000)})
        assert many.status_code == 200 and many.content == whole.content
        assert "content-range" not in many.headers


def test_a_browser_that_asks_first_for_another_site_is_refused(guarded):
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    for origin, status in (("https://evil.example", 403), ("http://localhost", 405)):
        answer = guarded.options("/v1/images", headers=asks | {"Origin": origin})
        assert answer.status_code == status
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_no_path_manages_the_service(guarded):
    described = guarded.get("/openapi.json").json()["paths"]
    assert {(method, path) for path, one in described.items() for method in one} == {
        *(("get", f"/{name}") for name in ("health", "ready", "metrics", "v1/aus")),
        *(("post", f"/v1/{name}") for name in ("images", "videos")),
        *(("get", f"/v1/jobs/{{job}}{name}") for name in ("", "/result", "/report", "/{table}")),
        ("delete", "/v1/jobs/{job}"),
    }


def test_only_results_that_ended_long_enough_ago_are_deleted(tmp_path):
    listed = jobs.Jobs(tmp_path, 3600)
    numbers = itertools.count()

    def make(ended):
        film = tmp_path / f"film{next(numbers)}"
        film.touch()
        job = listed.add(film, 1, None, 1.0, 10).id
        if ended is not None:
            listed.end(job)
            listed._change("ended = ? WHERE id = ?", time.time() - ended, job)
        return job

    waits, young, old = make(None), make(3500), make(3700)
    listed.delete_old()
    assert listed.get(old) is None and not listed.path(old).exists()
    assert [listed.get(job).state for job in (waits, young)] == ["queued", "done"]
    assert listed.path(waits, jobs.FILM).is_file() and listed.path(young).is_dir()
    listed.close()


def test_the_memory_of_a_gpu_is_memory():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access"))


def test_the_description_says_which_routes_need_the_token(guarded, tmp_path):
    assert "security" not in guarded.get("/openapi.json").text
    app_ = app.make_app(Settings(folder=tmp_path), token=TOKEN, log=False)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    found = TestClient(app_, "http://localhost", headers=headers).get("/openapi.json").json()
    assert found["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    for path, methods in found["paths"].items():
        for one in methods.values():
            assert ("security" in one) != (path in ("/health", "/ready")), path


def test_the_description_says_what_is_answered(guarded):
    found = guarded.get("/openapi.json").json()
    kinds = {}
    for path, methods in found["paths"].items():
        for method, one in methods.items():
            for code, answer in one["responses"].items():
                if code >= "400":  # an example of its own, in the words of the service
                    assert answer["content"]["application/json"]["example"].keys() == {"detail"}
            given = [code for code in one["responses"] if code < "400"]
            kinds[method, path] = list(one["responses"][given[0]].get("content", {}))
            for parameter in one.get("parameters", []):
                assert {"examples", "enum"} & {*parameter, *parameter["schema"]}, (path, parameter["name"])
    job = "/v1/jobs/{job}"
    assert kinds["get", "/metrics"] == ["text/plain"]
    assert kinds["get", f"{job}/report"] == ["text/html"]
    assert kinds["get", f"{job}/{{table}}"] == ["text/csv"]
    assert len(kinds["get", f"{job}/result"]) == 3 and kinds["delete", job] == []
    parts = found["components"]["schemas"]
    for name in ("AU", "AUTrust", "Face", "Frame", "Job", "Problem"):
        lacks = [field for field, one in parts[name]["properties"].items() if "examples" not in one]
        assert lacks in ([], ["faces"]), name  # a face has examples of its own


def test_each_device_has_a_process_and_one_is_enough_to_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(photos, "make_job", serve_parts.quick_job)

    def workers():
        return {pid for pid, command in children("self") if b"spawn_main" in command}

    others = workers()
    with start(tmp_path, device=("cpu", "cpu")) as client:
        devices = client.app.state.service.photos._devices
        until(lambda: all(device.ready for device in devices))
        first = workers() - others
        assert len(first) == 2
        os.kill(min(first), signal.SIGKILL)
        until(lambda: not all(device.ready for device in devices))
        assert client.get("/ready").status_code == 200
        answer = client.post("/v1/images", files={"files": ("x", photo(2))})
        assert len(answer.json()["images"][0]["faces"]) == 2
        until(lambda: len(now := workers() - others) == 2 and now != first)
