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
from fastopt.cli import bench, formats, info, numpy_steps
from fastopt.cli.bench import arms, choice, gpu, launches, optax_steps, tables, timing
from fastopt.cli.bench.gpu import Gpu
from fastopt.cli.bench.place import Arm
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
    monkeypatch.setattr(bench, "Gpu", lambda optax: made)
    monkeypatch.setattr(gpu, "host_times", functools.partial(launches.host_times, shapes=SHAPES, repeats=1))
    return made


def grads(fake: FakeGpu, size: int, sets: int = 1) -> list[Any]:
    return [fake.normal(size, "float32") for _ in range(sets)]


def values_of(param: Any) -> Any:
    return param.detach().numpy() if isinstance(param, torch.Tensor) else param.host


class TestArms:
    @pytest.mark.parametrize("label", ["AdamW", "SGD momentum", "Lion"])
    def test_all_take_the_same_step(self, label: str) -> None:
        fake, row = FakeGpu(), row_of(label)
        moved, names, slots = arms.bytes_of(fake, row, "float32"), fake.names(row), len(row.slots)
        assert (moved.held, moved.read, moved.written) == (4 * (2 + slots), 4 * (2 + slots), 4 * (1 + slots))
        built, failed = arms.build(fake, row, grads(fake, 1000), names, int(1000 * moved.moved), lr=0.01)
        assert ([arm.name for arm in built], failed) == (names, {})
        assert names[:2] == ["fastopt", "floor"]
        assert {"fused", "foreach"} <= set(names) or not hasattr(torch.optim, label.partition(" ")[0])
        for arm in built:
            for _ in range(5):
                arm.steps[0]()
        own = values_of(built[0].params[0])
        assert np.abs(own - fake.normal(1000, "float32").host).max() > 0.01
        for arm in built[2:]:
            np.testing.assert_allclose(values_of(arm.params[0]), own, rtol=1e-4, atol=1e-5)
        assert set(fake.copied) == {500 * moved.moved}

    def test_sets_of_arrays_take_turns_where_a_cache_could_hold_them(self) -> None:
        fake, row = FakeGpu(cache=8000), row_of("AdamW")
        sets = arms.sets_needed(1000 * arms.bytes_of(fake, row, "float32").read, fake.cache)
        assert sets == 2  # 32,000 bytes, of which a step reads 16,000
        built, _ = arms.build(fake, row, grads(fake, 1000, sets), ["fastopt", "floor", "fused", "cupy"], 28_000)
        assert [len(arm.steps) for arm in built] == [2, 2, 2, 2]
        assert all(len({id(param) for param in arm.params}) == 2 for arm in built if arm.name != "floor")
        turns = built[0].turns()
        assert [next(turns) for _ in range(4)] == built[0].steps * 2
        row = bench.measure_row(fake, row, 1000, "float32", 1, 0.0, lambda: None)
        assert row["sets"] == 2

    @pytest.mark.parametrize(("read", "sets"), [(200, 1), (199, 2), (100, 2), (1, 128), (10**9, 1)])
    def test_how_many_sets(self, read: int, sets: int) -> None:
        assert arms.sets_needed(read, 50) == sets

    def test_formats_have_dtypes_of_their_own(self) -> None:
        fake = FakeGpu()
        row = next(row for row in choose_formats() if row.formats and "24-bit masters, 8-bit" in row.label)
        built, _ = arms.build(fake, row, grads(fake, 512), ["fastopt", "floor", "float32", "fused"], 6176)
        assert [str(getattr(arm.params[0], "dtype", None)) for arm in built] == ["bfloat16", "None", "float32", "float32"]
        moved = arms.bytes_of(fake, row, "float32")
        assert (512 * moved.held, 512 * moved.moved) == (512 * 7 + 2 * 2 * 4, 512 * 12 + 2 * 4 * 4)

    def test_what_does_not_fit_is_left_out_from_the_end(self) -> None:
        row, names = row_of("AdamW"), ["fastopt", "floor", "fused", "foreach"]
        # gradient 1, fastopt 3, floor 7, fused 3, foreach 5
        room = [int(np.ceil(each / 0.95)) for each in (1000, 1100, 1399, 1400, 1900)]
        fits = [len(arms.fitting(FakeGpu(), row, names, 100, each)) for each in room]
        assert fits == [0, 2, 2, 3, 4]

    def test_optax_knows_every_rule(self) -> None:
        pytest.importorskip("optax", reason="optax is not installed")
        optax = optax_steps.import_optax("cpu")
        assert optax is not None
        for row in ROWS:
            assert optax.has(row)
            arguments = optax.arguments(row)
            assert arguments.get("b1", 0.9) == 0.9
            assert ("b1" in arguments) == ("betas" in row.values)
        assert optax.arguments(row_of("SGD Nesterov")) == {"momentum": 0.9, "nesterov": True}
        assert optax.arguments(row_of("RMSprop centered")) == {
            "decay": 0.99,
            "eps": 1e-8,
            "centered": True,
            "momentum": None,
        }

    def test_optax_steps(self) -> None:
        pytest.importorskip("optax", reason="optax is not installed")
        optax = optax_steps.import_optax("cpu")
        assert optax is not None
        arm, grad = Arm("optax"), np.ones(8, np.float32)
        finish = optax.add(arm, row_of("AdamW"), [grad, grad], 0.01)
        arm.steps[1]()
        finish()
        assert np.all(np.asarray(arm.params[1].param) < np.asarray(arm.params[0].param))

    def test_a_rival_that_breaks_is_left_out_with_its_words(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fake = FakeGpu()
        monkeypatch.setattr(fake, "written_out", dict)
        built, failed = arms.build(fake, row_of("AdamW"), grads(fake, 8), ["fastopt", "floor", "cupy", "fused"], 224)
        assert [arm.name for arm in built] == ["fastopt", "floor", "fused"]
        assert failed == {"cupy": "KeyError: 'AdamW'"}

    def test_cupy_steps_are_numpys_in_a_module_of_their_own(self) -> None:
        other = SimpleNamespace(zeros_like=np.zeros_like)
        assert set(gpu.cupy_steps(other)) == set(numpy_steps.STEPS)
        assert numpy_steps.np is np


def choose_formats() -> list[Row]:
    return choice.choose_formats([row_of("AdamW")], Console(quiet=True))


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
        turn = gpu_with(clock).turn(Arm("a", [clock.step]))
        before = clock.now
        assert turn() == pytest.approx(1e-4)
        assert 2.0 <= clock.now - before <= 3.1  # milliseconds, with a step before the first event

    def test_every_arm_has_a_time_for_each_round(self) -> None:
        clock, ticks = FakeEvents(), []
        timed = [Arm("fastopt", [clock.step] * 3), Arm("b", [lambda: (clock.step(), clock.step())])]
        waits: list[int] = []
        timed.append(Arm("host", [lambda: None], finish=lambda: waits.append(1)))
        for rounds, deadline, expected in ((5, 1e99, 5), (9, 0.0, 3), (2, 0.0, 2)):
            turn_of = gpu_with(clock).turn
            found = timing.measure(lambda: timed, 1, rounds, deadline, lambda: ticks.append(1), turn_of)
            assert [len(seconds) for seconds in found.values()] == [expected] * 3
            np.testing.assert_allclose(found["fastopt"], 1e-4)
            np.testing.assert_allclose(found["b"], 2e-4)
            assert all(0 < seconds < 1e-3 for seconds in found["host"])
        assert len(ticks) == 10
        assert len(waits) >= 20

    def test_host_times_and_launches(self) -> None:
        found = launches.host_times(FakeGpu(), SHAPES, repeats=1)
        assert found["launches"] == {"bound": 1, "given": 1, "changing": 2}
        assert set(found["seconds"]) == {"bound", "given", "changing", "torch fused"}
        assert all(seconds > 0 for seconds in found["seconds"].values())
        assert (found["tensors"], found["elements"]) == (3, 607)
        assert len(launches.GPT2) == 148
        assert sum(int(np.prod(shape)) for shape in launches.GPT2) == 124_439_808

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
        monkeypatch.setattr(choice, "COMBINATIONS", (formats.COMBINATIONS[0], formats.COMBINATIONS[6]))
        code, out, _ = status([*TINY, "--formats", "--sizes", "512", "--json", str(tmp_path / "f.json")], capsys)
        assert code == 0
        rows = json.loads((tmp_path / "f.json").read_text())["rows"]
        assert [set(row["seconds"]) for row in rows] == [{"fastopt", "floor", "float32", "fused", "foreach"}] * 2
        assert "bfloat16, 24-bit, 8-bit states" in out
        fake.torch = None
        out = status([*TINY, "--formats", "--sizes", "512"], capsys)[1]
        assert "torch with CUDA is not installed" in " ".join(out.split())

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
        ratios = {name: {"median": 123.4, "spread": 0.1} for name in ("floor", *tables.RIVALS)}
        row = {"rule": "RMSprop centered", "size": 10**9, "dtype": "float32", "bytes_per_parameter": 28, "ratios": ratios}
        report = info.describe() | {"gpu": FakeGpu().describe(), "optax": None, "host": None}
        tables.show(Console(width=80), report | {"rows": [row | {"seconds": {"fastopt": 6.53e-3}}]}, formats=False)
        out = capsys.readouterr().out
        assert "…" not in out
        assert "6.53 ms  4288" in out
