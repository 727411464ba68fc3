"""`fastopt check`: every rule, instruction set and number of threads is compared, and what is wrong is named with status 1."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import fastopt
from fastopt import _core
from fastopt._arrays import driver as cuda_driver
from fastopt.cli import check, info
from fastopt.cli.rows import ROWS, Row
from fastopt.config import available
from fastopt.rules import RULES
from tests.support.cli import status
from tests.support.emulated_cuda import EmulatedArray, EmulatedDriver
from tests.support.kernels_on_host import can_build

ADAMW = next(row for row in ROWS if row.label == "AdamW")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes steps of fewer elements."""
    monkeypatch.setattr(check, "SIZE", 5003)


@pytest.fixture
def no_gpu() -> Iterator[None]:
    """A machine whose driver says that it has no GPU."""

    def absent(*args: Any) -> Any:
        raise cuda_driver.CudaError("no GPU is here")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "driver", absent)
        yield


def parts(out: str) -> dict[str, str]:
    """What was said of each part."""
    return dict(line.strip().split(": ", 1) for line in out.splitlines() if line.startswith("  "))


class TestPasses:
    def test_here(self, capsys: pytest.CaptureFixture[str], no_gpu: None) -> None:
        before = _core.isa_active(), fastopt.get_num_threads()
        fastopt.set_num_threads(3)
        code, out, err = status(["check"], capsys)
        assert (code, err) == (0, "")
        assert fastopt.get_num_threads() == 3
        assert _core.isa_active() == before[0]
        said = parts(out)
        assert list(said) == [*available(), "torch", "GPU"]
        for name in available():
            chosen = "in use, " if name == before[0] else ""
            assert said[name] == f"ok: {chosen}float32 and float64, 1 thread and 3 threads"
        assert said["torch"] == f"ok: {torch.__version__}, float32 and float64"
        assert said["GPU"] == "not here: no GPU is here"
        assert out.endswith("\nfastopt works here.\n")

    def test_takes_every_rule_with_every_instruction_set_and_number_of_threads(
        self, monkeypatch: pytest.MonkeyPatch, no_gpu: None
    ) -> None:
        taken = set()

        def host_steps(row: Row, dtype: str) -> Any:
            taken.add((row.rule.name, dtype, _core.isa_active(), fastopt.get_num_threads()))
            return steps(row, dtype)

        steps = check.host_steps
        monkeypatch.setattr(check, "host_steps", host_steps)
        fastopt.set_num_threads(2)
        assert check.run(None) == 0  # type: ignore[arg-type]  # it has no arguments
        assert taken == {(rule, dtype, isa, n) for rule in RULES for dtype in check.DTYPES for isa in available() for n in (1, 2)}

    def test_without_torch_it_says_what_to_install(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, no_gpu: None
    ) -> None:
        monkeypatch.setattr(check, "installed", lambda: info.installed() | {"torch": None})
        code, out, _ = status(["check"], capsys)
        assert code == 0
        assert parts(out)["torch"] == 'not here: torch is not installed: pip install ".[torch]" in the folder of fastopt\'s clone'

    def test_needs_numpy_alone_and_runs_as_a_module(self) -> None:
        code = """
import runpy
import sys
from fastopt.cli.info import EXTRAS, MODULES
sys.modules |= dict.fromkeys(MODULES.get(name) or name for name in EXTRAS)  # importing them now fails
sys.argv = ["fastopt", "check"]
runpy.run_module("fastopt", run_name="__main__")
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert "fastopt works here." in done.stdout
        assert {word.split(":")[0] for word in (parts(done.stdout)["torch"], parts(done.stdout)["GPU"])} == {"not here"}


class TestFails:
    @pytest.mark.parametrize("label", [row.label for row in ROWS])
    def test_a_wrong_element_is_named(
        self, label: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, no_gpu: None
    ) -> None:
        def broken(row: Row, dtype: str) -> Any:
            param = steps(row, dtype)
            if (row.label, dtype, _core.isa_active()) == (label, "float32", available()[-1]):
                param[77] += 1e-4
            return param

        steps = check.host_steps
        monkeypatch.setattr(check, "host_steps", broken)
        monkeypatch.setattr(check, "ROWS", [row for row in ROWS if row.label == label])
        code, out, _ = status(["check"], capsys)
        assert code == 1
        said = parts(out)
        assert said[available()[-1]].startswith(f"FAILED: {label}, float32, 1 thread: element 77 became ")
        assert said[available()[-1]].endswith("as NumPy has")
        assert all(said[name].startswith("ok") for name in available()[:-1])
        assert out.endswith("\nfastopt does not work here as it should.\n")

    def test_other_bits_are_named(self) -> None:
        comparison = check.Comparison()
        param = check.host_steps(ADAMW, "float32")
        comparison.check(ADAMW, "float32", param, "1 thread")
        other = param.copy()
        other[5] = np.nextafter(other[5], np.float32(np.inf))
        with pytest.raises(check.Failed, match=r"AdamW, float32, 2 threads: element 5 became .*, expected the bits of"):
            comparison.check(ADAMW, "float32", other, "2 threads")

    def test_nan_is_wrong(self) -> None:
        param = check.host_steps(ADAMW, "float64")
        param[3] = np.nan
        with pytest.raises(check.Failed, match="element 3 became"):
            check.Comparison().check(ADAMW, "float64", param, "here")

    def test_an_instruction_set_that_did_not_run_is_named(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, no_gpu: None
    ) -> None:
        monkeypatch.setattr(_core, "isa_last_run", lambda: "abacus")
        code, out, _ = status(["check"], capsys)
        assert code == 1
        assert parts(out)[available()[0]] == "FAILED: abacus ran in its place"

    def test_a_broken_torch_costs_nothing_else(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, no_gpu: None
    ) -> None:
        monkeypatch.setitem(sys.modules, "torch", None)  # importing it now fails
        monkeypatch.setattr(check, "installed", lambda: {"torch": "2.13.0"})
        code, out, _ = status(["check"], capsys)
        assert code == 1
        assert parts(out)["torch"].startswith("FAILED: ModuleNotFoundError: ")
        assert parts(out)["GPU"] == "not here: no GPU is here"


class Scaled(EmulatedArray):
    """An array of the emulated GPU that can be multiplied, as CuPy's."""

    def __imul__(self, factor: float) -> Scaled:
        self.host[...] *= factor
        return self


def asarray(values: Any) -> Scaled:
    made = Scaled(values.shape, values.dtype, 0)
    made.host[...] = values
    return made


@pytest.mark.skipif(not can_build(), reason="kernels cannot be compiled for the host")
class TestGpu:
    @pytest.fixture(autouse=True)
    def emulated(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        before = cuda_driver.use(EmulatedDriver())
        monkeypatch.setattr(check, "ROWS", [ADAMW])
        monkeypatch.setattr(check, "installed", lambda: {"torch": None})
        monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(asarray=asarray, asnumpy=EmulatedArray.get, __version__="14.0"))
        yield
        cuda_driver.use(before)

    def test_takes_the_steps(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, _ = status(["check"], capsys)
        assert code == 0, out
        assert parts(out)["GPU"] == "ok: CuPy 14.0, float32 and float64"

    def test_what_it_computes_wrong_is_named(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys.modules["cupy"], "asnumpy", lambda array: array.get() * 1.01)
        code, out, _ = status(["check"], capsys)
        assert code == 1
        assert parts(out)["GPU"].startswith("FAILED: AdamW, float32, GPU: element ")
