"""Loads of fastopt.torch that are interrupted: all of the checkpoint or nothing of it."""

from __future__ import annotations

import contextlib
import copy
import signal
import sys
import time
from types import FrameType
from typing import Any

import pytest
import torch

from tests.support.interrupts import Interrupt, assert_all_or_nothing, outcomes
from tests.support.torch_checkpoints import built, everything, parameters, run


def made(steps: int, lr: float) -> Any:
    """An optimizer with everything that a load changes, bound to its memory by a step."""
    optimizer = built(
        "NAdam", parameters(torch.bfloat16), lr=lr, master="24bit", state_dtype="8bit", ema_decay=lr, max_norm=lr, seed=steps
    )
    run(optimizer, 0, steps)
    return optimizer


def test_an_interrupt_anywhere_loads_all_or_nothing() -> None:
    optimizer, checkpoint = made(1, 0.125), made(3, 0.25).state_dict()
    old, before = copy.deepcopy(optimizer.state_dict()), everything(optimizer)
    optimizer.load_state_dict(checkpoint)
    loaded = everything(optimizer)

    def prepare() -> None:
        optimizer.load_state_dict(old)
        assert everything(optimizer) == before

    found = outcomes(prepare, lambda: optimizer.load_state_dict(checkpoint), lambda: everything(optimizer), every=20)
    assert_all_or_nothing(found, before, loaded)
    assert len(found) > 100


def test_steps_after_an_interrupt_are_those_after_a_whole_load() -> None:
    checkpoint, whole = made(3, 0.25).state_dict(), made(1, 0.125)
    whole.load_state_dict(checkpoint)
    run(whole, 3, 5)
    expected, optimizer = everything(whole), made(1, 0.125)
    start, old = [param.detach().clone() for param in parameters(torch.bfloat16)], made(0, 0.125).state_dict()

    def prepare() -> None:
        optimizer.load_state_dict(old)
        params = [param for group in optimizer.param_groups for param in group["params"]]
        with torch.no_grad():
            for param, value in zip(params, start, strict=True):
                param.copy_(value)
        run(optimizer, 0, 1)

    def look() -> Any:
        taken = optimizer.state_dict()["fastopt"]["seed"] == 3
        run(optimizer, 3, 5)
        return everything(optimizer) if taken else None

    found = outcomes(prepare, lambda: optimizer.load_state_dict(checkpoint), look, every=500)
    assert any(found)
    assert all(state in (None, expected) for state in found)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX timers")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a signal in another library's callback
def test_signals_during_loads() -> None:
    optimizer, checkpoint = made(1, 0.125), made(3, 0.25).state_dict()
    old, before = copy.deepcopy(optimizer.state_dict()), everything(optimizer)
    start = time.perf_counter()
    optimizer.load_state_dict(checkpoint)
    seconds = time.perf_counter() - start
    loaded = everything(optimizer)

    def handler(number: int, frame: FrameType | None) -> None:
        raise Interrupt

    previous = signal.signal(signal.SIGALRM, handler)
    try:
        for i in range(200):
            optimizer.load_state_dict(old)
            with contextlib.suppress(Interrupt):
                signal.setitimer(signal.ITIMER_REAL, seconds * (i + 1) / 200)
                optimizer.load_state_dict(checkpoint)
                signal.setitimer(signal.ITIMER_REAL, 0)
            assert everything(optimizer) in (before, loaded)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
