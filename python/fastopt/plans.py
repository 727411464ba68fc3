"""The bound plan that a step runs over, made for where the arrays live."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from . import _core, buffers
from .rules import Rule

if TYPE_CHECKING:
    from .cuda.plan import CudaPlan

__all__ = ["Plan", "make_plan", "write_group"]

Plan: TypeAlias = "_core.Plan | CudaPlan"


def make_plan(rule: Rule, rows: list[dict[str, Any]], groups: int, seed: int) -> Plan:
    """The extension's for arrays on the CPU, else that of `fastopt.cuda`; `rows` are `Tensor.row`s."""
    if isinstance(rows[0]["param"][0], buffers.DeviceArray):
        from .cuda.plan import CudaPlan

        return CudaPlan(rule, rows, groups, seed)
    return _core.Plan(rule.arithmetic, rows, groups, seed)


def write_group(plan: Plan, index: int, rule: Rule, values: Mapping[str, Any]) -> None:
    """Puts checked hyperparameters into the plan's row."""
    plan.set_group(
        index,
        lr=values["lr"],
        weight_decay=values["weight_decay"],
        decoupled=values["decoupled_weight_decay"],
        l1=values["l1"],
        maximize=values["maximize"],
        hyperparameters=rule.codes(values),
    )
