"""Builds the native drivers of `tests/drivers` against the kernels, and runs them.

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
from typing import TypeAlias

ROOT = Path(__file__).resolve().parent.parent
DRIVERS = ROOT / "tests" / "drivers"
FLAGS = ("-std=c++17", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fPIC", "-pthread", "-Wall", "-Wextra")
SOURCES = (
    *(
        f"door/{name}"
        for name in ("factors", "formats", "given", "isa", "measure", "rows", "rule_table", "status", "step", "sums")
    ),
    "floor/floor",
    *(f"work/{name}" for name in ("line", "processors", "threads")),
)
KERNELS: dict[str, dict[str, tuple[str, ...]]] = {
    "x86_64": {"scalar": (), "avx2": ("-mavx2", "-mfma", "-mf16c"), "avx512": ("-mavx512f", "-mprefer-vector-width=512")},
    "aarch64": {"scalar": (), "neon": ()},
}


Job: TypeAlias = tuple[Path, str, tuple[str, ...]]
"""A source, the name of its object, and options of its own."""


class BuildError(RuntimeError):
    """A compiler's own words."""


def build(driver: str, folder: Path, *, compiler: str = "g++", target: str = "x86_64", flags: Sequence[str] = ()) -> Path:
    """Compiles `tests/drivers/<driver>.cpp` with the kernels of every instruction set of `target`; returns the binary's path.

    `flags` come last for compiling and for linking.  Raises BuildError with what the compiler said if it fails.
    """
    binary = folder / driver
    jobs = [(DRIVERS / f"{driver}.cpp", "driver", ()), *library_jobs(target)]
    objects = compile_all(jobs, folder, generate(folder), compiler, flags)
    run([compiler, "-pthread", *objects, *flags, "-o", str(binary)])
    return binary


def build_library(folder: Path, rows: Sequence[Path], *, target: str, flags: Sequence[str] = ()) -> Path:
    """The C library, shared, with the rules of `rows` beside the product's; their headers are in `tests/drivers/rules`."""
    library = folder / "libfastopt.so"
    objects = compile_all(library_jobs(target), folder, generate(folder, rows), "g++", (*flags, f"-I{DRIVERS}"))
    run(["g++", "-pthread", "-shared", *objects, *flags, "-o", str(library)])
    return library


def generate(folder: Path, rows: Sequence[Path] = ()) -> Path:
    """What the build generates, in a folder of that name."""
    run([sys.executable, str(ROOT / "csrc" / "generate.py"), str(folder / "generated"), *map(str, rows)])
    return folder / "generated"


def library_jobs(target: str) -> list[Job]:
    cpu = ROOT / "csrc" / "cpu"
    kernels = [
        (cpu / "loops" / "kernels.cpp", f"kernels_{isa}", (f"-DFASTOPT_ISA={isa}", *own)) for isa, own in KERNELS[target].items()
    ]
    return [*kernels, *((cpu / f"{name}.cpp", Path(name).name, ()) for name in SOURCES)]


def compile_all(jobs: Sequence[Job], folder: Path, generated: Path, compiler: str, flags: Sequence[str]) -> list[str]:
    """The objects."""

    def compile_one(job: Job) -> str:
        source, name, own = job
        made = str(folder / f"{name}.o")
        run([compiler, *FLAGS, *own, *flags, *includes(generated), "-c", str(source), "-o", made], limit=600)
        return made

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(compile_one, jobs))


def includes(generated: Path) -> list[str]:
    return [f"-I{path}" for path in (ROOT / "include", ROOT / "csrc", generated)]


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
