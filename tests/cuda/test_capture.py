"""While a CUDA graph is captured, what would wait or need memory is refused by name, and the graph is as if nobody had asked."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastopt
from tests.support.arrays import gradients
from tests.support.devices import Both

LENGTHS = (3000, 1, 257)
WAITS = "a CUDA graph is being captured, and this waits for the GPU, which would end the capture"
MEMORY = "a CUDA graph is being captured, and this call needs memory"


class Scene:
    """An optimizer with all that a step can have, after a step that warmed up."""

    def __init__(self, device: Any, rng: np.random.Generator) -> None:
        self.device, self.rng = device, rng
        options: dict[str, Any] = {"max_norm": 1.0, "skip_nonfinite": True, "ema_decay": 0.9}
        formats = {"master": "24bit", "state_dtype": "8bit"}
        self.both = Both(device, "NAdam", [gradients(n, np.float16, rng) for n in LENGTHS], lr=0.5, **options, **formats)
        self.rate = device.array(np.float64(0.5))
        self.gpu = self.both.gpu
        self.gpu.lr = self.rate
        self.grads = [gradients(n, np.float16, rng) for n in LENGTHS]
        self.there = self.both.placed(self.grads)
        self.snapshot = self.gpu.state_dict()
        self.both.cpu.step(self.grads)
        self.gpu.step(self.there)

    def replay(self, graph: Any) -> None:
        self.both.cpu.step(self.grads)
        graph.replay()
        self.both.assert_equal("replayed")


@pytest.fixture
def scene(device: Any, rng: np.random.Generator) -> Scene:
    return Scene(device, rng)


def stored(scene: Scene) -> Any:
    """A state that is found without `opt.state`, which itself is refused."""
    return scene.gpu.state._tensors[0].state["exp_avg"]


CALLS: dict[str, tuple[Callable[[Scene], Any], str]] = {
    "grad_norm": (lambda s: s.gpu.grad_norm, f"grad_norm: {WAITS}"),
    "steps": (lambda s: s.gpu.steps, "steps: a CUDA graph is being captured, and the count of steps is on the GPU"),
    "skipped_steps": (lambda s: s.gpu.skipped_steps, "skipped_steps: a CUDA graph is being captured"),
    "repr": (lambda s: repr(s.gpu), "steps: a CUDA graph is being captured"),
    "state": (lambda s: s.gpu.state[0], f"state: {WAITS}"),
    "a format's values": (lambda s: np.asarray(stored(s)), "Stored('8bit', shape (3000,), "),
    "a format's values set": (lambda s: stored(s).fill(0), "Stored('8bit', shape (3000,), "),
    "lr on the GPU": (lambda s: s.gpu.lr, f"lr: {WAITS}"),
    "state_dict": (lambda s: s.gpu.state_dict(), f"state_dict: {WAITS}"),
    "load_state_dict": (lambda s: s.gpu.load_state_dict(s.snapshot), f"load_state_dict: {WAITS}"),
    "save": (lambda s: s.gpu.save("never.safetensors"), f"save: {WAITS}"),
    "reset_masters": (lambda s: s.gpu.reset_masters(), f"reset_masters: {WAITS}"),
    "a new optimizer": (lambda s: fastopt.AdamW(s.device.array(np.ones(3, np.float32))), MEMORY),
    "a step of another kind": (lambda s: s.gpu.step([None, *s.there[1:]]), MEMORY),
    "a norm": (lambda s: fastopt.global_norm(s.there), MEMORY),
    "a function": (
        lambda s: fastopt.functional.sgd(s.device.array(np.ones(3)), s.device.array(np.ones(3)), step=1, lr=0.1),
        MEMORY,
    ),
}


@pytest.mark.parametrize("case", CALLS)
def test_refused_by_name_and_the_graph_is_whole(scene: Scene, case: str) -> None:
    call, words = CALLS[case]
    with scene.device.capture() as graph:
        for _ in range(2):  # before the first launch, and after it
            with pytest.raises(RuntimeError, match=f"^{re.escape(words)}"):
                call(scene)
            if not hasattr(scene, "captured"):
                scene.gpu.step(scene.there)
                scene.captured = True  # type: ignore[attr-defined]  # it is this test's own
    scene.both.assert_equal("captured, not run")
    for _ in range(2):
        scene.replay(graph)
    assert not Path("never.safetensors").exists()


def test_a_load_that_was_refused_has_changed_nothing(device: Any, rng: np.random.Generator) -> None:
    """Also of an optimizer without state, whose load would only set counts, seed, groups and options."""
    both = Both(device, "SGD", [gradients(300, np.float32, rng)], lr=0.5)
    other = fastopt.SGD(device.array(np.ones(300, np.float32)), lr=0.25, seed=3).state_dict()
    grads = [gradients(300, np.float32, rng)]
    there = both.placed(grads)
    both.both(lambda optimizer, given: optimizer.step(given), grads, there)
    with device.capture(), pytest.raises(RuntimeError, match=r"^load_state_dict: a CUDA graph is being captured"):
        both.gpu.load_state_dict({**other, "steps": 9})
    both.assert_equal("refused")
    assert (both.gpu.lr, both.gpu.steps, both.gpu.state_dict()["seed"]) == (0.5, 1, 0)


def test_hyperparameters_are_set_while_a_graph_is_captured(device: Any, rng: np.random.Generator) -> None:
    """Setting them asks the GPU nothing."""
    both = Both(device, "AdamW", [gradients(300, np.float32, rng)], lr=0.5, skip_nonfinite=True)
    grads = [gradients(300, np.float32, rng)]
    there = both.placed(grads)
    both.both(lambda optimizer, given: optimizer.step(given), grads, there)
    with device.capture() as graph:
        both.gpu.groups[0]["weight_decay"] = 0.5
        both.gpu.lr = 0.25
        both.gpu.step(there)
    both.cpu.groups[0].update(weight_decay=0.5, lr=0.25)
    both.cpu.step(grads)
    graph.replay()
    both.assert_equal("replayed")
