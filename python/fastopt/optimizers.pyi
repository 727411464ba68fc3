"""The optimizer classes, one for each row of the table of rules.  Made by tools/generate.py."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from .base import Optimizer

_Schedule: TypeAlias = Callable[[int], float]
_Params: TypeAlias = Any | Sequence[Any] | Mapping[str, Any] | Sequence[Mapping[str, Any]]

__all__ = [
    "Adagrad",
    "Adam",
    "AdamW",
    "SGD",
]

class SGD(Optimizer):
    """Stochastic gradient descent, with momentum (Polyak) or Nesterov's accelerated gradient."""

    def __init__(
        self,
        params: _Params,
        lr: float | _Schedule = 0.001,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        momentum_init: Literal["gradient", "zero"] = "gradient",
        lr_in_momentum: bool = False,
        decoupled_weight_decay: bool = False,
        l1: float = 0.0,
        maximize: bool = False,
        grads: Any = None,
    ) -> None: ...

class Adam(Optimizer):
    """Adam: steps by the average gradient over the root of the average squared gradient."""

    def __init__(
        self,
        params: _Params,
        lr: float | _Schedule = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        amsgrad: bool | Literal["corrected"] = False,
        *,
        eps_root: float = 0.0,
        eps_hat: bool = False,
        decoupled_weight_decay: bool = False,
        l1: float = 0.0,
        maximize: bool = False,
        grads: Any = None,
    ) -> None: ...

class AdamW(Optimizer):
    """Adam with decoupled weight decay."""

    def __init__(
        self,
        params: _Params,
        lr: float | _Schedule = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        weight_decay: float = 0.01,
        amsgrad: bool | Literal["corrected"] = False,
        *,
        eps_root: float = 0.0,
        eps_hat: bool = False,
        decoupled_weight_decay: bool = True,
        l1: float = 0.0,
        maximize: bool = False,
        grads: Any = None,
    ) -> None: ...

class Adagrad(Optimizer):
    """Adagrad: divides by the root of the sum of all squared gradients."""

    def __init__(
        self,
        params: _Params,
        lr: float | _Schedule = 0.01,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        eps_in_root: bool = False,
        decoupled_weight_decay: bool = False,
        l1: float = 0.0,
        maximize: bool = False,
        grads: Any = None,
    ) -> None: ...
