"""`Bound`: the plan over those parameters of one device that take steps."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from .. import _core
from .._arrays import buffers
from .._engine.plans import make_plan, settle, write_group
from .._engine.tensors import MASTER, Tensor
from ..rules import Rule
from ..rules.words import describe
from .state import STEP, Layout, whole_steps
from .views import array_of, is_dense, like, same_layout, words

__all__ = ["Bound", "Member", "check_copy", "check_gradient", "check_parameter"]


@dataclass(frozen=True)
class Member:
    """One parameter."""

    param: torch.Tensor
    name: str
    """In messages."""
    group: int
    position: int
    """Among the group's."""
    offset: int
    """Elements of the parameters before it, padded to blocks."""
    copy: torch.Tensor | None
    """What takes a copy of it after each step."""


def check_memory(tensor: torch.Tensor, name: str) -> None:
    """RuntimeError for a tensor that computes by itself (DTensor, FakeTensor, quantized ones), or whose storage is gone."""
    if type(tensor).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__:
        raise RuntimeError(f"{name}: got a {type(tensor).__name__}, which has no memory of its own, expected an ordinary tensor")
    has_memory = tensor.layout == torch.strided and tensor.device.type in ("cpu", "cuda") and not tensor._is_zerotensor()
    if has_memory and tensor.numel() and not tensor.data_ptr():
        raise RuntimeError(f"{name}: got a tensor whose storage is gone, expected one with it")


def check_parameter(param: torch.Tensor, name: str) -> None:
    """RuntimeError for a parameter that the kernels cannot update in place."""
    check_memory(param, name)
    if param.layout != torch.strided or param.device.type not in ("cpu", "cuda"):
        raise RuntimeError(f"{name}: got {param.layout} on {param.device}, expected a strided tensor on the CPU or a CUDA device")
    if param.dtype not in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        hint = "; torch.view_as_real views a complex parameter as real" if param.is_complex() else ""
        raise RuntimeError(f"{name}: got {param.dtype}, expected float32, float64, bfloat16 or float16{hint}")
    if param.is_neg():
        raise RuntimeError(f"{name}: got a tensor that stands for minus its memory, expected one that was resolved")
    if not is_dense(param):
        raise RuntimeError(
            f"{name}: got strides {param.stride()} for shape {tuple(param.shape)}, expected memory without gaps and overlaps, in any order"
        )


def check_copy(value: Any, param: torch.Tensor, name: str) -> None:
    """ValueError for what cannot take copies of a parameter."""
    known = isinstance(value, torch.Tensor) and str(value.dtype).removeprefix("torch.") in buffers.DTYPES
    if not known or value.device != param.device or not same_layout(value, param):
        came = words(value) if isinstance(value, torch.Tensor) else describe(value)
        raise ValueError(f"{name}: got {came}, expected a floating-point tensor laid out as its parameter: {words(param)}")


def check_gradient(param: torch.Tensor, grad: torch.Tensor, rule: Rule, name: str) -> None:
    """RuntimeError, as torch's, for a gradient of a kind that no step takes."""
    check_memory(grad, f"{name}: the gradient")
    if grad.layout != torch.strided:
        raise RuntimeError(f"{name}: {rule.name} does not support sparse gradients")
    if grad.shape != param.shape or grad.device != param.device:
        raise RuntimeError(
            f"{name}: got a gradient of shape {tuple(grad.shape)} on {grad.device}, expected {tuple(param.shape)} on {param.device}"
        )
    wider = {torch.float64: 3, torch.float32: 2, torch.bfloat16: 1, torch.float16: 1}
    if wider.get(grad.dtype, 4) > max(wider[param.dtype], 2):
        raise RuntimeError(f"{name}: got a gradient of {grad.dtype} for a parameter of {param.dtype}, expected one that it holds")


class Bound:
    """A plan, the parameters that it is over, and their entries in the optimizer's state, which are completed here."""

    def __init__(
        self,
        layout: Layout,
        members: list[Member],
        groups: Mapping[int, int],
        state: dict[Any, Any],
        values: list[dict[str, Any]],
        seed: int,
        skipped: int,
    ) -> None:
        """`groups`: a group's index to that of its hyperparameters in `values`."""
        self._layout, self._members = layout, members
        self.params = [member.param for member in members]
        for member in members:
            check_parameter(member.param, member.name)
            # Of another dtype than when the optimizer was built it may have no use for its master.
            layout.check([(member.name, member.param)], values[groups[member.group]], None)
        known = [state.get(member.param) or {} for member in members]
        entries = [layout.completed(old, m.param, values[groups[m.group]], m.name) for old, m in zip(known, members, strict=True)]
        tensors = [made_of(layout, entry, member, groups[member.group]) for entry, member in zip(entries, members, strict=True)]
        slots = [slot.name for slot in layout.rule.slots]
        rows = [tensor.row(slots, member.offset) for tensor, member in zip(tensors, members, strict=True)]
        progress = [
            (self._steps(old, entry, m.name), numbers_of(layout, entry))
            for old, entry, m in zip(known, entries, members, strict=True)
        ]
        try:
            self.plan = make_plan(layout.rule, rows, len(values), seed, progress)
        except ValueError:
            buffers.check_disjoint([array for tensor in tensors for array in tensor.arrays()])  # with its names
            raise
        self.plan.skipped = skipped
        for index, each in enumerate(values):
            self.write(index, each)
        self._share(entries)
        for member, entry in zip(members, entries, strict=True):
            if entry:  # SGD without momentum has none, nor has torch's
                state.setdefault(member.param, {}).update(entry)
            if not layout.has_extra(member.param) and member.param in state:
                state[member.param].pop(MASTER, None)  # of another dtype that the parameter had
        self._written = [written(member, entry) for member, entry in zip(members, entries, strict=True)]
        self._own_written = [written(member, {}) for member in members]
        self._all_written = list(itertools.chain.from_iterable(self._written))
        self._params_written = list(itertools.chain.from_iterable(self._own_written))
        settle(self.plan)

    def _steps(self, old: Mapping[str, Any], entry: Mapping[str, Any], name: str) -> int:
        return whole_steps(entry[STEP] if STEP in entry else self._layout.uncounted(old, name), name)

    def _share(self, entries: list[dict[str, Any]]) -> None:
        """Lets counts and running scalars live in the entries on the CPU; on a GPU they live in the plan, and entries look there."""
        carried = self._layout.rule.carried
        if isinstance(self.plan, _core.Plan):
            numbers = [(entry.get(STEP), [entry[name] for name in carried]) for entry in entries]
            arrays = [
                (None if count is None else count.numpy(), [each.numpy() for each in running]) for count, running in numbers
            ]
            self.plan.share_progress(arrays)
            self.plan.ignore_history()
            self._counts = [count for count, _ in numbers]
            return
        for entry, (count, running) in zip(entries, self.plan.progress_arrays(), strict=True):
            if STEP in entry:
                entry[STEP] = as_tensor(count)
            entry.update({name: as_tensor(array) for name, array in zip(carried, running, strict=True)})

    def write(self, index: int, values: Mapping[str, Any]) -> None:
        """New hyperparameters of a group, checked; `lr` may be a tensor on the parameters' GPU."""
        lr = values["lr"]
        if isinstance(lr, torch.Tensor):
            values = {**values, "lr": array_of(lr, "lr") if lr.device == self.params[0].device else lr.item()}
        write_group(self.plan, index, self._layout.rule, values)

    def step(self, grads: list[torch.Tensor | None], options: _core.Options, *, whole: bool, seen: bool) -> None:
        """A step of the parameters that have a gradient; `whole`: all have one; `seen`: autograd may have kept state too."""
        if not self.plan.step(grads, options):
            self._step_with_care(grads, options)
        touched = self._all_written if seen else self._params_written
        if not whole:
            of_each = self._written if seen else self._own_written
            touched = [tensor for tensors, grad in zip(of_each, grads, strict=True) if grad is not None for tensor in tensors]
        torch.autograd.graph.increment_version(touched)
        if options.zero_grad:
            torch.autograd.graph.increment_version([grad for grad in grads if grad is not None])

    def check(self, grads: list[torch.Tensor | None]) -> None:
        """Raises what is wrong with gradients."""
        for member, grad in zip(self._members, grads, strict=True):
            if grad is not None:
                check_gradient(member.param, grad, self._layout.rule, member.name)

    def _step_with_care(self, grads: list[torch.Tensor | None], options: _core.Options) -> None:
        """What the plan did not take as it is: gradients laid out otherwise, with a history, sharing memory; or a bad count."""
        self.check(grads)
        if isinstance(self.plan, _core.Plan):
            for member, count in zip(self._members, self._counts, strict=True):
                if count is not None:
                    self._steps({}, {STEP: count}, member.name)
        laid_out = [None if g is None else with_layout(g.detach(), p) for g, p in zip(grads, self.params, strict=True)]
        if not self.plan.step(laid_out, options):
            laid_out = [None if g is None else like(g, g.dtype).copy_(g) for g in laid_out]
            if not self.plan.step(laid_out, options):
                raise RuntimeError("grads: the extension refuses what the adapter accepts; please report this")
        if options.zero_grad:
            for grad, taken in zip(grads, laid_out, strict=True):
                if grad is not None and taken is not None and taken.data_ptr() != grad.data_ptr():
                    grad.detach().zero_()


def made_of(layout: Layout, entry: Mapping[str, Any], member: Member, group: int) -> Tensor:
    """What the plan takes of a parameter."""
    tensor = layout.tensor(entry, member.param, member.name, group)
    if member.copy is not None:
        tensor.copy_name = f"copy_to of {member.name}"
        check_copy(member.copy, member.param, tensor.copy_name)
        tensor.copy = array_of(member.copy, tensor.copy_name)
        tensor.copy_dtype = buffers.DTYPES.index(buffers.dtype_name(tensor.copy))
    return tensor


def numbers_of(layout: Layout, entry: Mapping[str, Any]) -> list[float]:
    return [float(entry[name]) for name in layout.rule.carried]


def written(member: Member, entry: Mapping[str, Any]) -> list[torch.Tensor]:
    """What a step changes that autograd may have kept."""
    tensors = [member.param, member.copy, *(value for name, value in entry.items() if name != STEP)]
    return [t for t in tensors if isinstance(t, torch.Tensor) and not t.is_inference()]


def with_layout(grad: torch.Tensor, param: torch.Tensor) -> torch.Tensor:
    """A gradient with its elements in the order of the parameter's, itself where it has that."""
    plain = not grad.is_neg() and not grad._is_zerotensor()
    if plain and same_layout(grad, param) and grad.data_ptr() % grad.element_size() == 0:
        return grad
    return like(param, grad.dtype).copy_(grad)


class Interface:
    """Memory of a plan on a GPU, for torch to look at."""

    def __init__(self, array: Any) -> None:
        self.array = array
        self.__cuda_array_interface__ = {
            "version": 3,
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (array.pointer, False),
        }


def as_tensor(array: Any) -> torch.Tensor:
    """torch's view of a number that lives in a plan on a GPU."""
    return torch.as_tensor(Interface(array), device=f"cuda:{array.device}")
