"""All hair of a subject: scalp, brows, lashes and beard."""

import numpy as np

from maeface_studio.cast.appearance import Appearance
from maeface_studio.hair.face_hair import grow_beard, grow_brows, grow_lashes
from maeface_studio.hair.scalp import grow_scalp
from maeface_studio.hair.strands import Face, Strands
from maeface_studio.head.mesh import Floats
from maeface_studio.head.rig import Rig
from maeface_studio.skin.texel_maps import TexelMaps


def grow_hair(
    appearance: Appearance,
    texels: TexelMaps,
    rig: Rig,
    head: Floats,
    normals: Floats,
    rng: np.random.Generator,
) -> dict[str, Strands]:
    """Grow all hair of a subject.

    Args:
        appearance: of the subject.
        texels: positions and masks of the face.
        rig: the head's rig.
        head: (V, 3) cm, the subject at rest.
        normals: (V, 3), outwards.
        rng: for the draws; the same state grows the same hair.

    Returns:
        "scalp", "brows", "lashes" and "beard", each left out if it has no strands. At most about 14,000
        strands.
    """
    face = Face(rig, texels, head, normals)
    growers = {"scalp": grow_scalp, "brows": grow_brows, "lashes": grow_lashes, "beard": grow_beard}
    strands = {
        name: grow(appearance, face, stream)
        for (name, grow), stream in zip(growers.items(), rng.spawn(4), strict=True)
    }
    return {name: some for name, some in strands.items() if len(some.points)}
