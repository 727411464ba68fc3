"""fastopt's kernels for CUDA, compiled for the host with `drivers/device_on_host.h` before them, once each."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fastopt._cuda.kernels import headers

__all__ = ["COMPILER", "Library", "ahead", "build", "can_build", "flags", "folder", "include_folder"]

COMPILER = "g++"
SHIM = Path(__file__).resolve().parent / "drivers" / "device_on_host.h"
FLAGS = (
    *("-std=c++17", "-O1", "-ffp-contract=off", "-fno-math-errno", "-fno-strict-aliasing", "-fPIC", "-fvisibility=hidden"),
    # Else the static variables that stand for shared memory would be one for all kernels of a process.
    "-fno-gnu-unique",
    *("-fsanitize=alignment", "-fsanitize-recover=alignment", "-U_FORTIFY_SOURCE"),
)


@functools.cache
def flags() -> tuple[str, ...]:
    """With fused multiply-add as an instruction where this machine has it; the C library's is right and slow."""
    with contextlib.suppress(OSError):
        if " fma " in Path("/proc/cpuinfo").read_text():
            return (*FLAGS, "-mfma")
    return FLAGS


@functools.cache
def folder() -> Path:
    """Where this session keeps what it compiles: FASTOPT_EMULATION_CACHE, which stays, or a folder that is removed at the end."""
    kept = os.environ.get("FASTOPT_EMULATION_CACHE")
    if kept:
        Path(kept).mkdir(parents=True, exist_ok=True)
        return Path(kept)
    made = tempfile.mkdtemp(prefix="fastopt-emulated-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)


@functools.cache
def texts() -> dict[str, str]:
    """The headers, without NVRTC's stand-in for the C library's."""
    return {name: text for name, text in headers().items() if name != "stdint.h"} | {SHIM.name: SHIM.read_text()}


@functools.cache
def version() -> str:
    return subprocess.run([COMPILER, "--version"], capture_output=True, text=True, check=True).stdout


def digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


@functools.cache
def include_folder(parent: Path) -> Path:
    """A folder in `parent` that has the headers under their names."""
    known = texts()
    final = parent / f"headers-{digest(*known, *known.values())}"
    if not final.exists():
        made = Path(tempfile.mkdtemp(dir=parent))
        for name, text in known.items():
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            (made / name).write_text(text)
        try:
            made.rename(final)
        except OSError:  # another process was first
            shutil.rmtree(made)
    return final


_libraries: dict[str, Library] = {}
_building: dict[str, threading.Lock] = {}
_lock = threading.Lock()


def build(source: str, name: str, parent: Path | None = None) -> Library:
    """The kernel of `source`, compiled for the host into `parent` once and loaded; RuntimeError with the compiler's words.

    Its `run_kernel(blocks, threads, parameters)` returns None, or what the kernel did that a GPU would not bear.
    """
    parent = parent or folder()
    whole = f'#include "{SHIM.name}"\n{source}\nEMULATED_ENTRY\n'
    key = digest(str(parent), version(), *flags(), *texts().values(), whole)
    with _lock:
        mine = _building.setdefault(key, threading.Lock())
    with mine:
        if key not in _libraries:
            _libraries[key] = load(compiled(whole, f"{name.replace('+', '_')}-{key}", parent))
        return _libraries[key]


def compiled(source: str, stem: str, parent: Path) -> Path:
    library = parent / f"{stem}.so"
    if library.exists():
        return library
    with tempfile.TemporaryDirectory(dir=parent) as scratch:
        unit, made, shared = (str(Path(scratch) / f"kernel.{suffix}") for suffix in ("cpp", "o", "so"))
        Path(unit).write_text(source)
        # In two steps, since with the sanitizer's option the linker would look for its library.
        for command in (
            [COMPILER, *flags(), f"-I{include_folder(parent)}", "-c", unit, "-o", made],
            [COMPILER, "-shared", "-nostartfiles", "-Wl,-z,defs", made, "-o", shared, "-lm"],
        ):
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
            if done.returncode != 0:
                raise RuntimeError(f"{COMPILER} refuses {stem}:\n{done.stdout}{done.stderr}")
        Path(shared).rename(library)
    return library


class Library(ctypes.CDLL):
    """A loaded kernel, whose fibers and shared memory are there once."""

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


@contextlib.contextmanager
def ahead(kernels: Iterable[Any]) -> Iterator[None]:
    """Compiles them while the tests before theirs run; but not in one of several processes, where each has its own."""
    if "PYTEST_XDIST_WORKER" in os.environ or not can_build():
        yield
        return
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for kernel in {each.name: each for each in kernels}.values():
            pool.submit(build, kernel.source, kernel.name)
        try:
            yield
        finally:
            pool.shutdown(cancel_futures=True)
