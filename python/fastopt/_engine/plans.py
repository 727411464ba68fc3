"""The bound plan that a step runs over, made for where the arrays live."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from .. import _core
from .._arrays import buffers
from ..rules import Rule
from .tensors import Tensor

if TYPE_CHECKING:
    from .._cuda.plan import CudaPlan

__all__ = ["Plan", "Progress", "check_unmoved", "fresh", "make_plan", "refuse_waiting", "row_of", "settle", "write_group"]

Plan: TypeAlias = "_core.Plan | CudaPlan"

Progress: TypeAlias = "list[tuple[int, list[float]]]"
"""For each tensor its completed steps and the scalars that its rule carries."""


def fresh(rule: Rule, tensors: Sequence[Tensor]) -> Progress:
    """No steps yet."""
    return [(0, [scalar.initial for scalar in rule.running]) for _ in tensors]


def make_plan(rule: Rule, tensors: Sequence[Tensor], groups: int, seed: int, progress: Progress) -> Plan:
    """The extension's plan for arrays on the CPU, else `_cuda`'s."""
    slots = [slot.name for slot in rule.slots]
    rows = [tensor.planned(slots) for tensor in tensors]
    if isinstance(tensors[0].param, buffers.DeviceArray):
        from .._cuda.plan import CudaPlan

        return CudaPlan(rule, rows, groups, seed, progress, [named for tensor in tensors for named in tensor.arrays()])
    plan = _core.Plan(rule.arithmetic, rows, groups, seed)
    plan.set_progress(progress)
    return plan


def check_unmoved(plan: Plan, tensors: Sequence[Tensor]) -> None:
    """ValueError or TypeError, naming it, if a parameter or copy is no longer what the plan was bound to."""
    if isinstance(plan, _core.Plan) and not plan.unmoved():
        for tensor in tensors:
            tensor.check_unmoved()
        raise RuntimeError("params: the extension refuses what buffers.py accepts; please report this")


def settle(plan: Plan) -> None:
    """Waits, if that takes time, until the plan is ready for a step."""
    if not isinstance(plan, _core.Plan):
        plan.settle()


def refuse_waiting(plan: Plan, call: str) -> None:
    """RuntimeError, beginning with `call`, if the call would wait for a GPU and so end the capture of a CUDA graph."""
    if not isinstance(plan, _core.Plan):
        plan.refuse_waiting(call)


def write_group(plan: Plan, index: int, rule: Rule, values: Mapping[str, Any]) -> None:
    """Puts checked hyperparameters into the plan's row."""
    plan.set_group(index, **row_of(rule, values))


def row_of(rule: Rule, values: Mapping[str, Any]) -> dict[str, Any]:
    """Checked hyperparameters as the extension takes them."""
    return {
        "lr": values["lr"],
        "weight_decay": values["weight_decay"],
        "decoupled": values["decoupled_weight_decay"],
        "l1": values["l1"],
        "maximize": values["maximize"],
        "hyperparameters": rule.codes(values),
    }
