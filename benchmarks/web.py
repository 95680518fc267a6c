"""Compare the browser example with ``maeface predict`` on photos, and measure its speed.

    npm install --prefix examples/browser
    uv run maeface export --to onnx --out examples/browser/exported --with-preprocessing
    uv run python benchmarks/web.py PHOTOS --count 50

opens ``examples/browser`` in a headless Chromium and gives it photos, as a user does. It prints the largest
difference of a probability from that of ``predict --faces largest`` with the packaged detector, for all AUs
and for those that the page shows at first, in float32 and in the precision that ``predict`` chooses here; and
the milliseconds for a frame of 640x480 px with one face, with one thread and with two.
"""

import argparse
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import browser  # noqa: E402
from maeface import Predictor  # noqa: E402

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
FACE = ROOT / "docs" / "images" / "astronaut.jpg"
TIMES = """(async () => {
  const { findFace, load, readFace, readPixels } = await import("./maeface.js");
  const networks = await load("exported", Number(location.search.slice(-1)));
  const { film_px } = networks.facts.crop;
  const photo = await createImageBitmap(document.getElementById("file").files[0]);
  const canvas = new OffscreenCanvas(640, 480), pen = canvas.getContext("2d", { willReadFrequently: true });
  const searched = [], followed = [];
  for (let k = 0, face = null; k < 40; k++) {
    if (k === 20) face = null;
    const begin = performance.now();
    pen.drawImage(photo, 0, 0, 640, 480);
    const image = readPixels(canvas), before = k < 20 ? null : face;
    face = await findFace(networks, image, before);
    await readFace(networks, image, face, film_px);
    (before ? followed : searched).push(performance.now() - begin);
  }
  return [searched, followed];
})()"""


@contextmanager
def opened() -> Iterator[browser.Page]:
    """Yield the example in a browser, when it is ready for photos."""
    binary = browser.find()
    if binary is None:
        sys.exit("needs Chromium, which is not installed")
    command = [sys.executable, ROOT / "examples" / "browser" / "serve.py", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        with closing(browser.Page(binary)) as page:
            open_page(page, server.stdout.readline().strip())
            yield page
    finally:
        server.kill()
        server.wait()


def open_page(page: browser.Page, url: str) -> None:
    """Open the page, and wait until it is ready."""
    page.call("Page.navigate", url=url)
    page.wait("document.readyState === 'complete' && !!document.querySelector('#file:enabled')")


def choose(page: browser.Page, path: Path) -> dict[str, float]:
    """Choose a photo; return the probability of each AU when it is shown, or {} without a face."""
    page.run("document.getElementById('say').textContent = ''; 0")
    page.choose("#file", path.resolve())
    page.wait("/^(Found|No face|Not done)/.test(document.getElementById('say').textContent)")
    if not page.run("document.getElementById('say').textContent").startswith("Found"):
        return {}
    return dict(
        page.run("[...document.querySelectorAll('meter')].map((one) => [one.closest('tr').id, one.value])")
    )


def compare(page: browser.Page, paths: list[Path]) -> None:
    """Print how far the probabilities of photos are from those of ``predict``."""
    found = {path: choose(page, path) for path in paths}
    shown = page.run("[...document.querySelectorAll('#trusted tr')].map((one) => one.id)")
    for precision in ("fp32", "auto"):
        predictor = Predictor(faces="largest", detector="embedded", precision=precision)
        rows = {path: predictor(path).iloc[0] for path in paths}
        both = [path for path in paths if found[path] and rows[path]["score"] > 0]
        one = sum(bool(found[path]) != (rows[path]["score"] > 0) for path in paths)  # NaN without a face
        print(
            f"{predictor.backend}, {predictor.precision}: {len(both)} photos with a face, "
            f"{one} where only one of them finds a face"
        )
        for name, aus in (("all AUs", None), (", ".join(shown), shown)):
            differences = [
                max(abs(found[path][au] - rows[path][f"{au}_p"]) for au in aus or found[path])
                for path in both
            ]
            middle, most = statistics.median(differences), max(differences)
            print(f"  {name}: largest difference {most:.4f}, median of the photos' largest {middle:.4f}")


def measure(page: browser.Page) -> None:
    """Print the time for a frame."""
    for threads in (1, 2):
        open_page(page, page.run("location.origin") + f"/?threads={threads}")
        choose(page, FACE)
        searched, followed = page.run(TIMES)
        times = [statistics.median(some[1:]) for some in (searched, followed)]
        print(
            f"{threads} threads: {times[1]:.0f} ms for a frame ({1000 / times[1]:.0f} per second), "
            f"{times[0]:.0f} ms where the whole frame is searched"
        )


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("photos", type=Path, help="folder of photos")
    parser.add_argument(
        "--count", type=int, default=50, help="how many to compare, evenly spaced in the folder"
    )
    options = parser.parse_args()
    paths = sorted(path for path in options.photos.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        sys.exit(f"{options.photos} has no photos ({', '.join(SUFFIXES)})")
    with opened() as page:
        compare(page, paths[:: max(1, len(paths) // options.count)][: options.count])
        measure(page)


if __name__ == "__main__":
    main()
