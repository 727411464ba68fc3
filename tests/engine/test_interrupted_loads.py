"""Loads that are interrupted, or that read what they write: all of the snapshot or nothing of it."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt.optimizer import engine_of
from tests.support.checkpoints import everything
from tests.support.comparing import same_bits
from tests.support.interrupts import Interrupt, assert_all_or_nothing, outcomes


def made(steps: int, lr: float) -> Any:
    """An optimizer with everything that a load changes."""
    rng = np.random.default_rng(steps)
    params = {name: rng.standard_normal(7).astype(dtype) for name, dtype in (("a", np.float32), ("b", np.float16))}
    plateau = fastopt.schedules.ReduceOnPlateau(lr, patience=0)
    optimizer = fastopt.NAdam(
        [{"params": {name: param}, "lr": plateau, "weight_decay": lr} for name, param in params.items()],
        master="24bit",
        state_dtype="8bit",
        ema_decay=0.5,
        max_norm=lr,
        seed=steps,
    )
    for step in range(steps):
        optimizer.step({name: rng.standard_normal(7).astype(np.float32) for name in params})
        plateau.step(float(step))
    return optimizer


def test_an_interrupt_anywhere_loads_all_or_nothing() -> None:
    optimizer, snapshot = made(1, 0.1), made(3, 0.25).state_dict()
    old, before = optimizer.state_dict(), everything(optimizer)
    optimizer.load_state_dict(snapshot)
    loaded = everything(optimizer)

    def prepare() -> None:
        optimizer.load_state_dict(old)
        assert everything(optimizer) == before

    found = outcomes(prepare, lambda: optimizer.load_state_dict(snapshot), lambda: everything(optimizer))
    assert_all_or_nothing(found, before, loaded)
    assert len(found) > 100


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX timers")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a signal in another library's callback
def test_signals_during_loads() -> None:
    optimizer, snapshot = made(1, 0.1), made(3, 0.25).state_dict()
    old, before = optimizer.state_dict(), everything(optimizer)
    start = time.perf_counter()
    optimizer.load_state_dict(snapshot)
    loaded, seconds = everything(optimizer), time.perf_counter() - start

    def handler(number: int, frame: FrameType | None) -> None:
        raise Interrupt

    previous = signal.signal(signal.SIGALRM, handler)
    try:
        for i in range(300):
            optimizer.load_state_dict(old)
            with contextlib.suppress(Interrupt):
                signal.setitimer(signal.ITIMER_REAL, seconds * (i + 1) / 300)
                optimizer.load_state_dict(snapshot)
                signal.setitimer(signal.ITIMER_REAL, 0)
            assert everything(optimizer) in (before, loaded)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def test_exceptions_from_another_thread_during_loads() -> None:
    optimizer, snapshot = made(1, 0.1), made(3, 0.25).state_dict()
    old, before = optimizer.state_dict(), everything(optimizer)
    optimizer.load_state_dict(snapshot)
    loaded, thread = everything(optimizer), ctypes.c_ulong(threading.get_ident())
    for i in range(100):
        optimizer.load_state_dict(old)
        go = threading.Event()

        def interrupt(go: threading.Event = go, delay: float = i * 2e-5) -> None:
            go.wait()
            time.sleep(delay)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(Interrupt))

        other = threading.Thread(target=interrupt)
        other.start()
        with contextlib.suppress(Interrupt):
            go.set()
            optimizer.load_state_dict(snapshot)
            other.join()
            for _ in range(1000):  # where it came too late
                time.sleep(0)
        other.join()
        assert everything(optimizer) in (before, loaded)


def test_an_interrupted_plateau_keeps_its_state() -> None:
    """A schedule that a load has changed already goes back where the load is interrupted before the rest."""

    class Slow(fastopt.schedules.ReduceOnPlateau):
        loads = 0

        def load_state_dict(self, state_dict: Any) -> None:
            super().load_state_dict(state_dict)
            Slow.loads += 1
            if Slow.loads == 1:
                raise Interrupt

    slow = Slow(0.1)
    optimizer = fastopt.SGD([{"params": [np.ones(2)], "lr": slow}])
    slow.step(1.0)
    snapshot = optimizer.state_dict()
    slow.step(0.5)
    optimizer.step([np.ones(2)])
    before = everything(optimizer)
    with pytest.raises(Interrupt):
        optimizer.load_state_dict(snapshot)
    assert everything(optimizer) == before
    assert slow.best == 0.5


def test_what_cannot_be_written_is_refused_before_anything_is() -> None:
    optimizer = fastopt.SGD([np.ones(3), np.ones(3)], momentum=0.5)
    optimizer.step([np.ones(3), np.ones(3)])
    snapshot = optimizer.state_dict()
    optimizer.step([np.ones(3), np.ones(3)])
    before = everything(optimizer)
    live: Any = engine_of(optimizer).tensors[1].state["momentum_buffer"]  # what `state` shows is a view
    live.flags.writeable = False
    words = r"state_dict\['state'\]\[1\]\['momentum_buffer'\]: got values for a read-only array of params\[1\]'s state"
    with pytest.raises(ValueError, match=words):
        optimizer.load_state_dict(snapshot)
    assert everything(optimizer) == before


@pytest.mark.parametrize("state_dtype", [None, "bfloat16", "8bit"])
def test_live_arrays_exchanged(state_dtype: Any) -> None:
    """A snapshot may hold this optimizer's own arrays, in another order: each is read before it is written."""
    rng = np.random.default_rng(5)
    params = [rng.standard_normal(300).astype(np.float32) for _ in range(3)]
    optimizer = fastopt.AdamW(params, state_dtype=state_dtype, ema_decay=0.5)
    optimizer.step([rng.standard_normal(300).astype(np.float32) for _ in range(3)])
    snapshot = optimizer.state_dict()
    expected = copy.deepcopy(snapshot)
    order = [1, 2, 0]

    def live(i: int, slot: str) -> Any:
        array = optimizer.state[i][slot]
        return array if state_dtype is None else dict(array.raw)

    averages = optimizer.ema_params
    for i, source in enumerate(order):
        for slot in ("exp_avg", "exp_avg_sq"):
            expected["state"][i][slot] = copy.deepcopy(snapshot["state"][source][slot])
        expected["state"][i]["ema"] = snapshot["state"][source]["ema"].copy()
    for i, source in enumerate(order):
        snapshot["state"][i] |= {
            "exp_avg": live(source, "exp_avg"),
            "exp_avg_sq": live(source, "exp_avg_sq"),
            "ema": averages[source],
        }
    optimizer.load_state_dict(snapshot)
    other = fastopt.AdamW([p.copy() for p in params], state_dtype=state_dtype, ema_decay=0.5)
    other.load_state_dict(expected)
    assert everything(optimizer) == everything(other)


def test_parts_of_a_live_array() -> None:
    """Views of other strides too."""
    memory = fastopt.SGD([np.ones((2, 3)), np.ones((2, 3)), np.ones((3, 2))], momentum=0.5)
    memory.step([np.full((2, 3), 2.0), np.arange(6.0).reshape(2, 3), np.arange(10.0, 16.0).reshape(3, 2)])
    arrays = [memory.state[i]["momentum_buffer"] for i in range(3)]
    snapshot = memory.state_dict()
    wanted = [arrays[1][::-1].copy(), arrays[2].T.copy(), arrays[1].T.copy()]
    for entry, array in zip(snapshot["state"], (arrays[1][::-1], arrays[2].T, arrays[1].T), strict=True):
        entry["momentum_buffer"] = array
    memory.load_state_dict(snapshot)
    assert all(same_bits(memory.state[i]["momentum_buffer"], wanted[i]) for i in range(3))
