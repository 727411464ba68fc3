"""What tools/digest.py runs: steps of every rule's class, in every form, storage format and stage, on the CPU and on the emulated GPU."""

from __future__ import annotations

import functools
import importlib
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

import fastopt

Arguments = dict[str, Any]
Cases = dict[str, list[Callable[[Any], None]]]
"""By name: what fills a digest, in ways that are to be equal."""

SEED = 2**63 + 12345
THREADS = (1, 2, 3)
DTYPES: dict[str, Any] = {"float32": np.float32, "float64": np.float64, "bfloat16": ml_dtypes.bfloat16, "float16": np.float16}

SMALL: Any = ((0,), (1,), (7,), (15, 17), (256,), (257,), (4099,))
LARGE: Any = ((3,), (100_003,), (255,), (5000,))
TINY: Any = ((0,), (1,), (15, 17), (257,), (1000,))

ADAM: Arguments = {"amsgrad": (False, True, "corrected"), "eps_root": (0.0, 1e-3), "eps_hat": (False, True)}
FORMS: dict[str, Arguments] = {
    "SGD": {
        "momentum": (0.0, 0.9),
        "dampening": (0.0, 0.1),
        "nesterov": (False, True),
        "momentum_init": ("gradient", "zero"),
        "lr_in_momentum": (False, True),
    },
    "Adam": ADAM,
    "AdamW": ADAM,
    "Adamax": {"eps_in_max": (True, False), "betas": ((0.9, 0.999), (0.0, 0.5))},
    "NAdam": {
        "momentum_decay": (0.004, 1.0, None),
        "eps_root": (0.0, 1e-3),
        "lookahead_correction": ("next", "same", "momentum only"),
    },
    "RAdam": {"eps_hat": (True, False), "eps_root": (0.0, 1e-3), "threshold": (5.0, 4.0), "betas": ((0.9, 0.999), (0.7, 0.9))},
    "RMSprop": {
        "momentum": (0.0, 0.9),
        "centered": (False, True),
        "eps_in_root": (False, True),
        "variance_floor": (None, 0.3),
        "lr_in_momentum": (False, True),
    },
    "Adagrad": {"lr_decay": (0.0, 0.1), "initial_accumulator_value": (0.0, 0.1), "eps_in_root": (False, True)},
    "Adadelta": {"rho": (0.9, 0.5), "eps": (1e-6, 0.01)},
    "Lion": {"betas": ((0.9, 0.99), (0.0, 0.5))},
}
"""All combinations of every rule, also those that are refused."""
MAIN: list[tuple[str, Arguments]] = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9, "dampening": 0.1}),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("Adam", {"eps": 0.0, "betas": (0.5, 0.75)}),
    ("AdamW", {}),
    ("AdamW", {"amsgrad": True}),
    ("Adamax", {}),
    ("NAdam", {}),
    ("RAdam", {"betas": (0.7, 0.9)}),
    ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.9}),
    ("RMSprop", {"centered": True}),
    ("RMSprop", {"momentum": 0.9, "centered": True}),
    ("Adagrad", {}),
    ("Adadelta", {}),
    ("Lion", {}),
]
"""Every function of the rules' headers."""
PARAMS = [("float32", None), *itertools.product(("bfloat16", "float16"), (None, "24bit", "32bit", "float32", "stochastic"))]
STORAGES = [("float64", None, None), *((*param, state) for param in PARAMS for state in (None, "bfloat16", "8bit"))]
"""dtype, master, state_dtype."""

ALL: Arguments = {"grad_scale": 0.75, "clip_value": 2.0, "max_norm": 3.0, "norm_eps": 1e-6, "skip_nonfinite": True, "l1": 0.01}
ALL |= {"ema_decay": 0.9, "copy_to": True, "zero_grad": True, "weight_decay": 0.02, "spoiled": True, "groups": True}
STAGES: dict[str, Arguments] = {
    "nothing": {},
    "NaN": {"spoiled": True},
    "grad_scale": {"grad_scale": 1 / 1024},
    "clip_value": {"clip_value": 0.5},
    "max_norm": {"max_norm": 1.5, "spoiled": True},
    "norm_eps": {"max_norm": 1.5, "norm_eps": 0.25, "spoiled": True},
    "skip_nonfinite": {"skip_nonfinite": True, "spoiled": True},
    "maximize": {"maximize": True},
    "l1": {"l1": 0.03},
    "L2": {"weight_decay": 0.05, "decoupled_weight_decay": False},
    "decay": {"weight_decay": 0.05, "decoupled_weight_decay": True},
    "ema_decay": {"ema_decay": 0.75},
    "copy_to": {"copy_to": True},
    "zero_grad": {"zero_grad": True},
    "schedule": {"lr": fastopt.schedules.cosine(0.05, steps=6, warmup=2)},
    "groups": {"groups": True},
    "all with L2": ALL | {"decoupled_weight_decay": False, "maximize": True},
    "all with decay": ALL | {"decoupled_weight_decay": True},
}
"""`copy_to` and `groups` say that there are some, `spoiled` that one step's gradients have NaN and Inf."""


def label(rule: str, arguments: Mapping[str, Any], storage: Any = ()) -> str:
    words = [rule, *(f"{name}={value}" for name, value in arguments.items())]
    return " ".join(words) + (f" | {' '.join(map(str, storage))}" if storage else "")


@functools.lru_cache(maxsize=512)
def data(shapes: Any, dtype: str, seed: int, kind: str = "plain") -> list[Any]:
    """Numbers over four decades, some zeros and subnormals; of other kinds also huge ones ("wide"), NaN and Inf ("spoiled")."""
    rng = np.random.default_rng(seed)
    info: Any = ml_dtypes.finfo(DTYPES[dtype])  # type: ignore[no-untyped-call]
    tiny, huge = float(info.smallest_normal), float(info.max)
    specials = [0.0, -0.0, float(info.smallest_subnormal), -tiny, 0.3 * tiny, -0.6 * tiny, tiny**0.5, -(tiny**0.75)]
    specials += {"plain": [], "wide": [huge, -huge, huge**0.5, -(huge**0.75)], "spoiled": [np.nan, np.inf, -np.inf]}[kind]
    arrays = []
    for shape in shapes:
        values = np.ldexp(rng.uniform(-1.0, 1.0, shape), rng.integers(-9, 4, shape)).ravel()
        place = np.arange(int(rng.integers(11)), values.size, 11)
        values[place] = np.resize(specials, place.size)
        arrays.append(values.astype(DTYPES[dtype]).reshape(shape))
    return arrays


def gradients(
    shapes: Any, dtype: str, *, spoiled: bool, mixed: bool = False, missing: bool = True, rounds: int = 1
) -> Iterator[list[Any]]:
    """The gradients of each step: all, some None if some are `missing`, huge (and `mixed` dtypes), all None, maybe `spoiled`, all."""
    narrow = itertools.cycle(("float32", "bfloat16", "float16"))
    for seed in range(1, 20 * rounds, 20):
        yield data(shapes, dtype, seed)
        yield [None if missing and i % 3 == 1 else grad for i, grad in enumerate(data(shapes, dtype, seed + 1))]
        yield [data((shape,), next(narrow) if mixed else dtype, seed + 5 + i, "wide")[0] for i, shape in enumerate(shapes)]
        yield [None if missing else grad for grad in data(shapes, dtype, seed + 4)]
        yield data(shapes, dtype, seed + 2, "spoiled" if spoiled else "plain")
        yield data(shapes, dtype, seed + 3)


def copies(arrays: Any, place: Callable[[Any], Any] = np.copy) -> list[Any]:
    """Each gradient that is not None, placed by `place`."""
    return [None if array is None else place(array) for array in arrays]


def add_optimizer(digest: Any, optimizer: Any, *arrays: Any) -> None:
    """All that it has, and these arrays."""
    for i, entry in enumerate(optimizer.state):
        digest.add(f"state {i}", entry)
    digest.add("ema_params", optimizer.ema_params)
    digest.add("counts", [optimizer.grad_norm, optimizer.steps, optimizer.skipped_steps])
    digest.add("arrays", arrays)


def run_steps(
    digest: Any,
    *,
    rule: str,
    arguments: Arguments,
    storage: Any,
    stage: str,
    shapes: Any = SMALL,
    mixed: bool = True,
    missing: bool = True,
    place: Callable[[Any], Any] = np.copy,
) -> None:
    """`place` makes the arrays that fastopt is given."""
    dtype, master, state_dtype = storage
    given = {"lr": 0.05, **arguments, **STAGES[stage]}
    spoiled, grouped = given.pop("spoiled", False), given.pop("groups", False)
    params: Any = copies(data(shapes, dtype, 0), place)
    if given.pop("copy_to", False):
        targets = itertools.cycle(("float32", "bfloat16", None, "float16", "float64"))
        given["copy_to"] = copies([name and np.zeros(s, DTYPES[name]) for s, name in zip(shapes, targets, strict=False)], place)
    half = -(-len(params) // 2)
    groups = [{"params": params[:half]}, {"params": params[half:], "lr": 0.01, "weight_decay": 0.125, "l1": 0.002}]
    formats = {"master": master, "state_dtype": state_dtype, "seed": SEED}
    optimizer = getattr(fastopt, rule)(groups if grouped else params, **given, **formats)
    rounds = 2 if rule == "RAdam" else 1  # which begins to divide late
    steps = gradients(shapes, dtype, spoiled=spoiled, mixed=mixed, missing=missing, rounds=rounds)
    for t, grads in enumerate(steps):
        own = copies(grads, place)
        optimizer.step(own)
        if t % 2 == 0 and shapes is not LARGE:
            add_optimizer(digest, optimizer, params, given.get("copy_to"), own)
    add_optimizer(digest, optimizer, params, given.get("copy_to"), own)


def threaded(run: Callable[[Any], None], count: int) -> Callable[[Any], None]:
    """`run` with that many threads."""

    def fill(digest: Any) -> None:
        fastopt.set_num_threads(count)
        run(digest)

    return fill


def cases() -> Cases:
    """Forms without stages and with all of them; every function of the rules with each stage; large ones."""
    found: Cases = {}

    def add(rule: str, arguments: Arguments, storage: Any, stage: str, shapes: Any = SMALL) -> None:
        run = functools.partial(run_steps, rule=rule, arguments=arguments, storage=storage, stage=stage, shapes=shapes)
        counts = THREADS if shapes is LARGE else (THREADS[len(found) % 3],)
        name = f"{label(rule, arguments, storage)} | {'large, ' if shapes is LARGE else ''}{stage}"
        found[name] = [threaded(run, count) for count in counts]

    for storage in STORAGES:
        for rule, choices in FORMS.items():
            for values, stage in itertools.product(itertools.product(*choices.values()), ("nothing", "all with decay")):
                add(rule, dict(zip(choices, values, strict=True)), storage, stage)
        for rule, arguments in MAIN:
            for stage in STAGES:
                add(rule, arguments, storage, stage)
            for stage in ("nothing", "all with decay"):
                add(rule, arguments, storage, stage, LARGE)
    return found


def emulated_gpu(tests: str) -> Any:
    """The GPU that the tests emulate, with `array` and `check`, in use from now on; the only place that knows the tests' modules."""
    sys.path.insert(0, str(Path(tests).resolve().parent))
    devices = importlib.import_module("tests.support.devices")
    device = devices.Emulated()
    devices.use(device.driver)
    return device


def emulated_cases(tests: str) -> Cases:
    """Every function of the rules in every format, without stages and with all of them, and in two formats with each stage.

    Gradients have the parameters' dtype, and with most 16-bit parameters none is None: each would be one more kernel to compile.
    """
    device, found = emulated_gpu(tests), Cases()

    def on_gpu(run: Callable[..., None]) -> Callable[[Any], None]:
        def fill(digest: Any) -> None:
            offsets = itertools.cycle((0, 1, 3, 2, 7, 5))
            run(digest, place=lambda array: device.array(array, next(offsets)))
            device.check()

        return fill

    for storage, (rule, arguments) in itertools.product(STORAGES, MAIN):
        thorough = storage in (("float32", None, None), ("bfloat16", "24bit", "8bit"))
        for stage in STAGES if thorough else ("nothing", "all with decay"):
            missing = thorough or storage[0] in ("float32", "float64")
            kept = {"storage": storage, "stage": stage, "shapes": TINY, "mixed": False, "missing": missing}
            run = functools.partial(run_steps, rule=rule, arguments=arguments, **kept)
            found[f"{label(rule, arguments, storage)} | emulated, {stage}"] = [on_gpu(run), run]
    return found
