"""The CUDA kernels without a GPU: NVRTC and nvcc take them, the compiler's report is what it should be, the cache works."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fastopt._cuda import compiler, kernels
from fastopt._cuda.kernels import WRITE, GradientKernel, StepKernel
from fastopt._storage.formats import FORMATS, state_format
from fastopt.cli.warmup import gradient_kernels
from fastopt.rules import RULES
from tests.support.processes import run_python

ARCHS = ("sm_75", "sm_80", "sm_90", "sm_100", "sm_120")
STEP_KERNELS = list(kernels.step_kernels())
OTHERS: list[Any] = [*gradient_kernels(), WRITE]
SMALL = GradientKernel("Clip", "float32", "")
"""Quick to compile."""

# The names of what a step kernel is chosen by.
RULE, PARAM, GRAD, STATE = range(4)


def choices(kernel: StepKernel) -> tuple[str, str, str, str]:
    rule = f"{kernel.rule.arithmetic} {kernel.variant.name}"
    return rule, kernel.param or kernel.dtype, kernel.grad or kernel.dtype, kernel.state_dtype or kernel.dtype


def cover(pairs: Sequence[tuple[int, int]]) -> list[StepKernel]:
    """Few step kernels in which all that is ever chosen together at these pairs of places is together."""
    met = [{(a, b, chosen[a], chosen[b]) for a, b in pairs} for chosen in map(choices, STEP_KERNELS)]
    missing, taken = set().union(*met), []
    while missing:
        best = max(range(len(met)), key=lambda i: len(met[i] & missing))
        missing -= met[best]
        taken.append(STEP_KERNELS[best])
    return taken


PLACES = (RULE, PARAM, GRAD, STATE)
FEW = cover([(place, place) for place in PLACES])
"""Each rule, and each format of each array, somewhere."""
PAIRS = cover(list(itertools.combinations(PLACES, 2)))
"""Each rule with each format of each array, and each two formats of two arrays, somewhere."""
EVERY = [
    *(pytest.param(kernel, marks=pytest.mark.pairwise) for kernel in PAIRS),
    *(pytest.param(kernel, marks=pytest.mark.exhaustive) for kernel in STEP_KERNELS if kernel not in PAIRS),
]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FASTOPT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def refused(kernel: Any, arch: str) -> str | None:
    """What the compiler says against a kernel, by the path that a step takes."""
    try:
        assert compiler.cubin(kernel, arch)[:4] == b"\x7fELF"
    except RuntimeError as error:
        return f"{kernel.name}: {error}"
    return None


def in_parallel(function: Any, *arguments: Iterable[Any]) -> list[Any]:
    """The results, of a thread for each processor: compilers work outside Python's lock."""
    with ThreadPoolExecutor(os.cpu_count()) as executor:
        return list(executor.map(function, *arguments))


@pytest.mark.usefixtures("nvrtc")
class TestNvrtc:
    def test_a_cover_of_the_kernels(self, cache: Path) -> None:
        work = [(kernel, ARCHS[i % len(ARCHS)]) for i, kernel in enumerate([*FEW, *OTHERS])]
        assert [each for each in in_parallel(refused, *zip(*work, strict=True)) if each] == []
        held = {(cubin.kernel, cubin.arch) for cubin in compiler.cached()}
        assert held == {(kernel.name, arch) for kernel, arch in work}
        assert len(held) == len(work) == len(list(cache.iterdir()))

    @pytest.mark.parametrize("kernel", EVERY, ids=lambda kernel: kernel.name)
    def test_each_kernel(self, cache: Path, kernel: StepKernel) -> None:
        assert refused(kernel, ARCHS[STEP_KERNELS.index(kernel) % len(ARCHS)]) is None

    def test_what_it_refuses_is_said(self) -> None:
        with pytest.raises(RuntimeError, match=r"(?s)NVRTC refuses a kernel for sm_90 .*identifier \"gibberish\" is undefined"):
            compiler.compile_source("int x = gibberish;", "sm_90")

    def test_names_tell_kernels_apart(self) -> None:
        sources = {kernel.source for kernel in [*STEP_KERNELS, *OTHERS]}
        assert len({kernel.name for kernel in [*STEP_KERNELS, *OTHERS]}) == len(sources) == len(STEP_KERNELS) + len(OTHERS)


ADAMW = {
    kernel.name: kernel
    for kernel in (
        StepKernel(RULES["AdamW"], RULES["AdamW"].variants[0], "float32", *formats)
        for formats in (("", "", None), ("", "", "bfloat16"), ("", "", "8bit"), ("bfloat16 24bit", "bfloat16", "8bit"))
    )
}


@pytest.mark.usefixtures("nvrtc")
@pytest.mark.parametrize("kernel", ADAMW.values(), ids=ADAMW)
class TestReport:
    def test_nothing_is_spilled_and_no_local_memory_is_used(self, kernel: StepKernel) -> None:
        def report(arch: str) -> str:
            return compiler.compile_source(kernel.source, arch, ("--ptxas-options=-v",))[1]

        for arch, words in zip(ARCHS, in_parallel(report, ARCHS), strict=True):
            frames = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", words)
            assert frames, words
            assert set(frames) == {("0", "0", "0")}, f"{arch}: {words}"
            assert re.search(r"Used \d+ registers", words)
            assert "lmem" not in words

    def test_whole_tiles_move_by_16_bytes(self, kernel: StepKernel) -> None:
        """In the kernel itself, which has all but the tiles that begin or end within a vector, every access of `Tile` to memory
        is of 16 bytes, and there are as many as the arrays' bytes need; nothing else there is less than 4 bytes wide."""
        found = list(accesses(ptx(kernel.source)))
        tile = Counter((kind, width) for kind, width, file in found if file == "cuda/tile.h")
        each = 8  # elements of a lane at once

        def vectors(*sizes: int) -> int:
            return sum(-(-size * each // 16) for size in sizes)

        param, grad = (FORMATS.get(name or "float32", FORMATS["bfloat16"]) for name in (kernel.param, kernel.grad))
        sizes = [param.size if kernel.param else 4, param.extra_size if kernel.param else 0, 4]  # and the average
        for name in kernel.variant.slots:
            format = state_format(kernel.state_dtype, kernel.rule.slot(name))
            sizes.append(format.size if format else 4)
        grad_size = grad.size if kernel.grad else 4
        copies, zeros = (8, 4, 2), (grad_size, grad_size)  # zeros also where a step is skipped
        assert tile == {
            ("ld", 16): vectors(*sizes, grad_size),
            ("st", 16): vectors(*sizes, *copies, *zeros),
        }
        assert min(width for _, width, _ in found) >= 4


def ptx(source: str) -> str:
    """The kernel before registers are allotted, with the lines that it comes from."""
    binding, texts = compiler.nvrtc(), kernels.headers()
    program = binding.createProgram(source, "fastopt.cu", [text.encode() for text in texts.values()], [n.encode() for n in texts])
    try:
        binding.compileProgram(program, ("-arch=compute_90", "-lineinfo", *compiler.OPTIONS))
        code = binding.getPTX(program)
        return code.decode() if isinstance(code, bytes) else str(code)
    finally:
        binding.destroyProgram(program)


def accesses(text: str) -> Iterator[tuple[str, int, str]]:
    """The kernel's own accesses to memory on the device: "ld" or "st", bytes, the header."""
    files = dict(re.findall(r'^\s*\.file\s+(\d+) "(.*?)"', text, re.MULTILINE))
    body = text[text.index(".entry fastopt_kernel") :]
    file = ""
    for line in body[: body.index("\n}")].splitlines():
        if place := re.match(r"\s*\.loc\s+(\d+) ", line):
            file = "/".join(files[place[1]].split("/")[-2:])
        elif access := re.match(r"\s*(?:@!?%p\d+ )?(ld|st)((?:\.\w+)*)\s", line):
            words = access[2].split(".")
            if not {"shared", "param", "local", "const"} & set(words):
                count = next((int(word[1:]) for word in words if re.fullmatch(r"v\d", word)), 1)
                yield access[1], count * int(re.sub(r"\D", "", words[-1])) // 8, file


def units(step_kernels: Sequence[StepKernel]) -> list[list[Any]]:
    """The kernels of some sources, so that none has a variant twice."""
    made: list[list[Any]] = []
    for kernel in step_kernels:
        variant = choices(kernel)[RULE]
        room = next((unit for unit in made if all(choices(each)[RULE] != variant for each in unit)), None)
        if room is None:
            made.append([kernel])
        else:
            room.append(kernel)
    return [*made, OTHERS]


def together(unit: Sequence[Any]) -> str:
    """One source of many kernels: most of nvcc's time goes into the headers."""
    lines = ['#include "cuda/kernels.h"']
    for i, kernel in enumerate(unit):
        first, rest = kernel.source.split("\n", 1)
        assert first == lines[0]
        names = ("Rule", "Parameters", "fastopt_kernel")
        lines += [f"#define {name} {name}_{i}" for name in names] + [rest] + [f"#undef {name}" for name in names]
    return "\n".join(lines)


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not on PATH")
class TestNvcc:
    """Warnings are errors; nvcc has the host's headers and, unlike NVRTC, no functions that are the device's by default."""

    def test_a_cover_of_the_kernels(self, tmp_path: Path) -> None:
        self.compile(tmp_path, [(unit, ARCHS[i % len(ARCHS)]) for i, unit in enumerate(units(FEW))])

    @pytest.mark.exhaustive
    def test_the_pairs_for_every_architecture(self, tmp_path: Path) -> None:
        self.compile(tmp_path, list(itertools.product(units(PAIRS), ARCHS)))

    def compile(self, folder: Path, work: list[tuple[list[Any], str]]) -> None:
        known = subprocess.run(["nvcc", "--list-gpu-code"], capture_output=True, text=True, check=True).stdout.split()
        if missing := {arch for _, arch in work} - set(known):
            pytest.skip(f"this nvcc does not compile for {', '.join(sorted(missing))}")
        for name, text in kernels.headers().items():
            if name != "stdint.h":  # the host's
                path = folder / "include" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        options = [option for option in compiler.OPTIONS if option not in ("-default-device", "-device-int128")]

        def errors(i: int) -> str | None:
            unit, arch = work[i]
            source = folder / f"{i}.cu"
            source.write_text(together(unit))
            command = ["nvcc", "-cubin", f"-arch={arch}", "-Werror", "all-warnings", *options, f"-I{folder / 'include'}"]
            done = subprocess.run(
                [*command, "-o", f"{source}bin", str(source)], capture_output=True, text=True, check=False, cwd=folder
            )
            return f"{arch}, {[each.name for each in unit]}:\n{done.stdout}{done.stderr}" if done.returncode else None

        assert [each for each in in_parallel(errors, range(len(work))) if each] == []


@pytest.mark.usefixtures("nvrtc")
class TestCache:
    @pytest.fixture
    def compiled(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The sources that were compiled."""
        sources: list[str] = []
        compile_source = compiler.compile_source

        def spy(source: str, arch: str, extra: tuple[str, ...] = ()) -> tuple[bytes, str]:
            sources.append(source)
            return compile_source(source, arch, extra)

        monkeypatch.setattr(compiler, "compile_source", spy)
        return sources

    def test_a_kernel_is_compiled_once(self, cache: Path, compiled: list[str]) -> None:
        first, second = (compiler.cubin(SMALL, "sm_90") for _ in range(2))
        assert first == second
        assert compiled == [SMALL.source]
        (held,) = compiler.cached()
        assert (held.kernel, held.arch, held.path.parent) == (SMALL.name, "sm_90", cache)
        compiler.cubin(SMALL, "sm_80")
        assert len(compiled) == len(compiler.cached()) == 2

    @pytest.mark.parametrize("what", ["headers", "OPTIONS"])
    def test_the_key_covers_headers_and_options(
        self, what: str, cache: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        compiler.cubin(SMALL, "sm_90")
        texts = kernels.headers()
        changed = {name: text + "\n// new" if name == "cuda/tile.h" else text for name, text in texts.items()}
        assert changed != texts
        other: Any = (lambda: changed) if what == "headers" else (*compiler.OPTIONS, "-lineinfo")
        monkeypatch.setattr(compiler, what, other)
        compiler.cubin(SMALL, "sm_90")
        assert len(compiled) == len(compiler.cached()) == 2

    @pytest.mark.parametrize("damage", ["empty", "cut short", "one bit", "another file"])
    def test_a_damaged_file_is_compiled_anew(self, damage: str, cache: Path, compiled: list[str]) -> None:
        code = compiler.cubin(SMALL, "sm_90")
        (path,) = cache.iterdir()
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 1
        path.write_bytes(
            {"empty": b"", "cut short": whole[:-100], "one bit": bytes(flipped), "another file": b"x" * 1000}[damage]
        )
        assert compiler.cubin(SMALL, "sm_90") == code
        assert len(compiled) == 2
        assert path.read_bytes() == whole
        assert compiler.cubin(SMALL, "sm_90") == code
        assert len(compiled) == 2

    def test_without_a_folder_that_can_be_written(
        self, tmp_path: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("FASTOPT_CACHE_DIR", str(tmp_path / "file" / "cache"))
        first, second = (compiler.cubin(SMALL, "sm_90") for _ in range(2))
        assert first == second
        assert len(compiled) == 2
        assert compiler.cached() == []

    def test_a_disk_that_is_full_leaves_nothing(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "replace", full)
        assert compiler.cubin(SMALL, "sm_90")[:4] == b"\x7fELF"
        assert list(cache.iterdir()) == []

    def test_processes_at_once(self, cache: Path) -> None:
        code = (
            "import hashlib; from fastopt._cuda import compiler; from fastopt._cuda.kernels import GradientKernel\n"
            "print(hashlib.sha256(compiler.cubin(GradientKernel('Clip', 'float32', ''), 'sm_90')).hexdigest())"
        )
        done = in_parallel(lambda _: run_python(code, FASTOPT_CACHE_DIR=str(cache)), range(3))
        assert [each.returncode for each in done] == [0, 0, 0], done
        assert len({each.stdout for each in done}) == 1
        (path,) = cache.iterdir()
        assert compiler.read(path) == compiler.cubin(SMALL, "sm_90")


class TestWithoutCupy:
    def test_importing_fastopt_does_not_import_it(self) -> None:
        code = "import sys, fastopt; from fastopt._cuda import compiler; print([m for m in sys.modules if m.split('.')[0] == 'cupy'])"
        done = run_python(code)
        assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr

    def test_all_but_cuda_works(self, cache: Path) -> None:
        code = """
import sys
sys.modules["cupy"] = None
import numpy, fastopt
from fastopt.cli import main
from fastopt._cuda import compiler
param = numpy.ones(3)
fastopt.SGD(param, lr=1.0).step(numpy.ones(3))
assert not param.any()
assert main(["info"]) == 0
try:
    compiler.compile_source("", "sm_90")
except ImportError as error:
    print(error)
"""
        done = run_python(code, FASTOPT_CACHE_DIR=str(cache))
        assert done.returncode == 0, done.stderr
        assert "  cupy: not installed\n" in done.stdout
        assert f"kernels for CUDA: 0, 0 bytes in {cache}\n" in done.stdout
        assert 'pip install ".[cuda13]"' in done.stdout.splitlines()[-1]
