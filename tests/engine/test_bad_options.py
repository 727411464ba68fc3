"""Bad options, copies and snapshots of the stages that hold for a whole step: an error that names the argument, and nothing changed."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import fastopt
from fastopt.rules import OPTIONS, RULES
from tests.support.arrays import Array
from tests.support.comparing import digest
from tests.support.scenes import CudaArray, N, Scene, Whole, misaligned, read_only

ALL_RULES = pytest.mark.parametrize("rule", RULES)
NAMES = [option.name for option in OPTIONS]
FLAGS = ("skip_nonfinite", "zero_grad")
NUMBERS = tuple(name for name in NAMES if name not in FLAGS)
NEVER_NUMBERS: tuple[Any, ...] = ("1", b"1", True, np.True_, 1j, [1.0], np.ones(1))
NEVER_FINITE: tuple[Any, ...] = (math.nan, math.inf, -math.inf, np.float32("nan"), 10**400)
OUTSIDE: dict[str, tuple[Any, ...]] = {
    "grad_scale": (),
    "clip_value": (0, 0.0, -0.0, -1, Fraction(-1, 3), Fraction(1, 10**400)),
    "max_norm": (0, 0.0, -0.0, -1, np.float32(-2), Fraction(1, 10**400)),
    "norm_eps": (-1, -1e-300, np.float32(-2), Fraction(-1, 3)),
    "ema_decay": (1, 1.0, -1e-300, 2, math.nextafter(1.0, 2.0)),
}
BAD_OPTIONS: list[tuple[str, Any, Any]] = [
    *((name, value, ValueError) for name in NUMBERS for value in (*NEVER_FINITE, *OUTSIDE[name])),
    *((name, value, TypeError) for name in NUMBERS for value in NEVER_NUMBERS),
    *(
        (name, value, (TypeError, ValueError))
        for name in FLAGS
        for value in (0, 1, 1.0, np.True_, "True", b"", [True], np.ones(1))
    ),
]
NEVER_NONE = ("grad_scale", "norm_eps", *FLAGS)


@pytest.mark.parametrize(("name", "value", "error"), BAD_OPTIONS, ids=lambda v: str(v)[:30])
def test_bad_options(name: str, value: Any, error: Any) -> None:
    words = f"^{name}: got"
    with pytest.raises(error, match=words):
        fastopt.AdamW(np.ones(2), **{name: value})
    scene = Whole()
    with scene.refuses(error, words):
        scene.optimizer.step(scene.grads, **{name: value})
    with scene.refuses(error, words):
        scene.optimizer.options[name] = value
    with scene.refuses(error, words):
        scene.optimizer.options.update({"grad_scale": 0.5, "max_norm": 1.0, name: value})


@pytest.mark.parametrize("name", NEVER_NONE)
def test_options_that_are_never_none(name: str) -> None:
    with pytest.raises(TypeError, match=f"^{name}: got None"):
        fastopt.AdamW(np.ones(2), **{name: None})
    scene = Whole()
    with scene.refuses(TypeError, f"^{name}: got None"):
        scene.optimizer.options[name] = None
    scene.optimizer.step(scene.grads, **{name: None})  # keeps what is there


def test_unknown_options() -> None:
    with pytest.raises(TypeError, match=r"AdamW: .*max_nrom"):
        fastopt.AdamW(np.ones(2), max_nrom=1.0)
    scene = Whole()
    with scene.refuses(TypeError, "max_nrom"):
        scene.optimizer.step(scene.grads, max_nrom=1.0)
    for call in (
        lambda: scene.optimizer.options.__setitem__("max_nrom", 1.0),
        lambda: scene.optimizer.options.update(grad_scale=2.0, max_nrom=1.0),
        lambda: scene.optimizer.options.setdefault("max_nrom", 1.0),
    ):
        with scene.refuses(TypeError, "^max_nrom: there is no such option; there are grad_scale"):
            call()
    for name in NAMES:
        with scene.refuses(TypeError, f"^{name}: an option cannot be deleted"):
            del scene.optimizer.options[name]
    with pytest.raises(KeyError):
        _ = scene.optimizer.options["max_nrom"]


def test_averages_cannot_begin_later() -> None:
    scene = Scene("Adam")
    optimizer = scene.optimizer
    assert optimizer.ema_params is None
    with scene.refuses(ValueError, "^ema_decay: got .*without averages"):
        optimizer.options["ema_decay"] = 0.9
    with scene.refuses(ValueError, "^ema_decay: got .*without averages"):
        optimizer.step(scene.grads, ema_decay=0.9)
    optimizer.options["ema_decay"] = None
    assert optimizer.options["max_norm"] is None


BAD_COPIES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "too short": (lambda: np.zeros(N - 1, np.float32), ValueError, "got shape"),
    "of another shape": (lambda: np.zeros((2, 3), np.float32), ValueError, "got shape"),
    "another shape of bfloat16": (lambda: np.zeros((1, N), ml_dtypes.bfloat16), ValueError, "got shape"),
    "int16": (lambda: np.zeros(N, np.int16), TypeError, "got dtype int16"),
    "uint16": (lambda: np.zeros(N, np.uint16), TypeError, "got dtype uint16"),
    "complex": (lambda: np.zeros(N, np.complex64), TypeError, "got dtype complex64"),
    "booleans": (lambda: np.zeros(N, bool), TypeError, "got dtype bool"),
    "objects": (lambda: np.zeros(N, object), TypeError, "got dtype object"),
    "float8": (lambda: np.zeros(N, ml_dtypes.float8_e4m3fn), TypeError, "got dtype float8"),
    "read-only": (lambda: read_only(np.zeros(N, np.float32)), ValueError, "got a read-only"),
    "read-only bfloat16": (lambda: read_only(np.zeros(N, ml_dtypes.bfloat16)), ValueError, "got a read-only"),
    "strided": (lambda: np.zeros(2 * N, np.float16)[::2], ValueError, "got strides"),
    "strided bfloat16": (lambda: np.zeros(2 * N, ml_dtypes.bfloat16)[::2], ValueError, "got strides"),
    "foreign byte order": (lambda: np.zeros(N, np.dtype(np.float32).newbyteorder()), ValueError, "got foreign"),
    "misaligned": (misaligned, ValueError, "got elements"),
    "masked": (lambda: np.ma.MaskedArray(np.zeros(N, np.float32)), TypeError, "got a masked"),
    "on a GPU": (CudaArray, TypeError, "got CudaArray"),
    "a number": (lambda: 1.0, TypeError, "got float"),
    "a list of numbers": (lambda: [0.0] * N, TypeError, "got list"),
    "text": (lambda: "float16", TypeError, "got str"),
}


@ALL_RULES
@pytest.mark.parametrize(("make", "error", "words"), BAD_COPIES.values(), ids=BAD_COPIES)
def test_bad_copies(rule: str, make: Callable[[], Any], error: type[Exception], words: str) -> None:
    params = [np.ones(N, np.float32), np.ones(N, np.float32)]
    good = np.full(N, 7, np.float16)
    cls = getattr(fastopt, rule)
    with pytest.raises(error, match=rf"^copy_to\[1\]: {words}"):
        cls(params, copy_to=[good, make()])
    with pytest.raises(error, match=rf"^copy_to\['b'\]: {words}"):
        cls({"a": params[0], "b": params[1]}, copy_to={"b": make(), "a": good})
    assert good.tolist() == [7.0] * N
    assert digest(*params) == digest(np.ones(2 * N, np.float32))


def test_copies_that_do_not_fit_the_parameters() -> None:
    def zeros() -> Array:
        return np.zeros(N, np.float16)

    params, shared = [np.ones(N, np.float32), np.ones(N, np.float32)], np.zeros(2 * N, np.float16)
    named = dict(zip("ab", params, strict=True))
    for given, copies, error, words in (
        (params, zeros(), ValueError, "copy_to: got one array, expected a list of 2"),
        (params, [zeros()], ValueError, "copy_to: got 1, expected 2"),
        (params, [zeros(), None, None], ValueError, "copy_to: got 3, expected 2"),
        (params, {"a": zeros(), "b": None}, TypeError, "copy_to: got a dict, expected a list"),
        (params, "float16", TypeError, "copy_to: got str"),
        (params, True, TypeError, "copy_to: got bool"),
        (params, iter([zeros(), None]), TypeError, "copy_to: got"),
        (named, {"a": zeros()}, ValueError, "copy_to: got none for 'b'"),
        (named, {"a": zeros(), "c": zeros()}, ValueError, "copy_to: got the name 'c'"),
        (named, {}, ValueError, "copy_to: got none for 'a'"),
        (params, [shared[:N], shared[:N]], ValueError, r"copy_to\[1\]: got the same memory as copy_to\[0\]"),
        (params, [shared[:N], shared[1 : N + 1]], ValueError, r"copy_to\[1\]: got memory that overlaps copy_to\[0\]"),
        (params, [None, params[1]], ValueError, r"copy_to\[1\]: got the same memory as params"),
        (params, [None, params[0]], ValueError, r"copy_to\[1\]: got the same memory as params"),
        (params, [None, params[0].view(np.float16)[:N]], ValueError, r"params.*: got memory that overlaps copy_to\[1\]"),
    ):
        with pytest.raises(error, match=f"^{words}"):
            fastopt.AdamW(given, copy_to=copies)
    assert digest(*params) == digest(np.ones(2 * N, np.float32))
    optimizer = fastopt.AdamW(named, copy_to=[shared[:N], shared[N:]])
    with pytest.raises(ValueError, match=r"^grads.*: got .*memory"):
        optimizer.step([shared.view(np.float32), None])
    with pytest.raises(ValueError, match=r"^grads.*: got the same memory as copy_to"):
        fastopt.AdamW(params[0], copy_to=params[1]).step(params[1])
    averaged = fastopt.AdamW(params[0], ema_decay=0.5)
    with pytest.raises(ValueError, match=r"^grads.*: got the same memory as the average"):
        averaged.step(averaged.ema_params)


@pytest.mark.parametrize("rule", ["SGD", "AdamW"])
def test_gradients_that_cannot_be_zeroed(rule: str) -> None:
    scene = Whole(rule, zero_grad=False)
    scene.grads[2].flags.writeable = False
    scene.optimizer.step(scene.grads)
    with scene.refuses(ValueError, r"^grads\[2\]: got a read-only array"):
        scene.optimizer.step(scene.grads, zero_grad=True)
    scene.optimizer.options["zero_grad"] = True
    with scene.refuses(ValueError, r"^grads\[2\]: got a read-only array"):
        scene.optimizer.step(scene.grads)
    scene.optimizer.step(scene.grads, zero_grad=False)
    scene.optimizer.step([*scene.grads[:2], None])
    assert not np.any(scene.grads[:2])


def test_bound_gradients_that_cannot_be_zeroed() -> None:
    param, grad = np.ones(3), read_only(np.full(3, 0.5))
    optimizer = fastopt.SGD(param, lr=1.0, grads=grad)
    optimizer.step()
    with pytest.raises(ValueError, match=r"^grads: got a read-only array"):
        optimizer.step(zero_grad=True)
    optimizer.options["zero_grad"] = True
    with pytest.raises(ValueError, match=r"^grads: got a read-only array"):
        optimizer.step()
    assert param.tolist() == [0.5] * 3
    optimizer.step(np.full(3, 0.25))
    assert (param.tolist(), optimizer.steps) == ([0.25] * 3, 2)


@ALL_RULES
@pytest.mark.parametrize("name", [*NAMES, "copy_to"])
def test_options_are_not_a_groups(rule: str, name: str) -> None:
    with pytest.raises(TypeError, match=rf"^params\[0\]: got the key '{name}', expected 'params' or one of lr"):
        getattr(fastopt, rule)([{"params": np.ones(2), name: None}])
    optimizer = getattr(fastopt, rule)(np.ones(2))
    with pytest.raises((TypeError, KeyError), match=name):
        optimizer.groups[0][name] = 1.0


STATE, LAST = "state_dict['state'][2]", ("state", 2, "ema")
BAD_ENTRIES: dict[str, tuple[tuple[Any, ...], Any, str]] = {
    "options of None": (("options",), None, "state_dict['options']: got"),
    "too few options": (("options",), {"max_norm": 1.0}, "state_dict['options']: got"),
    "too many options": (("options", "max_nrom"), 1.0, "state_dict['options']: got"),
    "a bad limit": (("options", "max_norm"), 0, "state_dict['options']: max_norm: got 0"),
    "a bad norm_eps": (("options", "norm_eps"), -1, "state_dict['options']: norm_eps: got -1"),
    "a bad flag": (("options", "zero_grad"), 1, "state_dict['options']: zero_grad: got 1"),
    "a scale of None": (("options", "grad_scale"), None, "state_dict['options']: grad_scale: got None"),
    "no average": (LAST, None, f"{STATE}['ema']: got None"),
    "an average too short": (LAST, np.ones(N - 1, np.float32), f"{STATE}['ema']: got shape"),
    "an average of float64": (LAST, np.ones(N), f"{STATE}['ema']: got dtype"),
    "negative skips": (("skipped_steps",), -1, "state_dict['skipped_steps']: got -1"),
    "broken skips": (("skipped_steps",), 1.5, "state_dict['skipped_steps']: got float"),
    "skips that are true": (("skipped_steps",), True, "state_dict['skipped_steps']: got"),
}


@pytest.mark.parametrize(("path", "value", "words"), BAD_ENTRIES.values(), ids=BAD_ENTRIES)
def test_bad_snapshots(path: tuple[Any, ...], value: Any, words: str) -> None:
    scene, other = Whole(), Whole(max_norm=3.0)
    snapshot = target = other.optimizer.state_dict()
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    with scene.refuses((TypeError, ValueError), "^" + re.escape(words)):
        scene.optimizer.load_state_dict(snapshot)
    for name in ("options", "skipped_steps"):
        with scene.refuses(ValueError, f"^state_dict: got none of '{name}'"):
            scene.optimizer.load_state_dict({key: entry for key, entry in snapshot.items() if key != name})


def test_snapshots_with_and_without_averages_do_not_mix() -> None:
    with_averages, without = Whole(), Whole(ema_decay=None)
    for scene, other in ((with_averages, without), (without, with_averages)):
        with scene.refuses(ValueError, r"^state_dict\['state'\]\[0\]: got "):
            scene.optimizer.load_state_dict(other.optimizer.state_dict())
