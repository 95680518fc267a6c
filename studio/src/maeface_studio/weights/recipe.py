"""The recipe of packaged weights: the settings of every stage, read from a TOML file."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from maeface import config
from maeface.errors import ConfigError
from maeface.model.file_format.encoding import Dtype

RECIPES = Path(str(resources.files("maeface_studio.weights"))) / "recipes"
RENDER_SEEDS = "render_seed"
"""The key in the provenance of weights of the seed of the renders that they learned from."""


class Render(config.Settings):
    """Rendered faces; see ``output.render.Settings``."""

    subjects: Annotated[int, Field(ge=1)] = 40
    first_subject: Annotated[int, Field(ge=0)] = 0
    images: Annotated[int, Field(ge=0)] = 20
    clips: Annotated[int, Field(ge=0)] = 0
    clip_subjects: Annotated[int, Field(ge=0)] | None = None
    clip_frames: Annotated[int, Field(ge=1)] = 48
    size: Annotated[int, Field(ge=16)] = 224
    seed: Annotated[int, Field(ge=0)] = 1
    """Not 0, which drew the people of the demo's sample."""
    quality: Annotated[int, Field(ge=1, le=95)] = 90
    one_sided: Annotated[float, Field(ge=0, le=1)] = 0.0
    resting: Annotated[float, Field(ge=0, le=2)] = 1.0
    second_shapes: bool = False
    """Blend the rig's shapes with a second set, in another way for each person."""


class Prepare(config.Settings):
    """Real faces; the folders are in the data folder."""

    photos: tuple[str, ...] = ("photos/congress",)
    """Folders of photographs; the held-out portraits in them are excluded by their names."""
    plates: tuple[str, ...] = ()
    """Folders of photographs of which all faces are taken, not only the largest."""
    videos: tuple[str, ...] = ("videos",)
    held_out_videos: tuple[str, ...] = ()
    """Names of videos to leave out, for scores."""
    size: Annotated[int, Field(ge=16)] = 256
    """Side of a crop in px."""
    fps: Annotated[float, Field(gt=0)] = 4.0
    """Frames per second of a video, at most."""


class PseudoLabels(config.Settings):
    """Labels of real faces from the predictions of another model."""

    aus: dict[int, tuple[float, float]] = Field(default_factory=dict)
    """For each action unit to take: the highest probability (``AU12_p``) that means absent, and the lowest
    that means present; in between the label is unknown. A table of labels (``AU12_o``, ``AU12_i``) is taken
    as it is."""
    intensities: dict[int, tuple[float, float, float, float, float, float]] = Field(default_factory=dict)
    """For some of these action units: the predictions at the intensities 0 to 5, in ascending order; between
    them the intensity is linear. Without them a network learns the intensities of renders only, and may see
    a smile in every real face."""

    @model_validator(mode="after")
    def _check_intensities(self) -> "PseudoLabels":
        for au, levels in self.intensities.items():
            if au not in self.aus:
                raise ValueError(f"intensities of AU {au}, which is not in aus")
            if list(levels) != sorted(levels):
                raise ValueError(f"intensities of AU {au} are {list(levels)}; expected ascending predictions")
        return self


class Annotations(config.Settings):
    """Labels of real faces from the two annotators of ``annotations.csv``."""

    aus: tuple[int, ...] = ()
    """The action units to take; where the annotators agree, they take precedence over pseudo-labels."""
    least_share: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Least fraction of the faces of a folder that must show an AU, and not show it, to take its codes."""


class Pack(config.Settings):
    """Storage of the weights."""

    dtype: Dtype = "bf16"
    part_mib: Annotated[float, Field(gt=0)] = 16.0
    """Largest size of a file in MiB."""
    licence: str = "Apache-2.0"
    """Of the packaged weights; it must be a free one, and what they start from must allow it."""
    mirror: bool = True
    """Predict the mean of the face and its mirror image."""


class Recipe(config.Settings):
    """A recipe of ``maeface-studio weights``."""

    title: str = ""
    cost: str = ""
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")] = "weights"
    """The name of the weights."""
    scratch: bool = False
    """Also fine-tune from random weights, which shows the effect of pre-training."""
    render: Render = Render()
    more_renders: Render | None = None
    """Further faces with other settings; let ``first_subject`` be the number of subjects of ``render``."""
    init: str = ""
    """Weights to go on from, by name or path; empty: those of a new masked autoencoder of all faces."""
    prepare: Prepare = Prepare()
    pseudo_labels: PseudoLabels = PseudoLabels()
    annotations: Annotations = Annotations()
    pretrain: config.Pretrain = config.Pretrain()
    finetune: config.Finetune = config.Finetune()
    order_renders: bool = False
    """Compare renders of one person by their labels, as ``finetune.relative`` compares frames of a clip."""
    pack: Pack = Pack()

    def seeds(self) -> set[int]:
        """Return the seeds of all renders."""
        return {part.seed for part in (self.render, self.more_renders) if part is not None}


def load(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe of the studio, or a TOML file.

    Args:
        name: of a recipe, or the path of a TOML file.
        overrides: ``section.key=value`` each, as from ``--set``.

    Raises:
        ConfigError: no such recipe, an unknown key, or a value out of range.
    """
    path = RECIPES / f"{name}.toml"
    if not path.is_file() and not Path(name).is_file():
        names = ", ".join(sorted(path.stem for path in RECIPES.glob("*.toml")))
        raise ConfigError(f"no recipe {name!r}; give a TOML file or one of: {names}")
    return config.load(Recipe, str(path) if path.is_file() else name, overrides)
