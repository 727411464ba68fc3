"""The kernels for 64-bit ARM, under an emulator: NEON and plain C++ give the bits that this machine gives."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support import build_driver, replay_cases, replay_file

COMPILER = "aarch64-linux-gnu-g++"
EMULATOR = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")

pytestmark = [
    pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"{COMPILER} is not installed"),
    pytest.mark.skipif(EMULATOR is None, reason="neither qemu-aarch64-static nor qemu-aarch64 is installed"),
]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("neon")


@pytest.fixture(scope="session")
def replay() -> list[str]:
    """The command of the driver under the emulator."""
    binary = build_driver.build("replay", compiler=COMPILER, target="aarch64", flags=["-static"])
    assert EMULATOR
    return [EMULATOR, str(binary)]


@pytest.fixture(scope="session")
def case_file(folder: Path) -> Path:
    return replay_file.write_cases(replay_cases.cases(), folder / "cases")


def test_instruction_sets(replay: list[str]) -> None:
    assert build_driver.run([*replay, "isas"]).split() == ["neon", "scalar"]


def test_errors(replay: list[str]) -> None:
    build_driver.run([*replay, "check"])


@pytest.mark.parametrize("control", ["keep", "flush"])
@pytest.mark.parametrize("parts", ["whole", "parts"])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("isa", ["neon", "scalar"])
def test_same_bits(replay: list[str], case_file: Path, tmp_path: Path, isa: str, threads: int, parts: str, control: str) -> None:
    results = tmp_path / "results"
    build_driver.run([*replay, "run", str(case_file), str(results), isa, str(threads), parts, control])
    replay_file.check_results(replay_cases.cases(), results)
