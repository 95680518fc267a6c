"""The outfit of a subject: clothes, hat and glasses as meshes on the head at rest."""

import numpy as np

from maeface_studio.cast.appearance import Appearance, Glasses, Hat
from maeface_studio.head.mesh import Floats
from maeface_studio.head.rig import Rig
from maeface_studio.skin.pigment import CLOTH_TONES, srgb_to_linear
from maeface_studio.worn.clothes import make_clothes
from maeface_studio.worn.glasses import make_glasses
from maeface_studio.worn.hats import make_hat
from maeface_studio.worn.meshes import MaterialMesh, to_colour


def make_outfit(appearance: Appearance, rig: Rig, head: Floats) -> list[MaterialMesh]:
    """Return the clothes, hat and glasses of a subject, opaque meshes first.

    Args:
        appearance: of the subject.
        rig: the head's rig.
        head: (V, 3) cm, the subject at rest.
    """
    tint = int(appearance.gloss * 9973)  # any number that differs between subjects
    colour = to_colour(srgb_to_linear(np.array(CLOTH_TONES[appearance.cloth])))
    meshes = make_clothes(appearance.clothes, colour, tint, rig, head)
    if appearance.hat != Hat.NONE:
        meshes += make_hat(appearance.hat, tint // 7, rig, head)
    if appearance.glasses != Glasses.NONE:
        meshes += make_glasses(appearance.glasses, tint // 11, rig, head)
    return sorted(meshes, key=lambda mesh: mesh.opacity < 1)
