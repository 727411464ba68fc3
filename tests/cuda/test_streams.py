"""CUDA graphs of steps, streams, and arrays that are on different devices."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastopt
from tests.support.arrays import Array, gradients
from tests.support.devices import Both, Claim

LENGTHS = (3000, 1, 0, 257)


def fill(device: Any, grads: list[Array], there: list[Any], rng: np.random.Generator) -> None:
    """New values in the same arrays."""
    for host, array in zip(grads, there, strict=True):
        host[...] = gradients(host.shape, host.dtype, rng)
        device.write(array, host)


class Graphed:
    """An optimizer whose step was captured after one that warmed up, beside the CPU's."""

    def __init__(self, device: Any, rng: np.random.Generator, lengths: tuple[int, ...] = LENGTHS, **arguments: Any) -> None:
        self.device, self.rng = device, rng
        self.grads = [gradients(n, np.float32, rng) for n in lengths]
        self.both = Both(device, "AdamW", [gradients(n, np.float32, rng) for n in lengths], lr=0.1, **arguments)
        self.there = self.both.placed(self.grads)
        self.eager()

    def eager(self, grads: list[Array] | None = None, there: list[Any] | None = None) -> None:
        self.both.cpu.step(grads or self.grads)
        self.both.gpu.step(there or self.there)
        self.both.assert_equal("eager")

    def capture(self, there: list[Any] | None = None) -> Any:
        with self.device.capture() as graph:
            self.both.gpu.step(there or self.there)
        return graph

    def replay(self, graph: Any, spoil: bool = False) -> None:
        fill(self.device, self.grads, self.there, self.rng)
        if spoil:
            self.grads[0][2999] = np.inf
            self.device.write(self.there[0], self.grads[0])
        self.both.cpu.step(self.grads)
        graph.replay()
        self.both.assert_equal("replayed")


@pytest.mark.parametrize("count", [1, 4])
def test_a_graph(device: Any, count: int, rng: np.random.Generator) -> None:
    """Norm, finite check, counts and the learning rate are all the device's: the host is not asked."""
    graphed = Graphed(device, rng, LENGTHS[:count], max_norm=1.0, skip_nonfinite=True, ema_decay=0.9)
    rate = device.array(np.float32(0.1))
    graphed.both.gpu.lr = rate
    graphed.both.cpu.lr = float(np.float32(0.1))
    graphed.eager()
    graph = graphed.capture()
    graphed.both.assert_equal("captured, not run")
    for t in range(4):
        value = np.float32(0.1 / (t + 2))
        device.write(rate, value)
        graphed.both.cpu.lr = float(value)
        graphed.replay(graph, spoil=t == 2)
    assert (graphed.both.gpu.steps, graphed.both.gpu.skipped_steps) == (5, 1)
    assert graphed.both.gpu.state[0]["step"] == 5
    graphed.eager()
    graphed.replay(graph)


@pytest.mark.parametrize("storage", [{"state_dtype": "8bit"}, {"zero_grad": True}], ids=str)
def test_a_graph_of_other_steps(device: Any, storage: dict[str, Any], rng: np.random.Generator) -> None:
    graphed = Graphed(device, rng, **storage)
    graph = graphed.capture()
    for _ in range(3):
        graphed.replay(graph)


def test_a_captured_step_does_not_count_until_it_runs(device: Any, rng: np.random.Generator) -> None:
    graphed = Graphed(device, rng)
    graph = graphed.capture()
    assert graphed.both.gpu.steps == 1
    graph.replay()
    graph.replay()
    assert graphed.both.gpu.steps == 3
    assert [entry["step"] for entry in graphed.both.gpu.state] == [3] * 4


def test_a_graph_of_parts(device: Any, rng: np.random.Generator) -> None:
    graphed = Graphed(device, rng)
    with device.capture() as graph:
        for i, array in enumerate(graphed.there):
            graphed.both.gpu.step_part(i, array)
    graphed.both.assert_equal("captured, not run")
    for _ in range(3):
        graphed.replay(graph)


@pytest.mark.parametrize("count", [1, 4])
def test_a_graph_keeps_its_gradients(device: Any, count: int, rng: np.random.Generator) -> None:
    """Also after steps with other ones in between."""
    graphed = Graphed(device, rng, LENGTHS[:count])
    graph = graphed.capture()
    other = [gradients(n, np.float32, rng) for n in LENGTHS[:count]]
    there = graphed.both.placed(other)
    for _ in range(2):
        graphed.eager(other, there)
        graphed.replay(graph)


@pytest.mark.parametrize("count", [1, 4])
def test_a_step_after_a_capture_that_has_not_run(device: Any, count: int, rng: np.random.Generator) -> None:
    """What a capture would send is not there yet: neither the gradients' addresses nor a new learning rate."""
    graphed = Graphed(device, rng, LENGTHS[:count])
    other = [gradients(n, np.float32, rng) for n in LENGTHS[:count]]
    there = graphed.both.placed(other)
    graphed.both.both(lambda optimizer, _: setattr(optimizer, "lr", 0.03))
    graphed.capture(there)
    graphed.eager(other, there)


def test_a_learning_rate_set_between_replays_holds_for_the_steps_after_them(device: Any, rng: np.random.Generator) -> None:
    graphed = Graphed(device, rng)
    graphed.both.both(lambda optimizer, _: setattr(optimizer, "lr", 0.03))
    graph = graphed.capture()
    graphed.replay(graph)
    graphed.both.both(lambda optimizer, _: setattr(optimizer, "lr", 0.2))
    graphed.eager()
    graphed.both.cpu.lr = 0.03  # which the graph has
    graphed.replay(graph)
    graphed.both.cpu.lr = 0.2
    graphed.eager()


def test_the_host_does_nothing_after_the_first_step(
    device: Any, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It allocates nothing, waits for nothing, and writes to the device only what has changed."""
    both = Both(device, "AdamW", [gradients(n, np.float32, rng) for n in LENGTHS], max_norm=1.0, skip_nonfinite=True)
    grads = [gradients(n, np.float32, rng) for n in LENGTHS]
    there = both.placed(grads)
    both.gpu.step(there)
    done: list[str] = []

    def recorded(name: str) -> Callable[..., Any]:
        method = getattr(device.driver, name)

        def call(*given: Any) -> Any:
            done.append(getattr(given[0], "name", "") if name == "launch" else name)
            return method(*given)

        return call

    for name in ("zeros", "read", "write", "copy", "launch"):
        monkeypatch.setattr(device.driver, name, recorded(name))
    for _ in range(3):
        both.gpu.step(there)
    assert len(done) == 6
    assert not set(done) & {"zeros", "read", "write", "copy"}
    both.gpu.lr = 0.5
    both.gpu.step(there)
    both.gpu.step(both.placed(grads))
    assert len(done) == 12
    assert not set(done) & {"zeros", "read", "copy"}
    if device.is_emulated:
        assert done.count("write") == 2  # launches: of the group, and of the addresses


def test_work_is_on_the_current_stream(device: Any, rng: np.random.Generator) -> None:
    both = Both(device, "AdamW", [gradients(n, np.float32, rng) for n in LENGTHS])
    both.step([gradients(n, np.float32, rng) for n in LENGTHS], max_norm=1.0)
    with device.stream() as stream:
        launched = len(device.driver.launches) if device.is_emulated else 0
        both.gpu.lr = both.cpu.lr = 0.01  # which is written by a launch
        both.step([gradients(n, np.float32, rng) for n in LENGTHS], max_norm=1.0)
        grads = [gradients(n, np.float32, rng) for n in LENGTHS]
        for i, grad in enumerate(grads):
            both.gpu.step_part(i, device.array(grad))
        both.cpu.step(grads)
        both.assert_equal("parts")
        fastopt.global_norm(device.array(gradients(30, np.float32, rng)))
        if device.is_emulated:
            assert {each[3] for each in device.driver.launches[launched:]} == {stream}
    both.step([gradients(n, np.float32, rng) for n in LENGTHS])
    if device.is_emulated:
        assert device.driver.launches[-1][3] == 0


def test_a_step_waits_for_the_stream_that_a_gradient_is_ready_on(device: Any, rng: np.random.Generator) -> None:
    """Waits each time that the array is taken, as the protocol of `__cuda_array_interface__` asks."""
    if not device.is_emulated:
        pytest.skip("of streams nothing can be seen")
    both = Both(device, "AdamW", [np.ones(300)])
    grad = Claim(device.array(gradients(300, "float64", rng)), stream=0x77)
    for t in range(1, 3):
        with device.stream() as stream:
            both.gpu.step([grad])
        assert device.driver.follows == [(stream, 0x77, 0)] * t


F32 = np.float32
PLACES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a gradient on the CPU": (
        lambda d: d.gpu.step([np.ones(5, F32), np.ones(6, F32)]),
        "grads[0]: got an array on the CPU, expected one on cuda:0 as params[0] is; pass cp.asarray(grads[0])",
    ),
    "one gradient on the CPU": (
        lambda d: d.gpu.step([d.device.array(np.ones(5, F32)), np.ones(6, F32)]),
        "grads[1]: got an array on the CPU, expected one on cuda:0 as params[1] is; pass cp.asarray(grads[1])",
    ),
    "a gradient on the GPU": (
        lambda d: d.cpu.step([d.device.array(np.ones(5, F32)), np.ones(6, F32)]),
        "grads[0]: got an array on cuda:0, expected one on the CPU as params[0] is",
    ),
    "bound gradients": (
        lambda d: type(d.gpu)([d.device.array(np.ones(5, F32))], grads=[np.ones(5, F32)]),
        "grads[0]: got an array on the CPU, expected one on cuda:0 as params[0] is; bind cp.asarray(grads[0]) and write each gradient "
        "into it",
    ),
    "a copy on the GPU": (
        lambda d: type(d.gpu)(np.ones(5, F32), copy_to=d.device.array(np.ones(5, F32))),
        "copy_to: got an array on cuda:0, expected one on the CPU as params is",
    ),
    "a copy on the CPU": (
        lambda d: type(d.gpu)(d.device.array(np.ones(5, F32)), copy_to=np.ones(5, F32)),
        "copy_to: got an array on the CPU, expected one on cuda:0 as params is",
    ),
    "parameters on both": (
        lambda d: type(d.gpu)([np.ones(5, F32), d.device.array(np.ones(5, F32))]),
        "params[1]: got an array on cuda:0, expected one on the CPU as params[0] is",
    ),
    "parameters on both, in groups": (
        lambda d: type(d.gpu)([{"params": [d.device.array(np.ones(5, F32))]}, {"params": {"a": np.ones(5, F32)}}]),
        "params[1]['params']['a']: got an array on the CPU, expected one on cuda:0 as params[0]['params'][0] is",
    ),
    "an lr on the GPU": (
        lambda d: d.cpu.groups[0].update(lr=d.device.array(np.float64(0.1))),
        "lr: got an array on cuda:0, expected one on the CPU as the group's first parameter is",
    ),
    "norms": (
        lambda d: fastopt.global_norm({"a": d.device.array(np.ones(5)), "b": np.ones(5)}),
        "grads['b']: got an array on the CPU, expected one on cuda:0 as grads['a'] is",
    ),
    "a function's gradient": (
        lambda d: fastopt.functional.sgd(d.device.array(np.ones(5)), np.ones(5), step=1, lr=0.1),
        "grad: got an array on the CPU, expected one on cuda:0 as param is; pass cp.asarray(grad)",
    ),
    "a function's state": (
        lambda d: fastopt.functional.lion(np.ones(5), np.ones(5), d.device.array(np.zeros(5)), step=1, lr=0.1),
        "exp_avg: got an array on cuda:0, expected one on the CPU as param is",
    ),
    "another GPU's gradient": (
        lambda d: d.gpu.step([d.device.array(np.ones(5, F32)), d.device.array(np.ones(6, F32), device=1)]),
        "grads[1]: got an array on cuda:1, expected one on cuda:0 as params[1] is",
    ),
    "another GPU's parameter": (
        lambda d: type(d.gpu)([d.device.array(np.ones(5, F32)), d.device.array(np.ones(5, F32), device=1)]),
        "params[1]: got an array on cuda:1, expected one on cuda:0 as params[0] is",
    ),
    "another GPU's lr": (
        lambda d: setattr(d.gpu, "lr", d.device.array(np.float64(0.1), device=1)),
        "lr: got an array on cuda:1, expected one on cuda:0 as the group's first parameter is",
    ),
    "another GPU's part": (
        lambda d: d.gpu.step_part(0, d.device.array(np.ones(5, F32), device=1)),
        "grad: got an array on cuda:1, expected one on cuda:0 as params[0] is",
    ),
}


@pytest.mark.parametrize("case", PLACES)
def test_arrays_of_different_places(device: Any, case: str, rng: np.random.Generator) -> None:
    if "another GPU" in case and device.devices < 2:
        pytest.skip("there is one")
    both = Both(device, "AdamW", [gradients(5, np.float32, rng), gradients(6, np.float32, rng)])
    both.step([gradients(5, np.float32, rng), gradients(6, np.float32, rng)])
    call, words = PLACES[case]
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        call(both)
    both.assert_equal("nothing changed")
    both.step([gradients(5, np.float32, rng), gradients(6, np.float32, rng)])
