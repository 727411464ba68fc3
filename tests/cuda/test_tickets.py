"""The count of thread blocks that have ended heals itself: whatever was left in it, each step counts once, by its last block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastopt._cuda.launches import TICKETS
from fastopt._cuda.table import CONTROL, offset_of
from fastopt.optimizer import engine_of
from tests.support.arrays import Array, gradients
from tests.support.devices import Both

LENGTHS = (30_000, 1, 257)  # enough for several blocks of threads

LEFT: dict[str, Callable[[int], int]] = {
    "by a launch that was cut short": lambda count: count + 1,
    "by two launches at once": lambda count: count + TICKETS // 2,
    "by a launch that another one set back": lambda count: max(count - 1, 0),
    "a small number": lambda count: 3,
    "nothing": lambda count: 0,
}


class Scene:
    def __init__(self, device: Any, rng: np.random.Generator) -> None:
        self.device = device
        self.both = Both(device, "NAdam", [gradients(n, np.float32, rng) for n in LENGTHS], lr=0.1, max_norm=1.0)
        self.grads: list[Array] = [gradients(n, np.float32, rng) for n in LENGTHS]
        self.there = self.both.placed(self.grads)
        self.place = engine_of(self.both.gpu).plan._counts.control + offset_of(CONTROL, "done")  # type: ignore[union-attr]

    def leave(self, left: Callable[[int], int]) -> None:
        count = np.zeros(1, np.uint64)
        self.device.driver.read(self.place, count, 0, 0)
        self.device.driver.write(self.place, np.array([left(int(count[0]))], np.uint64), 0, 0)

    def step(self) -> None:
        self.both.cpu.step(self.grads)
        self.both.gpu.step(self.there)
        self.both.assert_equal()

    def step_in_parts(self) -> None:
        for optimizer, grads in ((self.both.cpu, self.grads), (self.both.gpu, self.there)):
            optimizer.options["max_norm"] = None
            for i, grad in enumerate(grads):
                optimizer.step_part(i, grad)
        self.both.assert_equal()


@pytest.fixture
def scene(device: Any, rng: np.random.Generator) -> Scene:
    return Scene(device, rng)


@pytest.mark.parametrize("left", LEFT)
def test_a_step_counts_once(scene: Scene, left: str) -> None:
    scene.step()
    for _ in range(2):
        scene.leave(LEFT[left])
        scene.step()
    scene.step()


@pytest.mark.parametrize("left", LEFT)
def test_a_step_in_parts_counts_once(scene: Scene, left: str) -> None:
    for _ in range(3):
        scene.leave(LEFT[left])
        scene.step_in_parts()


@pytest.mark.parametrize("left", [*LEFT, "more than any launch counts"])
def test_a_replayed_step_counts_once(scene: Scene, left: str) -> None:
    """A graph's launches have the same tickets each time, so it sets the count back itself."""
    scene.step()
    with scene.device.capture() as graph:
        scene.both.gpu.step(scene.there)
    for _ in range(3):
        scene.leave(LEFT.get(left, lambda _: 2**64 - 1))
        scene.both.cpu.step(scene.grads)
        graph.replay()
        scene.both.assert_equal()
    scene.step()
