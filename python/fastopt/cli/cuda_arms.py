"""The arms of the benchmark on a GPU: one rule's step as fastopt, as a copy of as many bytes, in float32, in torch, CuPy and optax.

Each has arrays of its own, and where a cache could hold them several sets of them, whose steps take turns: every step reads memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .gpu import Gpu
from .numpy_steps import STEPS
from .optax_steps import Optax
from .rows import Row

__all__ = ["IMPLEMENTATIONS", "Arm", "Bytes", "Step", "build", "choose", "fitting", "has_implementation", "sets_needed", "turns"]

Step = Callable[[], object]

IMPLEMENTATIONS: dict[str, dict[str, bool]] = {
    "fused": {"fused": True},
    "foreach": {"foreach": True},
    "capturable": {"foreach": True, "capturable": True},
}
"""torch's -> its arguments."""

CACHES = 4
"""So many times the cache is what a round through all sets reads, at least."""

MOST_SETS = 128
"""Below about 1e5 elements that is fewer than `CACHES` asks for: what is timed there is the host."""

RESERVE = 0.95
"""Of the free memory, what arms may take."""


@dataclass
class Arm:
    """One way to take the step, over sets of arrays in turn."""

    name: str
    steps: list[Step] = field(default_factory=list)
    params: list[Any] = field(default_factory=list)
    """What they update."""
    finish: Step | None = None
    """Waits until all is done, where that cannot be seen by events on the GPU's stream; the host's clock times these."""

    def add(self, step: Step, param: Any) -> None:
        self.steps.append(step)
        self.params.append(param)


@dataclass(frozen=True)
class Bytes:
    """Of one set of a row's arrays."""

    held: int
    read: int
    written: int


def sets_needed(read: int, cache: int) -> int:
    """How many sets of arrays it takes so that no cache holds what a step reads when its turn comes again."""
    return max(1, min(MOST_SETS, math.ceil(CACHES * cache / max(1, read)))) if read < CACHES * cache else 1


def has_implementation(gpu: Gpu, row: Row, name: str) -> bool:
    """Whether torch has this implementation of the rule for this GPU."""
    if gpu.torch is None or not hasattr(gpu.torch.optim, row.rule.name):
        return False
    try:
        grad = gpu.tensor(gpu.normal(1, "float32"))
        torch_optimizer(gpu, row, name, grad.clone(), grad, 0.0).step()
    except (TypeError, RuntimeError, AssertionError):  # no such argument, or not for this device
        return False
    return True


def choose(gpu: Gpu, row: Row, optax: Optax | None) -> list[str]:
    """The arms that this row can have, fastopt and its floor first; where memory is short the last are left out."""
    names = ["fastopt", "floor"]
    if row.formats:
        names.append("float32")
    names += [name for name in IMPLEMENTATIONS if has_implementation(gpu, row, name)]
    if not row.formats:
        names += ["cupy"] if row.rule.name in STEPS else []
        names += ["optax"] if optax is not None and optax.has(row) else []
    return names


def memory_needed(row: Row, name: str, nbytes: int) -> int:
    """Bytes that an arm takes, with its temporaries, where a float32 (or float64) array of the row takes `nbytes`."""
    slots = len(row.slots)
    arrays = {"floor": 3 + 2 * slots, "foreach": 3 + slots, "capturable": 2 + slots, "cupy": 3 + slots, "optax": 3 + slots}
    return arrays.get(name, 1 + slots) * nbytes


def fitting(row: Row, names: Sequence[str], nbytes: int, available: int, kept_by_optax: int = 0) -> list[str]:
    """The first of them, as many as fit in memory beside the gradients: none where fastopt and its floor do not."""
    kept: list[str] = []
    needed = nbytes
    for name in names:
        needed += max(0, memory_needed(row, name, nbytes) - (kept_by_optax if name == "optax" else 0))
        if needed > RESERVE * available:
            break
        kept.append(name)
    return kept if len(kept) >= 2 else []


def build(
    gpu: Gpu, row: Row, size: int, dtype: str, names: Sequence[str], optax: Optax | None, lr: float = 1e-6
) -> tuple[list[Arm], Bytes, dict[str, str]]:
    """These arms, each after its first steps; what one set of fastopt's arrays takes; and which arms failed, with their words.

    All read gradients of the same values, and start from parameters equal to them.  `lr` is tiny so that the values stay finite
    over any number of steps; the arithmetic does not take less time for it.
    """
    grads = [gpu.normal(size, dtype)]
    fast = Arm("fastopt")
    optimizer, bound = add_fastopt(gpu, fast, row, grads[0], lr)
    traffic = optimizer.traffic()["total"]
    moved = Bytes(held(optimizer, [fast.params[0], bound]), traffic["read"], traffic["write"])
    grads += [gpu.cast(grads[0], dtype) for _ in range(1, sets_needed(moved.read, gpu.cache))]
    for grad in grads[1:]:
        add_fastopt(gpu, fast, row, grad, lr)
    begin(gpu, fast)
    arms, failed = [fast], {}
    for name in names[1:]:
        arm = Arm(name)
        try:
            add(gpu, arm, row, grads, (moved.read + moved.written) // 2, optax, lr)
            begin(gpu, arm)
        except Exception as error:  # whatever somebody else's library has against it, the others are to be measured
            if name in ("floor", "float32"):
                raise
            failed[name] = f"{type(error).__name__}: {error}".partition("\n")[0]
            arm.finish = None
            arm.steps.clear()
            arm.params.clear()
        else:
            arms.append(arm)
        if name in failed:
            gpu.release()
    return arms, moved, failed


def begin(gpu: Gpu, arm: Arm) -> None:
    """Each set's first step, which allocates and compiles."""
    gpu.synchronize()  # optax does not follow the stream on which the arrays were made
    for step in arm.steps:
        step()
    if arm.finish is not None:
        arm.finish()
    gpu.synchronize()


def add(gpu: Gpu, arm: Arm, row: Row, grads: Sequence[Any], half: int, optax: Optax | None, lr: float) -> None:
    """A step for each gradient, as the arm's name says; `half`: of the bytes that fastopt's step moves."""
    if arm.name == "optax":
        assert optax is not None
        arm.finish = optax.add(arm, row, grads, lr)
        return
    for grad in grads:
        if arm.name == "floor":
            arm.add(*gpu.copier(half))
        elif arm.name == "float32":
            add_fastopt(gpu, arm, replace(row, formats=None), grad, lr)
        elif arm.name == "cupy":
            add_cupy(gpu, arm, row, grad, lr)
        else:
            tensor = gpu.tensor(grad)
            param = tensor.clone()
            arm.add(torch_optimizer(gpu, row, arm.name, param, tensor, lr).step, param)


def add_fastopt(gpu: Gpu, arm: Arm, row: Row, grad: Any, lr: float) -> tuple[Any, Any]:
    """Its optimizer and the gradient in the row's format."""
    own = str(grad.dtype)
    param_dtype, grad_dtype = row.formats.dtypes if row.formats else (own, own)
    param = gpu.cast(grad, param_dtype)
    bound = grad if grad_dtype == own else gpu.cast(grad, grad_dtype)
    optimizer = row.optimizer(param, lr=lr, grads=bound)
    arm.add(optimizer.step, param)
    return optimizer, bound


def held(optimizer: Any, arrays: Sequence[Any]) -> int:
    """Bytes of these and of all that the optimizer keeps of its one parameter; counts and scalars are none."""
    kept = [value for value in optimizer.state[0].values() if not isinstance(value, (int, float, np.generic))]
    return sum(int(array.nbytes) for array in [*arrays, *kept])


def add_cupy(gpu: Gpu, arm: Arm, row: Row, grad: Any, lr: float) -> None:
    param = gpu.cast(grad, str(grad.dtype))
    values = {**row.rule.defaults, **row.arguments, "lr": lr}
    arm.add(gpu.cupy_steps()[row.rule.name](param, grad, values), param)


def torch_optimizer(gpu: Gpu, row: Row, implementation: str, param: Any, grad: Any, lr: float) -> Any:
    """torch's optimizer of one tensor."""
    assert gpu.torch is not None
    param.requires_grad_().grad = grad
    return getattr(gpu.torch.optim, row.rule.name)([param], lr=lr, **row.arguments, **IMPLEMENTATIONS[implementation])


def turns(arm: Arm) -> Iterator[Step]:
    """Its steps, one set of arrays after the other, without end."""
    while True:
        yield from arm.steps
