"""Draw the picture of docs/user_guide/quality.md: rendered faces and their measures.

uv run python studio/benchmarks/quality_sheet.py ict_facekit.npz docs/images/quality.jpg
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from maeface.faces.detector import Detector
from maeface.faces.detector_weights import EMBEDDED
from maeface.faces.finder import find_crops
from maeface.faces.quality import MEASURES, is_low_quality, measure_quality
from maeface_studio.camera.scene import Studio
from maeface_studio.cast.actions import plan_stills
from maeface_studio.cast.subjects import draw_subject
from maeface_studio.cast.views import Backdrop, CameraSettings, Occluder
from maeface_studio.head import rig as rigs

SEED, SUBJECT, FRAME, SIDE, TEXT = 0, 3, 448, 224, 132
Pixels = NDArray[np.uint8]


def draw_examples(rig_file: Path) -> list[tuple[str, Pixels]]:
    """Return a good picture of a face and bad ones, with their titles."""
    studio, subject = Studio(rigs.load(rig_file), FRAME), draw_subject(SEED, SUBJECT)
    shot = next(iter(plan_stills(SEED, subject, 1)))
    view = replace(
        shot.view,
        yaw=0.0,
        pitch=0.0,
        roll=0.0,
        distance=90.0,
        shift=(0.0, 0.0),
        camera=CameraSettings(),
        backdrop=Backdrop(),
        occluder=Occluder.NONE,
    )

    def render(**angles: float) -> Pixels:
        return studio.render_shot(replace(shot, view=replace(view, **angles)), SEED).pixels

    good = render()
    small = Image.fromarray(good).resize((32, 32), Image.Resampling.LANCZOS)
    return [
        ("good", good),
        ("turned a little", render(yaw=25.0, pitch=8.0, roll=-10.0)),
        ("turned too far", render(yaw=52.0)),
        ("blurred", np.asarray(Image.fromarray(good).filter(ImageFilter.GaussianBlur(8)))),
        ("small", np.asarray(small)),
        ("cut off", good[: round(0.66 * FRAME)].copy()),
    ]


def draw_tile(title: str, pixels: Pixels, detector: Detector) -> Image.Image:
    """Return a picture with its title and the measures of its face below."""
    tile = Image.new("RGB", (SIDE, SIDE + TEXT), "white")
    shown = Image.fromarray(pixels)
    scale = SIDE / max(shown.size)
    shown = shown.resize((round(shown.width * scale), round(shown.height * scale)))
    tile.paste(shown, (0, 0))
    lines = [title, "no face found"]
    if crops := find_crops(detector, [pixels])[0]:
        measures = measure_quality(crops[:1], [pixels.shape])
        low = "low_quality" if is_low_quality(measures)[0] else "ok"
        of = dict(zip(MEASURES, measures[0].tolist(), strict=True))
        lines = [
            f"{title}: {low}",
            f"face_px {of['face_px']:.0f}",
            ", ".join(f"{name} {round(of[name])}" for name in ("yaw", "pitch", "roll")),
            f"sharpness {of['sharpness']:.2f}",
            f"agreement {of['agreement']:.2f}",
            f"outside {of['outside']:.2f}",
        ]
    draw = ImageDraw.Draw(tile)
    for number, line in enumerate(lines):
        draw.text((6, SIDE + 6 + 20 * number), line, fill="black", font=ImageFont.load_default(15))
    return tile


def main(rig_file: Path, out: Path) -> None:
    """Write the picture."""
    detector = Detector(EMBEDDED)
    tiles = [draw_tile(title, pixels, detector) for title, pixels in draw_examples(rig_file)]
    sheet = Image.new("RGB", (3 * (SIDE + 8), 2 * (SIDE + TEXT)), "white")
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (number % 3 * (SIDE + 8), number // 3 * (SIDE + TEXT)))
    sheet.save(out, quality=85, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
