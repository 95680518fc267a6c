"""OpenGL without a window: the library, and a context."""

import os
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Any

from maeface.errors import ResourceError


def check() -> None:
    """Refuse to start where nothing can be drawn.

    Raises:
        ResourceError: moderngl is not installed, or no OpenGL 3.3 is to be had.
    """
    context().release()


def moderngl() -> ModuleType:
    """The library, imported when something is to be drawn."""
    import moderngl as library

    return library  # type: ignore[no-any-return,unused-ignore]


def context() -> Any:  # noqa: ANN401 - moderngl's
    """A new OpenGL context that needs no window.

    Raises:
        ResourceError: as ``check``.
    """
    try:
        library = moderngl()
    except ImportError as error:
        raise ResourceError(
            f"rendering needs moderngl ({error}), which comes with: pip install moderngl"
        ) from None
    _load_first()
    os.environ.setdefault("LP_NUM_THREADS", "0")  # llvmpipe: one process a core instead
    reasons: list[str] = []
    ways: tuple[dict[str, Any], ...] = ({"backend": "egl"}, {})  # without a screen; with one, or not Linux
    for options in ways:
        try:
            return library.create_context(standalone=True, require=330, **options)
        except Exception as error:  # each platform has its own kinds
            reasons.append(str(error).splitlines()[0] if str(error) else type(error).__name__)
    raise ResourceError(
        f"rendering needs OpenGL 3.3 ({'; '.join(reasons)}); on a machine without a GPU install Mesa, "
        "on Debian and Ubuntu: apt install libegl1 libgl1-mesa-dri"
    )


def _load_first() -> None:
    """Load torch's compiler, if it is there, before Mesa.

    Both bring an LLVM. Loaded after Mesa's, Triton's crashes the process (torch 2.15, Mesa 22.3); the other
    way round both work.
    """
    with suppress(ImportError):
        import_module("triton._C.libtriton")
