"""Contact sheets, to look at what the studio makes: every AU at every intensity, and the cast."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from maeface.faces.geometry import Face, crop, eye_angle, square
from maeface.studio import cast
from maeface.studio.cast import Action
from maeface.studio.people import Subject
from maeface.studio.rig import AUS
from maeface.studio.scene import Picture, Studio
from maeface.studio.views import Backdrop, View

PLAIN = View(
    yaw=8.0, pitch=0.0, roll=0.0, distance=90.0, height=28.0, shift=(0.0, 0.0),
    lamps=((35.0, 30.0, 20.0, 1.0, (1.0, 1.0, 1.0)), (-50.0, 5.0, 30.0, 0.4, (1.0, 1.0, 1.0))),
    ambient=(0.3, 0.3, 0.3), backdrop=Backdrop(light=0.3),
)  # fmt: skip
LABEL_PX = 44


def aus(
    studio: Studio,
    seed: int,
    subject: Subject,
    size: int,
    levels: Sequence[float],
    chosen: Sequence[int] = AUS,
) -> Image.Image:
    """One subject, a row per AU, a column per intensity, in two halves; nothing else moves."""
    actor = studio.actor(subject, seed)
    rows = []
    for au in chosen:
        pictures = (studio.shoot(actor, PLAIN, Action({au: level}, {}, (0.0, 0.0)), 7) for level in levels)
        rows.append(np.concatenate([face_of(picture, size) for picture in pictures], axis=1))
    return _labelled(rows, [f"AU{au:02d}" for au in chosen], size)


def people(studio: Studio, seed: int, count: int, columns: int, size: int) -> Image.Image:
    """The first ``count`` subjects, each in one still of its own."""
    faces = []
    for number in range(count):
        who = cast.subject(seed, number)
        shot = next(cast.stills(seed, who, 1))
        faces.append(face_of(studio.take(replace(shot, view=replace(shot.view, roll=0.0)), seed), size))
    rows = [np.concatenate(faces[i : i + columns], axis=1) for i in range(0, count, columns)]
    return Image.fromarray(np.concatenate(rows))


def face_of(picture: Picture, size: int) -> NDArray[np.uint8]:
    """The crop of a picture's true face, turned level; (size, size, 3)."""
    face = Face(picture.box, picture.points, 1.0)
    return crop(picture.pixels, square(face, angle_deg=eye_angle(picture.points)), size)


def _labelled(rows: Sequence[NDArray[np.uint8]], names: Sequence[str], size: int) -> Image.Image:
    half, width = -(-len(rows) // 2), LABEL_PX + rows[0].shape[1]
    sheet = Image.new("RGB", (2 * width, size * half), (255, 255, 255))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for i, (row, name) in enumerate(zip(rows, names, strict=True)):
        x, y = i // half * width, i % half * size
        sheet.paste(Image.fromarray(row), (x + LABEL_PX, y))
        draw.text((x + 4, y + size // 2 - 8), name, fill=(0, 0, 0), font=font)
    return sheet
