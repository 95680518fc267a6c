"""The errors that a user can cause, one class for each exit code.

    MaefaceError
    ├── ConfigError    2  a recipe, a setting or the command line is wrong
    ├── DataError      3  the input (images, videos, labels, manifests) is wrong
    ├── WeightsError   4  a weights file or a checkpoint is wrong
    └── ResourceError  5  disk, memory, device, lock or network is not available

The message is one line: what was expected, what was found, what to do. Commands that it gives come from
``install_command`` and ``reinstall_command``. ``assert`` is for errors in this code. Only ``cli`` ends the
process.
"""

from typing import ClassVar


class MaefaceError(Exception):
    """The base of every error that is shown to a user as one line, never as a traceback."""

    exit_code: ClassVar[int] = 3


class ConfigError(MaefaceError):
    """A wrong recipe, setting or command line (exit code 2)."""

    exit_code = 2


class DataError(MaefaceError):
    """Wrong input: images, videos, labels, manifests (exit code 3)."""

    exit_code = 3


class WeightsError(MaefaceError):
    """A wrong weights file or checkpoint (exit code 4)."""

    exit_code = 4


class ResourceError(MaefaceError):
    """Disk, memory, device, lock or network that is not available (exit code 5)."""

    exit_code = 5


class InUseError(ResourceError):
    """A folder that another process has locked (exit code 5)."""


def install_command(*extras: str) -> str:
    """Return the command that installs extras of maeface."""
    return f"uv pip install 'maeface[{','.join(extras)}]'"


def reinstall_command(*libraries: str) -> str:
    """Return the command that installs libraries anew."""
    return f"uv pip install --reinstall {' '.join(libraries)}"


def is_out_of_memory(error: Exception) -> bool:
    """Return whether the memory of this machine or of its GPU is used up."""
    # torch.OutOfMemoryError is recognized by its name, because torch is not imported here
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
