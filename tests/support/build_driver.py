"""Builds the native drivers of `tests/support/drivers` against the kernels, and runs them.

The drivers link the library's own sources, not the extension: so they run under an emulator, and under
sanitizers that cannot be loaded into a Python process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ("-std=c++17", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fPIC", "-pthread", "-Wall", "-Wextra")
SOURCES = (
    *(f"door/{name}" for name in ("formats", "isa", "measure", "rule_table", "status", "step")),
    "floor/floor",
    *(f"work/{name}" for name in ("line", "processors", "threads")),
)
KERNELS: dict[str, dict[str, tuple[str, ...]]] = {
    "x86_64": {"scalar": (), "avx2": ("-mavx2", "-mfma", "-mf16c"), "avx512": ("-mavx512f", "-mprefer-vector-width=512")},
    "aarch64": {"scalar": (), "neon": ()},
}


class BuildError(RuntimeError):
    """A compiler's own words."""


def build(driver: str, folder: Path, *, compiler: str = "g++", target: str = "x86_64", flags: Sequence[str] = ()) -> Path:
    """Compiles `tests/support/drivers/<driver>.cpp` with the kernels of every instruction set of `target`; returns the binary's path.

    `flags` come last for compiling and for linking.  Raises BuildError with what the compiler said where it fails.
    """
    generated = folder / "generated"
    run([sys.executable, str(ROOT / "csrc" / "generate.py"), str(generated)])
    cpu = ROOT / "csrc" / "cpu"
    jobs = [(ROOT / "tests" / "support" / "drivers" / f"{driver}.cpp", "driver", ())]
    jobs += [(cpu / f"{name}.cpp", Path(name).name, ()) for name in SOURCES]
    jobs += [
        (cpu / "loops" / "kernels.cpp", f"kernels_{isa}", (f"-DFASTOPT_ISA={isa}", *own)) for isa, own in KERNELS[target].items()
    ]

    includes = [f"-I{path}" for path in (ROOT / "include", ROOT / "csrc", generated)]

    def compile_one(job: tuple[Path, str, tuple[str, ...]]) -> str:
        source, name, own = job
        made = str(folder / f"{name}.o")
        run([compiler, *FLAGS, *own, *flags, *includes, "-c", str(source), "-o", made])
        return made

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compile_one, jobs))
    binary = folder / driver
    run([compiler, "-pthread", *objects, *flags, "-o", str(binary)])
    return binary


def run(command: Sequence[str], environment: dict[str, str] | None = None, limit: float = 120) -> str:
    """The command's output; BuildError with its words where it fails."""
    variables = {**os.environ, **(environment or {})}
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=limit, env=variables, check=False)
    if done.returncode != 0:
        raise BuildError(f"{' '.join(map(str, command))}\nexit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def links(compiler: str, folder: Path, flags: Sequence[str]) -> bool:
    """Whether the compiler has what `flags` need, such as a sanitizer's runtime."""
    source = folder / "empty.cpp"
    source.write_text("int main() { return 0; }\n")
    try:
        run([compiler, *flags, str(source), "-o", str(folder / "empty")])
        run([str(folder / "empty")])
    except BuildError:
        return False
    return True
