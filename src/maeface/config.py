"""The settings of a run: a TOML recipe, overrides, and the strict, frozen models that check them.

``recipe.toml -> load(...) -> verb.run(settings, ...)``. The paper's values are the defaults, with the
section they come from; where the paper is silent a comment says so and why.
"""

import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, ValidationError, model_validator

from maeface import checks, nested
from maeface.errors import ConfigError

Size = Literal["nano", "tiny", "small", "base", "large", "huge"]
Task = Literal["detection", "intensity", "both"]
Device = Annotated[str, AfterValidator(checks.require_device)]
Precision = Literal["auto", "fp32", "bf16"]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Settings = nested.Settings


class Run(Settings):
    """Device, precision and intervals of a training, and its seed."""

    seed: int = 0
    device: Annotated[str, AfterValidator(lambda name: checks.require_device(name, "run.device"))] = "auto"
    precision: Precision = "auto"
    """``auto``: bf16 where the hardware computes in it, else fp32."""
    workers: Annotated[int, Field(ge=0)] | None = None
    """Processes that decode and augment; 0: the training process does. None: this process's share of the
    cores for a GPU, else at most 2."""
    compile: bool | Literal["auto"] = "auto"
    """torch.compile. ``auto``: on a GPU, once the rate is known and more than ten minutes are left."""
    sharded: bool = False
    """Of several processes, each keeps a part of weights, gradients and moments (FSDP) instead of all."""
    evaluate_every: Annotated[int, Field(ge=1)] = 1
    """Epochs between evaluations (validation loss, pictures)."""
    log: tuple[Literal["csv", "tensorboard", "wandb", "trackio"], ...] = ("tensorboard",)
    """Where the log goes beside ``log.jsonl``; wandb and trackio are extras of the package."""
    milestone_every: Annotated[int, Field(ge=1)] | None = None
    """Epochs between weights files that are kept in ``milestones/``; None for none."""
    checkpoint_every_s: Annotated[float, Field(ge=0)] = 300.0
    """Seconds between checkpoints; others are written at each evaluation and at the end."""


class Optim(Settings):
    """AdamW, linear warm-up, half-cycle cosine (section 4, experimental settings)."""

    epochs: Annotated[int, Field(ge=0)]
    warmup_epochs: Annotated[float, Field(ge=0)]
    batch: Annotated[int, Field(ge=1)]
    """Images an optimiser step, over all devices and accumulation steps."""
    micro_batch: Annotated[int, Field(ge=1)] | None = None
    """Images in memory at once on one device; more are accumulated. None, or a smaller ``batch``: all."""
    base_lr: Annotated[float, Field(ge=0)]
    """Learning rate = base_lr x batch / 256 (equation 5)."""
    min_lr: Annotated[float, Field(ge=0)]
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    """Not on biases, norms, tokens and positions. (The official pre-training decays its two tokens too.)"""
    betas: tuple[float, float]
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Learning-rate factor from each block to the one below it; 1 for none."""
    clip_grad: Annotated[float, Field(gt=0)] | None = None
    """Paper silent: no clipping, as in the official code."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of the mean of the weights over the steps, which is used instead of them. Not in the paper."""
    max_skipped: Annotated[int, Field(ge=0)] = 5
    """Steps in a row that are skipped because loss or gradient are not finite; one more ends the training."""

    @model_validator(mode="after")
    def _check_micro_batch(self) -> "Optim":
        if self.micro_batch is not None and self.batch > self.micro_batch and self.batch % self.micro_batch:
            raise ValueError(f"batch ({self.batch}) must be a multiple of micro_batch ({self.micro_batch})")
        return self


class MaskedAutoencoder(Settings):
    """Encoder, decoder and loss of stage 1 (sections 3.2.1 and 3.3)."""

    size: Size = "base"
    image_size: Annotated[int, Field(ge=8)] = 224
    patch_size: Annotated[int, Field(ge=1)] = 16
    decoder_depth: Annotated[int, Field(ge=1)] = 8
    decoder_width: Annotated[int, Field(ge=4)] = 512
    decoder_heads: Annotated[int, Field(ge=1)] = 16
    """Paper silent: 16, as in the official code."""
    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.75
    loss: Literal["l1", "l2"] = "l1"
    normalize_patches: bool = True

    @model_validator(mode="after")
    def _check_patch_size(self) -> "MaskedAutoencoder":
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size ({self.image_size}) is not a multiple of {self.patch_size}")
        return self


class PretrainData(Settings):
    """Augmentation and validation faces of stage 1."""

    crop_scale: tuple[float, float] = (0.2, 1.0)
    """Area of the random crop. Paper: "random cropping"; the range is the official code's."""
    flip: bool = True
    """Paper silent: horizontal flip, as in the official code."""
    validation: Fraction = 0.02
    """Fraction of the subjects (of the clips or files without one) held out for the loss and pictures."""
    on_device: bool = False
    """Keep all crops in the memory of the training device."""


class Pretrain(Settings):
    """Settings of ``maeface pretrain``: stage 1, a masked autoencoder of faces (sections 3.2.1 and 4)."""

    verb: Literal["pretrain"] = "pretrain"
    title: str = ""
    cost: str = ""
    init: str = "random"
    """``random``, or a weights file: maeface, facebookresearch/mae, timm, MAE-Face, transformers ViTMAE."""
    licence: str = ""
    """Licence of the weights that are made, by its SPDX name (Apache-2.0); empty: that of the start if it is
    not a free one, else not stated."""
    model: MaskedAutoencoder = MaskedAutoencoder()
    data: PretrainData = PretrainData()
    optim: Optim = Optim(
        epochs=800, warmup_epochs=40, batch=4096, base_lr=1.5e-4, min_lr=0.0, betas=(0.9, 0.95)
    )
    run: Run = Run()


class Head(Settings):
    """Task, action units and encoder of stage 2 (sections 3.2.2 and 3.3)."""

    task: Task = "detection"
    aus: tuple[int, ...] = ()
    """Action units, in this order; empty: all that the labels have."""
    drop_path: Fraction = 0.1
    size: Size = "base"
    """Size and patch size are used where the encoder starts from random; else they are the weights' own."""
    image_size: Annotated[int, Field(ge=8)] | None = None
    """None: the weights' own (224 from random)."""
    patch_size: Annotated[int, Field(ge=1)] = 16
    keep_head: bool = False
    """Go on with the head of the weights, too, which must have the same AUs and task. Not in the paper."""
    frozen: bool = False
    """Train the head alone, on the encoder as it is (a linear probe). Not in the paper."""


class Photometric(Settings):
    """Probability of photometric changes, for each face. Not in the paper: all are off by default."""

    light: Probability = 0.0
    """Exposure, contrast, gamma, saturation and white balance."""
    shade: Probability = 0.0
    """A ramp of brightness across the face."""
    blur: Probability = 0.0
    """Out of focus, to a standard deviation of 1.3 % of the side."""
    shrink: Probability = 0.0
    """Reduced to fewer pixels, down to an eighth of the side, and enlarged."""
    noise: Probability = 0.0
    """Sensor noise, to a standard deviation of 0.08."""
    jpeg: Probability = 0.0
    """JPEG compression, quality 10 to 90."""
    grey: Probability = 0.0
    """Without colour."""


class FinetuneData(Settings):
    """Augmentation and split of stage 2."""

    crop_scale: tuple[float, float] = (0.08, 1.0)
    """Paper silent: 0.08 to 1, timm's default, as in the official code."""
    flip: bool = True
    randaugment: str = "rand-m9-mstd0.5-inc1"
    """timm's name of RandAug(9, 0.5); empty for none."""
    mixup: Annotated[float, Field(ge=0)] = 0.2
    cutmix: Annotated[float, Field(ge=0)] = 0.75
    """Alpha of mixup and cutmix; 0 for none. The paper uses both for detection, neither for intensity."""
    erase: Probability = 0.0
    """Probability of random erasing. Paper silent: none; the official code's default is 0.25."""
    photometric: Photometric = Photometric()
    validation: Fraction = 0.2
    """Fraction of the subjects held out to stop early and to select the weights. Paper silent."""
    folds: Annotated[int, Field(ge=2)] | None = None
    """Split the subjects into this many folds; ``fold`` is the test part, never used in training."""
    fold: Annotated[int, Field(ge=0)] = 0
    train_subjects: tuple[str, ...] = ()
    """Subjects to train on (validation is held out of them); empty: all that are not tested."""
    test_subjects: tuple[str, ...] = ()
    """Subjects to test on, as a published protocol lists them, instead of ``folds`` and ``fold``."""
    repeats: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """How often the faces of each data folder are in an epoch; empty: once. Not in the paper."""
    every: Annotated[int, Field(ge=1)] = 1
    """Train on every n-th training face, counted clip by clip in the order of frames (section 4.2)."""
    on_device: bool = False
    """Keep all crops in the memory of the training device, without ``randaugment``."""

    @model_validator(mode="after")
    def _check(self) -> "FinetuneData":
        if self.on_device and self.randaugment:
            raise ValueError(
                "on_device=true keeps the crops where randaugment cannot run; set randaugment=''"
            )
        if self.folds is not None and self.fold >= self.folds:
            raise ValueError(f"fold ({self.fold}) must be below folds ({self.folds})")
        if self.folds is not None and (self.train_subjects or self.test_subjects):
            raise ValueError("give folds, or train_subjects and test_subjects, not both")
        if both := sorted(set(self.train_subjects) & set(self.test_subjects)):
            raise ValueError(f"{', '.join(both)} are in train_subjects and in test_subjects")
        return self


class Relative(Settings):
    """The order of frames of a clip (``together`` in a batch), learned from a guide. Not in the paper."""

    measures: dict[int, str] = Field(default_factory=dict)
    """The measure of the guide for an AU, as {12: "mouthSmile"}; empty for none."""
    weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of a face and AU, where a label has 1."""
    least: Annotated[float, Field(gt=0)] = 0.5
    """Smallest difference of two frames that counts, in standard deviations of the measure."""
    together: Annotated[int, Field(ge=2)] = 4


class Finetune(Settings):
    """Settings of ``maeface finetune``: stage 2, an AU model (sections 3.2.2 and 4)."""

    verb: Literal["finetune"] = "finetune"
    title: str = ""
    cost: str = ""
    licence: str = ""
    """Licence of the weights that are made, by its SPDX name (Apache-2.0); empty: that of the start if it is
    not a free one, else not stated."""
    model: Head = Head()
    data: FinetuneData = FinetuneData()
    optim: Optim = Optim(
        epochs=20,
        warmup_epochs=10,
        batch=512,
        base_lr=1e-4,
        min_lr=1e-6,
        betas=(0.9, 0.999),
        layer_decay=0.65,
    )
    """Section 4 (BP4D). Paper silent: min_lr, betas and layer_decay are the official code's recipe."""
    patience: Annotated[int, Field(ge=1)] | None = 5
    """Evaluations without a better validation loss after which training stops; None for never."""
    selection: Literal["validation", "test"] = "validation"
    """The part whose loss selects the weights; with ``test``, as in many papers, there is no validation."""
    thresholds: Literal["fixed", "f1"] = "fixed"
    """The thresholds in the weights. ``fixed``: 0.5, as in published results; ``f1``: of each AU the one with
    the highest F1 on the validation part, where enough of its faces have the AU and lack it."""
    pos_weight: Annotated[float, Field(ge=1)] | None = None
    """Weigh the faces with an AU by the number of faces without it over that with it, at most by this and at
    least by its inverse; None: all weigh the same, as in the paper."""
    guide: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the loss of a guide (``data.tables.guide``), if one is given. Not in the paper."""
    relative: Relative = Relative()
    run: Run = Run()

    @model_validator(mode="after")
    def _check(self) -> "Finetune":
        if self.relative.measures and (self.data.mixup or self.data.cutmix):
            raise ValueError("relative.measures compares whole faces; set data.mixup and data.cutmix to 0")
        chosen = {"thresholds='f1'": self.thresholds == "f1", "pos_weight": self.pos_weight is not None}
        for name in [name for name, is_set in chosen.items() if is_set]:
            if self.model.task == "intensity":
                raise ValueError(f"{name} is for occurrence; model.task is 'intensity'")
        if self.thresholds == "f1" and (self.selection == "test" or not self.data.validation):
            raise ValueError(
                "thresholds='f1' needs faces that are held out: data.validation above 0 and "
                "selection='validation'"
            )
        return self


RunSettings = TypeVar("RunSettings", bound=Settings)


def recipes(*verbs: str) -> list[str]:
    """Return the names of the recipes that come with the package; those of some verbs, if any are given."""
    files = (file.name for file in (resources.files("maeface") / "recipes").iterdir())
    names = sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml"))
    return [name for name in names if not verbs or read(name)["verb"] in verbs]


def load(kind: type[RunSettings], recipe: str, overrides: Sequence[str] = ()) -> RunSettings:
    """Read a recipe and the overrides of the command line into checked settings.

    Args:
        kind: ``Pretrain`` or ``Finetune``.
        recipe: the name of a recipe of the package, or the path of a TOML file.
        overrides: ``section.key=value`` each, as from ``--set``; the value is read as TOML, else as text.

    Raises:
        ConfigError: no such recipe, not TOML, an unknown key (the nearest is named), or a value out of range.
    """
    defaults = kind().model_dump()
    values = nested.apply_overrides(overrides, read(recipe, *filter(None, [defaults.get("verb")])))
    return check(kind, nested.merge(defaults, values), f"recipe {recipe}")


def check(kind: type[RunSettings], values: dict[str, Any], where: str = "") -> RunSettings:
    """Return values as settings; ConfigError for a wrong one, an argument or, with ``where``, a key of it."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(nested.describe_problems(kind, error, not where))
        raise ConfigError(f"{where}: {problems}".removeprefix(": ")) from error


def read(recipe: str, *verbs: str) -> dict[str, Any]:
    """Return the values of a recipe, not checked; ConfigError, which lists those of the verbs, if none."""
    file = Path(recipe)
    if file.suffix != ".toml" and recipe in recipes():
        text = (resources.files("maeface") / "recipes" / f"{recipe}.toml").read_text("utf-8")
    elif file.is_file():
        text = file.read_text(encoding="utf-8", errors="replace")
    else:
        names = recipes(*verbs)
        hint = f"; did you mean {near!r}?" if (near := checks.find_nearest(recipe, names)) else ""
        raise ConfigError(f"no recipe {recipe!r}; give a TOML file or one of: {', '.join(names)}{hint}")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"recipe {recipe} is not TOML: {error}") from error
