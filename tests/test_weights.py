import argparse
import fractions
import json
import os
import pickle
import re
import stat
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from maeface.errors import WeightsError
from maeface.model import arrays, weights, zoo
from maeface.model.au import AUModel
from maeface.model.file_format.metadata import FORMAT_VERSION, Unlike
from maeface.model.mae import MAE
from maeface.model.vit import ViT
from maeface.model.weights import Preprocessing, load_encoder, load_encoder_into

SHAPE = (12, 2, 3)


def mae_model(seed=0, shape=SHAPE, image_size=16, decoder=(8, 1, 2)) -> MAE:
    torch.manual_seed(seed)
    return MAE(ViT(shape, image_size, 4), *decoder, mask_ratio=0.6, loss="l2", normalize_patches=False).eval()


def au_model(seed=0) -> AUModel:
    torch.manual_seed(seed)
    model = AUModel(ViT(SHAPE, 16, 4), (4, 12, 25), "both").eval()
    torch.nn.init.normal_(model.head.weight)
    return model


def saved(path, model, **more):
    weights.save(path, model, weights.describe(model, Preprocessing(image_size=16), **more))
    return path


@pytest.fixture
def mae_file(tmp_path):
    return saved(tmp_path / "mae.safetensors", mae_model())


@pytest.fixture
def au_file(tmp_path):
    return saved(
        tmp_path / "au.safetensors", au_model(), thresholds=(0.5, 0.4, 0.6), dataset="synthau", fold=1
    )


def published(model) -> dict[str, torch.Tensor]:
    return {weights.published_name(k): v.clone() for k, v in model.state_dict().items()}


def assert_same_encoder(one, other):
    for name, value in one.encoder.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


# ---- maeface's own files


def test_a_masked_autoencoder_comes_back_whole(mae_file):
    model, loaded = mae_model(), weights.load_mae(mae_file)
    again, metadata = loaded
    assert (again.mask_ratio, again.loss_kind, again.normalize_patches) == (0.6, "l2", False)
    assert metadata.kind == "mae" and metadata.preprocessing.image_size == 16
    images, noise = torch.rand(2, 3, 16, 16), torch.rand(2, 16)
    assert torch.equal(again.predict(images, noise).prediction, model.predict(images, noise).prediction)
    assert not again.encoder.pos_embed.requires_grad and again.mask_token.requires_grad
    assert not again.training


def test_an_au_model_comes_back_whole(au_file):
    model, (again, metadata) = au_model(), weights.load_model(au_file)
    images = torch.rand(2, 3, 16, 16)
    for ours, theirs in zip(again(images)[:2], model(images)[:2], strict=True):
        assert torch.equal(ours, theirs)
    assert (metadata.task, metadata.aus, metadata.fold) == ("both", (4, 12, 25), 1)
    assert metadata.thresholds == (0.5, 0.4, 0.6)
    assert again.encoder.pos_embed.requires_grad
    assert weights.read_metadata(au_file) == metadata


def test_training_on_loaded_weights_does_not_change_the_file(au_file):
    before = au_file.read_bytes()
    model, _ = weights.load_model(au_file)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert au_file.read_bytes() == before


def test_the_file_is_plain_safetensors_with_published_names(mae_file, tmp_path):
    with safe_open(mae_file, "pt") as file:
        names = set(file.keys())
        assert set(file.metadata()) == {"maeface"}
    assert {"blocks.0.attn.qkv.weight", "decoder_blocks.0.mlp.fc1.bias", "norm.weight", "mask_token"} <= names
    assert not [name for name in names if name.startswith("encoder.")]
    plain = tmp_path / "plain"
    plain.touch()
    assert stat.S_IMODE(mae_file.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_equal_models_give_equal_bytes(mae_file, tmp_path):
    assert saved(tmp_path / "again.safetensors", mae_model()).read_bytes() == mae_file.read_bytes()


@pytest.mark.parametrize(("dtype", "tolerance"), [("bf16", 1e-2), ("fp16", 1e-3)])
def test_half_precision_files_load_as_float32(tmp_path, mae_file, dtype, tolerance):
    path = tmp_path / "half.safetensors"
    model = mae_model()
    weights.save(path, model, weights.describe(model, Preprocessing(image_size=16)), dtype=dtype)
    assert path.stat().st_size < 0.75 * mae_file.stat().st_size
    again, _ = weights.load_mae(path)
    for name, value in model.state_dict().items():
        assert again.state_dict()[name].dtype == torch.float32
        torch.testing.assert_close(again.state_dict()[name], value, rtol=tolerance, atol=1e-6)


def test_values_that_do_not_fit_are_not_saved(tmp_path):
    model = au_model()
    metadata = weights.describe(model, Preprocessing(image_size=16))
    with torch.no_grad():
        model.head.bias[0] = 1e6
    with pytest.raises(WeightsError, match=r"as fp16: .*head\.bias"):
        weights.save(tmp_path / "w.safetensors", model, metadata, dtype="fp16")
    assert not list(tmp_path.iterdir())


def test_headers_of_every_length_are_known_for_what_they_are(tmp_path):
    """The length comes first in the file; its low byte may be that of a pickle or a zip."""
    model, first = au_model(), set()
    for length in range(0, 256, 8):
        path = saved(tmp_path / "w.safetensors", model, dataset="x" * length)
        first.add(path.read_bytes()[0])
        assert weights.read_metadata(path).dataset == "x" * length
    assert {0x80, 0x50} <= first


# ---- stored in fewer bits, and in parts


def test_rows_of_whole_numbers_come_back_within_half_a_step(tmp_path):
    path, model = tmp_path / "w.safetensors", au_model()
    with torch.no_grad():
        model.head.weight[1] = 0
        model.head.weight[2, 3] = 40.0
    weights.save(path, model, weights.describe(model, Preprocessing(image_size=16)), dtype="int8")
    stored = load_file(path)
    assert stored["head.weight"].dtype == torch.int8 and stored["head.weight_scale"].shape == (6,)
    assert stored["head.bias"].dtype == stored["pos_embed"].dtype == torch.float32
    again, _ = weights.load_model(path)
    for name, value in model.state_dict().items():
        got = again.state_dict()[name]
        assert got.dtype == torch.float32
        if name.endswith(".weight") and value.ndim >= 2:
            step = value.flatten(1).abs().amax(dim=1) / 127
            assert ((got - value).flatten(1).abs() <= step[:, None] * 0.5001).all(), name
        else:
            assert torch.equal(got, value), name
    assert not again.head.weight[1].any() and float(again.head.weight[2, 3].detach()) == pytest.approx(40)
    assert torch.equal(
        load_encoder(path)[0].blocks[0].attn.qkv.weight, again.encoder.blocks[0].attn.qkv.weight
    )


def test_a_tiny_model_fits_the_package(tmp_path):
    model = AUModel(ViT("tiny", 224, 16), tuple(range(1, 21)), "both")
    assert 5.3e6 < sum(p.numel() for p in model.parameters()) < 5.7e6
    metadata = weights.describe(model, Preprocessing(image_size=224))
    sizes = {}
    for dtype in ("bf16", "int8"):
        (file,) = weights.save(tmp_path / f"{dtype}.safetensors", model, metadata, dtype, part_bytes=2**24)
        sizes[dtype] = file.stat().st_size
    assert sizes["int8"] < 6.5e6 < sizes["bf16"] < 12e6


@pytest.fixture
def parts(tmp_path):
    """An AU model in several parts, and their folder."""
    folder, model = tmp_path / "parts", au_model()
    metadata = weights.describe(model, Preprocessing(image_size=16), dataset="in parts")
    return weights.save(folder / "w.safetensors", model, metadata, part_bytes=10_000), folder


def test_parts_are_read_as_one(parts):
    written, folder = parts
    count = len(written)
    assert [file.name for file in written] == [
        f"w-{k:05d}-of-{count:05d}.safetensors" for k in range(1, count + 1)
    ]
    assert sorted(folder.iterdir()) == sorted(written)
    assert count > 2 and max(file.stat().st_size for file in written) <= 10_000
    model = au_model()
    for path in (folder / "w.safetensors", folder / "w", written[1], folder):
        again, metadata = weights.load_model(path)
        assert metadata.dataset == "in parts" == weights.read_metadata(path).dataset
        assert all(torch.equal(again.state_dict()[k], v) for k, v in model.state_dict().items())
        assert_same_encoder(model, load_encoder(path)[0])
        assert load_encoder_into(au_model(seed=3), path).missing
        assert weights.files_of(path) == written


def test_parts_that_are_not_whole_are_refused(parts, tmp_path):
    written, folder = parts
    data = written[1].read_bytes()
    written[1].unlink()
    for path in (folder, written[0], folder / "w.safetensors"):
        refused(
            lambda path=path: weights.load_model(path),
            f"expected {len(written)} parts of one set, got w-00001",
        )
    written[1].write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    refused(lambda: weights.load_model(folder), "SHA-256 does not match")
    model = au_model(seed=9)
    metadata = weights.describe(model, Preprocessing(image_size=16), dataset="in parts")
    others = weights.save(tmp_path / "other" / "w.safetensors", model, metadata, part_bytes=10_000)
    written[1].write_bytes(others[1].read_bytes())
    refused(lambda: weights.load_model(folder), f"{written[1].name} does not belong to .*{written[0].name}")


def test_saving_again_leaves_nothing_of_the_last_save(parts):
    _, folder = parts
    model = au_model(seed=4)
    metadata = weights.describe(model, Preprocessing(image_size=16))
    other = folder / "w2.safetensors"
    other.touch()
    assert weights.save(folder / "w.safetensors", model, metadata) == (folder / "w.safetensors",)
    assert sorted(folder.iterdir()) == [folder / "w.safetensors", other]
    refused(lambda: weights.load_model(folder), "is a folder with w, w2; give one")
    weights.save(folder / "w.safetensors", model, metadata, part_bytes=20_000)
    assert_same_encoder(model, weights.load_model(folder / "w.safetensors")[0].encoder)
    refused(
        lambda: weights.save(folder / "w.safetensors", model, metadata, part_bytes=3_000),
        "cannot be cut so small",
    )


def test_whole_numbers_need_their_scales(au_file, tmp_path):
    path = tmp_path / "int8.safetensors"
    weights.repack(au_file, path, "int8")
    good = load_file(path)
    bad_scales = (None, torch.ones(5), torch.ones(6, dtype=torch.int32), torch.full((6,), float("nan")))
    for scale in bad_scales:
        tensors = {name: value for name, value in good.items() if name != "head.weight_scale"}
        rewritten(
            path, lambda values: None, tensors | ({} if scale is None else {"head.weight_scale": scale})
        )
        refused(lambda: weights.load_model(path), r"int8\.safetensors: .*head\.weight")


def test_packing_again_keeps_all_but_what_is_asked(au_file, mae_file, tmp_path):
    before = weights.read_metadata(au_file)
    (path,) = weights.repack(au_file, tmp_path / "p.safetensors", "bf16", part_bytes=2**24, mirror=True)
    after = weights.read_metadata(path)
    assert after.preprocessing.mirror and not before.preprocessing.mirror
    assert after.provenance == before.provenance | {"stored_as": "bf16"}
    same = {"thresholds", "dataset", "fold", "aus", "task", "encoder", "kind"}
    assert after.model_dump(include=same) == before.model_dump(include=same)
    weights.repack(path, tmp_path / "back.safetensors", "fp32")
    rounded = {k: v.bfloat16().float() for k, v in published(au_model()).items()}
    back = load_file(tmp_path / "back.safetensors")
    assert all(torch.equal(back[name], value) for name, value in rounded.items())
    weights.repack(mae_file, tmp_path / "mae.safetensors", "int8")
    assert weights.load_mae(tmp_path / "mae.safetensors")[1].kind == "mae"


@pytest.mark.parametrize("part_bytes", [None, 10_000])
def test_tensors_that_weights_did_not_have_are_added(tmp_path, part_bytes):
    path, model = tmp_path / "w.safetensors", au_model()
    before = weights.describe(model, Preprocessing(image_size=16))
    files = weights.save(path, model, before, "int8", part_bytes)
    width = before.encoder.width
    new = {"unlike.mean": torch.arange(width) / 7, "unlike.factor": torch.eye(width) / 3}
    known = before.model_copy(update={"unlike": Unlike(data="faces", n=10, within=0.9)})
    assert weights.write_metadata(path, known, new) == files
    after, metadata = weights.load_model(path)
    assert metadata.unlike == known.unlike
    state = after.state_dict()
    assert all(torch.equal(state[name], value) for name, value in new.items())
    assert arrays.load_arrays(path)[0].keys() == published(after).keys()
    features = torch.randn(2, width)
    expected = ((features - new["unlike.mean"]) / 3).norm(dim=1)
    torch.testing.assert_close(after.unlike(features), expected)
    weights.write_metadata(path, before)
    refused(lambda: weights.load_model(path), "unlike.mean is not expected")


def test_a_file_of_the_first_format_is_read(au_file):
    def older(values):
        values["format_version"] = 1
        del values["preprocessing"]["mirror"], values["licence"], values["start"]
        for name in ("activation", "norm_pre", "norm_eps"):  # of format 6
            del values["encoder"][name]

    rewritten(au_file, older)
    assert weights.load_model(au_file)[1].preprocessing.mirror is False


# ---- weights by name


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A folder in the place of the package's own."""
    folder = tmp_path / "zoo"
    folder.mkdir()
    monkeypatch.setattr(zoo, "folder", lambda: folder)
    return folder


def test_weights_are_found_by_name_or_path(shelf, au_file, monkeypatch):
    model, size = au_model(), Preprocessing(image_size=16)
    default = shelf / f"{zoo.DEFAULT}.safetensors"
    saved(default, model)
    weights.save(shelf / "cut.safetensors", model, weights.describe(model, size), part_bytes=10_000)
    (shelf / "README.md").touch()
    assert zoo.names() == ("cut", zoo.DEFAULT)
    assert weights.find() == weights.find(zoo.DEFAULT) == default
    for name in zoo.names():
        assert_same_encoder(model, weights.load_model(weights.find(name))[0].encoder)
    assert weights.find(au_file) == weights.find(str(au_file)) == au_file
    monkeypatch.chdir(shelf)
    assert weights.find(f"./{zoo.DEFAULT}") == weights.find(Path(zoo.DEFAULT)) == Path(zoo.DEFAULT)
    assert weights.find("absent.safetensors") == Path("absent.safetensors")  # loading says what is wrong
    Path("mine").touch()
    assert weights.find("mine") == Path("mine")


def test_an_unknown_name_is_told_the_known_ones(shelf):
    refused(
        lambda: weights.find(), f"no weights were named, and {zoo.DEFAULT} does not come with this package"
    )
    refused(lambda: weights.find("maeface-nano"), "no weights 'maeface-nano': no such file, .* with: none")
    saved(shelf / "maeface-nano.safetensors", au_model())
    refused(lambda: weights.find("maeface-nno"), "no weights 'maeface-nno': .* comes with: maeface-nano")


# ---- what is refused


def refused(call, match):
    """One clear line."""
    with pytest.raises(WeightsError, match=match) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_file(tmp_path):
    refused(lambda: weights.load_mae(tmp_path / "none"), "cannot read weights .*none: No such file")
    refused(lambda: weights.load_mae(tmp_path), "is a folder")


@pytest.mark.parametrize("size", [0, 4, 8, 9, 200, -1000, -1])
def test_truncated(mae_file, size):
    data = mae_file.read_bytes()
    mae_file.write_bytes(data[:size])
    refused(lambda: weights.load_mae(mae_file), r"empty \(0 bytes\)|damaged")


def test_any_flipped_byte_is_seen(mae_file):
    data = bytearray(mae_file.read_bytes())
    length = struct.unpack("<Q", data[:8])[0]
    places = [0, 5, 8, 12, *range(20, length, 97), length + 7, length + 100, len(data) - 1]
    for place in places:
        flipped = bytearray(data)
        flipped[place] ^= 0x04
        mae_file.write_bytes(flipped)
        refused(lambda: weights.load_mae(mae_file), "damaged|does not fit|wrong metadata|upgrade|expected")


def test_header_that_claims_more_than_the_file(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", 10 * 2**30) + b'{"a":1}')
    refused(lambda: weights.load_mae(path), "damaged")


def test_text_file(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_text("not weights at all")
    refused(lambda: load_encoder(path), "neither a safetensors nor a PyTorch")


def rewritten(path, change, tensors=None):
    """The file with its metadata changed, its digest as an honest writer of such metadata would give."""
    with safe_open(path, "pt") as file:
        values = json.loads(file.metadata()["maeface"])["metadata"]
    change(values)
    tensors = load_file(path) if tensors is None else tensors
    header = json.dumps({"metadata": values, "sha256": weights_digest(values, tensors)})
    save_file(tensors, path, metadata={"maeface": header})
    return path


def weights_digest(values, tensors):
    from maeface.model.file_format.metadata import _digest

    return _digest(values, tensors)


def test_newer_format(mae_file):
    rewritten(mae_file, lambda values: values.update(format_version=FORMAT_VERSION + 1, new_field="?"))
    refused(
        lambda: weights.load_mae(mae_file),
        f"format version {FORMAT_VERSION + 1}, this maeface reads up to {FORMAT_VERSION}: upgrade",
    )


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda v: v.update(kind="gan"), "wrong metadata: kind"),
        (lambda v: v.update(surprise=1), "wrong metadata: surprise"),
        (lambda v: v["encoder"].update(width=10**9), r"wrong metadata: encoder\.width"),
        (lambda v: v["encoder"].update(depth=10**9), r"wrong metadata: encoder\.depth"),
        (lambda v: v["encoder"].update(heads=5), "width 12 must be a multiple of 4 .* 5 heads"),
        (lambda v: v.update(aus=[], task=None), "needs a task and AUs"),
        (lambda v: v.update(thresholds=[0.5]), "1 thresholds for 3 AUs"),
        (lambda v: v.pop("encoder"), "wrong metadata: encoder"),
        (lambda v: v.update(format_version="1"), "wrong metadata: format_version"),
    ],
)
def test_wrong_metadata(au_file, change, match):
    refused(lambda: weights.load_model(rewritten(au_file, change)), match)


def test_wrong_kind(mae_file, au_file):
    refused(lambda: weights.load_model(mae_file), r"expected AU weights, got mae .*mae\.safetensors")
    refused(
        lambda: weights.load_mae(au_file), r"expected masked autoencoder weights, got au .*au\.safetensors"
    )


def test_a_public_file_is_not_an_au_model(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(published(au_model()), path)
    refused(lambda: weights.load_model(path), "no maeface metadata; public checkpoints")


def test_metadata_of_other_tensors(au_file):
    tensors = load_file(au_file)
    tensors["head.weight"] = torch.zeros(5, 12)
    del tensors["head.bias"]
    tensors["strange"] = torch.zeros(1)
    rewritten(au_file, lambda values: None, tensors)
    message = refused(lambda: weights.load_model(au_file), "does not fit")
    for part in ("head.weight is 5x12, expected 6x12", "head.bias is missing", "strange is not expected"):
        assert part in message


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_and_infinity(au_file, bad):
    tensors = load_file(au_file)
    tensors["blocks.1.mlp.fc2.bias"][3] = bad
    rewritten(au_file, lambda values: None, tensors)
    refused(lambda: weights.load_model(au_file), r"NaN, infinite .*blocks\.1\.mlp\.fc2\.bias")
    refused(lambda: load_encoder(au_file), r"NaN, infinite .*blocks\.1\.mlp\.fc2\.bias")


# ---- encoders out of public checkpoints


def to_transformers(state, version):
    """ViTMAE's names of version 4, of version 5, and those that version 5 saves."""
    renames = {
        "attn.proj": {4: "attention.output.dense", 5: "attention.o_proj"},
        "attn.q": {4: "attention.attention.query", 5: "attention.q_proj"},
        "attn.k": {4: "attention.attention.key", 5: "attention.k_proj"},
        "attn.v": {4: "attention.attention.value", 5: "attention.v_proj"},
        "mlp.fc1": {4: "intermediate.dense", 5: "mlp.fc1"},
        "mlp.fc2": {4: "output.dense", 5: "mlp.fc2"},
        "norm1": {4: "layernorm_before", 5: "layernorm_before"},
        "norm2": {4: "layernorm_after", 5: "layernorm_after"},
    }
    keys = 5 if version == 5 else 4
    blocks = {4: "vit.encoder.layer", 5: "vit.layers", "5 saved": "vit.encoder.layer"}[version]
    decoder = {4: "decoder_layers", 5: "decoder_layers", "5 saved": "decoder_encoder.layer"}[version]
    out = {}
    for name, value in state.items():
        if ".attn.qkv." in name:
            parts = zip("qkv", value.chunk(3), strict=True)
            pieces = {name.replace("qkv", part): chunk.clone() for part, chunk in parts}
        else:
            pieces = {name: value}
        for key, tensor in pieces.items():
            key = key.replace("patch_embed.proj.", "vit.embeddings.patch_embeddings.projection.")
            key = re.sub(r"^cls_token$", "vit.embeddings.cls_token", key)
            key = re.sub(r"^pos_embed$", "vit.embeddings.position_embeddings", key)
            key = re.sub(r"^norm\.", "vit.layernorm.", key)
            key = re.sub(r"^blocks", blocks, key)
            key = re.sub(r"^decoder_blocks", f"decoder.{decoder}", key)
            key = re.sub(r"^(mask_token|decoder_(pos|embed|norm|pred))", r"decoder.\1", key)
            for ours, theirs in renames.items():
                key = key.replace(f".{ours}.", f".{theirs[keys]}.")
            out[key] = tensor
    return out


NAMESPACE = argparse.Namespace(model="mae_vit_base_patch16", blr=1.5e-4, output_dir="./out")


def write_layout(layout, path, model):
    """A small checkpoint in a public layout; returns whether it has the final norm and a decoder."""
    state = published(model)
    encoder = {k: v for k, v in state.items() if not k.startswith(("decoder_", "mask_token"))}
    match layout:
        case "facebookresearch encoder":
            torch.save({"model": encoder}, path)
        case "facebookresearch full":
            torch.save({"model": state}, path)
        case "MAE-Face release":
            moments = {"state": {0: {"step": 3, "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]}
            torch.save(
                {"model": state, "optimizer": moments, "epoch": 799, "scaler": {}, "args": NAMESPACE}, path
            )
        case "old PyTorch format":
            torch.save({"model": state, "args": NAMESPACE}, path, _use_new_zipfile_serialization=False)
        case "timm safetensors":
            save_file(encoder, path)
        case "timm pth":
            torch.save(encoder, path)
        case "timm pooled":
            no_norm = {k: v for k, v in encoder.items() if not k.startswith("norm.")}
            save_file(no_norm | {"fc_norm.weight": torch.ones(12), "fc_norm.bias": torch.zeros(12)}, path)
        case "transformers 4" | "transformers 5" | "transformers 5 saved":
            version = layout.removeprefix("transformers ")
            save_file(to_transformers(state, int(version) if version.isdigit() else version), path)
            config = {"model_type": "vit_mae", "num_attention_heads": 3, "decoder_num_attention_heads": 2}
            path.with_name("config.json").write_text(json.dumps(config))
    return layout != "timm pooled", not layout.startswith(("timm", "facebookresearch encoder"))


LAYOUTS = [
    "facebookresearch encoder",
    "facebookresearch full",
    "MAE-Face release",
    "old PyTorch format",
    "timm safetensors",
    "timm pth",
    "timm pooled",
    "transformers 4",
    "transformers 5",
    "transformers 5 saved",
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_public_layouts(tmp_path, layout):
    source, path = mae_model(seed=1), tmp_path / "weights"
    has_norm, has_decoder = write_layout(layout, path, source)

    vit, report = load_encoder(path, heads=3)
    assert (vit.shape, vit.image_size, vit.patch_size) == (SHAPE, 16, 4)
    assert_same_encoder(source, vit)
    assert report.missing == ()
    assert set(report.loaded) == set(vit.state_dict())
    assert vit.pos_embed.requires_grad

    target = mae_model(seed=2)
    before = published(target)
    report = load_encoder_into(target, path)
    assert_same_encoder(source, target.encoder)
    wanted, after = published(source), published(target)
    for name, value in after.items():
        if name in report.loaded:
            assert torch.equal(value, wanted[name]), name
        elif name != "decoder_pos_embed":
            assert torch.equal(value, before[name]) and name in report.missing, name
    assert ("norm.weight" in report.loaded) == has_norm
    assert ("decoder_pred.weight" in report.loaded) == has_decoder
    assert report.unused == (("fc_norm.bias", "fc_norm.weight") if layout == "timm pooled" else ())
    assert (report.missing == ()) == (has_norm and has_decoder)


SCALARS = {
    "best_f1": np.float64(0.61),
    "train_loss": np.zeros(3, np.float32),
    "epoch": np.int64(7),
    "names": np.array(["AU12", "AU25"]),
    "out": Path("runs") / "1",
    "loss": torch.tensor(0.3),
}
WRAPPED = {
    "state_dict": lambda state: {"state_dict": state},
    "model_state_dict": lambda state: {"epoch": 3, "model_state_dict": state, "optimizer": {"state": {}}},
    "model in state_dict": lambda state: {"state_dict": {"model": state, "args": NAMESPACE}},
    "scalars": lambda state: {"model": state} | SCALARS,
    "scalars beside bare tensors": lambda state: state | {"best": np.float32(1)},
    **{
        prefix: lambda state, prefix=prefix: {"state_dict": {prefix + name: t for name, t in state.items()}}
        for prefix in (
            "module.",
            "_orig_mod.",
            "model.",
            "encoder.",
            "backbone.",
            "module._orig_mod.encoder.",
            "model.encoder._orig_mod.",
        )
    },
    "wrapped blocks": lambda state: {
        re.sub(r"^(blocks\.\d+)", r"\1._orig_mod", name): tensor for name, tensor in state.items()
    },
    "lightning": lambda state: (
        {"state_dict": {f"model.backbone.{name}": t for name, t in state.items()}}
        | {"pytorch-lightning_version": "2.4", "callbacks": {"best_model_score": np.float64(1)}}
    ),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("layout", WRAPPED)
def test_checkpoints_of_other_trainers(tmp_path, layout, zipped):
    source, path = mae_model(seed=1), tmp_path / "w.pth"
    torch.save(WRAPPED[layout](published(source)), path, _use_new_zipfile_serialization=zipped)
    vit, report = load_encoder(path, heads=3)
    assert_same_encoder(source, vit)
    assert report.missing == ()
    target = mae_model(seed=2)
    assert load_encoder_into(target, path).missing == ()
    for name, tensor in published(source).items():
        assert torch.equal(published(target)[name], tensor), name


@pytest.mark.parametrize("prefix", ["", "module.", "encoder.", "model.encoder."])
@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("bare", [True, False])
def test_transformers_below_a_prefix(tmp_path, prefix, version, bare):
    source, path = mae_model(seed=1), tmp_path / "w.safetensors"
    encoder = {name: t for name, t in published(source).items() if not name.startswith(("decoder", "mask"))}
    state = to_transformers(encoder, version)
    state = {prefix + (name.removeprefix("vit.") if bare else name): tensor for name, tensor in state.items()}
    save_file(state, path)
    assert_same_encoder(source, load_encoder(path, heads=3)[0])


def test_checkpoints_that_cannot_be_loaded_give_one_honest_line(tmp_path):
    path, state = tmp_path / "w.pth", published(mae_model())
    both = {f"{name}.{key}": tensor for name in ("encoder", "backbone") for key, tensor in state.items()}
    other_settings = Gadget(fractions.Fraction, 1, 2)
    for content, match in (
        ({"state_dict": both}, r"two tensors .*save one of the two"),
        ({"model": state, "config": other_settings}, r"asks for fractions\.Fraction, .*save the state_dict"),
        ({"state_dict": {"fc.weight": torch.zeros(2, 2)}}, r"no vision transformer.*fc\.weight"),
        ({"net": {"model": {"state_dict": {}}}}, r"its first tensors: none"),
    ):
        torch.save(content, path)
        assert "hostile" not in refused(lambda: load_encoder(path, heads=3), match)
    circle = {"epoch": 1}
    circle["model"] = {"state_dict": circle}
    torch.save(circle, path)
    refused(lambda: load_encoder(path, heads=3), "its first tensors: none")


def test_numpy_in_a_pickle_is_never_called(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"model": published(mae_model()), "x": Gadget(np.fromfile, "/etc/hostname")}, path)
    refused(lambda: load_encoder(path, heads=3), r"asks for numpy.*fromfile.*nothing in it was run")
    torch.save({"model": published(mae_model()), "x": Gadget(np.ndarray, 10**15)}, path)
    load_encoder(path, heads=3)  # the array would not fit into memory
    assert not [one for one in torch.serialization.get_safe_globals() if isinstance(one, tuple)]


def test_real_timm_and_its_names(tmp_path):
    import timm

    peer = timm.models.VisionTransformer(img_size=16, patch_size=4, embed_dim=12, depth=2, num_heads=3).eval()
    torch.save(peer.state_dict(), tmp_path / "w.pth")
    vit, report = load_encoder(tmp_path / "w.pth", heads=3)
    assert report.unused == ("head.bias", "head.weight", "norm.bias", "norm.weight")
    images = torch.rand(1, 3, 16, 16)
    theirs = peer.forward_intermediates(images, indices=1, intermediates_only=True, return_prefix_tokens=True)
    patches = theirs[0][0].flatten(2).transpose(1, 2)
    torch.testing.assert_close(vit(images)[:, 1:], patches, rtol=0, atol=1e-5)


def test_own_files_are_an_init_too(mae_file, au_file):
    vit, _ = load_encoder(mae_file, drop_path=0.2)
    assert_same_encoder(mae_model(), vit)
    assert vit.blocks[-1].drop_path == 0.2
    vit, report = load_encoder(au_file)
    assert_same_encoder(au_model(), vit)
    assert report.unused == ("fc_norm.bias", "fc_norm.weight", "head.bias", "head.weight")
    model = au_model(seed=5)
    head = model.head.weight.clone()
    report = load_encoder_into(model, au_file)
    assert_same_encoder(au_model(), model.encoder)
    assert torch.equal(model.head.weight, head) and "head.weight" in report.missing
    assert "left as initialised: fc_norm.bias" in str(report)


def test_a_decoder_that_does_not_fit_is_left_and_named(mae_file):
    target = mae_model(seed=3, decoder=(16, 1, 2))
    before = target.decoder_pred.weight.clone()
    report = load_encoder_into(target, mae_file)
    assert torch.equal(target.decoder_pred.weight, before)
    assert {"decoder_embed.weight", "mask_token"} <= set(report.missing) & set(report.unused)
    assert "norm.weight" in report.loaded
    other_heads = mae_model(seed=3, decoder=(8, 1, 1))
    assert "decoder_embed.weight" in load_encoder_into(other_heads, mae_file).missing


def test_a_decoder_brings_its_own_positions(tmp_path):
    """transformers 5 makes new decoders with zeros there, and trains around them."""
    state = published(mae_model())
    state["decoder_pos_embed"].zero_()
    save_file(state, tmp_path / "w.safetensors")
    target = mae_model(seed=4)
    load_encoder_into(target, tmp_path / "w.safetensors")
    assert not target.decoder_pos_embed.any()
    computed = mae_model(seed=4, image_size=24)
    load_encoder_into(computed, tmp_path / "w.safetensors", interpolate=True)
    assert computed.decoder_pos_embed.any()


def test_heads_come_from_the_table_or_are_asked_for(tmp_path):
    save_file(published(mae_model()), tmp_path / "w.safetensors")
    refused(lambda: load_encoder(tmp_path / "w.safetensors"), "its number of attention heads; give it")
    vit = ViT((192, 12, 1), 8, 4)
    save_file({k: v.contiguous() for k, v in vit.state_dict().items()}, tmp_path / "tiny.safetensors")
    assert load_encoder(tmp_path / "tiny.safetensors")[0].shape.heads == 3


def test_other_heads_are_refused(mae_file):
    model = mae_model(shape=(12, 2, 1))
    refused(lambda: load_encoder_into(model, mae_file), "expected 1 attention heads, got 3")


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"num_attention_heads": "3"}', '{"num_attention_heads": 0}', "{}"]
)
def test_hostile_config_beside_the_file(tmp_path, text):
    write_layout("transformers 5", tmp_path / "w.safetensors", mae_model())
    (tmp_path / "config.json").write_text(text)
    refused(lambda: load_encoder(tmp_path / "w.safetensors"), r"config\.json")


def test_all_misfits_are_listed(mae_file):
    model = mae_model(shape=(24, 3, 3))
    before = published(model)
    message = refused(lambda: load_encoder_into(model, mae_file), "does not fit the model")
    assert "blocks.0.attn.qkv.weight is 36x12, expected 72x24" in message
    assert "blocks.2.norm1.weight is missing" in message
    assert all(torch.equal(value, before[name]) for name, value in published(model).items())


def test_other_architectures_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"conv1.weight": torch.zeros(3), "fc.bias": torch.zeros(2)}, path)
    refused(lambda: load_encoder(path), "no vision transformer .*conv1")
    save_file(published(mae_model()) | {"blocks.0.ls1.gamma": torch.ones(12)}, path)
    refused(lambda: load_encoder(path, heads=3), r"blocks\.0\.ls1\.gamma is not expected")
    save_file(published(mae_model(shape=(12, 3, 3))), path)
    refused(lambda: load_encoder_into(mae_model(), path), r"blocks\.2\.attn\.proj\.bias is not expected")


def test_positions_of_another_size_only_when_asked(mae_file):
    refused(
        lambda: load_encoder(mae_file, image_size=24), "pos_embed is 1x17x12, expected 1x37x12.*interpolate"
    )
    vit, _ = load_encoder(mae_file, image_size=24, interpolate=True)
    assert vit.grid == 6
    source = mae_model().encoder.pos_embed
    assert torch.equal(vit.pos_embed[:, 0], source[:, 0])
    corners = vit.pos_embed[0, 1:].unflatten(0, (6, 6))[[0, 0, 5, 5], [0, 5, 0, 5]]
    theirs = source[0, 1:].unflatten(0, (4, 4))[[0, 0, 3, 3], [0, 3, 0, 3]]
    assert (corners - theirs).abs().max() < 0.25  # the same places, codes from -1 to 1
    assert torch.equal(load_encoder(mae_file, interpolate=True)[0].pos_embed, source)
    refused(lambda: load_encoder(mae_file, image_size=18, interpolate=True), "not a multiple of the patch")
    bigger = mae_model(image_size=24)
    report = load_encoder_into(bigger, mae_file, interpolate=True)
    assert report.missing == ()
    assert torch.equal(bigger.encoder.pos_embed, vit.pos_embed)


# ---- pickles


class Gadget:
    def __init__(self, call, *arguments):
        self.reduced = call, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path, zipped):
    path, trace = tmp_path / "w.pth", tmp_path / "ran"
    gadget = Gadget(os.system, f"touch {trace}")
    torch.save({"model": published(mae_model()), "args": gadget}, path, _use_new_zipfile_serialization=zipped)
    refused(lambda: load_encoder(path, heads=3), r"refused .*asks for posix\.system.* nothing in it was run")
    assert not trace.exists()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_bare_pickle_is_refused_and_not_run(tmp_path, protocol):
    path, trace = tmp_path / "w.pth", tmp_path / "ran"
    path.write_bytes(pickle.dumps({"model": Gadget(os.system, f"touch {trace}")}, protocol=protocol))
    refused(lambda: load_encoder(path), "refused|damaged")
    assert not trace.exists()


def test_builtins_and_hidden_gadgets_are_refused(tmp_path):
    path = tmp_path / "w.pth"
    for gadget in (
        Gadget(eval, "1"),
        Gadget(getattr, "", "join"),
        argparse.Namespace(x=Gadget(print, "hello")),
    ):
        torch.save({"model": published(mae_model()), "args": gadget}, path)
        refused(lambda: load_encoder(path, heads=3), "nothing in it was run")


def test_a_namespace_is_never_made(tmp_path, monkeypatch):
    write_layout("MAE-Face release", tmp_path / "w.pth", mae_model())

    def made(*_, **__):
        raise AssertionError("a Namespace was made")

    monkeypatch.setattr(argparse.Namespace, "__init__", made)
    monkeypatch.setattr(argparse.Namespace, "__setattr__", made)
    load_encoder(tmp_path / "w.pth", heads=3)
    assert argparse.Namespace not in torch.serialization.get_safe_globals()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0005, 0.3, 0.6, 0.99])
def test_truncated_pth(tmp_path, zipped, share):
    path = tmp_path / "w.pth"
    torch.save({"model": published(mae_model())}, path, _use_new_zipfile_serialization=zipped)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    refused(lambda: load_encoder(path, heads=3), "refused|damaged")


def test_a_pickle_of_no_dict(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "w.pth")
    refused(lambda: load_encoder(tmp_path / "w.pth"), "expected a dict of tensors, got list")
    torch.save({"model": {}, "epoch": 1}, tmp_path / "w.pth")
    refused(lambda: load_encoder(tmp_path / "w.pth"), "its first tensors: none")
