"""The kernels and the threads on this machine, under the address, undefined-behaviour and thread sanitizers."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

import pytest

from tests.support import build_driver, replay_cases, replay_file

COMPILER = "g++"
TARGET = {"x86_64": "x86_64", "AMD64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}.get(platform.machine())


def flags_of(sanitizer: str) -> tuple[str, ...]:
    """The flags of `nox -s sanitizers`, which builds the extension with them."""
    lines = (build_driver.ROOT / "tools" / "sanitizers" / f"{sanitizer}.flags").read_text().splitlines()
    return tuple(line for line in lines if line.startswith("-"))


MEMORY, RACES = flags_of("address"), flags_of("thread")
CALLED = tuple(flag for flag in RACES if not flag.startswith("-fsanitize"))

pytestmark = [
    pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"{COMPILER} is not installed"),
    pytest.mark.skipif(platform.system() != "Linux", reason="the sanitizers' options are those of Linux"),
    pytest.mark.skipif(TARGET is None, reason=f"no kernels for {platform.machine()}"),
]


def build(driver: str, folder: Path, flags: tuple[str, ...]) -> Path:
    if not build_driver.links(COMPILER, folder, flags):
        pytest.skip(f"{COMPILER} has no runtime for {' '.join(flags)}, or it does not start here")
    assert TARGET
    return build_driver.build(driver, compiler=COMPILER, target=TARGET, flags=flags)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sanitizers")


@pytest.fixture(scope="session")
def replay(folder: Path) -> Path:
    return build("replay", folder, MEMORY)


@pytest.fixture(scope="session")
def case_file(folder: Path) -> Path:
    return replay_file.write_cases(replay_cases.cases(), folder / "cases")


def test_errors(replay: Path) -> None:
    build_driver.run([str(replay), "check"])


@pytest.mark.parametrize(("threads", "parts", "control"), [(1, "whole", "keep"), (3, "parts", "flush")])
@pytest.mark.parametrize("isa", build_driver.KERNELS.get(TARGET or "", {}))
def test_memory(replay: Path, case_file: Path, tmp_path: Path, isa: str, threads: int, parts: str, control: str) -> None:
    available = build_driver.run([str(replay), "isas"]).split()
    if isa not in available:
        pytest.skip(f"this machine runs {', '.join(available)}")
    results = tmp_path / "results"
    build_driver.run([str(replay), "run", str(case_file), str(results), isa, str(threads), parts, control])
    replay_file.check_results(replay_cases.cases(), results)


@pytest.mark.parametrize("control", ["keep", "flush", "upward"])
def test_derived_scalars(replay: Path, folder: Path, tmp_path: Path, control: str) -> None:
    """The scalars of a step are derived on the caller's thread, which may round or flush in its own way."""
    chosen = replay_cases.delicate_cases()
    cases, results = replay_file.write_cases(chosen, folder / "delicate"), tmp_path / "results"
    build_driver.run([str(replay), "run", str(cases), str(results), "scalar", "1", "whole", control])
    replay_file.check_results(chosen, results)


def test_races(tmp_path: Path) -> None:
    """No data race between steps, helpers that sleep and wake, and changed settings; the bits are a serial run's."""
    threads = build("threads", tmp_path, RACES)
    build_driver.run([str(threads), "8", "0"], {"TSAN_OPTIONS": "halt_on_error=1:exitcode=66"})


def test_fork(tmp_path: Path) -> None:
    """A child steps in parallel while its parent does.  The thread sanitizer cannot start threads in such a child."""
    threads = build("threads", tmp_path, MEMORY)
    build_driver.run([str(threads), "16", "6"])
