"""The bytes that a step moves, from the formats of its arrays."""

from __future__ import annotations

from .._storage.stored import Stored
from .engine import Engine

__all__ = ["traffic"]


def traffic(engine: Engine) -> dict[str, dict[str, int]]:
    """`Optimizer.traffic`."""
    table: dict[str, dict[str, int]] = {"params": {"read": 0, "write": 0}, "grads": {"read": 0, "write": 0}}

    def add(name: str, read: int, write: int) -> None:
        row = table.setdefault(name, {"read": 0, "write": 0})
        row["read"] += read
        row["write"] += write

    options, bound = engine.options, engine.bound
    sweeps = 2 if options["max_norm"] is not None or options["skip_nonfinite"] else 1
    for i, tensor in enumerate(engine.tensors):
        grad = None if bound is None else bound[i]
        size = tensor.param.nbytes if grad is None else grad.nbytes
        add("grads", sweeps * size, size if options["zero_grad"] else 0)
        copied = tensor.master is not None and not isinstance(tensor.master, Stored)  # the parameter is then only written
        add("params", 0 if copied else tensor.param.nbytes, tensor.param.nbytes)
        if tensor.extra is not None:
            add("master", tensor.extra.nbytes, tensor.extra.nbytes)
        for name in engine.rule.variant(engine.groups[tensor.group].hyperparameters()).slots:
            array = tensor.state[name]
            arrays = list(array.arrays.values()) if isinstance(array, Stored) else [array]
            for each in arrays:
                add(name, each.nbytes, each.nbytes)
        if tensor.ema is not None and options["ema_decay"] is not None:
            add("ema_params", tensor.ema.nbytes, tensor.ema.nbytes)
        if tensor.copy is not None:
            add("copy_to", 0, tensor.copy.nbytes)
    table["total"] = {way: sum(row[way] for row in table.values()) for way in ("read", "write")}
    return table
