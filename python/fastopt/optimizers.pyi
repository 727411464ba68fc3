"""The optimizer classes, one for each row of the table of rules.  Made by tools/generate.py."""

from collections.abc import Callable
from typing import Literal, TypeAlias

from ._arrays.typed import Grads, Params
from .optimizer import Optimizer

_Schedule: TypeAlias = Callable[[int], float]

__all__ = [
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "NAdam",
    "RAdam",
    "RMSprop",
    "SGD",
]

class SGD(Optimizer):
    """Stochastic gradient descent, with momentum (Polyak) or Nesterov's accelerated gradient."""

    def __init__(
        self,
        params: Params,
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
        grad_scale: float = 1.0,
        skip_nonfinite: bool = False,
        clip_value: float | None = None,
        max_norm: float | None = None,
        norm_eps: float = 0.0,
        ema_decay: float | None = None,
        zero_grad: bool = False,
        state_dtype: Literal["float32", "float64", "bfloat16", "8bit"] | None = None,
        master: Literal["24bit", "32bit", "float32", "stochastic"] | None = None,
        seed: int = 0,
        copy_to: Grads | None = None,
        grads: Grads | None = None,
    ) -> None: ...

class Adam(Optimizer):
    """Adam: steps by the average gradient over the root of the average squared gradient."""

    def __init__(
        self,
        params: Params,
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
        grad_scale: float = 1.0,
        skip_nonfinite: bool = False,
        clip_value: float | None = None,
        max_norm: float | None = None,
        norm_eps: float = 0.0,
        ema_decay: float | None = None,
        zero_grad: bool = False,
        state_dtype: Literal["float32", "float64", "bfloat16", "8bit"] | None = None,
        master: Literal["24bit", "32bit", "float32", "stochastic"] | None = None,
        seed: int = 0,
        copy_to: Grads | None = None,
        grads: Grads | None = None,
    ) -> None: ...

class AdamW(Optimizer):
    """Adam with decoupled weight decay."""

    def __init__(
        self,
        params: Params,
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
        grad_scale: float = 1.0,
        skip_nonfinite: bool = False,
        clip_value: float | None = None,
        max_norm: float | None = None,
        norm_eps: float = 0.0,
        ema_decay: float | None = None,
        zero_grad: bool = False,
        state_dtype: Literal["float32", "float64", "bfloat16", "8bit"] | None = None,
        master: Literal["24bit", "32bit", "float32", "stochastic"] | None = None,
        seed: int = 0,
        copy_to: Grads | None = None,
        grads: Grads | None = None,
    ) -> None: ...

class Adamax(Optimizer):
    """Adamax: steps by the average gradient over a decaying maximum of the gradient's size."""

    def __init__(
        self,
        params: Params,
        lr: float | _Schedule = 0.002,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        *,
        eps_in_max: bool = True,
        decoupled_weight_decay: bool = False,
        l1: float = 0.0,
        maximize: bool = False,
        grad_scale: float = 1.0,
        skip_nonfinite: bool = False,
        clip_value: float | None = None,
        max_norm: float | None = None,
        norm_eps: float = 0.0,
        ema_decay: float | None = None,
        zero_grad: bool = False,
        state_dtype: Literal["float32", "float64", "bfloat16", "8bit"] | None = None,
        master: Literal["24bit", "32bit", "float32", "stochastic"] | None = None,
        seed: int = 0,
        copy_to: Grads | None = None,
        grads: Grads | None = None,
    ) -> None: ...

class NAdam(Optimizer):
    """NAdam: Adam with Nesterov's momentum, whose weight mu grows with the steps."""

    def __init__(
        self,
        params: Params,
        lr: float | _Schedule = 0.002,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        momentum_decay: float | None = 0.004,
        decoupled_weight_decay: bool = False,
        *,
        eps_root: float = 0.0,
        lookahead_correction: Literal["next", "same", "momentum only"] = "next",
        l1: float = 0.0,
        maximize: bool = False,
        grad_scale: float = 1.0,
        skip_nonfinite: bool = False,
        clip_value: float | None = None,
        max_norm: float | None = None,
        norm_eps: float = 0.0,
        ema_decay: float | None = None,
        zero_grad: bool = False,
        state_dtype: Literal["float32", "float64", "bfloat16", "8bit"] | None = None,
        master: Literal["24bit", "32bit", "float32", "stochastic"] | None = None,
        seed: int = 0,
        copy_to: Grads | None = None,
        grads: Grads | None = None,
    ) -> None: ...

class RAdam(Optimizer):
    """RAdam: Adam that divides only after enough steps have settled the average squared gradient, then rectified."""

    def __init__(
        self,
        params: Params,
        lr: float | _Schedule = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        *,
        eps_hat: bool = True,
        eps_root: float = 0.0,
        threshold: float = 5.0,
        l1: float = 0.0,
        maximize: bool = False,
        grad_scale: float = 1.0,
        skip_nonfinite: bool = False,
        clip_value: float | None = None,
        max_norm: float | None = None,
        norm_eps: float = 0.0,
        ema_decay: float | None = None,
        zero_grad: bool = False,
        state_dtype: Literal["float32", "float64", "bfloat16", "8bit"] | None = None,
        master: Literal["24bit", "32bit", "float32", "stochastic"] | None = None,
        seed: int = 0,
        copy_to: Grads | None = None,
        grads: Grads | None = None,
    ) -> None: ...

class RMSprop(Optimizer):
    """RMSprop: divides by the root of the average squared gradient, or by the gradient's standard deviation."""

    def __init__(
        self,
        params: Params,
        lr: float | _Schedule = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        eps_in_root: bool = False,
        variance_floor: float | None = None,
        lr_in_momentum: bool = False,
        decoupled_weight_decay: bool = False,
        l1: float = 0.0,
        maximize: bool = False,
        grad_scale: float = 1.0,
        skip_nonfinite: bool = False,
        clip_value: float | None = None,
        max_norm: float | None = None,
        norm_eps: float = 0.0,
        ema_decay: float | None = None,
        zero_grad: bool = False,
        state_dtype: Literal["float32", "float64", "bfloat16", "8bit"] | None = None,
        master: Literal["24bit", "32bit", "float32", "stochastic"] | None = None,
        seed: int = 0,
        copy_to: Grads | None = None,
        grads: Grads | None = None,
    ) -> None: ...

class Adagrad(Optimizer):
    """Adagrad: divides by the root of the sum of all squared gradients."""

    def __init__(
        self,
        params: Params,
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
        grad_scale: float = 1.0,
        skip_nonfinite: bool = False,
        clip_value: float | None = None,
        max_norm: float | None = None,
        norm_eps: float = 0.0,
        ema_decay: float | None = None,
        zero_grad: bool = False,
        state_dtype: Literal["float32", "float64", "bfloat16", "8bit"] | None = None,
        master: Literal["24bit", "32bit", "float32", "stochastic"] | None = None,
        seed: int = 0,
        copy_to: Grads | None = None,
        grads: Grads | None = None,
    ) -> None: ...

class Adadelta(Optimizer):
    """Adadelta: steps by the gradient times the ratio of the roots of the average squared step and gradient."""

    def __init__(
        self,
        params: Params,
        lr: float | _Schedule = 1.0,
        rho: float = 0.9,
        eps: float = 1e-06,
        weight_decay: float = 0.0,
        *,
        decoupled_weight_decay: bool = False,
        l1: float = 0.0,
        maximize: bool = False,
        grad_scale: float = 1.0,
        skip_nonfinite: bool = False,
        clip_value: float | None = None,
        max_norm: float | None = None,
        norm_eps: float = 0.0,
        ema_decay: float | None = None,
        zero_grad: bool = False,
        state_dtype: Literal["float32", "float64", "bfloat16", "8bit"] | None = None,
        master: Literal["24bit", "32bit", "float32", "stochastic"] | None = None,
        seed: int = 0,
        copy_to: Grads | None = None,
        grads: Grads | None = None,
    ) -> None: ...

class Lion(Optimizer):
    """Lion: steps by the sign of a blend of momentum and gradient, with decoupled weight decay."""

    def __init__(
        self,
        params: Params,
        lr: float | _Schedule = 0.0001,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        decoupled_weight_decay: bool = True,
        l1: float = 0.0,
        maximize: bool = False,
        grad_scale: float = 1.0,
        skip_nonfinite: bool = False,
        clip_value: float | None = None,
        max_norm: float | None = None,
        norm_eps: float = 0.0,
        ema_decay: float | None = None,
        zero_grad: bool = False,
        state_dtype: Literal["float32", "float64", "bfloat16", "8bit"] | None = None,
        master: Literal["24bit", "32bit", "float32", "stochastic"] | None = None,
        seed: int = 0,
        copy_to: Grads | None = None,
        grads: Grads | None = None,
    ) -> None: ...
