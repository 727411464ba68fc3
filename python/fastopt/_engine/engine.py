"""`Engine`: a rule over tensors, bound to a plan.  Every face (`Optimizer`, `fastopt.torch`) drives one."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

from .. import _core
from .._arrays import buffers
from .._storage.formats import Formats
from ..rules import Rule
from .arguments import for_each, read_gradients
from .groups import Group
from .options import Options
from .parts import Parts
from .plans import Progress, check_unmoved, fresh, make_plan, settle, write_group
from .tensors import Tensor

__all__ = ["Engine"]


class Engine:
    """What a step runs over, and what a face may change between steps.

    `groups`, `options`: what users see of hyperparameters and stages; a change acts on the next step.  `plan`: the extension's, or that of a
    GPU; `plan.step(grads, options.bound)` is a step.  `parts`: what a step in parts has done.  `bound`: gradients for steps without any.
    """

    def __init__(
        self,
        rule: Rule,
        tensors: Sequence[Tensor],
        groups: Sequence[Group],
        options: Options,
        formats: Formats,
        *,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> None:
        self.rule, self.formats, self.options = rule, formats, options
        self.tensors, self.groups = tuple(tensors), tuple(groups)
        self.scheduled: dict[int, Group] = {}  # whose lr is a schedule
        self.bound: list[buffers.Array | None] | None = None
        self._bound_owners: list[tuple[Any, str]] = []
        self.plan = make_plan(rule, self.tensors, len(groups), seed, fresh(rule, self.tensors) if progress is None else progress)
        self.parts = Parts(self.tensors, self.plan)
        for index, group in enumerate(self.groups):
            group.attach(self._writer(index), self._counter())

    # A group knows its engine by a weak reference alone: in a circle, state would outlive its optimizer until the garbage collector
    # comes by.

    def _writer(self, index: int) -> Callable[[Group], None]:
        owner = weakref.ref(self)

        def write(group: Group) -> None:
            if (engine := owner()) is not None:
                write_group(engine.plan, index, engine.rule, group.written())
                group.connect(engine.plan, index, group.numbers())
                if group.schedule is None:
                    engine.scheduled.pop(index, None)
                else:
                    engine.scheduled[index] = group

        return write

    def _counter(self) -> Callable[[], int]:
        owner = weakref.ref(self)
        return lambda: 0 if (engine := owner()) is None else engine.plan.completed

    def bind(self, grads: Any) -> None:
        """Takes gradients for all steps without any; TypeError or ValueError, naming what is wrong."""
        self.bound = read_gradients(grads, self.tensors, written=self.options["zero_grad"], bound=True)
        self._bound_owners = for_each(grads, "grads", self.tensors, "to leave the parameter alone")
        if not self.plan.bind(self.bound, [owner for owner, _ in self._bound_owners]):
            raise RuntimeError("grads: the extension refuses what buffers.py accepts; please report this")

    def settle(self) -> None:
        """Waits, if that takes time, until the plan is ready for steps; faces call it when they have bound everything."""
        settle(self.plan)

    def begin(self, call: str) -> None:
        """Before a step: ValueError if one in parts is open, which `call` would tear apart; then schedules say their lr."""
        if self.parts.done:
            self.parts.refuse_open(call)
        self.follow_schedules()

    def follow_schedules(self) -> None:
        """Gives each group with a schedule the learning rate of the next step."""
        _core.follow_schedules(self.scheduled)

    def step_converted(self, grads: Any, options: _core.Options) -> None:
        """A step with gradients that the plan did not take as they came: converted, or refused with words."""
        check_unmoved(self.plan, self.tensors)
        if grads is None:
            if self.bound is None:
                raise ValueError("grads: got None, expected gradients, since none were bound when the optimizer was built")
            self._check_bound()
            grads = self.bound
        if not self.plan.step(read_gradients(grads, self.tensors, written=options.zero_grad), options):
            raise RuntimeError("grads: the extension refuses what buffers.py accepts; please report this")

    def _check_bound(self) -> None:
        """ValueError or TypeError, naming it, if a bound gradient is no longer what it was."""
        if self.bound is None or not isinstance(self.plan, _core.Plan) or self.plan.bound_unmoved():
            return
        for (owner, name), view in zip(self._bound_owners, self.bound, strict=True):
            if view is not None:
                buffers.check_unmoved(owner, view, name, written=False)
        raise ValueError("grads: got a view of an array that has been resized since it was bound; bind gradients anew")

    def step_part(self, tensor: Any, grad: Any, begin: Any, end: Any, options: _core.Options) -> None:
        """A part of a step (`Optimizer.step_part`); its first part asks the schedules."""
        self.parts.step(tensor, grad, begin, end, options, self.follow_schedules)
