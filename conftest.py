from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of photographs, videos and public weights that lies beside a developer's checkout."""
    folder = Path(__file__).parents[1] / "shared"
    if not folder.is_dir():
        pytest.skip(
            "needs ../shared (photographs, videos, public weights), which is not beside this checkout"
        )
    return folder
