"""What can go wrong for a user, one class per exit code.

    MaefaceError
    ├── ConfigError    2  a recipe, a setting or the command line is wrong
    ├── DataError      3  the input (images, videos, labels, manifests) is wrong
    ├── WeightsError   4  a weights file or a checkpoint is wrong
    └── ResourceError  5  the machine is in the way: disk, memory, device, lock, network

Raise these for a user's mistake, with one line: what was expected, what was got, what to do.
Use ``assert`` for our own. Only ``cli`` turns them into an exit.
"""

from typing import ClassVar


class MaefaceError(Exception):
    """The base of every error that is shown to a user as one line, never as a traceback."""

    exit_code: ClassVar[int] = 3


class ConfigError(MaefaceError):
    """A recipe, a setting or the command line is wrong (exit code 2)."""

    exit_code = 2


class DataError(MaefaceError):
    """The input is wrong: images, videos, labels, manifests (exit code 3)."""

    exit_code = 3


class WeightsError(MaefaceError):
    """A weights file or a checkpoint is wrong (exit code 4)."""

    exit_code = 4


class ResourceError(MaefaceError):
    """The machine is in the way: disk, memory, device, lock, network (exit code 5)."""

    exit_code = 5
