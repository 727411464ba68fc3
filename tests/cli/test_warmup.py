"""`fastopt warmup`, and the cache in `fastopt info`."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest

from fastopt._cuda import compiler, kernels
from fastopt.cli import build_parser, progress, warmup
from tests.support.cli import status


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FASTOPT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """Says nothing on standard error, however slow the machine is."""
    monkeypatch.setattr(progress, "EVERY", math.inf)


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Machine code that is none, at once and without NVRTC."""

    class Binding:
        @staticmethod
        def getVersion() -> tuple[int, int]:
            return 13, 0

    monkeypatch.setattr(compiler, "nvrtc", Binding)
    monkeypatch.setattr(compiler, "compile_source", lambda source, arch: (b"\x7fELF" + source.encode(), ""))


def wanted(*argv: str) -> list[str]:
    """The names of the kernels."""
    return [kernel.name for kernel in warmup.wanted(build_parser().parse_args(["warmup", *argv]))]


class TestWanted:
    def test_by_default_every_rule_in_float32(self) -> None:
        names = wanted()
        assert len(names) == len(set(names)) == 15
        assert {"sweep-float32-float32", "clip-float32-float32", "write"} < set(names)
        steps = {name for name in names if name.count("-") > 2}
        assert len(steps) == 12
        assert {"sgd-plain-float32-float32-float32", "adam-plain-float32-float32-float32-float32"} < steps
        assert all(set(name.split("-")[2:]) == {"float32"} for name in steps)

    @pytest.mark.parametrize(
        ("argv", "expected"),
        [
            ("--param bfloat16", "float32-bfloat16-bfloat16-float32"),
            ("--param bfloat16 --master 24bit --state-dtype 8bit", "float32-bfloat16+24bit-bfloat16-8bit"),
            ("--param float16 --master stochastic --grad float32", "float32-float16-float32-float32"),
            ("--grad bfloat16 --state-dtype bfloat16", "float32-float32-bfloat16-bfloat16"),
            ("--state-dtype float32", "float32-float32-float32-float32"),
            ("--param float64 --grad float16", "float64-float64-float16-float64"),
        ],
    )
    def test_formats(self, argv: str, expected: str) -> None:
        names = wanted("--rules", "adamw", *argv.split())
        assert f"adam-plain-{expected}" in names
        assert set(names) <= {each.name for each in [*kernels.step_kernels(), *warmup.gradient_kernels(), kernels.WRITE]}

    def test_gradients_alone_have_their_own_arithmetic(self) -> None:
        names = wanted("--rules", "lion", "--param", "float64", "--grad", "bfloat16")
        assert {"sweep-float64-bfloat16", "sweep-float32-bfloat16", "clip-float32-bfloat16"} < set(names)

    def test_a_rule_without_state_has_no_format_for_it(self) -> None:
        assert "sgd-plain-float32-float32-float32" in wanted("--rules", "sgd", "--state-dtype", "8bit")

    def test_all(self) -> None:
        names = wanted("--all")
        assert len(names) == len(set(names)) == len(list(kernels.step_kernels())) + len(list(warmup.gradient_kernels())) + 1
        few = wanted("--all", "--rules", "lion")
        assert len(few) < len(names) / 10
        assert set(few) < set(names)


class TestErrors:
    @pytest.mark.parametrize(
        ("argv", "words"),
        [
            ("--arch sm90", ["--arch", "'sm90'", "sm_80,sm_90"]),
            ("--rules adamx", ["--rules", "'adamx'"]),
            ("--param int8", ["--param", "'int8'"]),
        ],
    )
    def test_an_argument_that_cannot_be(self, argv: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        code, out, err = status(["warmup", *argv.split()], capsys)
        assert (code, out) == (2, "")
        assert all(word in err for word in words)

    @pytest.mark.parametrize(
        ("argv", "words"),
        [
            ("--param bfloat16 --grad float64", ["--grad: got float64", "float32, bfloat16, float16 for bfloat16"]),
            ("--master 24bit", ["--master: got 24bit", "float32 parameters"]),
            ("--param float64 --state-dtype 8bit", ["--state-dtype: got 8bit", "float64 for float64"]),
            ("--state-dtype float64", ["--state-dtype: got float64", "float32, bfloat16, 8bit for float32"]),
            ("--all --state-dtype 8bit", ["--state-dtype", "--all"]),
        ],
    )
    def test_arguments_that_do_not_go_together(self, argv: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        self.one_line(["warmup", "--arch", "sm_90", *argv.split()], words, capsys)

    def test_without_cupy(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "cupy"] + ["cupy"]:
            monkeypatch.setitem(sys.modules, name, None)
        self.one_line(["warmup", "--arch", "sm_90"], ['pip install ".[cuda13]"'], capsys)

    @pytest.mark.usefixtures("nvrtc")
    def test_without_a_gpu_an_architecture_must_be_named(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from cupy.cuda import runtime

        def none() -> int:
            raise runtime.CUDARuntimeError(100)

        monkeypatch.setattr(runtime, "getDeviceCount", none)
        self.one_line(["warmup"], ["--arch: no GPU", "cudaErrorNoDevice", "sm_90"], capsys)

    @pytest.mark.usefixtures("nvrtc")
    def test_an_architecture_that_nvrtc_does_not_know(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.one_line(["warmup", "--arch", "sm_20", "--rules", "lion"], ["sm_20", "NVRTC"], capsys)

    @pytest.mark.usefixtures("no_compiler")
    def test_a_cache_that_cannot_be_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("FASTOPT_CACHE_DIR", str(tmp_path / "file" / "cache"))
        self.one_line(["warmup", "--arch", "sm_90"], [f"{tmp_path}/file/cache", "FASTOPT_CACHE_DIR"], capsys)

    def one_line(self, argv: list[str], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        code, out, err = status(argv, capsys)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith("fastopt: ")
        for word in words:
            assert word in err


class TestWarmup:
    @pytest.mark.usefixtures("nvrtc")
    def test_what_a_step_needs_is_there(
        self, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        code, out, err = status(["warmup", "--rules", "lion", "--arch", "sm_90"], capsys)
        assert (code, err) == (0, "")
        assert out.startswith("sm_90: compiled 4, 0 were there, ")
        monkeypatch.setattr(compiler, "compile_source", None)
        lion = next(kernel for kernel in kernels.step_kernels() if kernel.rule.name == "Lion" and kernel.dtype == "float32")
        for kernel in (lion, kernels.WRITE):
            assert compiler.cubin(kernel, "sm_90")[:4] == b"\x7fELF"
        _, out, _ = status(["warmup", "--rules", "lion", "--arch", "sm_90"], capsys)
        assert out.startswith("sm_90: compiled 0, 4 were there, ")

    @pytest.mark.usefixtures("no_compiler")
    def test_several_architectures(self, capsys: pytest.CaptureFixture[str]) -> None:
        _, out, _ = status(["warmup", "--arch", "sm_90,sm_80,sm_90"], capsys)
        assert out.startswith("sm_90, sm_80: compiled 30, 0 were there, ")
        assert {cubin.arch for cubin in compiler.cached()} == {"sm_80", "sm_90"}


class TestInfo:
    def test_an_empty_cache(self, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
        _, out, _ = status(["info"], capsys)
        assert out.endswith(f"\nkernels for CUDA: 0, 0 bytes in {cache}\n")

    @pytest.mark.usefixtures("no_compiler")
    def test_the_first_twenty_or_all(self, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
        status(["warmup", "--arch", "sm_80,sm_90"], capsys)
        sizes = [path.stat().st_size for path in cache.iterdir()]
        _, short, _ = status(["info"], capsys)
        _, whole, _ = status(["info", "--cache"], capsys)
        for out, lines in ((short, 21), (whole, 30)):
            head, listed = out.split(f"kernels for CUDA: 30, {sum(sizes):,} bytes in {cache}\n")
            assert "extras:" in head
            assert len(listed.splitlines()) == lines
        assert short.endswith("\n  ... and 10 more (fastopt info --cache)\n")
        write: Any = next(cubin for cubin in compiler.cached() if cubin.kernel == "write")
        assert f"\n  write sm_80 {write.path.stat().st_size:,} bytes\n" in whole
