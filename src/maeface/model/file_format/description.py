"""The metadata of a model that is to be saved."""

from collections.abc import Iterable, Mapping

from maeface.model.au import AUModel
from maeface.model.file_format.metadata import Autoencoder, Encoder, Metadata, Preprocessing, Start
from maeface.model.mae import MAE


def describe(
    model: MAE | AUModel,
    preprocessing: Preprocessing,
    *,
    thresholds: Iterable[float] = (),
    dataset: str = "",
    fold: int | None = None,
    licence: str = "",
    start: Start | None = None,
    provenance: Mapping[str, str] | None = None,
) -> Metadata:
    """Return the metadata of a model.

    Sizes, task and action units are read from the model; the arguments are the other fields of
    ``Metadata``.
    """
    vit = model.encoder
    assert preprocessing.image_size == vit.image_size, "preprocessing is of another image size"
    width, depth, heads = vit.shape
    encoder = Encoder(width=width, depth=depth, heads=heads, patch_size=vit.patch_size, **vit.style._asdict())
    autoencoder = None
    if isinstance(model, MAE):
        autoencoder = Autoencoder(
            decoder_width=model.decoder_shape.width,
            decoder_depth=model.decoder_shape.depth,
            decoder_heads=model.decoder_shape.heads,
            mask_ratio=model.mask_ratio,
            loss=model.loss_kind,
            normalize_patches=model.normalize_patches,
        )
    return Metadata(
        kind="mae" if isinstance(model, MAE) else "au",
        encoder=encoder,
        preprocessing=preprocessing,
        autoencoder=autoencoder,
        task=model.task if isinstance(model, AUModel) else None,
        aus=model.aus if isinstance(model, AUModel) else (),
        thresholds=tuple(thresholds),
        dataset=dataset,
        fold=fold,
        licence=licence,
        start=start,
        provenance=dict(provenance or {}),
    )
