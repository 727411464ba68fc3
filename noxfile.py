"""The project's chores: `nox -s tests`, `nox -s lint`, `nox -s cuda`, `nox -s frameworks`, `nox -s budgets`, `nox -s demo`,
`nox -s bench`."""

import nox

nox.options.sessions = ["lint", "tests"]
nox.options.default_venv_backend = "venv"


@nox.session
def tests(session: nox.Session) -> None:
    """Installs fastopt with everything its tests need, and runs them."""
    session.install("torch==2.13.0")  # first, so that nothing else chooses another build of it
    session.install(".[test]")
    session.run("pytest", *session.posargs)


@nox.session
def cuda(session: nox.Session) -> None:
    """Compiles every kernel for CUDA that arguments can ask for; needs no GPU."""
    session.install("torch==2.13.0")  # as above
    session.install(".[test]")
    session.run("pytest", "-m", "exhaustive", "tests/test_cuda_compile.py", *session.posargs)


@nox.session
def frameworks(session: nox.Session) -> None:
    """Compares the forms that the tests take for Keras' and optax' with Keras and optax themselves."""
    session.install("keras==3.15.1", "optax==0.2.8", "jax==0.10.2")
    session.run("python", "tests/check_frameworks.py")


@nox.session
def budgets(session: nox.Session) -> None:
    """What the build, the extension and the import cost, against their budgets."""
    session.install(".")
    session.run("python", "tools/budgets.py")


@nox.session
def demo(session: nox.Session) -> None:
    """Trains a classifier with each rule, then measures the rules quickly."""
    session.install(".[cli]")
    session.run("fastopt", "compare")
    session.run("fastopt", "bench", "--quick")


@nox.session
def bench(session: nox.Session) -> None:
    """Measures everything against torch, as the table in bench/results."""
    session.install("torch==2.13.0")
    session.install(".[cli]")
    session.run("fastopt", "bench", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Formatting, static types, the stub of the extension, what follows from the table of rules, headers and sources of C++."""
    session.install("torch==2.13.0")  # first, as above; the stub of fastopt.torch is made with it
    session.install("pre-commit", "mypy==2.4.1", "nox", "clang-tidy==23.1.4", "cmake", "pybind11>=3,<4")
    session.install(".[cli,checkpoints]", env={"CMAKE_ARGS": "-DFASTOPT_WARNINGS_AS_ERRORS=ON"})
    session.run("mypy")
    session.run("python", "-m", "mypy.stubtest", "fastopt._core", "--allowlist", "tests/stubtest-allowlist.txt")
    session.run("python", "tools/generate.py", "--check")
    session.run("python", "tools/check_headers.py")
    session.run("python", "tools/tidy.py")
    session.run("pre-commit", "run", "--all-files", "--show-diff-on-failure")
