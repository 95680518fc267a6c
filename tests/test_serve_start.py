"""How the service starts and stops: wrong options, devices that are not there, lines of the log."""

import asyncio
import re
import signal
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import serve_parts
from maeface import checks, cli
from maeface.errors import ConfigError
from maeface.service import app, photos
from maeface.service.photos import FilmLength
from maeface.service.settings import Settings
from test_serve import END, MULTIPART, READY, TIME, Server, head, part, start, until


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("--keep=0", "--keep is 0; expected a number above 0"),
        ("--keep=9000", "--keep is '9000'; expected at most 8760"),
        ("--keep=x", "--keep is 'x'; expected a number"),
        ("--port=-1", "--port is '-1'; expected at least 0"),
        ("--port=70000", "--port is '70000'; expected at most 65535"),
        ("--port=1.5", "--port is '1.5'; expected a whole number"),
        ("--max-photos-mb=0", "--max-photos-mb is 0; expected a number above 0"),
        ("--max-film-mb=inf", "--max-film-mb is inf; expected a finite number"),
        ("--max-pixels=101", "--max-pixels is '101'; expected at most 100"),
        ("--max-seconds=-1.5", "--max-seconds is -1.5; expected a number above 0"),
        ("--queue=0", "--queue is '0'; expected at least 1"),
        ("--jobs=x", "--jobs is 'x'; expected a whole number"),
        ("--workers=0", "--workers is '0'; expected at least 1"),
        ("--backend=x", "--backend is 'x'; expected one of auto, torch, openvino, onnxruntime"),
        ("--precision=x", "--precision is 'x'; expected one of auto, fp32, bf16"),
        ("--detector=x", "--detector is 'x'; expected one of auto, public, embedded"),
    ],
)
def test_a_wrong_option_is_said_in_one_plain_line(tmp_path, given, says):
    with checks.name_options():
        ran = CliRunner().invoke(cli.app, ["serve", f"--folder={tmp_path}", given])
    assert isinstance(ran.exception, ConfigError)
    assert str(ran.exception) == says


def test_a_device_that_is_not_there_ends_the_service_though_another_is(tmp_path):
    command = [sys.executable, "-m", "maeface", "serve", "--port=0", f"--folder={tmp_path / 'service'}"]
    ran = subprocess.run(
        [*command, "--detector=embedded", "--device=cpu", "--device=cuda:99"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ran.returncode == 5, ran.stderr
    assert ran.stderr.splitlines()[-1].startswith("maeface: device cuda:99 is asked for, but ")
    assert ran.stderr.count("cuda:99 is asked for") == 1
    assert "Traceback" not in ran.stderr


def test_each_line_of_the_log_has_its_time_also_those_of_the_server(tmp_path):
    with Server(tmp_path, "slow_s=100") as server:
        held = server.raw(head("/v1/videos", MULTIPART, "Content-Length: 1000") + b"--xx\r\n")
        until(lambda: list((tmp_path / "service").glob("upload-*")))
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(60)
        held.close()
        lines = re.split(READY, server.log, flags=re.M)[-1].strip().splitlines()
        assert any("timeout graceful shutdown exceeded" in line for line in lines), lines
        assert [line for line in lines if not re.match(TIME, line)] == []


def test_a_film_whose_client_goes_before_it_knows_the_job_has_none(tmp_path):
    """The client is there until the job has been added, and is gone then."""
    made = app.make_app(Settings(folder=tmp_path), log=False)
    service, gone, sent = made.state.service, [], []
    body = part(b"film", b'Content-Disposition: form-data; name="file"; filename="x"') + END
    scope = {
        **{
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
        },
        **{
            "path": "/v1/videos",
            "raw_path": b"/v1/videos",
            "query_string": b"",
            "client": None,
            "server": None,
        },
        "headers": [(b"host", b"localhost"), (b"content-type", b"multipart/form-data; boundary=xx")],
    }
    pieces = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive():
        if pieces:
            return pieces.pop()
        while not gone:
            await asyncio.sleep(0.01)
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    async def length(request, questions):
        return [FilmLength(1.0, 10)]

    def add(*arguments):
        gone.append(True)
        return add_film(*arguments)

    async def work():
        async with made.router.lifespan_context(made):
            await made(scope, receive, send)
            return service.jobs.count("queued") + service.jobs.count("running")

    add_film = service.add_film
    service.ask, service.add_film, service.require_ready = length, add, lambda: None
    service.photos.start = service.photos.stop = lambda: None
    assert asyncio.run(work()) == 0
    assert gone and list((tmp_path / "jobs").iterdir()) == []
    assert sent == []


def test_a_device_that_was_there_and_has_no_memory_for_a_while_does_not_end_the_service(
    tmp_path, capfd, monkeypatch
):
    monkeypatch.setattr(photos, "make_job", serve_parts.lost_job)
    errors, said = [], []

    def says(text):
        said.append(capfd.readouterr().err)
        return text in "".join(said)

    with start(tmp_path, started=errors.append):
        until(lambda: says("failed: no memory now; the next in 2 s"))
    assert errors == []
