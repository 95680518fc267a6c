"""The metadata of a weights file: everything needed to run the weights, and where they come from.

The header of a file holds them as JSON under the key ``maeface``, with the SHA-256 of the metadata and of all
tensors, so that any flipped bit is detected.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from maeface.config import Task
from maeface.errors import WeightsError
from maeface.model.inputs import IMAGENET_MEAN, IMAGENET_STD
from maeface.model.style import LAYER_NORM_EPS, Activation, Style
from maeface.runtime.tensors import TORCH_NAMES, StoredTensor

if TYPE_CHECKING:
    from torch import Tensor

HEADER_KEY = "maeface"
FORMAT_VERSION = 6
"""2 added rows of whole numbers, several files and ``Preprocessing.mirror``; 3 added ``Metadata.checks``; 4
``Metadata.calibration``; 5 ``Metadata.unlike``; 6 the style of the encoder (its ``activation``, ``norm_pre``
and ``norm_eps``), ``Metadata.licence`` and ``Metadata.start``. Files of 1 to 5 are read as well."""

# Bounds keep a hostile header from asking for a network that no machine can hold.
Count = Annotated[int, Field(ge=1, le=65536)]
Depth = Annotated[int, Field(ge=1, le=256)]
Colour = tuple[float, float, float]
Fraction = Annotated[float, Field(ge=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Encoder(_Section):
    """The sizes of the ViT."""

    width: Count
    depth: Depth
    heads: Count
    patch_size: Count
    """Pixels."""
    activation: Activation = "gelu"
    """Of the MLP."""
    norm_pre: bool = False
    """Whether a LayerNorm comes before the first block."""
    norm_eps: Annotated[float, Field(gt=0, lt=1)] = LAYER_NORM_EPS
    """Of every LayerNorm of the encoder."""

    @property
    def style(self) -> Style:
        """Return the details of the network."""
        return Style(self.activation, self.norm_pre, self.norm_eps)


class Autoencoder(_Section):
    """The decoder and the loss of a masked autoencoder."""

    decoder_width: Count
    decoder_depth: Depth
    decoder_heads: Count
    mask_ratio: Annotated[float, Field(gt=0, lt=1)]
    loss: Literal["l1", "l2"]
    normalize_patches: bool


class Preprocessing(_Section):
    """The conversion of a face crop to the model's input."""

    image_size: Count
    """Side of the square input, pixels."""
    mean: Colour = IMAGENET_MEAN
    """Of red, green and blue on 0 to 1; the input is (pixel / 255 - mean) / std."""
    std: Colour = IMAGENET_STD
    mirror: bool = False
    """Whether prediction takes the mean over the image and its mirror image."""


class Check(_Section):
    """How well the probabilities of an AU tell faces with it from faces without it."""

    on: Literal["real", "renders"]
    """Whose faces: photographs of real people, or rendered faces."""
    data: str
    """Name of the faces, for readers."""
    auc: Fraction
    """Area under the ROC curve."""
    low: Fraction
    """Lower end of the 95 % interval of the AUC."""
    high: Fraction
    """Upper end of the 95 % interval of the AUC."""
    n: Annotated[int, Field(ge=2)]
    """Number of faces."""
    present: Annotated[int, Field(ge=1)]
    """Number of faces with the AU."""

    @model_validator(mode="after")
    def _check_order(self) -> "Check":
        if self.low > self.high:
            raise ValueError(f"the interval {self.low:g} to {self.high:g} is upside down")
        if self.present >= self.n:
            raise ValueError(f"{self.present} of {self.n} faces with the AU leave none without it")
        return self


class Calibration(_Section):
    """What was done to the output for the occurrence of an AU after training, and is part of the weights.

    The output (a logit) is ``scale`` times the output of the training, plus ``offset``.
    """

    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    offset: Annotated[float, Field(allow_inf_nan=False)]
    on: Literal["real", "renders"]
    """Whose faces it was fitted to: photographs of real people, or rendered faces."""
    data: str
    """Name of the faces, for readers."""
    n: Annotated[int, Field(ge=2)]
    """Number of faces."""
    present: Annotated[int, Field(ge=1)]
    """Number of faces with the AU."""


class Unlike(_Section):
    """The faces that the tensors ``unlike.mean`` and ``unlike.factor`` were measured on."""

    data: str
    """Name of the faces, for readers."""
    n: Annotated[int, Field(ge=2)]
    """Number of faces."""
    within: Fraction
    """Fraction of them whose ``unlike`` is at most 1."""


class Start(_Section):
    """The weights that a training started from."""

    name: str
    """Of the file, or of the packaged weights."""
    sha256: str
    """Of its files, in order."""
    licence: str
    """Empty: not known."""


class Metadata(_Section):
    """Everything needed to run the weights, and where they come from."""

    format_version: int = FORMAT_VERSION
    kind: Literal["mae", "au"]
    encoder: Encoder
    preprocessing: Preprocessing
    autoencoder: Autoencoder | None = None
    task: Task | None = None
    aus: tuple[int, ...] = ()
    """Action units in the order of the outputs."""
    thresholds: tuple[float, ...] = ()
    """Probability from which each AU counts as present; empty: 0.5 for all."""
    checks: dict[int, Check] = {}
    """Action unit -> how far it has been checked; AUs that were not checked are missing."""
    calibration: dict[int, Calibration] = {}
    """Action unit -> how its output was calibrated; AUs whose output is that of the training are missing."""
    unlike: Unlike | None = None
    """How ``unlike`` was measured; None: the weights do not give it."""
    dataset: str = ""
    fold: int | None = None
    licence: str = ""
    """Licence of these weights (``model.licences``); empty: not stated."""
    start: Start | None = None
    """The weights that the training started from; None: random ones, or not recorded."""
    provenance: dict[str, str] = {}
    """Free text by name: versions, recipe, initial weights and their SHA-256, ..."""

    @model_validator(mode="after")
    def _check_fields(self) -> "Metadata":
        if self.kind == "mae" and self.autoencoder is None:
            raise ValueError("a masked autoencoder needs its decoder's sizes")
        if self.kind == "au" and (self.task is None or not self.aus):
            raise ValueError("an AU model needs a task and AUs")
        if self.thresholds and len(self.thresholds) != len(self.aus):
            raise ValueError(f"{len(self.thresholds)} thresholds for {len(self.aus)} AUs")
        for name, aus in (("checks", self.checks), ("calibration", self.calibration)):
            if strange := sorted(set(aus) - set(self.aus)):
                raise ValueError(f"{name} of AUs {strange}, which are not in aus")
        return self


def pack(metadata: Metadata, tensors: "Mapping[str, Tensor] | Mapping[str, StoredTensor]") -> str:
    """Return the header of a file: the metadata, and the SHA-256 of them and of all tensors, as JSON.

    The format version is the current one, also where the metadata come from an older file.
    """
    values = metadata.model_copy(update={"format_version": FORMAT_VERSION}).model_dump(mode="json")
    return json.dumps({"metadata": values, "sha256": _digest(values, tensors)}, sort_keys=True)


def unpack(path: Path, header: str, tensors: "Mapping[str, Tensor] | Mapping[str, StoredTensor]") -> Metadata:
    """Check a header against the tensors of its file and return the metadata.

    Raises:
        WeightsError: a newer format, wrong or damaged metadata, or a SHA-256 that does not match.
    """
    try:
        content = json.loads(header)
        version = content["metadata"]["format_version"]
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise WeightsError(
                f"{path} has format version {version}, this maeface reads up to {FORMAT_VERSION}: upgrade it"
            )
        values = dict(content["metadata"])
        if values.get("sides") == []:  # of an early format 5: a second head that no file has
            del values["sides"]
        metadata = Metadata.model_validate_json(json.dumps(values), strict=True)
        digest = content["sha256"]
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"])
        raise WeightsError(f"{path}: wrong metadata: {field} {problem['msg']}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(f"{path} has damaged metadata; copy or download it again") from error
    if digest != _digest(content["metadata"], tensors):
        raise WeightsError(f"{path} is damaged (its SHA-256 does not match); copy or download it again")
    return metadata


def _digest(values: dict[str, Any], tensors: "Mapping[str, Tensor] | Mapping[str, StoredTensor]") -> str:
    """Return the SHA-256 over the metadata and every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for name in sorted(tensors):
        dtype, shape, data = _parts_of(tensors[name])
        digest.update(f"\n{name} {dtype} {shape}\n".encode())
        digest.update(data)
    return digest.hexdigest()


def _parts_of(tensor: "Tensor | StoredTensor") -> tuple[str, tuple[int, ...], Any]:
    """Return the type (as PyTorch names it), the shape and the bytes of a tensor."""
    if isinstance(tensor, StoredTensor):
        return TORCH_NAMES.get(tensor.kind, tensor.kind), tensor.shape, tensor.data
    import torch

    data = tensor.contiguous().flatten().view(torch.uint8).numpy().data
    return str(tensor.dtype), tuple(tensor.shape), data
