"""The frameworks' forms of the rules in float64 NumPy, each written from the framework's source, under its names and defaults.

Nothing here imports fastopt.  `check_frameworks.py` holds the Keras and optax functions against Keras and optax
themselves; torch is its own witness.  Every function takes the parameter, its gradient, the state (a dict of
arrays, filled at the first step) and the number of the step from 1, and returns the new parameter.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
State = dict[str, Array]


def last(state: State, name: str, like: Array, initial: float = 0.0) -> Array:
    """An array of the state as the last step left it."""
    return state.get(name, np.full_like(like, initial))


def average(state: State, name: str, x: Array, decay: float) -> Array:
    """The exponential moving average of `x` from 0, kept in the state."""
    state[name] = decay * last(state, name, x) + (1 - decay) * x
    return state[name]


# torch


def torch_optim(p: Array, g: Array, state: State, t: int, *, optimizer: str, **arguments: Any) -> Array:
    """A step of torch's own optimizer of that name."""
    import torch

    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # the type in which NAdam keeps its product of mu
    try:
        param = torch.nn.Parameter(torch.tensor(p))
        param.grad = torch.tensor(g)
        peer = getattr(torch.optim, optimizer)([param], foreach=False, **arguments)
        peer.state[param].update({name: torch.tensor(value) for name, value in state.items()})
        peer.step()
    finally:
        torch.set_default_dtype(default)
    state |= {name: value.numpy() for name, value in peer.state[param].items() if value is not None}
    return param.detach().numpy()


# Keras 3, and TensorFlow, whose optimizers are Keras'.  Weight decay comes first, in every rule.


def keras_sgd(
    p: Array,
    g: Array,
    state: State,
    t: int,
    *,
    learning_rate: float = 0.01,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Array:
    p = p - p * weight_decay * learning_rate
    if momentum == 0:
        return p - g * learning_rate
    m = state["m"] = last(state, "m", p) * momentum - g * learning_rate
    return p + (m * momentum - g * learning_rate) if nesterov else p + m


def keras_adam(
    p: Array,
    g: Array,
    state: State,
    t: int,
    *,
    learning_rate: float = 1e-3,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    amsgrad: bool = False,
    weight_decay: float = 0.0,
) -> Array:
    p = p - p * weight_decay * learning_rate
    alpha = learning_rate * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
    m, v = average(state, "m", g, beta_1), average(state, "v", g**2, beta_2)
    if amsgrad:
        v = state["v_hat"] = np.maximum(last(state, "v_hat", p), v)
    return p - m * alpha / (np.sqrt(v) + epsilon)


keras_adamw = functools.partial(keras_adam, weight_decay=0.004)


def keras_adamax(
    p: Array,
    g: Array,
    state: State,
    t: int,
    *,
    learning_rate: float = 1e-3,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    weight_decay: float = 0.0,
) -> Array:
    p = p - p * weight_decay * learning_rate
    m = average(state, "m", g, beta_1)
    u = state["u"] = np.maximum(beta_2 * last(state, "u", p), np.abs(g))
    return p - learning_rate * m / ((1 - beta_1**t) * (u + epsilon))


def keras_nadam(
    p: Array,
    g: Array,
    state: State,
    t: int,
    *,
    learning_rate: float = 1e-3,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    weight_decay: float = 0.0,
) -> Array:
    p = p - p * weight_decay * learning_rate
    u_t = beta_1 * (1 - 0.5 * 0.96**t)
    u_t_1 = beta_1 * (1 - 0.5 * 0.96 ** (t + 1))
    u_product_t = state["u_product"] = last(state, "u_product", np.ones(()), 1.0) * u_t
    m, v = average(state, "m", g, beta_1), average(state, "v", g**2, beta_2)
    m_hat = u_t_1 * m / (1 - u_product_t * u_t_1) + (1 - u_t) * g / (1 - u_product_t)
    v_hat = v / (1 - beta_2**t)
    return p - m_hat * learning_rate / (np.sqrt(v_hat) + epsilon)


def keras_rmsprop(
    p: Array,
    g: Array,
    state: State,
    t: int,
    *,
    learning_rate: float = 1e-3,
    rho: float = 0.9,
    momentum: float = 0.0,
    epsilon: float = 1e-7,
    centered: bool = False,
    weight_decay: float = 0.0,
) -> Array:
    p = p - p * weight_decay * learning_rate
    denominator = average(state, "velocity", g**2, rho) + epsilon
    if centered:
        denominator = denominator - average(state, "average_grad", g, rho) ** 2
    increment = learning_rate * g / np.sqrt(denominator)
    if momentum == 0:
        return p - increment
    state["momentum"] = momentum * last(state, "momentum", p) + increment
    return p - state["momentum"]


def keras_adagrad(
    p: Array,
    g: Array,
    state: State,
    t: int,
    *,
    learning_rate: float = 1e-3,
    initial_accumulator_value: float = 0.1,
    epsilon: float = 1e-7,
    weight_decay: float = 0.0,
) -> Array:
    p = p - p * weight_decay * learning_rate
    accumulator = state["accumulator"] = last(state, "accumulator", p, initial_accumulator_value) + g**2
    return p - learning_rate * g / np.sqrt(accumulator + epsilon)


def keras_adadelta(
    p: Array,
    g: Array,
    state: State,
    t: int,
    *,
    learning_rate: float = 1e-3,
    rho: float = 0.95,
    epsilon: float = 1e-7,
    weight_decay: float = 0.0,
) -> Array:
    p = p - p * weight_decay * learning_rate
    rms_delta = np.sqrt(last(state, "delta", p) + epsilon)
    delta = -rms_delta * g / np.sqrt(average(state, "grad", g**2, rho) + epsilon)
    average(state, "delta", delta**2, rho)
    return p + learning_rate * delta


def keras_lion(
    p: Array,
    g: Array,
    state: State,
    t: int,
    *,
    learning_rate: float = 1e-3,
    beta_1: float = 0.9,
    beta_2: float = 0.99,
    weight_decay: float = 0.0,
) -> Array:
    p = p - p * weight_decay * learning_rate
    p = p - learning_rate * np.sign(last(state, "m", p) * beta_1 + g * (1 - beta_1))
    average(state, "m", g, beta_2)
    return p


# optax


def optax_sgd(
    p: Array, g: Array, state: State, t: int, *, learning_rate: float, momentum: float | None = None, nesterov: bool = False
) -> Array:
    if momentum is None:
        return p - learning_rate * g
    trace = state["trace"] = g + momentum * last(state, "trace", p)
    return p - learning_rate * (g + momentum * trace if nesterov else trace)


def optax_ema(p: Array, g: Array, state: State, t: int, *, learning_rate: float, decay: float, debias: bool = True) -> Array:
    """`optax.chain(optax.ema(...), optax.scale_by_learning_rate(...))`."""
    ema = average(state, "ema", g, decay)
    return p - learning_rate * (ema / (1 - decay**t) if debias else ema)


def optax_adamw(
    p: Array,
    g: Array,
    state: State,
    t: int,
    *,
    learning_rate: float,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    weight_decay: float = 1e-4,
    nesterov: bool = False,
) -> Array:
    mu, nu = average(state, "mu", g, b1), average(state, "nu", g**2, b2)
    mu_hat = b1 * mu / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t) if nesterov else mu / (1 - b1**t)
    nu_hat = nu / (1 - b2**t)
    return p - learning_rate * (mu_hat / (np.sqrt(nu_hat + eps_root) + eps) + weight_decay * p)


optax_adam = functools.partial(optax_adamw, weight_decay=0.0)
optax_nadam = functools.partial(optax_adamw, weight_decay=0.0, nesterov=True)
optax_nadamw = functools.partial(optax_adamw, nesterov=True)


def optax_amsgrad(
    p: Array,
    g: Array,
    state: State,
    t: int,
    *,
    learning_rate: float,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
) -> Array:
    mu_hat = average(state, "mu", g, b1) / (1 - b1**t)
    nu_hat = average(state, "nu", g**2, b2) / (1 - b2**t)
    nu_max = state["nu_max"] = np.maximum(last(state, "nu_max", p), nu_hat)
    return p - learning_rate * mu_hat / (np.sqrt(nu_max + eps_root) + eps)


def optax_adamax(
    p: Array, g: Array, state: State, t: int, *, learning_rate: float, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> Array:
    mu_hat = average(state, "mu", g, b1) / (1 - b1**t)
    nu = state["nu"] = np.maximum(np.abs(g) + eps, b2 * last(state, "nu", p))
    return p - learning_rate * mu_hat / nu


def optax_radam(
    p: Array,
    g: Array,
    state: State,
    t: int,
    *,
    learning_rate: float,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    threshold: float = 5.0,
) -> Array:
    mu_hat = average(state, "mu", g, b1) / (1 - b1**t)
    nu_hat = average(state, "nu", g**2, b2) / (1 - b2**t)
    ro_inf = 2 / (1 - b2) - 1
    ro = ro_inf - 2 * t * b2**t / (1 - b2**t)
    if ro < threshold:
        return p - learning_rate * mu_hat
    r = np.sqrt((ro - 4) * (ro - 2) * ro_inf / ((ro_inf - 4) * (ro_inf - 2) * ro))
    return p - learning_rate * r * mu_hat / (np.sqrt(nu_hat + eps_root) + eps)


def optax_rmsprop(
    p: Array,
    g: Array,
    state: State,
    t: int,
    *,
    learning_rate: float,
    decay: float = 0.9,
    eps: float = 1e-8,
    centered: bool = False,
    momentum: float | None = None,
) -> Array:
    nu = average(state, "nu", g**2, decay)
    if centered:
        nu = nu - average(state, "mu", g, decay) ** 2
    update = -learning_rate * g / np.sqrt(nu + eps)
    if momentum is None:
        return p + update
    trace = state["trace"] = update + momentum * last(state, "trace", p)
    return p + trace


def optax_adagrad(
    p: Array, g: Array, state: State, t: int, *, learning_rate: float, initial_accumulator_value: float = 0.1, eps: float = 1e-7
) -> Array:
    total = state["sum_of_squares"] = g**2 + last(state, "sum_of_squares", p, initial_accumulator_value)
    return p - learning_rate * np.where(total > 0, 1 / np.sqrt(total + eps), 0.0) * g


def optax_adadelta(
    p: Array, g: Array, state: State, t: int, *, learning_rate: float | None = None, rho: float = 0.9, eps: float = 1e-6
) -> Array:
    e_x = last(state, "e_x", p)
    update = np.sqrt(e_x + eps) / np.sqrt(average(state, "e_g", g**2, rho) + eps) * g
    average(state, "e_x", update**2, rho)
    # The learning rate turns the sign: without a learning rate, optax ascends.
    return p + update if learning_rate is None else p - learning_rate * update


def optax_lion(
    p: Array,
    g: Array,
    state: State,
    t: int,
    *,
    learning_rate: float,
    b1: float = 0.9,
    b2: float = 0.99,
    weight_decay: float = 1e-3,
) -> Array:
    update = np.sign((1 - b1) * g + b1 * last(state, "mu", p))
    average(state, "mu", g, b2)
    return p - learning_rate * (update + weight_decay * p)
