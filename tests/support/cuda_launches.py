"""Launches of CUDA kernels over the arrays of an optimizer that stays on the CPU, to compare the two."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fastopt import _core
from fastopt._arrays import buffers
from fastopt._arrays.driver import Parameters
from fastopt._cuda.kernels import GradientKernel, StepKernel, grad_format
from fastopt._cuda.launches import TICKETS
from fastopt._cuda.table import CONTROL, GROUP, LAUNCH, OPTIONS, TENSOR
from fastopt._engine.options import StepOptions
from fastopt._storage.formats import param_format
from fastopt.optimizer import engine_of
from fastopt.rules import RULES
from tests.support.arrays import Array
from tests.support.comparing import same_bits
from tests.support.emulated_cuda import EmulatedArray, EmulatedDriver, array

__all__ = ["GRIDS", "Mirror", "assert_at_rest", "assert_pairs", "gradient_launch", "kernel_of", "on_device"]

BLOCK, LONGEST = 256, 4
EVERYTHING = 2**63 - 1
TICKET = itertools.count(0, TICKETS)
GRIDS = ((3, 128), (7, 64), (2, 128), (1, 32), (2, 64))
"""Thread blocks and threads of launches, in turn."""
STAGGER = (0, 1, 3, 2, 7, 5)
"""How many elements behind a multiple of 16 bytes the arrays begin, in turn."""


def kernel_of(
    rule: str, arguments: Mapping[str, Any], param: str, grad: str, master: str | None = None, state_dtype: str | None = None
) -> StepKernel:
    """The kernel that a step of a parameter needs."""
    row = RULES[rule]
    variant = row.variant(row.check({**row.defaults, **{k: v for k, v in arguments.items() if v is not None}}))
    dtype = "float64" if param == "float64" else "float32"
    own = param_format(param, master)[0]
    compressed = state_dtype if state_dtype in ("bfloat16", "8bit") and variant.slots else None
    return StepKernel(row, variant, dtype, own.name if own else "", grad_format(dtype, grad), compressed)


def plain(values: Array) -> Array:
    """A view in a type of NumPy's own: bfloat16 as its bits."""
    return values.view(np.uint16) if values.dtype.names or values.dtype.name == "bfloat16" else values


def on_device(values: Array, offset: int = 0, device: int = 0) -> EmulatedArray:
    bits = plain(values)
    return array(bits, device, offset, bfloat16=bits is not values)


def first_tiles(lengths: Sequence[int]) -> Array:
    """The first tile of each tensor in the line of tiles, and the line's end."""
    counts = [-(-length // (BLOCK * LONGEST)) * LONGEST for length in lengths]
    return np.array([0, *itertools.accumulate(counts)], np.int64)


def options_row(options: Any) -> Array:
    row = np.zeros((), OPTIONS)
    for name in OPTIONS.names or ():
        if name != "team":
            row[name] = getattr(options, name)
    return row


def gradient_kernel(loop: str, own: str, grad: Array | None) -> GradientKernel:
    return GradientKernel(loop, own, grad_format(own, own if grad is None else grad_name(grad)))


def shared(kernels: Iterable[Any]) -> Iterator[tuple[Any, list[int], bool]]:
    """Each kernel with its tensors, and whether the kernel is the last."""
    indices: dict[str, list[int]] = {}
    known = {}
    for i, kernel in enumerate(kernels):
        indices.setdefault(kernel.name, []).append(i)
        known[kernel.name] = kernel
    for number, (name, those) in enumerate(indices.items(), start=1):
        yield known[name], those, number == len(indices)


class Mirror:
    """A device's copies of what a step of `optimizer` reads and writes.  `step` does there what `optimizer.step` does here."""

    def __init__(self, optimizer: Any, driver: EmulatedDriver, stagger: Iterable[int] = STAGGER) -> None:
        self.optimizer, self.engine, self.driver = optimizer, engine_of(optimizer), driver
        self.stagger = itertools.cycle(stagger)
        self.pairs: list[tuple[str, Array, EmulatedArray]] = []
        self.grads: list[tuple[Array, EmulatedArray]] = []
        self.tensors, self.control = array(self._rows()), array(np.zeros(1, CONTROL))
        self.groups = array(self._groups())
        self.grids = itertools.cycle(GRIDS)

    def _take(self, label: str, values: Array | None) -> int:
        if values is None:
            return 0
        self.pairs.append((label, values, on_device(values, next(self.stagger))))
        return self.pairs[-1][2].pointer

    def _rows(self) -> Array:
        rows = np.zeros(len(self.engine.tensors), TENSOR)
        for i, (row, given) in enumerate(
            zip(
                rows,
                ([tensor.planned([slot.name for slot in self.engine.rule.slots]) for tensor in self.engine.tensors]),
                strict=True,
            )
        ):
            param, extra, row["param_format"] = given["param"]
            row["param"], row["param_extra"] = self._take(f"param {i}", param), self._take(f"extra {i}", extra)
            for k, entry in enumerate(given["state"]):
                if entry is None:
                    continue
                data, words, row["state_format"][k] = entry
                row["state"][k] = self._take(f"state {k} of {i}", data)
                if words is not None:  # blocks' words, which are never shifted
                    self.pairs.append((f"words {k} of {i}", words, array(words)))
                    row["state_extra"][k] = self.pairs[-1][2].pointer
            row["ema"], row["copy"] = self._take(f"ema {i}", given["ema"]), self._take(f"copy {i}", given["copy"])
            for name in ("dtype", "stochastic", "copy_dtype", "group", "offset"):
                row[name] = given[name]
            row["length"] = param.size
            row["steps"], running = self.engine.plan.progress_of(i)
            row["running"][: len(running)] = running
        return rows

    def _groups(self) -> Array:
        rows = np.zeros(len(self.engine.groups), GROUP)
        rule = self.optimizer.rule
        for row, group in zip(rows, self.engine.groups, strict=True):
            values = group.hyperparameters()
            codes = rule.codes(values)
            row["rule"] = list(_core.rules()).index(rule.arithmetic)
            row["maximize"], row["decoupled_weight_decay"] = values["maximize"], values["decoupled_weight_decay"]
            row["lr"], row["weight_decay"], row["l1"] = values["lr"], values["weight_decay"], values["l1"]
            row["hyperparameters"][: len(codes)] = codes
        return rows

    def kernel(self, index: int, grad: Array | None) -> StepKernel:
        tensor = self.engine.tensors[index]
        values = self.engine.groups[tensor.group].hyperparameters()
        own = tensor.arithmetic.name
        dtype = own if grad is None else grad_name(grad)
        return kernel_of(
            self.optimizer.rule.name, values, tensor.dtype, dtype, self.engine.formats.master, self.engine.formats.state_dtype
        )

    def launch(self, kernel: Any, indices: Sequence[int], grads: EmulatedArray, **fields: Any) -> None:
        """Launches a kernel over these tensors of the plan."""
        tiles = first_tiles([int(self.tensors.host["length"][i]) for i in indices])
        values: dict[str, Any] = {"tensors": self.tensors, "groups": self.groups, "control": self.control, "grads": grads}
        values |= {"indices": array(np.array(indices, np.int32)), "first_tiles": array(tiles), "tensor_count": len(indices)}
        values |= {"end_tile": tiles[-1], "end": EVERYTHING}
        run(self.driver, kernel, {**values, "seed": self.engine.plan.seed, **fields}, next(self.grids))

    def step(self, grads: Sequence[Array | None], **options: Any) -> None:
        bound = self.engine.options.overridden(options, StepOptions)
        placed = [None if grad is None else on_device(grad, next(self.stagger)) for grad in grads]
        self.grads = [(grad, there) for grad, there in zip(grads, placed, strict=True) if grad is not None and there is not None]
        pointers = array(np.array([0 if each is None else each.pointer for each in placed], np.uint64))
        measured = bool(bound.max_norm > 0 or bound.skip_nonfinite)
        row = options_row(bound)
        if measured:
            owns = [tensor.arithmetic.name for tensor in self.engine.tensors]
            sweeps = [gradient_kernel("Sweep", own, grad) for own, grad in zip(owns, grads, strict=True)]
            for kernel, indices, last in shared(sweeps):
                self.launch(kernel, indices, pointers, options=row, ends=last)
        for kernel, indices, last in shared(self.kernel(i, grad) for i, grad in enumerate(grads)):
            self.launch(kernel, indices, pointers, options=row, counts=1, measured=measured, ends=last)

    def part(self, kernel: Any, grad: EmulatedArray, begin: int, end: int, options: Any, **fields: Any) -> None:
        """Launches a kernel over elements of the only tensor, whose gradient comes by itself."""
        tiles = first_tiles([int(self.tensors.host["length"][0])])
        values = {"tensors": self.tensors, "groups": self.groups, "control": self.control, "grad": grad, "tensor_count": 1}
        values |= {
            "first_tiles": array(tiles),
            "end_tile": tiles[-1],
            "begin": begin,
            "end": end,
            "options": options_row(options),
        }
        run(self.driver, kernel, {**values, "seed": self.engine.plan.seed, **fields}, next(self.grids))

    def assert_equal(self, where: Any = "") -> None:
        """Asserts that every array and every count are as on the CPU."""
        assert_pairs([(label, host, there.host) for label, host, there in self.pairs], where)
        assert_pairs([(f"grad {i}", host, there.host) for i, (host, there) in enumerate(self.grads)], where)
        for i in range(len(self.engine.tensors)):
            steps, running = self.engine.plan.progress_of(i)
            row = self.tensors.host[i]
            assert (row["steps"], list(row["running"][: len(running)])) == (steps, running), (where, i)
        control = self.control.host[0]
        assert (control["completed"], control["skipped_steps"]) == (self.optimizer.steps, self.optimizer.skipped_steps), where
        if self.optimizer.grad_norm is not None:
            assert same_bits(np.array([control["norm"]]), np.array([self.optimizer.grad_norm])), where
        assert_at_rest(control)
        self.driver.check_guards()


def assert_pairs(pairs: Iterable[tuple[str, Array, Array]], where: Any) -> None:
    """Asserts that each pair has the same bits; a NaN equals any NaN."""
    for label, host, there in pairs:
        a, b = plain(there).ravel(), plain(host).ravel()
        assert a.dtype == b.dtype, (where, label)
        differ = a.view(f"u{a.itemsize}") != b.view(f"u{b.itemsize}")
        if a.dtype.kind == "f":
            differ &= ~(np.isnan(a) & np.isnan(b))
        bad = np.flatnonzero(differ)
        assert bad.size == 0, f"{where} {label}: {bad.size} of {a.size} differ, first at {bad[:3]}: {a[bad[:3]]} {b[bad[:3]]}"


def assert_at_rest(control: Any) -> None:
    """Asserts that a measurement left nothing for the next."""
    for name in ("infinite", "nan", "not_finite"):
        assert control[name] == 0, name
    assert not control["limbs"].any()


def grad_name(grad: Array) -> str:
    return buffers.dtype_name(buffers.as_array(grad, "grad"))


def run(driver: EmulatedDriver, kernel: Any, values: Mapping[str, Any], grid: tuple[int, int]) -> None:
    """Makes one launch, with the next ticket; arrays stand for their pointers."""
    parameters = Parameters(LAUNCH)
    for name, value in {"ticket": next(TICKET), **values}.items():
        parameters.value[name] = value.pointer if isinstance(value, EmulatedArray) else value
    driver.launch(driver.kernel(kernel, 0), *grid, parameters, 0, 0)


def gradient_launch(
    driver: EmulatedDriver,
    loop: str,
    grads: Sequence[Array],
    control: EmulatedArray,
    options: Any,
    grid: tuple[int, int] = GRIDS[0],
    measured: bool = False,
    stagger: Iterable[int] = STAGGER,
) -> list[EmulatedArray]:
    """Sweeps or clips gradients of several dtypes; returns the gradients as they are afterwards."""
    placed = [on_device(grad, offset) for grad, offset in zip(grads, itertools.cycle(stagger), strict=False)]
    owns = ["float64" if grad_name(grad) == "float64" else "float32" for grad in grads]
    for kernel, indices, last in shared(gradient_kernel(loop, own, grad) for own, grad in zip(owns, grads, strict=True)):
        rows = np.zeros(len(indices), TENSOR)
        rows["length"] = [grads[i].size for i in indices]
        tiles = first_tiles([grads[i].size for i in indices])
        values = {"tensors": array(rows), "first_tiles": array(tiles), "control": control, "tensor_count": len(indices)}
        values["grads"] = array(np.array([placed[i].pointer for i in indices], np.uint64))
        values |= {"end_tile": tiles[-1], "end": EVERYTHING, "options": options_row(options), "measured": measured}
        run(driver, kernel, {**values, "ends": last}, grid)
    return placed
