"""Public encoders: CLIP's layout, which FaRL has, against a network written here; names; what is refused."""

import json

import pytest
import torch
from safetensors.torch import save_file

from maeface.errors import WeightsError
from maeface.model import arrays, preprocessing, public_encoders, weights
from maeface.model.au import AUModel
from maeface.model.au_graph import au_graph
from maeface.model.file_format.metadata import Preprocessing
from maeface.model.mae import MAE
from maeface.model.style import CLIP_STYLE
from maeface.model.vit import ViT
from maeface.runtime import backends

WIDTH, HEADS, DEPTH, SIDE, PATCH = 128, 2, 3, 32, 8
CLIP_MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
CLIP_STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)


class Reference(torch.nn.Module):
    """The image encoder of CLIP up to the last block, with PyTorch's own attention; names are OpenAI's."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv1 = torch.nn.Conv2d(3, WIDTH, PATCH, PATCH, bias=False)
        self.class_embedding = torch.nn.Parameter(torch.randn(WIDTH))
        self.positional_embedding = torch.nn.Parameter(torch.randn(1 + (SIDE // PATCH) ** 2, WIDTH))
        self.ln_pre, self.ln_post = torch.nn.LayerNorm(WIDTH), torch.nn.LayerNorm(WIDTH)
        self.proj = torch.nn.Parameter(torch.randn(WIDTH, 16))
        block = {
            "ln_1": lambda: torch.nn.LayerNorm(WIDTH),
            "attn": lambda: torch.nn.MultiheadAttention(WIDTH, HEADS, batch_first=True),
            "ln_2": lambda: torch.nn.LayerNorm(WIDTH),
            "mlp": lambda: torch.nn.ModuleDict(
                {"c_fc": torch.nn.Linear(WIDTH, 4 * WIDTH), "c_proj": torch.nn.Linear(4 * WIDTH, WIDTH)}
            ),
        }
        blocks = [torch.nn.ModuleDict({name: make() for name, make in block.items()}) for _ in range(DEPTH)]
        self.transformer = torch.nn.ModuleDict({"resblocks": torch.nn.ModuleList(blocks)})
        for parameter in self.parameters():
            torch.nn.init.normal_(parameter, std=0.3)

    def forward(self, images):
        """Map images, normalised by CLIP's colours, to tokens."""
        x = self.conv1(images).flatten(2).transpose(1, 2)
        cls = self.class_embedding.expand(len(x), 1, -1)
        x = self.ln_pre(torch.cat([cls, x], dim=1) + self.positional_embedding)
        for block in self.transformer["resblocks"]:
            y = block["ln_1"](x)
            x = x + block["attn"](y, y, y, need_weights=False)[0]
            y = block["mlp"]["c_fc"](block["ln_2"](x))
            x = x + block["mlp"]["c_proj"](y * torch.sigmoid(1.702 * y))
        return x


def openai(reference):
    """All tensors of a CLIP: the image encoder's below ``visual.``, and some of the text encoder's."""
    text = {
        "transformer.resblocks.0.attn.in_proj_weight": torch.zeros(6, 2),
        "positional_embedding": torch.zeros(7, 2),
        "token_embedding.weight": torch.zeros(9, 2),
        "logit_scale": torch.tensor(4.6),
        "input_resolution": torch.tensor(SIDE),
    }
    return {f"visual.{name}": value.clone() for name, value in reference.state_dict().items()} | text


def transformers(reference):
    """The same image encoder with the names of transformers."""
    out = {}
    for old, value in reference.state_dict().items():
        name = old
        for theirs, new in (
            ("conv1.", "embeddings.patch_embedding."),
            ("class_embedding", "embeddings.class_embedding"),
            ("positional_embedding", "embeddings.position_embedding.weight"),
            ("ln_pre", "pre_layrnorm"),
            ("ln_post", "post_layernorm"),
            ("transformer.resblocks", "encoder.layers"),
            ("ln_1", "layer_norm1"),
            ("ln_2", "layer_norm2"),
            ("attn.", "self_attn."),
            ("c_fc", "fc1"),
            ("c_proj", "fc2"),
        ):
            name = name.replace(theirs, new)
        if "in_proj" in name:
            for part, chunk in zip("qkv", value.chunk(3), strict=True):
                out[f"vision_model.{name.replace('in_proj_', f'{part}_proj.')}"] = chunk.clone()
        elif name != "proj":
            out[f"vision_model.{name}"] = value.clone()
    return out | {"visual_projection.weight": reference.proj.data.T.contiguous()}


LAYOUTS = {
    "FaRL": lambda path, model: torch.save({"epoch": 64, "state_dict": openai(model)}, path),
    "OpenAI": lambda path, model: torch.save(openai(model), path),
    "data parallel": lambda path, model: torch.save(
        {"state_dict": {f"module.{name}": value for name, value in openai(model).items()}}, path
    ),
    "half precision": lambda path, model: torch.save(
        {name: value.half() if value.is_floating_point() else value for name, value in openai(model).items()},
        path,
    ),
    "transformers": lambda path, model: save_file(transformers(model), path),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_encoder_of_clip_gives_the_tokens_of_clip(tmp_path, layout):
    reference, path = Reference().eval(), tmp_path / "clip.weights"
    LAYOUTS[layout](path, reference)
    if layout == "half precision":
        reference.load_state_dict({k: v.half().float() for k, v in reference.state_dict().items()})
    vit, report = weights.load_encoder(path)
    assert (vit.shape, vit.image_size, vit.patch_size) == ((WIDTH, DEPTH, HEADS), SIDE, PATCH)
    assert vit.style == CLIP_STYLE and report.missing == ()
    assert {"norm.weight", "norm.bias"} <= set(report.unused)
    pixels = torch.rand(2, 3, SIDE, SIDE)
    with torch.no_grad():
        expected = reference((pixels - CLIP_MEAN) / CLIP_STD)
        found = vit.eval()(preprocessing.normalize(pixels))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-4)
    assert expected.std() > 1  # not all the same


def test_positions_of_clip_are_resized_when_asked(tmp_path):
    path = tmp_path / "clip.pth"
    LAYOUTS["FaRL"](path, Reference())
    vit, _ = weights.load_encoder(path, image_size=2 * SIDE, interpolate=True)
    assert vit.pos_embed.shape == (1, 1 + (2 * SIDE // PATCH) ** 2, WIDTH)


@pytest.fixture
def fine_tuned(tmp_path):
    """An AU model on an encoder of CLIP, saved by maeface, and the model."""
    path = tmp_path / "clip.pth"
    LAYOUTS["FaRL"](path, Reference())
    model = AUModel(weights.load_encoder(path)[0], (4, 12), "both").eval()
    torch.nn.init.normal_(model.head.weight, std=0.1)
    saved = tmp_path / "au.safetensors"
    weights.save(saved, model, weights.describe(model, Preprocessing(image_size=SIDE)))
    return saved, model


def test_a_fine_tuned_encoder_of_clip_comes_back_whole(fine_tuned):
    saved, model = fine_tuned
    again, metadata = weights.load_model(saved)
    assert (metadata.encoder.activation, metadata.encoder.norm_pre) == ("quick_gelu", True)
    assert metadata.encoder.norm_eps == 1e-5
    images = torch.randn(2, 3, SIDE, SIDE)
    assert torch.equal(again.features(images), model.features(images))
    further, _ = weights.load_encoder(saved)
    assert torch.equal(further(images), model.encoder(images))


@pytest.mark.parametrize("backend", [b for b in backends.ONNX_BACKENDS if backends.is_installed(b)])
def test_graphs_of_an_encoder_of_clip_are_those_of_pytorch(fine_tuned, backend):
    saved, model = fine_tuned
    tensors, metadata = arrays.load_arrays(saved)
    assert tensors.keys() == {weights.published_name(name) for name in model.state_dict()}
    network = backends.open_network(au_graph(tensors, metadata, "head"), backend)
    images = torch.randn(2, 3, SIDE, SIDE)
    found = network(images.numpy())
    with torch.no_grad():
        expected = model.head(model.features(images))
    torch.testing.assert_close(torch.as_tensor(found), expected, rtol=1e-3, atol=1e-3)


def test_training_continues_from_an_encoder_of_clip(fine_tuned):
    _, model = fine_tuned
    model.train()
    model(torch.randn(2, 3, SIDE, SIDE)).occurrence.sum().backward()
    assert all(parameter.grad is not None for name, parameter in model.encoder.named_parameters())
    assert model.encoder.norm_pre.weight.grad.abs().sum() > 0


# ---- what is refused


def refused(call, match):
    """One clear line."""
    with pytest.raises(WeightsError, match=match) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_masked_autoencoder_does_not_start_from_clip(tmp_path):
    path = tmp_path / "clip.pth"
    LAYOUTS["FaRL"](path, Reference())
    model = MAE(ViT((WIDTH, DEPTH, HEADS), SIDE, PATCH), 16, 1, 2)
    refused(lambda: weights.load_encoder_into(model, path), "of CLIP's kind, the model one of MAE's kind")


def test_another_activation_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    LAYOUTS["transformers"](path, Reference())
    config = path.with_name("config.json")
    config.write_text(json.dumps({"vision_config": {"hidden_act": "gelu"}}))
    refused(lambda: weights.load_encoder(path), "expected the activation quick_gelu.* got 'gelu'")
    config.write_text(json.dumps({"hidden_act": "quick_gelu"}))
    assert weights.load_encoder(path)[0].style == CLIP_STYLE
    config.write_text("[]")
    refused(lambda: weights.load_encoder(path), r"config\.json is not the config\.json of a CLIP")


def test_a_clip_in_pieces_is_refused(tmp_path):
    path, state = tmp_path / "clip.pth", openai(Reference())
    torch.save({k: v for k, v in state.items() if k != "visual.conv1.weight"}, path)
    refused(lambda: weights.load_encoder(path), r"no whole image encoder.*patch_embed\.proj\.weight")
    torch.save({k: v for k, v in state.items() if k != "visual.ln_pre.bias"}, path)
    refused(lambda: weights.load_encoder(path), r"norm_pre\.bias is missing")


def test_networks_of_clips_are_refused(tmp_path):
    path = tmp_path / "svfap.pth"
    state = ViT((WIDTH, 1, HEADS), SIDE, PATCH).state_dict()
    state["patch_embed.proj.weight"] = torch.zeros(WIDTH, 3, 2, PATCH, PATCH)
    torch.save({"model": {f"encoder.{name}": value for name, value in state.items()}}, path)
    refused(lambda: weights.load_encoder(path), "a network for clips: its patches are 2 frames deep")


# ---- by name


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """The folder that the variable names, and the cache."""
    monkeypatch.setenv("MAEFACE_WEIGHTS", str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    found = tmp_path / "mine", tmp_path / "cache" / "maeface"
    for folder in found:
        folder.mkdir(parents=True)
    return found


def test_a_public_encoder_is_found_by_name(folders):
    file = public_encoders.ENCODERS["farl"].file
    refused(
        lambda: weights.find("farl"),
        rf"{file}, which is not in \S*mine or \S*maeface; get it from .*FaRL.*MIT",
    )
    mine, cache = folders
    LAYOUTS["FaRL"](cache / file, Reference())
    assert weights.find("farl") == cache / file
    assert weights.load_encoder("farl")[0].style == CLIP_STYLE
    LAYOUTS["FaRL"](mine / file, Reference())
    assert weights.find("farl") == mine / file
    refused(lambda: weights.load_model("farl"), "has no maeface metadata; public checkpoints can be the init")


def test_what_cannot_be_a_start_says_why(folders):
    refused(lambda: weights.find("svfap"), "reads clips of 16 frames.*no licence")
    refused(lambda: weights.find("fahrl"), "no weights 'fahrl'.*public encoders.*farl")
