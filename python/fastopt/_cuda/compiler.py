"""From a kernel's source to machine code for a GPU: NVRTC, and a cache on disk.

NVRTC is called directly, not via CuPy's own compile path, which flushes denormals to zero.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Any, Protocol

from .._arrays.device import refuse_allocation
from .._arrays.driver import driver
from .._extras import install_cuda
from .kernels import headers

__all__ = [
    "OPTIONS",
    "Cubin",
    "Kernel",
    "cache_folder",
    "cached",
    "check_arch",
    "compile_source",
    "cubin",
    "loaded",
    "place",
    "read",
]

OPTIONS = (
    "-std=c++17",
    "-default-device",
    "-device-int128",
    # The CPU's arithmetic: denormals, correctly rounded division and root, no contraction.
    "-ftz=false",
    "-prec-div=true",
    "-prec-sqrt=true",
    "-fmad=false",
)

SUFFIX = ".cubin"

DIGEST = hashlib.sha256().digest_size
"""Bytes of the checksum behind the machine code in a file."""


class Kernel(Protocol):
    """A kernel that can be compiled."""

    @property
    def name(self) -> str: ...
    @property
    def source(self) -> str: ...


class Cubin:
    """A file of the cache."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kernel, self.arch, _ = path.stem.rsplit(".", 2)


def cache_folder() -> Path:
    """`FASTOPT_CACHE_DIR`, or `fastopt` in the user's folder for caches."""
    own = os.environ.get("FASTOPT_CACHE_DIR")
    if own:
        return Path(own)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastopt"
    except RuntimeError:  # a user without a home
        return Path(os.devnull) / "fastopt"  # a folder that cannot be made, so nothing is kept


def cached() -> list[Cubin]:
    """The files of the cache, by name."""
    return [Cubin(path) for path in sorted(cache_folder().glob(f"*.*.*{SUFFIX}"))]


def nvrtc() -> Any:
    """CuPy's binding of NVRTC; ImportError, with what to install, if it is missing."""
    try:
        from cupy.cuda import nvrtc as binding
    except ImportError as error:
        raise ImportError(f"a CUDA array needs CuPy: {install_cuda()} ({error})") from error
    try:
        binding.getVersion()
    except Exception as error:  # the library is missing, which each version of CuPy says in its own way
        raise ImportError(f"NVRTC is missing: {install_cuda()} ({error})") from error
    return binding


def compile_source(source: str, arch: str, extra: tuple[str, ...] = ()) -> tuple[bytes, str]:
    """Machine code for `arch`, such as "sm_90", and the compiler's words; RuntimeError with these words if it refuses."""
    compiler = nvrtc()
    texts = headers()
    program = compiler.createProgram(
        source, "fastopt.cu", [text.encode() for text in texts.values()], [name.encode() for name in texts]
    )
    try:
        compiler.compileProgram(program, (f"-arch={arch}", *OPTIONS, *extra))
        return bytes(compiler.getCUBIN(program)), str(compiler.getProgramLog(program))
    except compiler.NVRTCError as error:
        raise RuntimeError(f"NVRTC refuses a kernel for {arch} ({error}):\n{compiler.getProgramLog(program)}") from error
    finally:
        compiler.destroyProgram(program)


def cubin(kernel: Kernel, arch: str) -> bytes:
    """Machine code of a kernel for `arch`, from the cache, or compiled and put there.

    Without a writable cache every call compiles; a file that was cut short is compiled anew.
    """
    path = place(kernel, arch)
    code = read(path)
    if code is None:
        code, _ = compile_source(kernel.source, arch)
        write(path, code)
    return code


def loaded(kernel: Kernel, device: int, stream: int) -> Any:
    """What the driver keeps of a kernel that is ready for launches; RuntimeError if loading it would end the capture of a graph."""
    if not driver().has(kernel, device):
        refuse_allocation(stream)
    return driver().kernel(kernel, device, cubin)


def place(kernel: Kernel, arch: str) -> Path:
    """The file of the cache for a kernel's machine code."""
    return cache_folder() / f"{kernel.name}.{arch}.{key(kernel.source, arch)}{SUFFIX}"


def read(path: Path) -> bytes | None:
    """Machine code that `write` left in a file; None if the file is missing or was cut short."""
    try:
        code = path.read_bytes()
    except OSError:
        return None
    code, digest = code[:-DIGEST], code[-DIGEST:]
    return code if code[:4] == b"\x7fELF" and hashlib.sha256(code).digest() == digest else None


def write(path: Path, code: bytes) -> None:
    """Writes a file of the cache whole or not at all, whatever other processes write; if the folder cannot be written, nothing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    except OSError:
        return
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(code + hashlib.sha256(code).digest())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def key(source: str, arch: str) -> str:
    """A digest of everything on which the machine code depends."""
    parts = [source, arch, *OPTIONS, str(nvrtc().getVersion()), *(f"{name}\0{text}" for name, text in headers().items())]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def check_arch(value: str) -> str:
    """The name of an architecture; ValueError if it is none."""
    if not re.fullmatch(r"sm_\d+a?", value):
        raise ValueError(f"arch: got {value!r}, expected one such as sm_90")
    return value
