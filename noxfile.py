"""The project's chores, one session each: what must hold before a change lands, and what people ask for.

`nox -s ci` is the whole of what must hold: the other sessions, nothing twice.  At the end, nox prints how long each part took.
"""

import atexit
import functools
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import nox

nox.options.sessions = ["lint", "tests"]
nox.options.default_venv_backend = "venv"

ROOT = Path(__file__).resolve().parent
PYTEST = ("pytest", "--numprocesses=logical", "--dist=worksteal")
LINTERS = (
    ("mypy",),
    ("python", "-m", "mypy.stubtest", "fastopt._core", "--allowlist", "tools/stubtest-allowlist.txt"),
    ("lint-imports",),
    ("python", "tools/check_headers.py"),
    ("python", "tools/tidy.py"),
    ("pre-commit", "run", "--all-files", "--show-diff-on-failure"),
)
LINT_PACKAGES = ("clang-tidy==23.1.4", "cmake", "import-linter==2.17", "nox", "pre-commit", "pybind11>=3,<4")

# ---- How long each part takes ----------------------------------------------------------------------------------------

begun = float(os.environ.get("FASTOPT_CI_BEGUN", time.time()))
ends = {"before nox": time.time()}


def done(part: str) -> None:
    """Notes that a part, which began where the one before ended, is over."""
    ends[part] = time.time()


@atexit.register
def show_times() -> None:
    """Prints a line for each part."""
    if len(ends) == 1:
        return
    starts = (begun, *ends.values())
    for (part, end), start in zip(ends.items(), starts, strict=False):
        print(f"{end - start:6.0f} s  {part}")
    print(f"{time.time() - begun:6.0f} s  in all")


# ---- What the sessions install ---------------------------------------------------------------------------------------


@functools.cache
def folder() -> Path:
    """A folder of this run of nox."""
    made = tempfile.TemporaryDirectory(prefix="fastopt-nox-")
    atexit.register(made.cleanup)
    return Path(made.name)


def wheel(session: nox.Session) -> Path:
    """The wheel of this checkout, built once in a run of nox; beside it `log`, the compiler's words, and `seconds`."""
    if not (folder() / "log").exists():
        start = time.monotonic()
        command = ("python", "-m", "pip", "wheel", "--verbose", "--no-deps", f"--wheel-dir={folder()}", str(ROOT))
        log = session.run(*command, f"-Cbuild-dir={folder()}/build", silent=True)
        (folder() / "seconds").write_text(f"{time.monotonic() - start:.1f}")
        (folder() / "log").write_text(str(log))
        done("wheel")
    (built,) = folder().glob("*.whl")
    return built


def install(session: nox.Session, extras: str = "", *more: str) -> None:
    """Installs the wheel with these extras, and more packages."""
    session.install(f"fastopt[{extras}] @ {wheel(session).as_uri()}", *more)
    done(f"{session.name}: installation")


# ---- What must hold --------------------------------------------------------------------------------------------------


@nox.session
def tests(session: nox.Session) -> None:
    """Installs fastopt with everything its tests need, and runs them."""
    session.install("torch==2.13.0")  # first, so that nothing else chooses another build of it
    install(session, "test")
    session.run(*PYTEST, *session.posargs)
    done("tests")


def in_tests_environment(session: nox.Session, *command: str, **options: Any) -> str:
    """Runs a command of the environment that `tests` made; returns what it printed, if that is asked for."""
    program, *arguments = command
    return str(session.run(str(ROOT / ".nox" / "tests" / "bin" / program), *arguments, external=True, **options))


@nox.session(venv_backend="none", requires=["tests"])
def isa(session: nox.Session) -> None:
    """Runs the tests of the CPU's kernels under every instruction set of this machine that `tests` did not choose."""
    code = "import fastopt; isa = fastopt.show_config('dicts')['isa']; print(*(set(isa['available']) - {isa['active']}))"
    for name in sorted(in_tests_environment(session, "python", "-c", code, silent=True).split()):
        folders = ("tests/rules", "tests/engine", "tests/storage")
        in_tests_environment(session, *PYTEST, "-m", "kernel and not slow", *folders, env={"FASTOPT_ISA": name})
        done(f"isa: {name}")


@nox.session(venv_backend="none", requires=["tests"])
def pairs(session: nox.Session) -> None:
    """Compiles kernels for CUDA until every two choices have met in one: rule and variant, and each array's format; needs no GPU."""
    in_tests_environment(session, *PYTEST, "-m", "pairwise", "tests/cuda/test_compile.py")
    done("pairs")


@nox.session
def lint(session: nox.Session) -> None:
    """Checks formatting, static types, the stub of the extension, the floors, headers and sources of C++; the compiler warned of nothing."""
    install(session, "cli,checkpoints,types", *LINT_PACKAGES)
    for command in LINTERS:
        session.run(*command)
    if warnings := [line for line in (folder() / "log").read_text().splitlines() if "warning:" in line]:
        session.error("\n".join(warnings))
    done("lint")


@nox.session
def budgets(session: nox.Session) -> None:
    """Compares what the build, the extension and the import cost with their budgets."""
    install(session)
    session.run("python", "tools/budgets.py", str(wheel(session)), (folder() / "seconds").read_text())
    done("budgets")


@nox.session(venv_backend="none", requires=["tests", "isa", "pairs", "lint", "budgets"])
def ci(session: nox.Session) -> None:
    """The whole of what must hold before a change lands: first the README's test command, then the rest."""
    session.log("all that must hold does")


# ---- What people ask for ---------------------------------------------------------------------------------------------


@nox.session
def cuda(session: nox.Session) -> None:
    """Compiles every kernel for CUDA that arguments can ask for, in ten minutes; needs no GPU."""
    session.install("torch==2.13.0")  # first, as above
    install(session, "test")
    session.run(*PYTEST, "-m", "pairwise or exhaustive", "tests/cuda/test_compile.py", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """Trains a classifier with each rule, then measures the rules quickly."""
    install(session, "cli")
    session.run("fastopt", "compare")
    session.run("fastopt", "bench", "--quick")


@nox.session
def bench(session: nox.Session) -> None:
    """Measures everything against torch, as the table in bench/results."""
    session.install("torch==2.13.0")
    install(session, "cli")
    session.run("fastopt", "bench", *session.posargs)
