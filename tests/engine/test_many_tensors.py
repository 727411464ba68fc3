"""Work around a step grows with the number of tensors and no faster: instructions and comparisons are counted, not seconds."""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import fastopt

FEW, MANY = 40, 320
FASTOPT = os.path.dirname(fastopt.__file__)


class Name(str):
    """A parameter's name that counts its comparisons, which the interpreter makes unseen."""

    compared: ClassVar[int] = 0
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        Name.compared += 1
        return str.__eq__(self, other)  # type: ignore[no-any-return]

    __hash__ = str.__hash__


def work(call: Callable[[], Any]) -> tuple[int, int]:
    """How many of Python's instructions fastopt takes for `call`, and how many comparisons of names."""
    count, Name.compared = 0, 0

    def trace(frame: Any, event: str, arg: Any) -> Any:
        nonlocal count
        if FASTOPT not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count, Name.compared


class Many:
    """An optimizer of so many tensors, and what is called."""

    def __init__(self, count: int, folder: Path) -> None:
        self.params = {Name(f"layer{i}"): np.ones(3, np.float32) for i in range(count)}
        self.arrays = list(self.params.values())
        self.grads = {Name(name): np.full(3, 0.5, np.float32) for name in self.params}
        self.optimizer = fastopt.AdamW(self.params, lr=0.1, ema_decay=0.5)
        self.optimizer.step(self.grads)
        self.snapshot = self.optimizer.state_dict()
        self.snapshot["state"].reverse()
        for entry in self.snapshot["state"]:
            entry["name"] = Name(entry["name"])  # equal, and not the same
        self.file = folder / "many"
        self.optimizer.save(self.file)
        self.scheduled = fastopt.SGD([{"params": [array], "lr": fastopt.schedules.cosine(0.1, 9)} for array in self.arrays])


class Interface:
    """An array of somebody else's class."""

    def __init__(self, array: Any) -> None:
        self.array = array

    @property
    def __array_interface__(self) -> Any:
        return self.array.__array_interface__


def twice(many: Many) -> None:
    last = Name(next(reversed(many.params)))
    with pytest.raises(ValueError, match="twice"):
        fastopt.AdamW([{"params": many.params}, {"params": {last: np.ones(3)}}])


CALLS: dict[str, Callable[[Many], Any]] = {
    "bind a list": lambda m: fastopt.AdamW(m.arrays),
    "bind a dict": lambda m: fastopt.AdamW(m.params),
    "bind groups": lambda m: fastopt.AdamW([{"params": [array], "lr": 0.5} for array in m.arrays]),
    "bind groups with schedules": lambda m: fastopt.SGD(
        [{"params": [array], "lr": fastopt.schedules.cosine(0.1, 9)} for array in m.arrays]
    ),
    "a name twice": twice,
    "bind gradients and copies": lambda m: fastopt.SGD(m.params, grads=m.grads, copy_to=dict.fromkeys(m.params)),
    "step": lambda m: m.optimizer.step(m.grads),
    "step, other names": lambda m: m.optimizer.step(dict(reversed(m.grads.items()))),
    "step with schedules": lambda m: m.scheduled.step(list(m.grads.values())),
    "step in parts": lambda m: [m.optimizer.step_part(name, grad) for name, grad in m.grads.items()],
    "gradients that are converted": lambda m: m.optimizer.step({k: Interface(v) for k, v in m.grads.items()}),
    "state": lambda m: [m.optimizer.state[Name(name)]["step"] for name in m.params],
    "averages": lambda m: m.optimizer.ema_params,
    "traffic": lambda m: m.optimizer.traffic(),
    "repr": lambda m: repr(m.optimizer),
    "lr": lambda m: setattr(m.scheduled, "lr", 0.5),
    "state_dict": lambda m: m.optimizer.state_dict(),
    "load_state_dict": lambda m: m.optimizer.load_state_dict(m.snapshot),
    "save": lambda m: m.optimizer.save(m.file),
    "load": lambda m: m.optimizer.load(m.file),
    "pickle": lambda m: m.optimizer.__reduce__(),
    "flatten": lambda m: fastopt.flatten(m.params),
    "copy_from": lambda m: fastopt.flatten(m.params).copy_from(m.grads),
    "global_norm": lambda m: fastopt.global_norm(m.grads),
    "clip_grad_norm": lambda m: fastopt.clip_grad_norm(m.grads, 1.0),
}


@pytest.mark.parametrize("name", CALLS)
def test_growth(name: str, tmp_path: Path) -> None:
    few, many = (work(functools.partial(CALLS[name], Many(count, tmp_path))) for count in (FEW, MANY))
    for kind, less, more in zip(("instructions", "comparisons"), few, many, strict=True):
        assert more <= 1.25 * MANY / FEW * max(less, FEW), f"{less} {kind} for {FEW} tensors, {more} for {MANY}"


def test_the_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "bench"))
    monkeypatch.setattr(sys, "argv", ["many_tensors.py", "--quick"])
    bench = importlib.import_module("many_tensors")
    assert bench.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| seconds, tensors of 10 elements | 1,000 |"
    assert len(lines) == 2 + 11
