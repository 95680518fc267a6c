"""An OpenGL context without a window."""

import os
from contextlib import suppress
from importlib import import_module
from typing import Any

import moderngl

from maeface.errors import ResourceError


def check_opengl() -> None:
    """Check that OpenGL 3.3 is available.

    Raises:
        ResourceError: no OpenGL 3.3 on this machine.
    """
    create_context().release()


def describe() -> str:
    """Return the renderer and version of OpenGL, for ``maeface doctor``.

    Raises:
        ResourceError: no OpenGL 3.3 on this machine.
    """
    context = create_context()
    try:
        return f"{context.info['GL_RENDERER']}, {context.info['GL_VERSION']}"
    finally:
        context.release()


def create_context() -> Any:  # noqa: ANN401 - moderngl has no types
    """Return a new OpenGL context that needs no window.

    Raises:
        ResourceError: no OpenGL 3.3 on this machine.
    """
    _load_triton()
    os.environ.setdefault("LP_NUM_THREADS", "0")  # llvmpipe: no threads, as there is a process per core
    reasons: list[str] = []
    # EGL works without a screen; moderngl's own choice works with a screen, and on other systems than Linux
    backends: tuple[dict[str, Any], ...] = ({"backend": "egl"}, {})
    for options in backends:
        try:
            return moderngl.create_context(standalone=True, require=330, **options)
        except Exception as error:  # every platform raises exceptions of its own
            reasons.append(str(error).splitlines()[0] if str(error) else type(error).__name__)
    raise ResourceError(
        f"rendering needs OpenGL 3.3 ({'; '.join(reasons)}); on a machine without a GPU install Mesa, "
        "on Debian and Ubuntu: apt install libegl1 libgl1-mesa-dri"
    )


def _load_triton() -> None:
    """Load Triton, the compiler of torch, before Mesa, if it is installed.

    Both contain LLVM. Triton's crashes the process when it is loaded after Mesa's (torch 2.15, Mesa 22.3);
    in the other order both work.
    """
    with suppress(ImportError):
        import_module("triton._C.libtriton")
