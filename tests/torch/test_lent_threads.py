"""Steps on the threads that torch lends: the pool's bits, torch's number of threads, and what a fork or Ctrl-C leaves."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch

import fastopt.torch
from fastopt import _core
from fastopt.torch import lent
from tests.support.processes import run_python

SIZE = 700_000
"""Elements that are worth a wake-up."""

pytestmark = pytest.mark.skipif(lent.team() is None, reason="this build of torch has no OpenMP threads to lend")


@pytest.fixture(autouse=True)
def two_threads() -> Any:
    """Sets two threads, here and in torch, whatever the machine has."""
    before = torch.get_num_threads(), fastopt.get_num_threads()
    torch.set_num_threads(2)
    fastopt.set_num_threads(2)
    yield
    torch.set_num_threads(before[0])
    fastopt.set_num_threads(before[1])


def made(size: int = SIZE, **arguments: Any) -> tuple[torch.Tensor, fastopt.torch.AdamW]:
    """A parameter with a gradient, and its optimizer."""
    generator = torch.Generator().manual_seed(1)
    param = torch.randn(size, generator=generator).requires_grad_()
    param.grad = torch.randn(size, generator=generator)
    return param, fastopt.torch.AdamW([param], **arguments)


def in_new_thread(run: Callable[[], Any]) -> Any:
    """What `run` returns in a thread for which torch has no team yet.  Its first step takes torch's threads, awake or not."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(run()))
    thread.start()
    thread.join()
    return results[0]


def regions_of(run: Callable[[], Any]) -> int:
    """How many parallel regions of torch's runtime `run` starts for steps."""
    team = lent.team()
    assert team is not None
    before = team.regions
    run()
    return team.regions - before


@pytest.mark.parametrize(
    "arguments",
    [{}, {"max_norm": 0.5}, {"state_dtype": "8bit"}, {"ema_decay": 0.9, "skip_nonfinite": True}],
    ids=["plain", "clipped", "8bit", "averaged"],
)
@pytest.mark.parametrize("size", [5, 40_000, SIZE + 3])
def test_bits_are_the_pools(monkeypatch: pytest.MonkeyPatch, size: int, arguments: dict[str, Any]) -> None:
    """Steps on lent threads and on the pool end at the same bits, whether torch's threads are awake or not."""

    def train() -> torch.Tensor:
        param, optimizer = made(size, **arguments)
        for i in range(6):
            if i % 2:
                torch.ones(1 << 20).add_(1)  # torch's threads are awake after it
            optimizer.step()
        return param.detach()

    on_lent = in_new_thread(train)
    monkeypatch.setattr("fastopt.torch.binding.team", lambda: None)
    assert torch.equal(on_lent, train())


def test_a_step_after_torch_s_own_work_takes_torch_s_threads() -> None:
    """The first step of a thread takes them without a look, and so finds out which they are."""
    _, optimizer = made()
    assert regions_of(lambda: in_new_thread(optimizer.step)) == 1


def test_torch_s_number_of_threads_is_obeyed() -> None:
    """One thread of torch's is one thread of the step, which needs no region."""
    _, optimizer = made()
    torch.set_num_threads(1)
    assert regions_of(lambda: in_new_thread(optimizer.step)) == 0


def test_fastopt_s_number_of_threads_is_obeyed() -> None:
    """fastopt.set_num_threads holds for lent threads too."""
    _, optimizer = made()
    fastopt.set_num_threads(1)
    assert regions_of(lambda: in_new_thread(optimizer.step)) == 0


def test_fewer_threads_than_torch_has() -> None:
    """A step takes no more of a larger team than fastopt may use, with the same bits."""
    torch.set_num_threads(5)
    param, optimizer = made()

    def steps() -> None:
        for _ in range(3):
            torch.ones(1 << 20).add_(1)
            optimizer.step()

    assert regions_of(lambda: in_new_thread(steps)) >= 1
    alone, by_itself = made()
    fastopt.set_num_threads(1)
    for _ in range(3):
        by_itself.step()
    assert torch.equal(param.detach(), alone.detach())


def test_small_steps_stay_on_their_thread() -> None:
    """A step too short to share starts no region."""
    _, optimizer = made(1000)
    assert regions_of(lambda: in_new_thread(optimizer.step)) == 0


def test_refused_gradients_leave_the_team_whole() -> None:
    """After an error the next step runs on the lent threads."""

    def run() -> None:
        param, optimizer = made()
        optimizer.step()
        param.grad = torch.ones(SIZE).to_sparse()
        with pytest.raises(RuntimeError):
            optimizer.step()
        param.grad = torch.ones(SIZE)
        torch.ones(1 << 20).add_(1)
        optimizer.step()

    assert regions_of(lambda: in_new_thread(run)) >= 1


def test_interrupts_leave_the_team_whole() -> None:
    """A signal during steps raises between them; each step is whole, and later ones have the pool's bits."""
    param, optimizer = made()
    optimizer.step()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(5):
            signal.setitimer(signal.ITIMER_REAL, 2e-2)
            try:
                for _ in range(200):
                    torch.ones(1 << 18).add_(1)
                    optimizer.step()
            except KeyboardInterrupt:
                continue
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        torch.set_grad_enabled(True)  # torch's own contexts do not survive an exception between their lines
    taken = int(optimizer.state[param]["step"])
    optimizer.step()
    alone, by_itself = made()
    for _ in range(taken + 1):
        by_itself.step()
    assert torch.equal(param.detach(), alone.detach())


FORKING = """
import os, torch, fastopt.torch
from fastopt.torch import lent
torch.set_num_threads(2)
fastopt.set_num_threads(2)
param = torch.ones(700_000).requires_grad_()
param.grad = torch.ones(700_000)
optimizer = fastopt.torch.AdamW([param])
optimizer.step()
assert lent.team().regions == 1
child = os.fork()
if child == 0:
    for _ in range(3):
        optimizer.step()
    os._exit(0 if lent.team().regions == 1 else 3)
for _ in range(3):
    optimizer.step()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_child_forked_after_a_lent_step_steps_on_its_own_threads() -> None:
    """GNU's runtime would wait in the child for threads that only the parent has."""
    done = run_python(FORKING)
    assert done.stdout.strip() == "0", done.stderr


def test_a_library_that_is_not_loaded_lends_nothing() -> None:
    """The error says why, and steps go on with the pool."""
    with pytest.raises(RuntimeError, match=r"not loaded: /nowhere/libnone\.so"):
        _core.OpenMp("/nowhere/libnone.so", "omp_get_max_threads")


def test_a_library_without_openmp_lends_nothing() -> None:
    """NumPy's extension is loaded, and uses no such runtime."""
    import numpy as np

    with pytest.raises(RuntimeError, match="has no function omp_get_max_threads, nor has what it was linked with"):
        _core.OpenMp(np._core._multiarray_umath.__file__, "omp_get_max_threads")
