"""Compiles each header of `include` and `csrc` by itself: `python tools/check_headers.py` exits with 1 if one lacks an include.

An editor opens a header alone, so a header includes what it uses.  Nothing is compiled to code: the check takes seconds.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pybind11

ROOT = Path(__file__).resolve().parent.parent
X86 = platform.machine() in ("x86_64", "AMD64")
CROSS = "aarch64-linux-gnu-g++"
INSTRUCTIONS = {"avx2": ("-mavx2", "-mfma", "-mf16c"), "avx512": ("-mavx512f",)}
"""What the headers of `csrc/simd` need, by the first part of their names."""


def command(header: Path) -> list[str] | None:
    """The compiler and its options for a header; None if no compiler here has the header's instruction set."""
    compiler, own = os.environ.get("CXX", "g++"), list[str]()
    folder, isa = header.parent.name, header.stem.split("_")[0]
    if folder == "simd" and isa in INSTRUCTIONS:
        if not X86:
            return None
        own = [*INSTRUCTIONS[isa]]
    if folder == "simd" and isa == "neon" and X86:
        if shutil.which(CROSS) is None:
            return None
        compiler = CROSS
    if folder == "cuda":
        own = [
            "-include",
            str(ROOT / "tests" / "support" / "drivers" / "device_on_host.h"),
            "-Wno-unused-function",
            "-Wno-unknown-pragmas",
        ]
    if folder == "python":
        own = [f"-isystem{path}" for path in (pybind11.get_include(), sysconfig.get_path("include"))]
    return [compiler, "-std=c++17", "-fsyntax-only", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror", *own]


def refused(header: Path, generated: str) -> str | None:
    """What the compiler says against a header."""
    chosen = command(header)
    if chosen is None:
        return None
    folders = [f"-I{path}" for path in (ROOT / "include", ROOT / "csrc", generated)]
    source = f'#include "{header}"\n' * 2  # twice, as guards allow
    done = subprocess.run([*chosen, *folders, "-xc++", "-"], input=source, capture_output=True, text=True, check=False)
    return f"{header.relative_to(ROOT)}:\n{done.stderr}" if done.returncode else None


def main() -> int:
    headers = sorted([*(ROOT / "include").rglob("*.h"), *(ROOT / "csrc").rglob("*.h")])
    with tempfile.TemporaryDirectory() as generated, ThreadPoolExecutor(os.cpu_count()) as pool:
        subprocess.run([sys.executable, str(ROOT / "csrc" / "generate.py"), generated], check=True)
        errors = [words for words in pool.map(lambda header: refused(header, generated), headers) if words]
    print(*errors, f"{len(headers)} headers, {len(errors)} that do not compile alone", sep="\n")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
