"""What fastopt costs before its first step: builds a wheel from this checkout and fails if a budget is exceeded.

The build's budget is for two processors and includes the download of its requirements.  The import's is the time beyond NumPy's,
for the installed fastopt.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from time import perf_counter

ROOT = Path(__file__).resolve().parent.parent
BUILD_SECONDS = 120.0
EXTENSION_MEGABYTES = 6.0
IMPORT_SECONDS = 0.1

IMPORT = "import time, numpy; start = time.perf_counter(); import fastopt; print(time.perf_counter() - start)"


def build() -> tuple[float, float]:
    """Seconds to build a wheel, and megabytes of the extension in it."""
    with tempfile.TemporaryDirectory() as folder:
        start = perf_counter()
        build_dir = f"-Cbuild-dir={folder}/build"  # no leftovers of another build
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", build_dir, "-w", folder, str(ROOT)]
        subprocess.run(command, check=True)
        seconds = perf_counter() - start
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (size,) = [entry.file_size for entry in archive.infolist() if entry.filename.endswith(".so")]
    return seconds, size / 1e6


def importing() -> float:
    """Seconds to import fastopt after NumPy: the median over new interpreters."""
    runs = [subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True) for _ in range(7)]
    return sorted(float(run.stdout) for run in runs)[3]


def main() -> int:
    build_seconds, megabytes = build()
    rows = [
        ("build of a wheel", build_seconds, BUILD_SECONDS, "s"),
        ("extension", megabytes, EXTENSION_MEGABYTES, "MB"),
        ("import beyond NumPy", importing(), IMPORT_SECONDS, "s"),
    ]
    for name, found, budget, unit in rows:
        print(f"{name}: {found:.3g} {unit}, budget {budget:g} {unit}{'' if found <= budget else ' EXCEEDED'}")
    return sum(found > budget for _, found, budget, _ in rows)


if __name__ == "__main__":
    sys.exit(main())
