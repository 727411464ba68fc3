"""What fastopt costs before it has made a step; fails if a budget is exceeded: `python tools/budgets.py WHEEL SECONDS`.

SECONDS is what the build of the wheel took, for two processors, the download of its requirements included.  The import is that
of the fastopt that is installed, beyond NumPy's.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile

BUILD_SECONDS = 120.0
EXTENSION_MEGABYTES = 6.0
IMPORT_SECONDS = 0.1

IMPORT = "import time, numpy; start = time.perf_counter(); import fastopt; print(time.perf_counter() - start)"


def extension(wheel: str) -> float:
    """Megabytes of the extension in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        (size,) = [entry.file_size for entry in archive.infolist() if entry.filename.endswith(".so")]
    return size / 1e6


def importing() -> float:
    """Seconds to import fastopt after NumPy: the median of new interpreters."""
    runs = [subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True) for _ in range(7)]
    return sorted(float(run.stdout) for run in runs)[3]


def main(wheel: str, build_seconds: str) -> int:
    """The number of budgets that are exceeded."""
    rows = [
        ("build of a wheel", float(build_seconds), BUILD_SECONDS, "s"),
        ("extension", extension(wheel), EXTENSION_MEGABYTES, "MB"),
        ("import beyond NumPy", importing(), IMPORT_SECONDS, "s"),
    ]
    for name, found, budget, unit in rows:
        print(f"{name}: {found:.3g} {unit}, budget {budget:g} {unit}{'' if found <= budget else ' EXCEEDED'}")
    return sum(found > budget for _, found, budget, _ in rows)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
