"""Contact sheets of renders: every AU at every intensity, clips, and people of the cast."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from maeface.faces.geometry import Face, crop, eye_angle, square_around
from maeface_studio.camera.scene import Picture, Studio
from maeface_studio.cast import actions
from maeface_studio.cast.actions import Action
from maeface_studio.cast.subjects import Subject, draw_subject
from maeface_studio.cast.views import Backdrop, Lamp, View

PLAIN = View(
    yaw=8.0, pitch=0.0, roll=0.0, distance=90.0, height=28.0, shift=(0.0, 0.0),
    lamps=(Lamp(35.0, 30.0, 20.0, 1.0, (1.0, 1.0, 1.0)), Lamp(-50.0, 5.0, 30.0, 0.4, (1.0, 1.0, 1.0))),
    ambient=(0.3, 0.3, 0.3), backdrop=Backdrop(light=0.3),
)  # fmt: skip
FRONTAL = replace(PLAIN, yaw=0.0)
LEVELS = ("0", "1 (A)", "2 (B)", "3 (C)", "4 (D)", "5 (E)")
LABEL_PX, HEAD_PX = 48, 20

Strip = NDArray[np.uint8]


def draw_intensities(
    studio: Studio, seed: int, subject: Subject, number: int, size: int, view: View = PLAIN
) -> Strip:
    """Return a subject with one AU at intensities 0 to 5, (size, 6 * size, 3)."""
    actor = studio.actor(subject, seed)
    poses = (Action({number: float(level)} if level else {}, {}, (0.0, 0.0)) for level in range(len(LEVELS)))
    pictures = (studio.render(actor, view, action, 7) for action in poses)
    return np.concatenate([crop_face(picture, size) for picture in pictures], axis=1)


def draw_people(studio: Studio, seed: int, count: int, columns: int, size: int) -> Image.Image:
    """Return one still of each of the first ``count`` subjects, with the roll of the head removed."""
    faces = []
    for number in range(count):
        shot = next(actions.plan_stills(seed, draw_subject(seed, number), 1))
        upright = replace(shot, view=replace(shot.view, roll=0.0))
        faces.append(crop_face(studio.render_shot(upright, seed), size))
    return _grid(faces, columns)


def draw_clips(studio: Studio, seed: int, subjects: Sequence[Subject], frames: int, size: int) -> Image.Image:
    """Return a row per task with ``frames`` of its 48 frames; each row has the next subject."""
    rows = []
    for number in range(len(actions.TASKS)):
        shots = list(actions.plan_clip(seed, subjects[number % len(subjects)], number, 48))
        indices = np.linspace(0, 47, frames).round().astype(int)
        rows.append(
            np.concatenate([crop_face(studio.render_shot(shots[i], seed), size) for i in indices], axis=1)
        )
    return label_rows(rows, list(actions.TASKS), heads=())


def crop_face(picture: Picture, size: int) -> Strip:
    """Return the crop of the face in a picture, with level eyes, (size, size, 3)."""
    face = Face(picture.box, picture.points, 1.0)
    return crop(picture.pixels, square_around(face, angle_deg=eye_angle(picture.points)), size)


def label_rows(
    rows: Sequence[Strip], names: Sequence[str], columns: int = 1, heads: Sequence[str] = LEVELS
) -> Image.Image:
    """Return rows of pictures in columns, with names at the left and column heads above."""
    height, width, size = -(-len(rows) // columns), LABEL_PX + rows[0].shape[1], rows[0].shape[0]
    top = HEAD_PX if heads else 0
    sheet = Image.new("RGB", (columns * width, top + size * height), (255, 255, 255))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for i, (row, name) in enumerate(zip(rows, names, strict=True)):
        x, y = i // height * width, top + i % height * size
        sheet.paste(Image.fromarray(row), (x + LABEL_PX, y))
        draw.text((x + 4, y + size // 2 - 8), name, fill=(0, 0, 0), font=font)
    for column in range(columns):
        for j, head in enumerate(heads):
            middle = column * width + LABEL_PX + j * size + size // 2
            draw.text((middle, 2), head, fill=(0, 0, 0), font=font, anchor="ma")
    return sheet


def _grid(faces: Sequence[Strip], columns: int) -> Image.Image:
    rows = [np.concatenate(faces[i : i + columns], axis=1) for i in range(0, len(faces), columns)]
    return Image.fromarray(np.concatenate(rows))
