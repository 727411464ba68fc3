"""fastopt's kernels for CUDA, compiled for the host with `drivers/device_on_host.h` before them, once each."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import platform
import shutil
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from fastopt._cuda.kernels import headers
from tests.support import made

__all__ = ["COMPILER", "Library", "build", "can_build", "flags", "include_folder"]

COMPILER = "g++"
SHIM = Path(__file__).resolve().parent / "drivers" / "device_on_host.h"
FLAGS = (
    *("-std=c++17", "-O1", "-ffp-contract=off", "-fno-math-errno", "-fno-strict-aliasing", "-fPIC", "-fvisibility=hidden"),
    # Otherwise all kernels of a process would share the static variables that stand for shared memory.
    "-fno-gnu-unique",
    *("-fsanitize=alignment", "-fsanitize-recover=alignment", "-U_FORTIFY_SOURCE"),
)

FIRST_LINE = '#include "cuda/kernels.h"\n'
"""How every kernel's source begins."""


@functools.cache
def flags() -> tuple[str, ...]:
    """The compiler's flags, with fused multiply-add as an instruction if this machine has it: the C library's is right and slow."""
    with contextlib.suppress(OSError):
        if " fma " in Path("/proc/cpuinfo").read_text():
            return (*FLAGS, "-mfma")
    return FLAGS


@functools.cache
def texts() -> dict[str, str]:
    """The headers, without NVRTC's stand-in for the C library's."""
    return {name: text for name, text in headers().items() if name != "stdint.h"} | {SHIM.name: SHIM.read_text()}


@functools.cache
def include_folder() -> Path:
    """A folder with the headers under their names."""

    def write(path: Path) -> None:
        for name, text in texts().items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(text)

    return made.once("headers", made.digest(*texts(), *texts().values()), write)


@functools.cache
def precompiled() -> Path:
    """A folder with `emulated.h`, with which every kernel begins.  Parsing it once takes a quarter off each kernel's time."""

    def parse(path: Path) -> None:
        path.mkdir()
        header = path / "emulated.h"
        header.write_text(f'#include "{SHIM.name}"\n{FIRST_LINE}')
        run([COMPILER, *flags(), f"-I{include_folder()}", "-x", "c++-header", str(header), "-o", f"{header}.gch"])

    return made.once("precompiled", content(), parse)


def content(source: str = "") -> str:
    return made.digest(made.version(COMPILER), *flags(), *texts(), *texts().values(), source)


def run(command: Sequence[str]) -> None:
    """Runs a command.  Raises RuntimeError, with the compiler's message, if the command fails."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


_libraries: dict[str, Library] = {}
_lock = threading.Lock()


def build(source: str, name: str) -> Library:
    """The kernel of `source`, compiled for the host once and loaded.  Raises RuntimeError with the compiler's message.

    Its `run_kernel(blocks, threads, parameters)` returns None, or what the kernel did that a GPU would not bear.
    """
    with _lock:
        if source not in _libraries:
            stem = name.replace("+", "_")
            _libraries[source] = load(made.once(stem, content(source), lambda path: compile_kernel(source, path)))
        return _libraries[source]


def compile_kernel(source: str, library: Path) -> None:
    unit, compiled = str(library.with_suffix(".cpp")), str(library.with_suffix(".o"))
    assert source.startswith(FIRST_LINE)
    Path(unit).write_text(f'#include "emulated.h"\n{source.removeprefix(FIRST_LINE)}\nEMULATED_ENTRY\n')
    # In two steps, since with the sanitizer's option the linker would look for its library.
    folders = (f"-I{precompiled()}", f"-I{include_folder()}", "-Winvalid-pch")
    run([COMPILER, *flags(), *folders, "-c", unit, "-o", compiled])
    run([COMPILER, "-shared", "-nostartfiles", "-Wl,-z,defs", compiled, "-o", str(library), "-lm"])


class Library(ctypes.CDLL):
    """A loaded kernel, with one set of fibers and one shared memory."""

    lock: threading.Lock


def load(path: Path) -> Library:
    library = Library(str(path))
    library.lock = threading.Lock()
    library.run_kernel.argtypes = [ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p]
    library.run_kernel.restype = ctypes.c_char_p
    library.set_order.argtypes = [ctypes.c_int]
    library.set_order.restype = None
    return library


def can_build() -> bool:
    """Whether this machine runs kernels on the host."""
    return shutil.which(COMPILER) is not None and platform.system() == "Linux"
