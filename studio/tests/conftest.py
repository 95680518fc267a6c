from pathlib import Path

import pytest

from maeface.errors import ResourceError
from maeface_studio.camera import opengl


@pytest.fixture(scope="session")
def rig_path(shared) -> Path:
    """The 3D head."""
    path = shared / "rig" / "ict_facekit.npz"
    if not path.is_file():
        pytest.skip("needs ../shared/rig/ict_facekit.npz (the 3D head), which is not beside this checkout")
    return path


@pytest.fixture(scope="session")
def needs_opengl() -> None:
    """Skip a test that renders where OpenGL is missing."""
    try:
        opengl.check_opengl()
    except ResourceError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def rig_file(rig_path, needs_opengl) -> Path:
    """The 3D head, for tests that also render."""
    return rig_path
