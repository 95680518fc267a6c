import numpy as np
import torch
from PIL import Image

from maeface.model import preprocessing


def test_agrees_with_pillow_bicubic():
    crops = np.random.default_rng(0).integers(0, 256, (2, 3, 96, 96), dtype=np.uint8)
    got = preprocessing.resize(preprocessing.as_float(torch.from_numpy(crops)), 64).numpy() * 255
    for i, c in np.ndindex(2, 3):  # mode F: Pillow's bytes are rounded between its two passes
        plane = Image.fromarray(crops[i, c].astype(np.float32)).resize((64, 64), Image.Resampling.BICUBIC)
        assert np.abs(got[i, c] - np.asarray(plane).clip(0, 255)).max() < 0.01


def test_same_size_is_only_normalised():
    crops = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    inputs = preprocessing.to_input(crops, 32)
    assert inputs.dtype == torch.float32
    assert torch.equal(preprocessing.denormalize(inputs), crops)
    assert torch.allclose(inputs[0, 1, 0, 0], (crops[0, 1, 0, 0] / 255 - 0.456) / 0.224)


def test_floats_and_bytes_give_the_same():
    crops = torch.randint(0, 256, (1, 3, 40, 40), dtype=torch.uint8)
    assert torch.equal(preprocessing.to_input(crops, 24), preprocessing.to_input(crops.float() / 255, 24))


def test_bicubic_overshoot_is_cut():
    step = torch.zeros(1, 3, 16, 16)
    step[..., 8:] = 1
    resized = preprocessing.resize(step, 48)
    assert resized.min() == 0
    assert resized.max() == 1
