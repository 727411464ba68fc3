"""A launch: which kernel, over which tiles, with what parameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _core
from .._arrays.device import DeviceArray, new, stream_of
from .._arrays.driver import THREADS, Parameters, driver
from .._arrays.memory import BLOCK
from . import table
from .compiler import loaded
from .kernels import WRITE, GradientKernel, StepKernel

__all__ = ["NON_NULL", "TICKETS", "Launch", "Tiles", "launch_gradients", "set_options", "uploaded", "write"]

WARP = 32
LONGEST = THREADS // WARP
"""Tiles that a block of threads takes at once at most; tensors begin at multiples of it."""

MOST = 2**63 - 1

NON_NULL = 16
"""Stands for the address of a gradient without elements, which frameworks give as 0."""

TICKETS = 1 << 20
"""The tickets of a launch, more than it has thread blocks: a count that an earlier launch left cannot reach the next one's."""


class Tiles:
    """The line of tiles through which a launch goes: where each tensor begins in the line, on the device."""

    def __init__(self, lengths: np.ndarray[Any, Any], indices: np.ndarray[Any, Any] | None, like: DeviceArray) -> None:
        tiles = -(-lengths // (BLOCK * LONGEST)) * LONGEST
        self.first = np.concatenate([[0], np.cumsum(tiles)]).astype(np.int64)
        self.count = len(lengths)
        self.end = int(self.first[-1])
        self.work = int((-(-lengths // BLOCK)).sum())
        self.device = like.device
        self._first = uploaded(like, self.first)
        self.pointer = self._first.pointer
        self._indices = None if indices is None else uploaded(like, indices)
        self.indices = 0 if self._indices is None else self._indices.pointer


class Launch:
    """The kernels of tensors of one kind."""

    def __init__(self, step: StepKernel, sweep: GradientKernel, tiles: Tiles, base: np.ndarray[Any, Any], stream: int) -> None:
        self._driver = driver()
        self._tiles = tiles
        self._step = loaded(step, tiles.device, stream)
        self._sweep_source = sweep
        self._sweep: Any = None
        self._tensors = int(base["tensors"])
        self._warps, self._blocks = shape(tiles.work, tiles.end, self._step.resident, self._driver.processors(tiles.device))
        self._whole, self._measuring, self._single = (Parameters(table.LAUNCH) for _ in range(3))
        for parameters in (self._whole, self._measuring, self._single):
            parameters.value[()] = base
        value = self._whole.value
        value["indices"], value["first_tiles"] = tiles.indices, tiles.pointer
        value["tensor_count"], value["end_tile"], value["end"] = tiles.count, tiles.end, MOST
        self._whole.value["counts"] = 1
        if tiles.count > 1:
            self._whole.value["span"] = span(tiles.end, self._blocks, self._warps)
        self._set: tuple[Any, ...] = ()

    def set_gradient(self, pointer: int) -> None:
        """The gradient's address, if the plan has one tensor."""
        self._whole.value["grad"] = self._measuring.value["grad"] = pointer

    def load_sweep(self, stream: int) -> None:
        """Makes `sweep` ready."""
        if self._sweep is None:
            self._sweep = loaded(self._sweep_source, self._tiles.device, stream)

    def sweep(self, options: _core.Options, ticket: int, *, ends: bool, stream: int) -> None:
        """Measures the gradients."""
        set_options(self._measuring.value, options)
        self._measuring.value["ends"] = ends
        launch_gradients(self._sweep, self._tiles, self._measuring, ticket, stream)

    def step(self, options: _core.Options, seed: int, ticket: int, *, measured: bool, ends: bool, stream: int) -> None:
        """Updates the tensors and counts their step."""
        now = (options, seed, measured, ends)
        value = self._whole.value
        if now != self._set:  # most steps have the options of the last one
            set_options(value, options)
            value["seed"], value["measured"], value["ends"] = seed, measured, ends
            self._set = now
        value["ticket"] = ticket
        self._driver.launch(self._step, self._blocks, WARP * self._warps, self._whole, self._tiles.device, stream)

    def part(
        self, options: _core.Options, seed: int, line: Tiles, index: int, grad: int, begin: int, end: int, stream: int
    ) -> None:
        """Updates elements `begin` to `end` of the tensor at an index of the plan; the first element's gradient is at `grad`."""
        value = self._one(line, index)
        set_options(value, options)
        value["seed"], value["grad"], value["begin"], value["end"], value["counts"] = seed, grad, begin, end, 0
        first = int(line.first[index])
        size = BLOCK * LONGEST
        value["begin_tile"], value["end_tile"] = first + begin // size * LONGEST, first - (-end // size) * LONGEST
        work = -(-end // BLOCK) - begin // BLOCK
        span = int(value["end_tile"] - value["begin_tile"])
        warps, blocks = shape(work, span, self._step.resident, self._driver.processors(line.device))
        self._driver.launch(self._step, blocks, WARP * warps, self._single, line.device, stream)

    def count(self, line: Tiles, index: int | None, ticket: int, stream: int) -> None:
        """Counts a step of the tensor at an index, or, if that is None, of the optimizer, and updates nothing."""
        value = self._one(line, index or 0)
        value["grad"], value["counts"], value["begin_tile"], value["end_tile"] = NON_NULL, 1, 0, 0
        value["ticket"] = ticket
        if index is None:
            value["tensor_count"], value["ends"] = 0, 1
        self._driver.launch(self._step, 1, WARP, self._single, line.device, stream)

    def _one(self, line: Tiles, index: int) -> Any:
        value = self._single.value
        value["tensors"] = self._tensors + index * table.TENSOR.itemsize
        value["first_tiles"] = line.pointer + index * line.first.itemsize
        value["indices"], value["grads"], value["tensor_count"], value["ends"] = 0, 0, 1, 0
        return value


def shape(work: int, span: int, resident: int, processors: int) -> tuple[int, int]:
    """Warps in a block, few if there is little work, so that all processors have some; and blocks, in whole rounds."""
    warps = 4 if work >= 16 * processors else 2 if work >= 8 * processors else 1
    chunks = max(1, -(-span // warps))
    rounds = -(-chunks // (resident * LONGEST // warps))
    return warps, -(-chunks // rounds)


def span(tiles: int, blocks: int, warps: int) -> int:
    """Tiles of one block in a row, if there are many tensors: each block then comes to few of them."""
    return -(-tiles // (blocks * warps)) * warps


def set_options(value: Any, options: _core.Options) -> None:
    row = value["options"]
    for name in table.OPTIONS.names or ():
        if name != "team":
            row[name] = getattr(options, name)


def launch_gradients(kernel: Any, tiles: Tiles, parameters: Parameters, ticket: int, stream: int) -> None:
    """Runs a loaded kernel over gradients alone."""
    value = parameters.value
    value["ticket"] = ticket
    value["indices"], value["first_tiles"] = tiles.indices, tiles.pointer
    value["tensor_count"], value["end_tile"], value["end"] = tiles.count, tiles.end, MOST
    warps, blocks = shape(tiles.work, tiles.end, kernel.resident, driver().processors(tiles.device))
    value["span"] = span(tiles.end, blocks, warps) if tiles.count > 1 else 0
    driver().launch(kernel, blocks, WARP * warps, parameters, tiles.device, stream)


def uploaded(like: DeviceArray, values: np.ndarray[Any, Any]) -> DeviceArray:
    """New memory beside `like` with these bytes, and zeros up to the end of the last word."""
    words = np.zeros(-(-values.nbytes // 8), np.uint64)
    words.view(np.uint8)[: values.nbytes] = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    array = new(like, words.shape, np.uint64)
    write(array.pointer, words, like.device, stream_of(like))
    return array


def write(pointer: int, values: np.ndarray[Any, Any], device: int, stream: int) -> None:
    """Sends words from the host as parameters of a kernel: in the order of the stream, and without waiting for it."""
    words = np.ascontiguousarray(values).view(np.uint8).reshape(-1).view(np.uint64)
    most = table.WORDS["words"].shape[0]
    kernel = loaded(WRITE, device, stream)
    for begin in range(0, len(words), most):
        part = words[begin : begin + most]
        parameters = Parameters(table.WORDS)
        parameters.value["to"], parameters.value["count"] = pointer + 8 * begin, len(part)
        parameters.value["words"][: len(part)] = part
        driver().launch(kernel, 1, THREADS, parameters, device, stream)
