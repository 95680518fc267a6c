"""The details in which published vision transformers differ."""

from typing import Literal, NamedTuple

LAYER_NORM_EPS = 1e-6
QUICK_GELU = 1.702
"""``quick_gelu`` of x is x * sigmoid(1.702 x)."""

Activation = Literal["gelu", "quick_gelu"]


class Style(NamedTuple):
    """Details of an encoder; the default is that of MAE.

    Attributes:
        activation: of the MLP.
        norm_pre: whether a LayerNorm comes before the first block.
        norm_eps: of every LayerNorm of the encoder.
    """

    activation: Activation = "gelu"
    norm_pre: bool = False
    norm_eps: float = LAYER_NORM_EPS

    def __str__(self) -> str:
        """Return whose style it is, in a few words."""
        if self in (MAE_STYLE, CLIP_STYLE):
            return "of MAE's kind" if self == MAE_STYLE else "of CLIP's kind"
        return f"with {', '.join(f'{name} {value}' for name, value in self._asdict().items())}"


MAE_STYLE = Style()
CLIP_STYLE = Style("quick_gelu", norm_pre=True, norm_eps=1e-5)
