"""`fastopt bench --device cuda`: what of it needs no GPU, over the emulated driver and made-up clocks."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from fastopt._arrays import driver as cuda_driver
from fastopt.cli import cuda_arms, cuda_bench, cuda_tables, cuda_timing, formats, gpu, info, numpy_steps, optax_steps, timing
from fastopt.cli.gpu import Gpu
from fastopt.cli.rows import ROWS, Row
from tests.support.cli import is_png, status
from tests.support.emulated_cuda import EmulatedDriver
from tests.support.fake_gpu import FakeEvents, FakeGpu, row_of

SHAPES = [(3, 100), (7,), (300,)]
TINY = ("bench", "--device", "cuda", "--rules", "adamw", "--rounds", "2")


@pytest.fixture(autouse=True)
def emulated() -> Iterator[EmulatedDriver]:
    driver = EmulatedDriver()
    before = cuda_driver.use(driver)
    yield driver
    cuda_driver.use(before)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    """In the command's place for a GPU."""
    made = FakeGpu()
    monkeypatch.setattr(cuda_bench, "Gpu", lambda: made)
    monkeypatch.setattr(cuda_bench, "import_optax", lambda: None)
    monkeypatch.setattr(cuda_timing, "host_times", functools.partial(cuda_timing.host_times, shapes=SHAPES, repeats=1))
    return made


def values_of(param: Any) -> Any:
    return param.detach().numpy() if isinstance(param, torch.Tensor) else param.host


class TestArms:
    @pytest.mark.parametrize("label", ["AdamW", "SGD momentum", "Lion"])
    def test_all_take_the_same_step(self, label: str) -> None:
        fake, row = FakeGpu(), row_of(label)
        arms, moved, _ = cuda_arms.build(fake, row, 1000, "float32", names := cuda_arms.choose(fake, row, None), None, lr=0.01)
        assert [arm.name for arm in arms] == names
        assert names[:2] == ["fastopt", "floor"]
        assert {"fused", "foreach"} <= set(names) or not hasattr(torch.optim, label.partition(" ")[0])
        for arm in arms:
            for _ in range(5):
                arm.steps[0]()
        own = values_of(arms[0].params[0])
        assert np.abs(own - fake.normal(1000, "float32").host).max() > 0.01
        for arm in arms[2:]:
            np.testing.assert_allclose(values_of(arm.params[0]), own, rtol=1e-4, atol=1e-5)
        slots = len(row.slots)
        assert (moved.held, moved.read, moved.written) == (4000 * (2 + slots), 4000 * (2 + slots), 4000 * (1 + slots))
        assert set(fake.copied) == {(moved.read + moved.written) // 2}

    def test_sets_of_arrays_take_turns_where_a_cache_could_hold_them(self) -> None:
        fake = FakeGpu(cache=8000)
        arms, _, _ = cuda_arms.build(fake, row_of("AdamW"), 1000, "float32", ["fastopt", "floor", "fused", "cupy"], None)
        assert [len(arm.steps) for arm in arms] == [2, 2, 2, 2]  # 32,000 bytes, of which a step reads 16,000
        assert all(len({id(param) for param in arm.params}) == 2 for arm in arms if arm.name != "floor")
        turns = cuda_arms.turns(arms[0])
        assert [next(turns) for _ in range(4)] == arms[0].steps * 2

    @pytest.mark.parametrize(("read", "sets"), [(200, 1), (199, 2), (100, 2), (1, 128), (10**9, 1)])
    def test_how_many_sets(self, read: int, sets: int) -> None:
        assert cuda_arms.sets_needed(read, 50) == sets

    def test_formats_have_dtypes_of_their_own(self) -> None:
        fake = FakeGpu()
        row = next(row for row in choose_formats() if row.formats and "24-bit masters, 8-bit" in row.label)
        arms, moved, _ = cuda_arms.build(fake, row, 512, "float32", ["fastopt", "floor", "float32", "fused"], None)
        assert [str(getattr(arm.params[0], "dtype", None)) for arm in arms] == ["bfloat16", "None", "float32", "torch.float32"]
        assert (moved.held, moved.read + moved.written) == (512 * 7 + 2 * 2 * 4, 512 * 12 + 2 * 4 * 4)

    def test_what_does_not_fit_is_left_out_from_the_end(self) -> None:
        row, names = row_of("AdamW"), ["fastopt", "floor", "fused", "foreach"]
        # gradient 1, fastopt 3, floor 7, fused 3, foreach 5
        fits = [len(cuda_arms.fitting(row, names, 100, int(np.ceil(each / 0.95)))) for each in (1000, 1100, 1399, 1400, 1900)]
        assert fits == [0, 2, 2, 3, 4]

    def test_optax_knows_every_rule(self) -> None:
        assert set(optax_steps.TRANSFORMS) == {row.rule.name for row in ROWS}
        for row in ROWS:
            arguments = optax_steps.TRANSFORMS[row.rule.name]({**row.rule.defaults, **row.arguments})
            assert arguments.get("b1", 0.9) == 0.9

    def test_optax_steps(self) -> None:
        pytest.importorskip("optax", reason="optax is not installed")
        optax = optax_steps.import_optax("cpu")
        assert optax is not None
        arm, grad = cuda_arms.Arm("optax"), np.ones(8, np.float32)
        finish = optax.add(arm, row_of("AdamW"), [grad, grad], 0.01)
        arm.steps[1]()
        finish()
        assert np.all(np.asarray(arm.params[1].param) < np.asarray(arm.params[0].param))

    def test_a_rival_that_breaks_is_left_out_with_its_words(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fake = FakeGpu()
        monkeypatch.setattr(fake, "cupy_steps", dict)
        arms, _, failed = cuda_arms.build(fake, row_of("AdamW"), 8, "float32", ["fastopt", "floor", "cupy", "fused"], None)
        assert [arm.name for arm in arms] == ["fastopt", "floor", "fused"]
        assert failed == {"cupy": "KeyError: 'AdamW'"}

    def test_cupy_steps_are_numpys_in_a_module_of_their_own(self) -> None:
        other = SimpleNamespace(zeros_like=np.zeros_like)
        assert set(gpu.cupy_steps(other)) == set(numpy_steps.STEPS)
        assert numpy_steps.np is np


def choose_formats() -> list[Row]:
    return formats.choose([row_of("AdamW")], Console(quiet=True))


def gpu_with(cupy: Any) -> Gpu:
    made = Gpu.__new__(Gpu)
    made.cupy, made._stream = cupy, None
    made.synchronize = lambda: None  # type: ignore[method-assign]  # there is no stream to wait for
    return made


class TestTiming:
    def test_events_stand_around_the_steps_after_one_more(self) -> None:
        clock = FakeEvents()
        assert gpu_with(clock).seconds(itertools.repeat(clock.step), 7) == pytest.approx(7e-4)
        assert clock.now == pytest.approx(0.8)

    def test_a_measurement_lasts_two_milliseconds(self) -> None:
        clock = FakeEvents()
        assert 20 <= cuda_timing.calibrate(gpu_with(clock), cuda_arms.Arm("a", [clock.step])) <= 30

    def test_every_arm_has_a_time_for_each_round(self) -> None:
        clock, ticks = FakeEvents(), []
        arms = [cuda_arms.Arm("fastopt", [clock.step] * 3), cuda_arms.Arm("b", [lambda: (clock.step(), clock.step())])]
        waits: list[int] = []
        arms.append(cuda_arms.Arm("host", [lambda: None], finish=lambda: waits.append(1)))
        for rounds, deadline, expected in ((5, 1e99, 5), (9, 0.0, 3), (2, 0.0, 2)):
            found = cuda_timing.measure(gpu_with(clock), arms, rounds, deadline, lambda: ticks.append(1))
            assert [len(seconds) for seconds in found.values()] == [expected] * 3
            np.testing.assert_allclose(found["fastopt"], 1e-4)
            np.testing.assert_allclose(found["b"], 2e-4)
            assert all(0 < seconds < 1e-3 for seconds in found["host"])
        assert len(ticks) == 10
        assert len(waits) >= 20

    def test_host_times_and_launches(self) -> None:
        found = cuda_timing.host_times(FakeGpu(), SHAPES, repeats=1)
        assert found["launches"] == {"bound": 1, "given": 1, "changing": 2}
        assert set(found["seconds"]) == {"bound", "given", "changing", "torch fused"}
        assert all(seconds > 0 for seconds in found["seconds"].values())
        assert (found["tensors"], found["elements"]) == (3, 607)
        assert len(cuda_timing.GPT2) == 148
        assert sum(int(np.prod(shape)) for shape in cuda_timing.GPT2) == 124_439_808

    def test_the_drivers_number(self, tmp_path: Path) -> None:
        path = tmp_path / "version"
        path.write_text(
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\nGCC version: gcc 12.2.0\n"
        )
        assert gpu.driver_version(path) == "580.65.06"
        assert gpu.driver_version(tmp_path / "none") is None


class TestCommand:
    def test_without_a_gpu_one_line_and_status_2(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse() -> Any:
            raise cuda_driver.CudaError("a CUDA array needs a GPU")

        monkeypatch.setattr(gpu, "driver", refuse)
        assert status(["bench", "--device", "cuda"], capsys) == (2, "", "fastopt: a CUDA array needs a GPU\n")

    @pytest.mark.parametrize(
        ("argv", "word"), [(["--device", "tpu"], "cuda"), (["--device", "cuda", "--threads", "2"], "--threads")]
    )
    def test_bad_arguments(self, argv: list[str], word: str, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, err = status(["bench", *argv], capsys)
        assert (code, out) == (2, "")
        assert word in err

    def test_report_table_and_picture(self, fake: FakeGpu, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path, picture = tmp_path / "gpu.json", tmp_path / "gpu.png"
        code, out, _ = status([*TINY, "--sizes", "100,1e3", "--json", str(path), "--plot", str(picture)], capsys)
        assert code == 0
        report = json.loads(path.read_text())
        assert report["gpu"]["name"] == "NVIDIA Paper 100"
        assert [(row["rule"], row["size"]) for row in report["rows"]] == [("AdamW", 100), ("AdamW", 1000)]
        for row in report["rows"]:
            assert set(row["seconds"]) == {"fastopt", *row["ratios"]} == {"fastopt", "floor", "fused", "foreach", "cupy"}
            assert (row["bytes_held"], row["bytes_per_parameter"], row["threads"], row["sets"]) == (16, 28, None, 1)
            assert (row["rounds"], row["torch"], row["left_out"]) == (2, "fused", {})
        assert report["host"]["launches"]["bound"] == 1
        assert "gradients bound" in out
        assert max(map(len, out.splitlines()[:8])) <= 80
        assert "…" not in out
        assert is_png(picture)
        assert status([*TINY, "--sizes", "100", "--compare", str(path)], capsys)[0] in (0, 1)

    def test_formats(
        self, fake: FakeGpu, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(formats, "COMBINATIONS", (formats.COMBINATIONS[0], formats.COMBINATIONS[6]))
        code, out, _ = status([*TINY, "--formats", "--sizes", "512", "--json", str(tmp_path / "f.json")], capsys)
        assert code == 0
        rows = json.loads((tmp_path / "f.json").read_text())["rows"]
        assert [set(row["seconds"]) for row in rows] == [{"fastopt", "floor", "float32", "fused", "foreach"}] * 2
        assert "bfloat16, 24-bit, 8-bit states" in out
        fake.torch = None
        assert "needs torch with CUDA" in status([*TINY, "--formats", "--sizes", "512"], capsys)[1]

    def test_what_does_not_fit_is_said(self, fake: FakeGpu, capsys: pytest.CaptureFixture[str]) -> None:
        fake.memory = 7000
        out = status([*TINY, "--sizes", "100,1e3"], capsys)[1]
        assert "Skipped AdamW at 1e3: needs" in out
        assert "Left out cupy of AdamW at 100: not enough memory" in out

    def test_past_the_time_rows_are_left_out_and_said(
        self, fake: FakeGpu, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(timing, "seconds_allowed", lambda args: -1.0)
        code, out, _ = status([*TINY, "--sizes", "100,200", "--json", str(tmp_path / "late.json")], capsys)
        assert code == 0
        assert "Left out the last 2 of 2 rows: out of time" in out
        assert json.loads((tmp_path / "late.json").read_text())["rows"] == []

    def test_the_widest_table_has_80_columns(self, capsys: pytest.CaptureFixture[str]) -> None:
        ratios = {name: {"median": 123.4, "spread": 0.1} for name in ("floor", *cuda_tables.RIVALS)}
        row = {"rule": "RMSprop centered", "size": 10**9, "dtype": "float32", "bytes_per_parameter": 28, "ratios": ratios}
        report = info.describe() | {"gpu": FakeGpu().describe(), "optax": None, "host": None}
        cuda_tables.show(Console(width=80), report | {"rows": [row | {"seconds": {"fastopt": 6.53e-3}}]})
        out = capsys.readouterr().out
        assert "…" not in out
        assert "6.53 ms  4288" in out
