"""The rules in float64 NumPy, written from the formulas in the literature and in the frameworks' documentation.

Nothing here imports fastopt: the table under test must not be its own witness.  Every function takes the
parameter, its gradient, the state (a dict of arrays, filled at the first step) and the number of the step
from 1, and returns the new parameter.  Bias corrections are plain powers, averages are b*m + (1-b)*g.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
State = dict[str, Array]


def stages(
    p: Array, g: Array, lr: float, *, grad_scale: float, maximize: bool, l1: float, l2: float, decay: float
) -> tuple[Array, Array]:
    """Unscale, maximize, L1, L2, decoupled decay: in this order, before the rule."""
    g = g * grad_scale
    if maximize:
        g = -g
    g = g + l1 * np.sign(p)
    g = g + l2 * p
    return p * (1 - lr * decay), g


def with_stages(rule: Callable[..., Array], weight_decay_default: float, decoupled_default: bool) -> Callable[..., Array]:
    """`rule` behind the stages, which every class takes."""

    def step(
        p: Array,
        g: Array,
        state: State,
        t: int,
        *,
        lr: float,
        weight_decay: float = weight_decay_default,
        decoupled_weight_decay: bool = decoupled_default,
        l1: float = 0.0,
        maximize: bool = False,
        grad_scale: float = 1.0,
        **arguments: Any,
    ) -> Array:
        l2, decay = (0.0, weight_decay) if decoupled_weight_decay else (weight_decay, 0.0)
        p, g = stages(p, g, lr, grad_scale=grad_scale, maximize=maximize, l1=l1, l2=l2, decay=decay)
        return rule(p, g, state, t, lr=lr, **arguments)

    return step


def sgd(
    p: Array,
    g: Array,
    state: State,
    t: int,
    *,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    momentum_init: str = "gradient",
    lr_in_momentum: bool = False,
) -> Array:
    """torch.optim.SGD; with lr_in_momentum the buffer sums steps and so keeps the lr that each was made with."""
    if momentum == 0:
        return p - lr * g
    inner, outer = (lr, 1.0) if lr_in_momentum else (1.0, lr)
    if t == 1 and momentum_init == "gradient":
        buffer = inner * g
    else:
        buffer = momentum * state.get("momentum_buffer", np.zeros_like(p)) + (1 - dampening) * inner * g
    state["momentum_buffer"] = buffer
    return p - outer * (inner * g + momentum * buffer if nesterov else buffer)


def adam(
    p: Array,
    g: Array,
    state: State,
    t: int,
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    amsgrad: bool | str = False,
    eps_root: float = 0.0,
    eps_hat: bool = False,
) -> Array:
    """Kingma & Ba's algorithm 1, with Reddi et al.'s maximum of v (True) or of its bias-corrected value ("corrected")."""
    zero = np.zeros_like(p)
    m = state["exp_avg"] = betas[0] * state.get("exp_avg", zero) + (1 - betas[0]) * g
    v = state["exp_avg_sq"] = betas[1] * state.get("exp_avg_sq", zero) + (1 - betas[1]) * g**2
    correction1, correction2 = 1 - betas[0] ** t, 1 - betas[1] ** t
    if amsgrad == "corrected":
        corrected = state["max_exp_avg_sq"] = np.maximum(state.get("max_exp_avg_sq", zero), v / correction2)
    elif amsgrad:
        corrected = np.maximum(state.get("max_exp_avg_sq", zero), v)
        state["max_exp_avg_sq"] = corrected
        corrected = corrected / correction2
    else:
        corrected = v / correction2
    denominator = np.sqrt(corrected + eps_root) + (eps / np.sqrt(correction2) if eps_hat else eps)
    return p - lr * (m / correction1) / denominator


def adagrad(
    p: Array,
    g: Array,
    state: State,
    t: int,
    *,
    lr: float,
    lr_decay: float = 0.0,
    initial_accumulator_value: float = 0.0,
    eps: float = 1e-10,
    eps_in_root: bool = False,
) -> Array:
    """torch.optim.Adagrad; with eps_in_root optax's scale_by_rss, which makes no step if the sum is 0."""
    total = state["sum"] = state.get("sum", np.full_like(p, initial_accumulator_value)) + g**2
    rate = lr / (1 + (t - 1) * lr_decay)
    if not eps_in_root:
        return p - rate * g / (np.sqrt(total) + eps)
    return p - rate * np.where(total == 0, 0.0, g / np.sqrt(np.where(total == 0, 1.0, total + eps)))


def adamax(
    p: Array,
    g: Array,
    state: State,
    t: int,
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    eps_in_max: bool = True,
) -> Array:
    """Kingma & Ba's algorithm 2; torch adds eps to the gradient's size, Keras to the maximum."""
    zero = np.zeros_like(p)
    m = state["exp_avg"] = betas[0] * state.get("exp_avg", zero) + (1 - betas[0]) * g
    inside, outside = (eps, 0.0) if eps_in_max else (0.0, eps)
    u = state["exp_inf"] = np.maximum(betas[1] * state.get("exp_inf", zero), np.abs(g) + inside)
    return p - lr / (1 - betas[0] ** t) * m / (u + outside)


def nadam(
    p: Array,
    g: Array,
    state: State,
    t: int,
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    momentum_decay: float | None = 4e-3,
    eps_root: float = 0.0,
    lookahead_correction: str = "next",
) -> Array:
    """torch.optim.NAdam; without momentum_decay Dozat's report, or what surveys and tutorials made of it."""
    zero = np.zeros_like(p)
    m = state["exp_avg"] = betas[0] * state.get("exp_avg", zero) + (1 - betas[0]) * g
    v = state["exp_avg_sq"] = betas[1] * state.get("exp_avg_sq", zero) + (1 - betas[1]) * g**2

    def mu(step: int) -> float:
        return betas[0] if momentum_decay is None else betas[0] * (1 - 0.5 * 0.96 ** (step * momentum_decay))

    product = math.prod(mu(step) for step in range(1, t + 1))
    state["mu_product"] = np.asarray(product)
    if lookahead_correction == "next":
        lookahead = mu(t + 1) * m / (1 - product * mu(t + 1)) + (1 - mu(t)) * g / (1 - product)
    else:
        m_hat, b1 = m / (1 - betas[0] ** t), betas[0]
        lookahead = b1 * m_hat + (1 - b1) * (g / (1 - b1**t) if lookahead_correction == "same" else g)
    return p - lr * lookahead / (np.sqrt(v / (1 - betas[1] ** t) + eps_root) + eps)


def radam(
    p: Array,
    g: Array,
    state: State,
    t: int,
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    eps_hat: bool = True,
    eps_root: float = 0.0,
    threshold: float = 5.0,
) -> Array:
    """Liu et al.'s algorithm 2, with their code's threshold of 5."""
    zero = np.zeros_like(p)
    m = state["exp_avg"] = betas[0] * state.get("exp_avg", zero) + (1 - betas[0]) * g
    v = state["exp_avg_sq"] = betas[1] * state.get("exp_avg_sq", zero) + (1 - betas[1]) * g**2
    m_hat, correction2 = m / (1 - betas[0] ** t), 1 - betas[1] ** t
    longest = 2 / (1 - betas[1]) - 1
    length = longest - 2 * t * betas[1] ** t / correction2
    if length <= threshold:
        return p - lr * m_hat
    rectification = math.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
    root = np.sqrt(v / correction2 + eps_root) + (eps / np.sqrt(correction2) if eps_hat else eps)
    return p - lr * rectification * m_hat / root


def rmsprop(
    p: Array,
    g: Array,
    state: State,
    t: int,
    *,
    lr: float,
    alpha: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
    centered: bool = False,
    eps_in_root: bool = False,
    variance_floor: float | None = None,
    lr_in_momentum: bool = False,
) -> Array:
    """torch.optim.RMSprop; with eps_in_root and lr_in_momentum Keras'."""
    zero = np.zeros_like(p)
    spread = state["square_avg"] = alpha * state.get("square_avg", zero) + (1 - alpha) * g**2
    if centered:
        mean = state["grad_avg"] = alpha * state.get("grad_avg", zero) + (1 - alpha) * g
        spread = np.maximum(spread - mean**2, (variance_floor or 0.0) * spread)
    divided = g / (np.sqrt(spread + eps) if eps_in_root else np.sqrt(spread) + eps)
    if momentum == 0:
        return p - lr * divided
    inner, outer = (lr, 1.0) if lr_in_momentum else (1.0, lr)
    buffer = state["momentum_buffer"] = momentum * state.get("momentum_buffer", zero) + inner * divided
    return p - outer * buffer


def adadelta(p: Array, g: Array, state: State, t: int, *, lr: float, rho: float = 0.9, eps: float = 1e-6) -> Array:
    """Zeiler's algorithm 1, its step times lr."""
    zero = np.zeros_like(p)
    v = state["square_avg"] = rho * state.get("square_avg", zero) + (1 - rho) * g**2
    a = state.get("acc_delta", zero)
    delta = np.sqrt(a + eps) / np.sqrt(v + eps) * g
    state["acc_delta"] = rho * a + (1 - rho) * delta**2
    return p - lr * delta


def lion(p: Array, g: Array, state: State, t: int, *, lr: float, betas: tuple[float, float] = (0.9, 0.99)) -> Array:
    """Chen et al.'s algorithm 2; the decay is a stage."""
    m = state.get("exp_avg", np.zeros_like(p))
    state["exp_avg"] = betas[1] * m + (1 - betas[1]) * g
    return p - lr * np.sign(betas[0] * m + (1 - betas[0]) * g)


REFERENCES: dict[str, Callable[..., Array]] = {
    "SGD": with_stages(sgd, 0.0, False),
    "Adam": with_stages(adam, 0.0, False),
    "AdamW": with_stages(adam, 1e-2, True),
    "Adamax": with_stages(adamax, 0.0, False),
    "NAdam": with_stages(nadam, 0.0, False),
    "RAdam": with_stages(radam, 0.0, False),
    "RMSprop": with_stages(rmsprop, 0.0, False),
    "Adagrad": with_stages(adagrad, 0.0, False),
    "Adadelta": with_stages(adadelta, 0.0, False),
    "Lion": with_stages(lion, 0.0, True),
}
"""Name of the class to its reference; a new rule joins the tests by a line here."""
