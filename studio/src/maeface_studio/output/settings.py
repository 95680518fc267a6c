"""The settings of ``maeface-studio render``, and which images they make."""

from collections.abc import Iterator
from dataclasses import dataclass

from maeface.errors import ConfigError
from maeface_studio.cast import actions
from maeface_studio.output.layouts import roles

SUBJECTS_PER_SHARD = 2


@dataclass(frozen=True)
class Settings:
    """What is rendered; the same settings give the same bytes, with any number of processes.

    Attributes:
        subjects: number of people.
        first_subject: number of the first of them, from 0, so that one cast can be in several folders.
        images: stills of each subject.
        clips: clips of each of the first ``clip_subjects`` subjects.
        clip_subjects: number of subjects with clips; None for all.
        clip_frames: frames of a clip.
        fps: frames per second of a clip; with a lower rate a clip of as many frames is longer.
        size: side of a crop in px.
        seed: of all random draws; another seed gives other people.
        quality: of the JPEG crops, 1 to 95.
        one_sided: fraction of the AUs of the stills that only one side of the face shows, 0 to 1.
        resting: how far people differ at rest, a factor of ``rig.RESTING_SHAPES``, 0 to 2.
        frames: also write the whole frames, as PNG in ``frames/``.
        layout: also write the frames of the clips as this dataset does, in a folder of its name.
    """

    subjects: int = 40
    first_subject: int = 0
    images: int = 20
    clips: int = 0
    clip_subjects: int | None = None
    clip_frames: int = 48
    fps: float = actions.FPS
    size: int = 224
    seed: int = 0
    quality: int = 90
    one_sided: float = 0.0
    resting: float = 1.0
    frames: bool = False
    layout: roles.Layout | None = None

    def check(self) -> None:
        """Check the ranges of the settings.

        Raises:
            ConfigError: a count or size out of its range.
        """
        minima = {
            "subjects": 1,
            "first_subject": 0,
            "images": 0,
            "clips": 0,
            "clip_subjects": 0,
            "clip_frames": 1,
            "size": 16,
            "seed": 0,
        }
        for name, minimum in minima.items():
            value = getattr(self, name)
            if value is not None and value < minimum:
                raise ConfigError(f"{name} must be at least {minimum}, got {value}")
        if not 1 <= self.quality <= 95:
            raise ConfigError(f"quality must be 1 to 95, got {self.quality}")
        for name, most in (("one_sided", 1), ("resting", 2)):
            if not 0 <= getattr(self, name) <= most:
                raise ConfigError(f"{name} must be 0 to {most}, got {getattr(self, name):g}")
        if not 0.1 <= self.fps <= 240:
            raise ConfigError(f"fps must be 0.1 to 240, got {self.fps}")
        if self.layout is not None and self.layout not in roles.RECORDINGS:
            raise ConfigError(f"layout must be one of {', '.join(roles.RECORDINGS)}, got {self.layout}")
        if count_images(self, 0) == 0:  # the first subjects have the clips
            raise ConfigError("nothing to render: neither images nor clips; give --images or --clips")

    def clip_options(self) -> dict[str, bool]:
        """Return the options that only clips use, and whether each differs from its default."""
        names = ("clip_subjects", "clip_frames", "fps", "layout")
        return {name: getattr(self, name) != getattr(Settings, name) for name in names}


def list_shots(settings: Settings, role: roles.Role) -> Iterator[actions.PlannedImage]:
    """Yield the shots of a person in the order in which they are stored."""
    yield from actions.plan_stills(settings.seed, role.subject, settings.images, settings.one_sided)
    for clip in role.clips:
        yield from actions.plan_clip(settings.seed, role.subject, clip, settings.clip_frames, settings.fps)


def assign_roles(settings: Settings) -> tuple[roles.Role, ...]:
    """Return the people that are rendered, with their clips.

    Raises:
        ConfigError: the dataset of the layout has fewer subjects or tasks.
    """
    return roles.assign_roles(
        *(settings.seed, settings.subjects, settings.clips, settings.clip_subjects, settings.layout),
        settings.first_subject,
    )


def roles_of_shard(settings: Settings, number: int) -> tuple[roles.Role, ...]:
    """Return the people of a shard."""
    first = number * SUBJECTS_PER_SHARD
    return assign_roles(settings)[first : first + SUBJECTS_PER_SHARD]


def count_images(settings: Settings, number: int) -> int:
    """Return the number of images in a shard."""
    cast_of_shard = roles_of_shard(settings, number)
    return sum(settings.images + len(role.clips) * settings.clip_frames for role in cast_of_shard)


def list_shards(settings: Settings) -> list[int]:
    """Return the numbers of the shards that contain an image."""
    numbers = range(-(-settings.subjects // SUBJECTS_PER_SHARD))
    return [number for number in numbers if count_images(settings, number)]
