"""Builds the native drivers of `tests/support/drivers` against the kernels, once each, and runs them.

The drivers link the library's own sources, not the extension, so they run under an emulator, and under
sanitizers that cannot be loaded into a Python process.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

from tests.support import made

ROOT = Path(__file__).resolve().parents[2]
DRIVERS = Path(__file__).resolve().parent / "drivers"
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
"""A source, the name of its object, and flags of its own."""


class BuildError(RuntimeError):
    """A compiler's failure, with its own message."""


def build(driver: str, *, compiler: str = "g++", target: str = "x86_64", flags: Sequence[str] = ()) -> Path:
    """Compiles `tests/support/drivers/<driver>.cpp` with the kernels of all instruction sets of `target`; returns the binary.

    `flags` come last for compiling and for linking.  Raises BuildError, with the compiler's message, if the compiler fails.
    """
    content = content_of(compiler, target, *flags)
    return made.once(f"{driver}-{target}", content, lambda path: link(driver, path, compiler, target, flags))


def link(driver: str, binary: Path, compiler: str, target: str, flags: Sequence[str]) -> None:
    library = library_objects(compiler, target, flags)
    objects = compile_all([(DRIVERS / f"{driver}.cpp", "driver", ())], binary.parent, library / "generated", compiler, flags)
    run([compiler, "-pthread", *objects, *map(str, sorted(library.glob("*.o"))), *flags, "-o", str(binary)])


def library_objects(compiler: str, target: str, flags: Sequence[str]) -> Path:
    """A folder with the library's objects, which all drivers of one target and the same flags share."""

    def make(folder: Path) -> None:
        folder.mkdir()
        compile_all(library_jobs(target), folder, generate(folder), compiler, flags)

    return made.once(f"objects-{target}", content_of(compiler, target, *flags), make)


def build_library(rows: Sequence[Path], *, target: str, flags: Sequence[str] = ()) -> Path:
    """The shared C library with the rules of `rows` beside the product's.  Their headers are in `tests/support/drivers/rules`."""

    def make(library: Path) -> None:
        folder = library.parent
        objects = compile_all(library_jobs(target), folder, generate(folder, rows), "g++", (*flags, f"-I{DRIVERS}"))
        run(["g++", "-pthread", "-shared", *objects, *flags, "-o", str(library)])

    return made.once(f"library-{target}.so", content_of("g++", target, *flags, *map(str, rows)), make)


def content_of(compiler: str, target: str, *flags: str) -> str:
    """A digest of all that a driver or a library is made of."""
    return made.digest(made.version(compiler), target, *FLAGS, *flags, *map(str, KERNELS[target].items()), *texts())


@functools.cache
def texts() -> list[str]:
    """The sources, headers and rows of the table."""
    folders = {"include": "*.h", "csrc": "**/*.*", "python/fastopt/rules": "*.py", "tests/support/drivers": "**/*.*"}
    paths = [path for folder, pattern in folders.items() for path in sorted((ROOT / folder).glob(pattern))]
    return [f"{path.relative_to(ROOT)}\0{path.read_text()}" for path in paths if path.suffix in (".h", ".cpp", ".py")]


def generate(folder: Path, rows: Sequence[Path] = ()) -> Path:
    """The folder of the files that the build generates."""
    run([sys.executable, str(ROOT / "csrc" / "generate.py"), str(folder / "generated"), *map(str, rows)])
    return folder / "generated"


def library_jobs(target: str) -> list[Job]:
    """The sources of the library.  The kernels, which take longest to compile, come first."""
    cpu = ROOT / "csrc" / "cpu"
    kernels = [
        (cpu / "loops" / "kernels.cpp", f"kernels_{isa}", (f"-DFASTOPT_ISA={isa}", *own)) for isa, own in KERNELS[target].items()
    ]
    return [*kernels, *((cpu / f"{name}.cpp", Path(name).name, ()) for name in SOURCES)]


def compile_all(jobs: Sequence[Job], folder: Path, generated: Path, compiler: str, flags: Sequence[str]) -> list[str]:
    """Compiles the jobs' sources; returns the objects."""

    def compile_one(job: Job) -> str:
        source, name, own = job
        compiled = str(folder / f"{name}.o")
        run([compiler, *FLAGS, *own, *flags, *includes(generated), "-c", str(source), "-o", compiled], limit=600)
        return compiled

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(compile_one, jobs))


def includes(generated: Path) -> list[str]:
    return [f"-I{path}" for path in (ROOT / "include", ROOT / "csrc", generated)]


def run(command: Sequence[str], environment: dict[str, str] | None = None, limit: float = 300) -> str:
    """The command's output.  Raises BuildError, with that output, if the command fails."""
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
