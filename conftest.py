"""Fixtures that both packages' tests use."""

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


@pytest.fixture
def small_files():
    """This process writes no file of more than 20 kB, as if the disk were full."""
    resource = pytest.importorskip("resource", reason="needs limits of the size of files, as POSIX has them")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
