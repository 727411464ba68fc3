"""Runs clang-tidy over the host's sources: `python tools/tidy.py`; `.clang-tidy` has the checks.

It takes the compiler's options from CMake, which makes the generated headers too, and needs the packages clang-tidy and pybind11.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pybind11

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = Path(sysconfig.get_path("scripts"))


def main() -> int:
    with tempfile.TemporaryDirectory() as build:
        options = ["-DCMAKE_EXPORT_COMPILE_COMMANDS=ON", "-DSKBUILD_PROJECT_VERSION=0", f"-DPython_EXECUTABLE={sys.executable}"]
        options.append(f"-Dpybind11_DIR={pybind11.get_cmake_dir()}")
        subprocess.run(["cmake", "-S", str(ROOT), "-B", build, *options], stdout=subprocess.DEVNULL, check=True)
        subprocess.run(["cmake", "--build", build, "--target", "table"], stdout=subprocess.DEVNULL, check=True)
        tidy = [str(SCRIPTS / "run-clang-tidy.py"), "-clang-tidy-binary", str(SCRIPTS / "clang-tidy"), "-quiet", "-p", build]
        return subprocess.run([sys.executable, *tidy, f"-config-file={ROOT / '.clang-tidy'}"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
