"""`bench/torch_optimizers.py`: that it runs, what its tables have, and that its arms do the same work."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fastopt
from fastopt.rules import RULES

BENCH = Path(__file__).resolve().parents[2] / "bench"
GRADIENTS = 4 * sum(n * m + m for n, m in ((4, 12), (12, 4), (4, 16), (16, 4)))
"""Bytes of a block of width 4."""


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(BENCH)
    threads = fastopt.get_num_threads(), torch.get_num_threads()
    fastopt.set_num_threads(1)  # torch's threads wait in a busy loop, for long where other programs run
    torch.set_num_threads(1)
    yield importlib.import_module("torch_optimizers")
    fastopt.set_num_threads(threads[0])
    torch.set_num_threads(threads[1])


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCH)
    return importlib.import_module("backward_memory")


def test_the_shapes_are_those_of_the_models(bench: Any) -> None:
    sizes = {name: (len(shapes), sum(map(np.prod, shapes))) for name, shapes in bench.MODELS.items()}
    assert sizes == {"GPT-2": (148, 124_439_808), "ResNet-50": (161, 25_557_032), "1,000 x 100": (1000, 100_000)}


def test_every_rule_that_torch_has_is_in_a_table(bench: Any) -> None:
    assert {bench.rule_of(label) for label in bench.LOOPS} == RULES.keys() - {"Lion"}


def test_steps_of_all_arms_are_the_same(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "LR", 1e-2)  # that of the benchmark is lost in rounding
    for label, arguments in {**bench.FUSED, **bench.UNFUSED}.items():
        arms = bench.step_arms(label, arguments, [(3, 5), (2,)])
        assert [arm.name for arm in arms] == ["fastopt", *bench.torch_variants(label)]
        before = arms[0].params[0].copy()
        for arm in arms:
            for _ in range(3):
                arm.steps[0]()
            np.testing.assert_allclose(arm.params[0], arms[0].params[0], rtol=1e-5, atol=1e-6, err_msg=f"{label} {arm.name}")
        assert (before != arms[0].params[0]).any()


@pytest.mark.parametrize("network", ["perceptron", "convolutions"])
def test_epochs_of_all_arms_are_the_same(bench: Any, network: str) -> None:
    data = bench.batches()
    assert sum(len(images) for images, _ in data) == 1347
    for label in ("AdamW", "SGD momentum", "RMSprop centered"):
        arms = bench.loop_arms(label, bench.LOOPS[label], bench.NETWORKS[network], data[:4])
        assert [arm.name for arm in arms] == ["fastopt", "default", "foreach=False", *bench.torch_variants(label)]
        before = arms[0].params[0].copy()
        for arm in arms:
            arm.steps[0]()
            np.testing.assert_allclose(arm.params[0], arms[0].params[0], rtol=1e-3, atol=1e-5, err_msg=f"{label} {arm.name}")
        assert np.abs(before - arms[0].params[0]).max() > 1e-5


def test_a_quick_run(bench: Any, memory: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.timing, "TURN", 1e-4)
    monkeypatch.setattr(memory, "table", lambda *sizes: [f"memory {sizes}"])
    bench.main(["--quick"])
    head, steps, loops, peaks = capsys.readouterr().out.split("\n\n")
    assert re.fullmatch(r"fastopt \S+, torch \S+, \d+ threads; .*", head)
    ratio = re.compile(r"\d+\.\d\d \(\d+%\)")
    expected = {
        (label, model): len(bench.torch_variants(label)) for label in {**bench.FUSED, **bench.UNFUSED} for model in bench.MODELS
    }
    assert {(row[:18].strip(), row[18:32].strip()): len(ratio.findall(row)) for row in steps.splitlines()[1:]} == expected
    expected = {(label, each): 2 + len(bench.torch_variants(label)) for label in bench.LOOPS for each in bench.NETWORKS}
    assert {(row[:18].strip(), row[18:32].strip()): len(ratio.findall(row)) for row in loops.splitlines()[1:]} == expected
    assert peaks == "memory (32, 2)\n"


def test_memory(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    peaks = dict(zip(memory.WAYS, (300, 290, 200), strict=True))
    monkeypatch.setattr(memory, "measure", lambda way, *_: {"gradients": 100 * memory.MIB, "peak": peaks[way] * memory.MIB})
    title, head, *rows = memory.table(8, 1, {"malloc": {}})
    assert "gradients' 100 MiB" in title
    assert head.split() == ["malloc"]
    assert [row.split("  ")[0] for row in rows] == list(memory.WAYS)
    assert [row.split("  ")[-1].strip() for row in rows] == ["300 MiB (+100%)", "290 MiB (+90%)", "200 MiB"]


def test_a_process_of_its_own(memory: Any) -> None:
    found = memory.measure("fused_in_backward", 4, 1, {})
    assert found["gradients"] == GRADIENTS
    assert 10 * memory.MIB < found["peak"] < 10_000 * memory.MIB


def test_gradients_go_only_in_backward(memory: Any) -> None:
    assert {memory.train(way, 4, 1)["gradients"] for way in memory.WAYS} == {GRADIENTS}  # it looks whether they are there
