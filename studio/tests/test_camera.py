"""What a camera makes of the light, and what lies behind the head."""

from dataclasses import replace

import numpy as np
import pytest

from maeface_studio.camera import backdrop, sensor
from maeface_studio.cast import views
from maeface_studio.cast.random_draws import keyed_generator
from maeface_studio.cast.views import Backdrop, BackdropKind, CameraSettings
from maeface_studio.output import contact_sheets


def head(light, side=96):
    """A disc of a brightness, with a fine pattern, over nothing."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    alpha = (np.hypot(x, y) < 0.3).astype(np.float32)
    colour = light * (1 + 0.3 * np.sin(x * 200) * np.sin(y * 200)) * alpha
    return np.dstack([colour, 0.7 * colour, 0.6 * colour, alpha]).astype(np.float32)


BEHIND = Backdrop(light=0.3)


def shot(rendered=None, melanin=0.3, seed=0, behind=BEHIND, **camera_):
    view = replace(contact_sheets.PLAIN, camera=CameraSettings(**camera_), backdrop=behind)
    return sensor.develop(
        head(0.3) if rendered is None else rendered, view, melanin, keyed_generator(seed)
    ).astype(int)


def middle(pixels):
    return pixels[36:60, 36:60]


def detail(pixels):
    """How much neighbours differ in the head."""
    return np.abs(np.diff(middle(pixels), axis=1)).mean()


def test_the_same_view_and_numbers_give_the_same_picture():
    for n in range(12):
        view = replace(views.draw_view(keyed_generator(0, n)))
        one, other = (sensor.develop(head(0.3), view, 0.5, keyed_generator(n)) for _ in range(2))
        assert one.shape == (96, 96, 3) and one.dtype == np.uint8
        np.testing.assert_array_equal(one, other)
    assert (shot(noise=0.1) != shot(noise=0.1, seed=1)).mean() > 0.5


def test_a_face_is_exposed_for_whatever_the_light():
    dim, bright = (middle(shot(head(light))).mean() for light in (0.01, 3.0))
    assert abs(dim - bright) < 2 and 120 < dim < 190
    assert middle(shot(exposure=1.5)).mean() > middle(shot()).mean() + 15
    assert middle(shot(melanin=1.0)).mean() < middle(shot(melanin=0.0)).mean() - 40
    for exposure in (0.01, 100.0):
        assert 20 < middle(shot(exposure=exposure)).mean() < 230


def test_what_lies_behind_shows_where_the_head_is_not():
    dark, light = (shot(behind=Backdrop(light=level)) for level in (0.02, 0.8))
    assert light[:10, :10].mean() > dark[:10, :10].mean() + 80
    np.testing.assert_array_equal(middle(dark), middle(light))


@pytest.mark.parametrize(
    "worse",
    [{"defocus": 0.02}, {"motion": (0.04, 0.0)}, {"resolution": 0.25}, {"contrast": 0.5}],
)
def test_less_detail(worse):
    assert detail(shot(**worse)) < 0.7 * detail(shot())


def test_motion_leaves_no_black_border():
    pixels = shot(behind=Backdrop(light=0.5), motion=(0.06, 0.06))
    assert min(pixels[0].mean(), pixels[-1].mean(), pixels[:, 0].mean(), pixels[:, -1].mean()) > 90


def test_noise_colour_and_compression():
    assert detail(shot(noise=0.1)) > 1.4 * detail(shot())
    grey = shot(grey=(0.3, 0.5, 0.2))
    assert (grey[..., 0] == grey[..., 1]).all() and (grey[..., 0] == grey[..., 2]).all()
    warm = middle(shot(balance=(1.3, 1.0, 0.8))).mean((0, 1))
    plain = middle(shot()).mean((0, 1))
    assert warm[0] > plain[0] + 10 and warm[2] < plain[2] - 10
    assert 0 < np.abs(shot(jpeg=(30,)) - shot()).mean() < 12
    assert shot(fade=0.2, behind=Backdrop(light=0.001)).min() > 25
    corner = shot(vignette=0.6)[:8, :8].mean()
    assert corner < shot()[:8, :8].mean() - 15


@pytest.mark.parametrize("kind", BackdropKind)
def test_backdrops(kind):
    made = [backdrop.paint(Backdrop(kind, 0.01, light, 5), 64) for light in (0.05, 0.2)]
    assert made[0].shape == (64, 64, 3) and made[0].min() >= 0 and made[1].max() <= 1
    assert made[0].mean() == pytest.approx(0.05, rel=0.25) and made[1].mean() > 2 * made[0].mean()
    np.testing.assert_array_equal(made[0], backdrop.paint(Backdrop(kind, 0.01, 0.05, 5), 64))
    assert np.abs(made[0] - backdrop.paint(Backdrop(kind, 0.01, 0.05, 6), 64)).mean() > 0.001
