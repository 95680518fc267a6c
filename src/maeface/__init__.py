"""Facial action units from photographs and videos.

Names are imported when they are first used, so ``import maeface`` is fast and does not load PyTorch.
``docs/user_guide/python.md`` describes them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maeface import (
        aus,
        config,
        datasets,
        demo,
        doctor,
        evaluate,
        export,
        facts,
        finetune,
        metrics,
        plan,
        predict,
        prepare,
        pretrain,
        reproduce,
        serve,
    )
    from maeface.errors import ConfigError, DataError, MaefaceError, ResourceError, WeightsError
    from maeface.model.weights import load_encoder, load_model
    from maeface.prediction.predictor import Predictor

__all__ = [
    "ConfigError",
    "DataError",
    "MaefaceError",
    "Predictor",
    "ResourceError",
    "WeightsError",
    "aus",
    "config",
    "datasets",
    "demo",
    "doctor",
    "evaluate",
    "export",
    "facts",
    "finetune",
    "load_encoder",
    "load_model",
    "metrics",
    "plan",
    "predict",
    "prepare",
    "pretrain",
    "reproduce",
    "serve",
]

_MODULES = {
    "Predictor": "maeface.prediction.predictor",
    "load_encoder": "maeface.model.weights",
    "load_model": "maeface.model.weights",
    **dict.fromkeys([name for name in __all__ if name.endswith("Error")], "maeface.errors"),
}
"""Where the names are that are not modules themselves."""


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name not in _MODULES:
        return import_module(f"{__name__}.{name}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
