"""The textbooks' and papers' forms of the rules in float64 NumPy, with the signatures of `reference_forms.py`."""

from __future__ import annotations

import numpy as np

from tests.support.reference_forms import Array, State, average, last


def gradient_descent(p: Array, g: Array, state: State, t: int, *, lr: float) -> Array:
    return p - lr * g


def averaging_momentum(p: Array, g: Array, state: State, t: int, *, lr: float, beta: float) -> Array:
    """The momentum of most courses: v = beta*v + (1-beta)*g from v = 0."""
    return p - lr * average(state, "v", g, beta)


def heavy_ball(p: Array, g: Array, state: State, t: int, *, lr: float, beta: float) -> Array:
    """Polyak's heavy ball as the difference of iterates: p(t+1) = p(t) - lr*g + beta*(p(t) - p(t-1))."""
    previous = state.get("previous", p)
    state["previous"] = p
    return p - lr * g + beta * (p - previous)


def textbook_adam(
    p: Array, g: Array, state: State, t: int, *, lr: float, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> Array:
    """Kingma & Ba, algorithm 1."""
    m_hat = average(state, "m", g, b1) / (1 - b1**t)
    v_hat = average(state, "v", g**2, b2) / (1 - b2**t)
    return p - lr * m_hat / (np.sqrt(v_hat) + eps)


def textbook_adamax(
    p: Array, g: Array, state: State, t: int, *, lr: float, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> Array:
    """Kingma & Ba, algorithm 2, with the eps that keeps it from 0/0."""
    m = average(state, "m", g, b1)
    u = state["u"] = np.maximum(b2 * last(state, "u", p), np.abs(g))
    return p - lr / (1 - b1**t) * m / (u + eps)


def textbook_nadam(
    p: Array,
    g: Array,
    state: State,
    t: int,
    *,
    lr: float,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    corrected: bool = True,
) -> Array:
    """Ruder, arXiv:1609.04747, section 4.8; many texts leave the gradient uncorrected."""
    m_hat = average(state, "m", g, b1) / (1 - b1**t)
    v_hat = average(state, "v", g**2, b2) / (1 - b2**t)
    return p - lr / (np.sqrt(v_hat) + eps) * (b1 * m_hat + (1 - b1) * g / (1 - b1**t if corrected else 1))


def textbook_rmsprop(p: Array, g: Array, state: State, t: int, *, lr: float, beta: float = 0.9, eps: float = 1e-8) -> Array:
    return p - lr * g / np.sqrt(average(state, "s", g**2, beta) + eps)


def textbook_adagrad(p: Array, g: Array, state: State, t: int, *, lr: float, eps: float = 1e-10) -> Array:
    """Duchi, Hazan & Singer's diagonal form: G**(1/2) + eps."""
    total = state["G"] = last(state, "G", p) + g**2
    return p - lr * g / (np.sqrt(total) + eps)


def textbook_adadelta(p: Array, g: Array, state: State, t: int, *, rho: float = 0.95, eps: float = 1e-6) -> Array:
    """Zeiler, algorithm 1: the ratio of the roots takes the place of a learning rate."""
    rms_delta = np.sqrt(last(state, "delta", p) + eps)
    delta = -rms_delta / np.sqrt(average(state, "g", g**2, rho) + eps) * g
    average(state, "delta", delta**2, rho)
    return p + delta


def paper_lion(
    p: Array, g: Array, state: State, t: int, *, lr: float, b1: float = 0.9, b2: float = 0.99, decay: float = 0.0
) -> Array:
    """Chen et al., algorithm 2."""
    update = np.sign(b1 * last(state, "m", p) + (1 - b1) * g)
    average(state, "m", g, b2)
    return p - lr * (update + decay * p)
