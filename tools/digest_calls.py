"""What tools/digest.py runs beside whole steps: parts, bound gradients, flat buffers, functions, torch's classes, norms, minimize."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import itertools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from digest_steps import (
    DTYPES,
    FORMS,
    LARGE,
    MAIN,
    SEED,
    SMALL,
    STAGES,
    STORAGES,
    THREADS,
    Arguments,
    Cases,
    add_optimizer,
    copies,
    data,
    gradients,
    label,
    threaded,
)

import fastopt


def named(arrays: Any) -> dict[str, Any]:
    return dict(zip("abcdefg", arrays, strict=False))


def run_parts(digest: Any, rule: str, arguments: Arguments, storage: Any) -> None:
    dtype, master, state_dtype = storage
    shapes = ((5000,), (15, 17), (0,), (30_000,))
    params = named(copies(data(shapes, dtype, 0)))
    given = {**arguments, "master": master, "state_dtype": state_dtype, "seed": SEED, "ema_decay": 0.5, "l1": 0.01}
    optimizer = getattr(fastopt, rule)(params, lr=0.05, **given)
    for t in range(3):
        grads = named(copies(data(shapes, dtype, t + 1, "wide")))
        for begin, end in ((1024, 3328), (0, 256), (3328, 5000), (256, 1024)):
            grad = grads["a"] if begin else grads["a"][begin:end]
            optimizer.step_part("a", grad, begin, end, grad_scale=0.5, clip_value=3.0)
        optimizer.step_part("b", grads["b"], zero_grad=True)
        if t != 1:
            optimizer.step_part("d", grads["d"], 2560, ema_decay=0.25)
            optimizer.step_part("d", grads["d"], 0, 2560)
        if optimizer.steps == t:
            optimizer.end_step()
        add_optimizer(digest, optimizer, params, grads)
    optimizer.step(named(data(shapes, dtype, 9)))
    add_optimizer(digest, optimizer, params)


def run_bound(digest: Any, rule: str, arguments: Arguments, storage: Any) -> None:
    """Bound gradients, options for one step, changes on the way, state that is written to, checkpoints."""
    dtype, master, state_dtype = storage
    params, grads = copies(data(SMALL, dtype, 0)), copies(data(SMALL, dtype, 1))
    given = {**arguments, "master": master, "state_dtype": state_dtype, "ema_decay": 0.9}
    make = functools.partial(getattr(fastopt, rule), lr=0.05, **given)
    optimizer = make(params, grads=grads, seed=SEED)
    options: list[Arguments] = [
        {},
        {"grad_scale": 0.5, "max_norm": 1.0},
        {"clip_value": 0.1, "ema_decay": 0.5},
        {"norm_eps": 0.5},
    ]
    for t, each in enumerate(options):
        optimizer.step(**each)
        add_optimizer(digest, optimizer, params)
        for grad, new in zip(grads, data(SMALL, dtype, t + 2), strict=True):
            grad[...] = new
    optimizer.options["max_norm"], optimizer.lr = 2.0, 0.02
    optimizer.groups[0].update(weight_decay=0.1, l1=0.01)
    params[3][...] = 0.3
    optimizer.reset_masters()
    for name, value in optimizer.state[4].items():
        if getattr(value, "shape", ()):
            value[...] = np.abs(data(SMALL, "float32", 50)[4])
            digest.add(name, value)
    optimizer.step()
    here, there = copies(params), copies(params)
    loaded, read = make(here, seed=1), make(there, seed=2)
    loaded.load_state_dict(optimizer.state_dict())
    with tempfile.TemporaryDirectory() as folder:
        optimizer.save(Path(folder) / "checkpoint.safetensors")
        read.load(Path(folder) / "checkpoint.safetensors")
    for other, arrays in ((optimizer, params), (loaded, here), (read, there)):
        other.step(grads)
        add_optimizer(digest, other, arrays)


def run_flat(digest: Any, rule: str, arguments: Arguments, storage: Any) -> None:
    dtype, master, state_dtype = storage
    flat = fastopt.flatten(named(data(SMALL, dtype, 0)))
    grads = flat.zeros_like()
    given = {**arguments, "master": master, "state_dtype": state_dtype, "seed": SEED, "max_norm": 9.0}
    optimizer = getattr(fastopt, rule)(flat, lr=0.05, **given)
    for t in range(4):
        grads.copy_from(data(SMALL, dtype, t + 1, "wide" if t == 2 else "plain"))
        optimizer.step(grads)
    add_optimizer(digest, optimizer, flat.data, flat.views, flat.offsets)


def run_function(digest: Any, rule: str, arguments: Arguments, dtype: str) -> None:
    (param,) = copies(data(((4099,),), dtype, 0))
    entry = getattr(fastopt, rule)(param.copy(), **arguments).state[0]
    state = {name: np.array(value) for name, value in entry.items() if name != "step"}
    for t in range(4):
        (grad,) = data(((4099,),), dtype, t + 1, "wide" if t == 2 else "plain")
        stages = {"lr": 0.05, "weight_decay": 0.02, "l1": 0.01, "grad_scale": 0.5, "maximize": t == 1}
        getattr(fastopt.functional, rule.lower())(param, grad, **state, step=t + 1, **arguments, **stages)
        digest.add(str(t), [param, state])


def run_torch(digest: Any, rule: str, arguments: Arguments, storage: Any, stage: str) -> None:
    import torch

    dtype, master, state_dtype = storage

    def there(array: Any) -> Any:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16) if dtype == "bfloat16" else torch.from_numpy(array)

    def here(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        if hasattr(value, "codes"):
            return [value.codes.numpy(), value.blocks.numpy()]
        value = value.detach()
        return value.view(torch.int16).numpy().view(DTYPES["bfloat16"]) if value.dtype == torch.bfloat16 else value.numpy()

    given = {"lr": 0.05, **arguments, **STAGES[stage]}
    spoiled, copied, _ = (given.pop(name, False) for name in ("spoiled", "copy_to", "groups"))
    params = [torch.nn.Parameter(there(each)) for each in copies(data(SMALL, dtype, 0))]
    targets = [torch.zeros(shape, dtype=torch.float16) for shape in SMALL] if copied else None
    make = getattr(importlib.import_module("fastopt.torch"), rule)
    optimizer = make(params, **given, master=master, state_dtype=state_dtype, seed=SEED, copy_to=targets)
    for grads in gradients(SMALL, dtype, spoiled=spoiled):
        for param, grad in zip(params, copies(grads), strict=True):
            param.grad = None if grad is None else there(grad)
        optimizer.step()
        for param in params:
            digest.add("param", [here(param), here(param.grad)])
            digest.add("state", {key: here(value) for key, value in optimizer.state[param].items()})
        digest.add("copies", targets and copies(targets, here))


def run_norms(digest: Any, dtype: str, kind: str) -> None:
    for shapes in (SMALL, LARGE, ((3, 1, 5),)):
        for t, scale in enumerate((1.0, 1e-30, 1e30)):
            with np.errstate(all="ignore"):
                grads = [(grad * DTYPES[dtype](scale)).astype(DTYPES[dtype]) for grad in data(shapes, dtype, t, kind)]
            digest.add("norm", [fastopt.global_norm(grads), fastopt.all_finite([*grads, None])])
            for limits in ((2.5,), (2.5, 1e-6)):
                clipped = copies(grads)
                digest.add(f"clip {limits}", [fastopt.clip_grad_norm(clipped, *limits), clipped])
            fastopt.clip_grad_value(grads, 0.7)
            digest.add("value", grads)


def run_schedules(digest: Any) -> None:
    """Their values, and steps with a rate that follows a metric."""
    s = fastopt.schedules
    made: list[Any] = [s.constant(0.1, warmup=3), s.exponential(0.1, 0.9, 3), s.exponential(0.1, 0.9, 4, True), s.step(0.1, 7)]
    made += [s.multi_step(0.1, [5, 20]), s.piecewise([4, 9], [0.3, 0.2, 0.1]), s.polynomial(0.1, 20, 0.01, 2.0, True)]
    made += [s.linear(0.1, 20, 0.01, warmup=4), s.inverse_sqrt(0.1, warmup=5), s.inverse_time(0.1, 0.3, 2), s.cosine(0.1, 30)]
    made += [s.cosine_restarts(0.1, 6, 1.5, 0.8), s.one_cycle(0.1, 25), s.one_cycle(0.1, 25, anneal="linear", three_phase=True)]
    made += [s.warmup_stable_decay(0.1, 30, warmup=5, shape=shape) for shape in ("linear", "cosine", "1-sqrt")]
    made += [s.join([s.linear(0.1, 5), s.cosine(0.2, 9)], [7])]
    digest.add("values", np.array([[schedule(t) for t in range(50)] for schedule in made]))
    (param,) = copies(data(((257,),), "float32", 0))
    plateau = s.ReduceOnPlateau(s.linear(0.1, 40), patience=1, factor=0.5)
    optimizer = fastopt.Adam(param, lr=plateau)
    for t in range(12):
        optimizer.step(data(((257,),), "float32", t)[0])
        plateau.step(abs(t - 4.0))
        digest.add("param", [param, optimizer.lr])


def run_minimize(digest: Any, method: str, **arguments: Any) -> None:
    def fun(x: Any, rows: Any = 1.0) -> float:
        return float(np.sum((x * x - 1.0) ** 2 * np.mean(rows)))

    def jac(x: Any, rows: Any = 1.0) -> Any:
        return 4.0 * x * (x * x - 1.0) * np.mean(rows)

    for derivative in (jac,) if {"data", "stochastic"} & {*arguments} else (jac, "3-point"):
        result = fastopt.minimize(fun, np.linspace(-2.0, 3.0, 7), jac=derivative, method=method, steps=40, lr=0.01, **arguments)
        digest.add("result", [result.x, result.fun, int(result.nit), int(result.status)])
        digest.add("history", {name: np.asarray(values, np.float64) for name, values in result.history.items()})


def cases() -> Cases:
    found: Cases = {}

    def add(name: str, run: Any, *arguments: Any, counts: tuple[int, ...] = (), **by_name: Any) -> None:
        each = functools.partial(run, **by_name)
        found[name] = [threaded(lambda digest: each(digest, *arguments), n) for n in counts or (THREADS[len(found) % 3],)]

    for (rule, arguments), storage in itertools.product(MAIN, STORAGES):
        for run in (run_parts, run_bound, run_flat):
            add(f"{label(rule, arguments, storage)} | {run.__name__[4:]}", run, rule, arguments, storage)
    for (rule, arguments), dtype in itertools.product(MAIN, ("float32", "float64", "bfloat16", "float16")):
        add(f"{label(rule, arguments, [dtype])} | functional", run_function, rule, arguments, dtype)
    if importlib.util.find_spec("torch"):
        for (rule, arguments), storage in itertools.product(MAIN, STORAGES):
            for stage in ("nothing", "all with decay"):
                add(f"{label(rule, arguments, storage)} | torch, {stage}", run_torch, rule, arguments, storage, stage)
    for dtype, kind in itertools.product(DTYPES, ("plain", "wide", "spoiled")):
        add(f"norms | {dtype} | {kind}", run_norms, dtype, kind, counts=THREADS)
    add("schedules", run_schedules)
    if importlib.util.find_spec("scipy"):
        more: list[Arguments] = [{}, {"bounds": [(-1.5, 0.5)] * 7}, {"data": np.arange(1.0, 11.0), "batch_size": 3, "seed": 4}]
        more += [{"max_norm": 1.0, "ftol": 1e-3}, {"ema_decay": 0.9, "stochastic": True}]
        for rule, arguments in itertools.product(FORMS, more):
            add(f"minimize | {label(rule, dict.fromkeys(arguments, '...'))}", run_minimize, method=rule, **arguments)
    return found
