"""`Bound`: the plan over those parameters of one device that take steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .. import _core
from .._arrays import buffers
from .._engine.engine import Engine
from .._engine.groups import Group
from .._engine.tensors import MASTER, Tensor
from .book import Book
from .lent import team
from .masters import Masters
from .members import Member, check_copy, check_gradient, check_parameter
from .memory import check_apart
from .state import STEP, whole_steps
from .views import array_of, as_real, dense, is_dense, like, same_layout

__all__ = ["Bound"]


class Bound:
    """A plan, and the parameters that it is over: their memory, not themselves, which are freed when the program lets them go.

    Their entries in the optimizer's state are completed here.  Complex parameters are to the plan their real numbers; for one whose memory
    has gaps it has a dense copy, which takes its values before a step and gives them back after it.
    """

    def __init__(
        self, book: Book, members: list[Member], groups: Mapping[int, int], values: list[dict[str, Any]], skipped: int
    ) -> None:
        """`groups`: a group's index to that of its hyperparameters in `values`."""
        self._rule = book.rule
        for member in members:
            check_parameter(member.param, member.name)
            # A parameter of another dtype than when the optimizer was built may have no use for its master.
            member.layout.check([(member.name, member.param)], values[groups[member.group]], None)
        self._names = [member.name for member in members]
        self._params = [member.param.detach() for member in members]
        self._dense = [dense(param) for param in self._params]
        self._with_gaps = [i for i, param in enumerate(self._params) if not is_dense(param)]
        if self._with_gaps:
            check_apart([(member.name, member.param) for member in members], set(self._with_gaps))
        self._otherwise = bool(self._with_gaps) or any(param.is_complex() for param in self._params)
        known = [book.state.get(member.param) or {} for member in members]
        rows = list(zip(members, self._dense, known, strict=True))
        entries = [m.layout.completed(old, param, values[groups[m.group]], m.name) for m, param, old in rows]
        made = list(zip(members, self._dense, entries, strict=True))
        tensors = [made_of(entry, member, param, groups[member.group]) for member, param, entry in made]
        progress = [
            (steps_of(member, old, entry), numbers_of(self._rule.carried, entry))
            for (member, _, old), entry in zip(rows, entries, strict=True)
        ]
        taken = [Group(self._rule, (), self._taken(each)) for each in values]
        try:
            self._engine = Engine(self._rule, tensors, taken, book.options, book.formats, seed=book.seed, progress=progress)
        except ValueError:
            buffers.check_disjoint([array for tensor in tensors for array in tensor.arrays()])  # with its names
            raise
        self.plan = self._engine.plan
        self.groups = self._engine.groups
        self.plan.skipped = skipped
        self._share(entries)
        for member, entry in zip(members, entries, strict=True):
            if entry:  # SGD without momentum has none, nor has torch's
                book.state.setdefault(member.param, {}).update(entry)
            if not member.layout.has_extra(member.param) and member.param in book.state:
                book.state[member.param].pop(MASTER, None)  # of another dtype that the parameter had
        masters = Masters(self._params, entries)
        self._masters = masters if masters.pairs else None
        self._written = [written(param, m.copy, entry) for param, m, entry in zip(self._params, members, entries, strict=True)]
        self._own_written = [written(param, m.copy, {}) for param, m in zip(self._params, members, strict=True)]
        self._all_written = [tensor for each in self._written for tensor in each]
        self._params_written = [tensor for each in self._own_written for tensor in each]
        self._engine.settle()

    def _share(self, entries: list[dict[str, Any]]) -> None:
        """Lets counts and running scalars live in the entries on the CPU; on a GPU they live in the plan, and entries look there."""
        carried = self._rule.carried
        if isinstance(self.plan, _core.Plan):
            numbers = [(entry.get(STEP), [entry[name] for name in carried]) for entry in entries]
            arrays = [
                (None if count is None else count.numpy(), [each.numpy() for each in running]) for count, running in numbers
            ]
            self.plan.share_progress(arrays)
            self.plan.ignore_history()
            if (lent := team()) is not None:
                self.plan.lend(lent)
            self._counts = [count for count, _ in numbers]
            return
        for entry, (count, running) in zip(entries, self.plan.progress_arrays(), strict=True):
            if STEP in entry:
                entry[STEP] = as_tensor(count)
            entry.update({name: as_tensor(array) for name, array in zip(carried, running, strict=True)})

    def write(self, index: int, values: Mapping[str, Any]) -> None:
        """New hyperparameters of a group, checked."""
        self.groups[index].assign(self._taken(values))

    def _taken(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Checked hyperparameters as the plan takes them; `lr` may be a tensor on the parameters' GPU."""
        lr = values["lr"]
        if not isinstance(lr, torch.Tensor):
            return values
        return {**values, "lr": array_of(lr, "lr") if lr.device == self._params[0].device else lr.item()}

    def step(self, grads: list[torch.Tensor | None], options: _core.Options, *, whole: bool, seen: bool) -> None:
        """A step of the parameters that have a gradient; `whole`: all have one; `seen`: autograd may have kept state too."""
        if self._masters is not None:
            self._masters.follow()
        if self._otherwise or not self.plan.step(grads, options):
            self._step_with_care(grads, options)
        touched = self._all_written if seen else self._params_written
        if not whole:
            of_each = self._written if seen else self._own_written
            touched = [tensor for tensors, grad in zip(of_each, grads, strict=True) if grad is not None for tensor in tensors]
        torch.autograd.graph.increment_version(touched)
        if self._masters is not None:
            self._masters.note()
        if options.zero_grad:
            torch.autograd.graph.increment_version([grad for grad in grads if grad is not None])

    def check(self, grads: list[torch.Tensor | None]) -> None:
        """Raises what is wrong with gradients."""
        for name, param, grad in zip(self._names, self._params, grads, strict=True):
            if grad is not None:
                check_gradient(param, grad, self._rule, name)

    def _step_with_care(self, grads: list[torch.Tensor | None], options: _core.Options) -> None:
        """What the plan does not take as it is: gradients laid out otherwise, with a history, sharing memory; complex ones; a bad count."""
        self.check(grads)
        if isinstance(self.plan, _core.Plan):
            for name, count in zip(self._names, self._counts, strict=True):
                if count is not None:
                    whole_steps(count, name)
        stepped = [i for i in self._with_gaps if grads[i] is not None]
        for i in stepped:
            self._dense[i].copy_(self._params[i])
        laid_out = [None if g is None else as_real(with_layout(g.detach(), p)) for g, p in zip(grads, self._dense, strict=True)]
        if not self.plan.step(laid_out, options):
            laid_out = [None if g is None else like(g, g.dtype).copy_(g) for g in laid_out]
            if not self.plan.step(laid_out, options):
                raise RuntimeError("grads: the extension refuses what the adapter accepts; please report this")
        for i in stepped:
            self._params[i].copy_(self._dense[i])
        if options.zero_grad:
            for grad, taken in zip(grads, laid_out, strict=True):
                if grad is not None and taken is not None and taken.data_ptr() != grad.data_ptr():
                    grad.detach().zero_()


def made_of(entry: Mapping[str, Any], member: Member, param: torch.Tensor, group: int) -> Tensor:
    """What the plan takes of a parameter, which is given without gaps."""
    tensor = member.layout.tensor(entry, param, member.name, group, member.offset)
    if member.copy is not None:
        tensor.copy_name = f"copy_to of {member.name}"
        check_copy(member.copy, param, tensor.copy_name)
        tensor.copy = array_of(member.copy, tensor.copy_name)
        tensor.copy_dtype = buffers.DTYPES.index(buffers.dtype_name(tensor.copy))
    return tensor


def steps_of(member: Member, old: Mapping[str, Any], entry: Mapping[str, Any]) -> int:
    """The count that an entry has, or that goes without saying."""
    return whole_steps(entry[STEP] if STEP in entry else member.layout.uncounted(old, member.name), member.name)


def numbers_of(carried: tuple[str, ...], entry: Mapping[str, Any]) -> list[float]:
    return [float(entry[name]) for name in carried]


def written(param: torch.Tensor, copy: torch.Tensor | None, entry: Mapping[str, Any]) -> list[torch.Tensor]:
    """What a step changes that autograd may have kept."""
    tensors = [param, copy, *(value for name, value in entry.items() if name != STEP)]
    return [t for t in tensors if isinstance(t, torch.Tensor) and not t.is_inference()]


def with_layout(grad: torch.Tensor, param: torch.Tensor) -> torch.Tensor:
    """A gradient with its elements in the order of the parameter's, itself if it has that."""
    plain = not (grad.is_neg() or grad.is_conj() or grad._is_zerotensor())
    if plain and same_layout(grad, param) and grad.data_ptr() % as_real(grad).element_size() == 0:
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
