"""`Bound`: the plan over those parameters of one device that take steps."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import torch

from .. import _core
from .._arrays import buffers
from .._engine.engine import Engine
from .._engine.groups import Group
from .._engine.tensors import MASTER, Tensor
from .book import Book
from .members import Member, check_copy, check_gradient, check_parameter
from .state import STEP, Layout, whole_steps
from .views import array_of, like, same_layout

__all__ = ["Bound"]


class Bound:
    """A plan, the parameters that it is over, and their entries in the optimizer's state, which are completed here."""

    def __init__(
        self, book: Book, members: list[Member], groups: Mapping[int, int], values: list[dict[str, Any]], skipped: int
    ) -> None:
        """`groups`: a group's index to that of its hyperparameters in `values`."""
        layout = self._layout = book.layout
        self._members = members
        self.params = [member.param for member in members]
        for member in members:
            check_parameter(member.param, member.name)
            # A parameter of another dtype than when the optimizer was built may have no use for its master.
            layout.check([(member.name, member.param)], values[groups[member.group]], None)
        known = [book.state.get(member.param) or {} for member in members]
        entries = [layout.completed(old, m.param, values[groups[m.group]], m.name) for old, m in zip(known, members, strict=True)]
        tensors = [made_of(layout, entry, member, groups[member.group]) for entry, member in zip(entries, members, strict=True)]
        progress = [
            (self._steps(old, entry, m.name), numbers_of(layout, entry))
            for old, entry, m in zip(known, entries, members, strict=True)
        ]
        rows = [Group(layout.rule, (), self._taken(each)) for each in values]
        try:
            self._engine = Engine(layout.rule, tensors, rows, book.options, layout.formats, seed=book.seed, progress=progress)
        except ValueError:
            buffers.check_disjoint([array for tensor in tensors for array in tensor.arrays()])  # with its names
            raise
        self.plan = self._engine.plan
        self.plan.skipped = skipped
        self._share(entries)
        for member, entry in zip(members, entries, strict=True):
            if entry:  # SGD without momentum has none, nor has torch's
                book.state.setdefault(member.param, {}).update(entry)
            if not layout.has_extra(member.param) and member.param in book.state:
                book.state[member.param].pop(MASTER, None)  # of another dtype that the parameter had
        self._written = [written(member, entry) for member, entry in zip(members, entries, strict=True)]
        self._own_written = [written(member, {}) for member in members]
        self._all_written = list(itertools.chain.from_iterable(self._written))
        self._params_written = list(itertools.chain.from_iterable(self._own_written))
        self._engine.settle()

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
        """New hyperparameters of a group, checked."""
        self._engine.groups[index].assign(self._taken(values))

    def _taken(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Checked hyperparameters as the plan takes them; `lr` may be a tensor on the parameters' GPU."""
        lr = values["lr"]
        if not isinstance(lr, torch.Tensor):
            return values
        return {**values, "lr": array_of(lr, "lr") if lr.device == self.params[0].device else lr.item()}

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
    tensor = layout.tensor(entry, member.param, member.name, group, member.offset)
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
