"""Firefox, driven by its own port (Marionette), and WebKit, by WebKitWebDriver: both as WebDriver says."""

import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

MAX_S = 120.0
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The key of an element's id, by the standard."""
FIREFOX = ("firefox", "firefox-esr")
MINI_BROWSER = "usr/lib/*/webkit2gtk-4*/MiniBrowser"
FAKE_CAMERA = ("--enable-media-stream=true", "--enable-mock-capture-devices=true")
PREFS = {
    "marionette.port": 0,  # a free one
    "app.update.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "media.navigator.streams.fake": True,
    "media.navigator.permission.disabled": True,
}


class Browser:
    """A window of a browser of its own, which knows nothing of any other."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="browser-"))
        self._processes = []

    def _start(self, *command, **variables):
        self._processes.append(
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env=os.environ | {"HOME": str(self.folder), **variables},
            )
        )

    def open(self, url):
        self.call("Navigate", "url", url=url)

    def run(self, script):
        """Return the value of a JavaScript expression, also of a promise."""
        code = (
            "const done = arguments[arguments.length - 1];"
            f"Promise.resolve().then(() => ({script}))"
            ".then((value) => done([value]), (error) => done([null, String(error)]));"
        )
        end = time.monotonic() + MAX_S
        while (answer := self.call("ExecuteAsyncScript", "execute/async", script=code, args=[])) is None:
            assert time.monotonic() < end, f"never answered: {script}"  # the document was replaced meanwhile
        value, *errors = answer
        assert not errors, (script, errors)
        return value

    def wait(self, script):
        end = time.monotonic() + MAX_S
        while not (value := self.run(script)):
            assert time.monotonic() < end, f"never true: {script}"
            time.sleep(0.1)
        return value

    def find(self, selector):
        return self.call("FindElement", "element", using="css selector", value=selector)

    def choose(self, selector, path):
        """Choose a file as a user does."""
        id = self.find(selector)[ELEMENT]
        self.call("ElementSendKeys", f"element/{id}/value", id=id, text=str(path))

    @contextlib.contextmanager
    def frame(self, selector):
        """Run scripts in a frame."""
        self.call("SwitchToFrame", "frame", id=self.find(selector))
        yield
        self.call("SwitchToFrame", "frame", id=None)

    def size(self, width, height):
        self.call("SetWindowRect", "window/rect", width=width, height=height)

    def screenshot(self, path):
        Path(path).write_bytes(base64.b64decode(self.call("TakeScreenshot", "screenshot", full=False)))

    def close(self):
        for process in reversed(self._processes):
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Firefox(Browser):
    """Firefox without a window, with a camera that nobody has to allow."""

    @staticmethod
    def missing():
        """Return what is not installed; None: nothing."""
        return None if any(map(shutil.which, FIREFOX)) else "Firefox"

    def __init__(self):
        super().__init__()
        lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in PREFS.items())
        (self.folder / "user.js").write_text("".join(lines))
        program = next(path for name in FIREFOX if (path := shutil.which(name)))
        self._start(program, "--headless", "--no-remote", "--marionette", "--profile", str(self.folder))
        self._count = 0
        end = time.monotonic() + MAX_S
        while not (port := self.folder / "MarionetteActivePort").is_file() or not port.read_text():
            assert time.monotonic() < end, "Firefox does not start"
            time.sleep(0.1)
        with socket.create_connection(("127.0.0.1", int(port.read_text())), MAX_S) as connection:
            self._file = connection.makefile("rwb")  # which keeps it open
        self._read()  # it says who it is
        self.about = self.call("NewSession", "", capabilities={})["capabilities"]

    def close(self):
        self._file.close()
        super().close()

    def _read(self):
        length = b""
        while (one := self._file.read(1)) != b":":
            length += one
        return json.loads(self._file.read(int(length)))

    def call(self, command, path, **params):
        self._count += 1
        data = json.dumps([0, self._count, f"WebDriver:{command}", params]).encode()
        self._file.write(b"%d:%s" % (len(data), data))
        self._file.flush()
        _, _, error, result = self._read()
        assert error is None, (command, error)
        return result["value"] if isinstance(result, dict) and list(result) == ["value"] else result


class WebKit(Browser):
    """The browser of WebKitGTK, in a window of a display that ``Xvfb`` makes."""

    @staticmethod
    def missing():
        """Return what is not installed; None: nothing."""
        if not list(Path("/").glob(MINI_BROWSER)):
            return "MiniBrowser of WebKitGTK"
        return next((name for name in ("WebKitWebDriver", "Xvfb") if not shutil.which(name)), None)

    def __init__(self):
        super().__init__()
        reader, writer = os.pipe()
        self._processes.append(
            subprocess.Popen(
                ["Xvfb", "-displayfd", str(writer), "-screen", "0", "1400x1000x24", "-nolisten", "tcp"],
                pass_fds=[writer],
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
        os.close(writer)
        with os.fdopen(reader) as told:
            display = told.readline().strip()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self._start("WebKitWebDriver", f"--port={port}", DISPLAY=f":{display}")
        self._url = f"http://127.0.0.1:{port}/session"
        options = {
            "binary": str(next(Path("/").glob(MINI_BROWSER))),
            "args": ["--automation", *FAKE_CAMERA],
        }
        wanted = {"alwaysMatch": {"webkitgtk:browserOptions": options}}
        end = time.monotonic() + MAX_S
        while True:
            try:
                made = self.call("NewSession", "", capabilities=wanted)
                break
            except urllib.error.URLError:
                assert time.monotonic() < end, "WebKitWebDriver does not start"
                time.sleep(0.1)
        self._url += f"/{made['sessionId']}"
        self.about = made["capabilities"]

    def call(self, command, path, **params):
        data = None if command == "TakeScreenshot" else json.dumps(params).encode()
        request = urllib.request.Request(
            f"{self._url}/{path}".rstrip("/"), data, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=MAX_S) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError((command, error.read().decode())) from None
