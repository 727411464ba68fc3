"""The step of each rule as NumPy's users write it: whole arrays, in place, scratch arrays allocated once.

Each function takes the parameter, the gradient and the rule's arguments, and yields after each step of an endless loop.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any

import numpy as np

from .._arrays.memory import LINE

__all__ = ["STEPS", "Step", "aligned"]

Array = np.ndarray[Any, Any]
Step = Callable[[], object]
Values = Mapping[str, Any]


def aligned(size: int, dtype: Any) -> Array:
    """An uninitialised array that starts on a cache line, so that runs do not differ by where their arrays lie."""
    dtype = np.dtype(dtype)
    memory = np.empty(size * dtype.itemsize + LINE, np.uint8)
    start = -memory.__array_interface__["data"][0] % LINE
    array: Array = memory[start : start + size * dtype.itemsize].view(dtype)
    return array


def zeros(like: Array) -> Array:
    fresh = aligned(like.size, like.dtype)
    fresh.fill(0)
    return fresh


def blend(mean: Array, g: Array, beta: float, scratch: Array, out: Array) -> None:
    """out = beta * mean + (1 - beta) * g; `out` may be `mean` or `scratch`."""
    np.subtract(g, mean, out=scratch)
    np.multiply(scratch, 1 - beta, out=scratch)
    np.add(mean, scratch, out=out)


def blend_square(mean: Array, g: Array, beta: float, scratch: Array) -> None:
    """mean = beta * mean + (1 - beta) * g * g."""
    np.multiply(mean, beta, out=mean)
    np.multiply(g, g, out=scratch)
    np.multiply(scratch, 1 - beta, out=scratch)
    np.add(mean, scratch, out=mean)


def denominator(square: Array, eps: float, out: Array, correction: float = 1.0) -> None:
    """out = sqrt(square) / sqrt(correction) + eps."""
    np.sqrt(square, out=out)
    if correction != 1:
        np.multiply(out, 1 / math.sqrt(correction), out=out)
    np.add(out, eps, out=out)


def heavy_ball(buffer: Array, momentum: float, direction: Array) -> None:
    """buffer = momentum * buffer + direction."""
    np.multiply(buffer, momentum, out=buffer)
    np.add(buffer, direction, out=buffer)


def descend(p: Array, direction: Array, lr: float, scratch: Array) -> None:
    """p = p - lr * direction; `scratch` may be `direction`."""
    np.multiply(direction, lr, out=scratch)
    np.subtract(p, scratch, out=p)


def decay(p: Array, values: Values) -> None:
    """Decoupled weight decay, as AdamW and Lion have it; the other rules' rows leave theirs at 0."""
    if values["weight_decay"] != 0:
        np.multiply(p, 1 - values["lr"] * values["weight_decay"], out=p)


def sgd(p: Array, g: Array, values: Values) -> Iterator[None]:
    lr, momentum = values["lr"], values["momentum"]
    scratch, buffer = zeros(p), zeros(p) if momentum else None
    while True:
        direction = g
        if buffer is not None:
            heavy_ball(buffer, momentum, g)
            direction = buffer
            if values["nesterov"]:
                np.multiply(buffer, momentum, out=scratch)
                np.add(scratch, g, out=scratch)
                direction = scratch
        descend(p, direction, lr, scratch)
        yield


def adam(p: Array, g: Array, values: Values) -> Iterator[None]:
    lr, (beta1, beta2), eps = values["lr"], values["betas"], values["eps"]
    m, v, scratch = zeros(p), zeros(p), zeros(p)
    for t in count(1):
        decay(p, values)
        blend(m, g, beta1, scratch, out=m)
        blend_square(v, g, beta2, scratch)
        denominator(v, eps, out=scratch, correction=1 - beta2**t)
        np.divide(m, scratch, out=scratch)
        descend(p, scratch, lr / (1 - beta1**t), scratch)
        yield


def adamax(p: Array, g: Array, values: Values) -> Iterator[None]:
    lr, (beta1, beta2), eps = values["lr"], values["betas"], values["eps"]
    m, u, scratch = zeros(p), zeros(p), zeros(p)
    for t in count(1):
        blend(m, g, beta1, scratch, out=m)
        np.multiply(u, beta2, out=u)
        np.abs(g, out=scratch)
        np.add(scratch, eps, out=scratch)
        np.maximum(u, scratch, out=u)
        np.divide(m, u, out=scratch)
        descend(p, scratch, lr / (1 - beta1**t), scratch)
        yield


def nadam(p: Array, g: Array, values: Values) -> Iterator[None]:
    lr, (beta1, beta2), eps, momentum_decay = values["lr"], values["betas"], values["eps"], values["momentum_decay"]
    m, v, root, scratch = zeros(p), zeros(p), zeros(p), zeros(p)
    product = 1.0
    for t in count(1):
        mu, following = (beta1 * (1 - 0.5 * 0.96 ** (at * momentum_decay)) for at in (t, t + 1))
        product *= mu
        blend(m, g, beta1, scratch, out=m)
        blend_square(v, g, beta2, scratch)
        denominator(v, eps, out=root, correction=1 - beta2**t)
        np.divide(g, root, out=scratch)
        descend(p, scratch, lr * (1 - mu) / (1 - product), scratch)
        np.divide(m, root, out=scratch)
        descend(p, scratch, lr * following / (1 - product * following), scratch)
        yield


def radam(p: Array, g: Array, values: Values) -> Iterator[None]:
    lr, (beta1, beta2), eps = values["lr"], values["betas"], values["eps"]
    m, v, scratch = zeros(p), zeros(p), zeros(p)
    rho_inf = 2 / (1 - beta2) - 1
    for t in count(1):
        correction1, correction2 = 1 - beta1**t, 1 - beta2**t
        blend(m, g, beta1, scratch, out=m)
        blend_square(v, g, beta2, scratch)
        rho = rho_inf - 2 * t * beta2**t / correction2
        if rho <= 5:  # v is of too few gradients for its variance to be known
            descend(p, m, lr / correction1, scratch)
        else:
            rectification = math.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
            denominator(v, eps, out=scratch)
            np.divide(m, scratch, out=scratch)
            descend(p, scratch, lr / correction1 * rectification * math.sqrt(correction2), scratch)
        yield


def rmsprop(p: Array, g: Array, values: Values) -> Iterator[None]:
    lr, alpha, eps, momentum = values["lr"], values["alpha"], values["eps"], values["momentum"]
    v, scratch = zeros(p), zeros(p)
    mean = zeros(p) if values["centered"] else None
    buffer = zeros(p) if momentum else None
    while True:
        blend_square(v, g, alpha, scratch)
        square = v
        if mean is not None:
            blend(mean, g, alpha, scratch, out=mean)
            np.multiply(mean, mean, out=scratch)
            np.subtract(v, scratch, out=scratch)
            square = scratch
        denominator(square, eps, out=scratch)
        np.divide(g, scratch, out=scratch)
        if buffer is not None:
            heavy_ball(buffer, momentum, scratch)
        descend(p, scratch if buffer is None else buffer, lr, scratch)
        yield


def adagrad(p: Array, g: Array, values: Values) -> Iterator[None]:
    lr, eps = values["lr"], values["eps"]
    total, scratch = zeros(p), zeros(p)
    total.fill(values["initial_accumulator_value"])
    while True:
        np.multiply(g, g, out=scratch)
        np.add(total, scratch, out=total)
        denominator(total, eps, out=scratch)
        np.divide(g, scratch, out=scratch)
        descend(p, scratch, lr, scratch)
        yield


def adadelta(p: Array, g: Array, values: Values) -> Iterator[None]:
    lr, rho, eps = values["lr"], values["rho"], values["eps"]
    v, travelled, delta, scratch = zeros(p), zeros(p), zeros(p), zeros(p)
    while True:
        blend_square(v, g, rho, scratch)
        np.add(v, eps, out=scratch)
        np.add(travelled, eps, out=delta)
        np.divide(delta, scratch, out=delta)
        np.sqrt(delta, out=delta)
        np.multiply(delta, g, out=delta)
        blend_square(travelled, delta, rho, scratch)
        descend(p, delta, lr, scratch)
        yield


def lion(p: Array, g: Array, values: Values) -> Iterator[None]:
    lr, (beta1, beta2) = values["lr"], values["betas"]
    m, scratch = zeros(p), zeros(p)
    while True:
        decay(p, values)
        blend(m, g, beta1, scratch, out=scratch)
        np.sign(scratch, out=scratch)
        descend(p, scratch, lr, scratch)
        blend(m, g, beta2, scratch, out=m)
        yield


def stepper(rule: Callable[[Array, Array, Values], Iterator[None]]) -> Callable[[Array, Array, Values], Step]:
    """A function that begins the rule's loop and returns what takes its next step."""
    return lambda p, g, values: functools.partial(next, rule(p, g, values))


STEPS = {
    "SGD": stepper(sgd),
    "Adam": stepper(adam),
    "AdamW": stepper(adam),
    "Adamax": stepper(adamax),
    "NAdam": stepper(nadam),
    "RAdam": stepper(radam),
    "RMSprop": stepper(rmsprop),
    "Adagrad": stepper(adagrad),
    "Adadelta": stepper(adadelta),
    "Lion": stepper(lion),
}
