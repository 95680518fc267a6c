"""The AU model that a fine-tuning starts with."""

from maeface import config
from maeface.errors import ConfigError
from maeface.model import weights
from maeface.model.au import AUModel
from maeface.model.vit import ViT


def require_head(settings: config.Finetune, init: str) -> None:
    """Raise ConfigError if the head of random weights is to be kept."""
    if settings.model.keep_head and init == "random":
        raise ConfigError(
            "model.keep_head is true, but init is random and has no trained head; give weights (--init), or "
            "leave model.keep_head out"
        )


def build_model(settings: config.Finetune, aus: tuple[int, ...], init: str) -> tuple[AUModel, str]:
    """Return the model before training, and a line on the origin of its encoder for the log."""
    head = settings.model
    if init == "random":
        encoder = ViT(head.size, head.image_size or 224, head.patch_size, head.drop_path)
        model, origin = AUModel(encoder, aus, head.task), f"from random weights, size {head.size}"
    else:
        encoder, report = weights.load_encoder(
            weights.find(init), image_size=head.image_size, drop_path=head.drop_path, interpolate=True
        )
        model = AUModel(encoder, aus, head.task)
        if head.keep_head:
            model.take_head(weights.load_model(init)[0])
            report = report.with_loaded(model.state_dict())
        origin = f"from {init}: {report}"
    if head.frozen:
        model.freeze_encoder()
    return model, origin
