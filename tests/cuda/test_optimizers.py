"""Optimizers over arrays on a GPU: every rule, container and stage has the bits of the same calls on the CPU."""

from __future__ import annotations

import gc
import itertools
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fastopt._arrays.buffers import GRADIENTS
from fastopt.rules import RULES
from tests.support.arrays import Array, gradients
from tests.support.cases import OPTIONS, Arguments, case_id, combinations, stage_arguments
from tests.support.devices import Both, assert_same
from tests.support.formats import CASES

SHAPES = ((7, 37), (), (0,), (257,), (2600,))
DTYPES = ("float32", "float64")
WIDE: dict[str, Any] = {"float32": np.float32, "float64": np.float64, "bfloat16": ml_dtypes.bfloat16, "float16": np.float16}


def arrays(dtype: Any, rng: np.random.Generator, shapes: tuple[tuple[int, ...], ...] = SHAPES) -> list[Array]:
    return [gradients(shape, dtype, rng) for shape in shapes]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_rules(device: Any, case: tuple[str, Arguments], dtype: str, rng: np.random.Generator) -> None:
    rule, arguments = case
    params = arrays(dtype, rng)
    groups = [{"params": params[::2], "lr": 0.03}, {"params": params[1::2], "weight_decay": 0.04}]
    both = Both(device, rule, groups, **arguments)
    shapes = SHAPES[::2] + SHAPES[1::2]
    for t in range(3):
        grads: list[Any] = arrays(dtype, rng, shapes)
        if t == 1:
            grads[0] = None
        both.step(grads, t)
    if device.launches is not None:
        assert len(device.launches) == 3
    for i, shape in enumerate(shapes):
        assert both.gpu.state[i]["step"] == (2 if i == 0 else 3)
        assert all(value.shape == shape for value in both.gpu.state[i].values() if hasattr(value, "host"))


def test_state_is_live(device: Any, rng: np.random.Generator) -> None:
    both = Both(device, "AdamW", arrays("float32", rng))
    both.step(arrays("float32", rng))
    both.cpu.state[0]["exp_avg"][...] = 0.5
    device.write(both.gpu.state[0]["exp_avg"], 0.5)
    both.step(arrays("float32", rng))


def test_two_variants_are_two_launches(device: Any, rng: np.random.Generator) -> None:
    params = arrays("float32", rng)
    both = Both(device, "SGD", [{"params": params[:3]}, {"params": params[3:], "momentum": 0.9, "lr": 0.2}], lr=0.1)
    both.step(arrays("float32", rng))
    both.step([*arrays("float32", rng)[:4], None], max_norm=0.5, skip_nonfinite=True)
    if device.launches is not None:
        steps = ["sgd-plain-float32-float32-float32", "sgd-heavy_ball-float32-float32-float32-float32"]
        assert device.launches == [*steps, "sweep-float32-float32", "sweep-float32-float32", *steps]
    spoiled = arrays("float32", rng)
    spoiled[4][2599] = np.inf
    both.step(spoiled, max_norm=0.5, skip_nonfinite=True)
    assert both.gpu.skipped_steps == 1
    both.both(lambda optimizer, _: optimizer.groups[1].update(momentum=0.0))
    both.step(arrays("float32", rng))
    both.both(lambda optimizer, _: optimizer.groups[1].update(momentum=0.8, nesterov=True, maximize=True))
    both.step(arrays("float32", rng))


@pytest.mark.parametrize("kind", ["array", "list", "tuple", "dict", "dict in a group"])
def test_containers(device: Any, kind: str, rng: np.random.Generator) -> None:
    names = ("b", "a", "d", "c", "e")

    def contained(values: list[Array]) -> Any:
        if kind.startswith("dict"):
            return dict(zip(names, values, strict=True))
        return {"array": values[4], "list": values, "tuple": tuple(values)}[kind]

    params, copies = (contained(arrays("float32", rng)) for _ in range(2))
    given = [{"params": params, "lr": 0.1}] if kind == "dict in a group" else params
    both = Both(device, "AdamW", given, copy_to=copies, ema_decay=0.9)
    for t in range(2):
        grads = contained(arrays("float32", rng))
        both.step(dict(reversed(grads.items())) if isinstance(grads, dict) else grads, t)
    shown = both.gpu.ema_params
    if kind == "dict":
        assert list(shown) == list(names)
        assert both.gpu.state["c"]["step"] == 2
    else:
        assert hasattr(shown, "shape") == (kind == "array")


@pytest.mark.parametrize("count", [1, 3])
def test_gradients_of_none(device: Any, count: int, rng: np.random.Generator) -> None:
    both = Both(device, "NAdam", arrays("float64", rng)[-count:])
    both.step([None] * count)
    for present in itertools.product((False, True), repeat=count):
        grads = arrays("float64", rng)[-count:]
        both.step([grad if there else None for grad, there in zip(grads, present, strict=True)], present)
    assert both.gpu.steps == 2**count + 1


def test_an_array_that_is_gone_is_not_a_gradient_of_none(device: Any, rng: np.random.Generator) -> None:
    both = Both(device, "AdamW", [np.ones(300), np.ones(200)])
    grads = [gradients(300, "float64", rng), gradients(200, "float64", rng)]
    first, second = both.placed(grads)
    both.both(lambda optimizer, given: optimizer.step(given), grads, [first, second])
    del second
    gc.collect()
    both.both(lambda optimizer, given: optimizer.step(given), [grads[0], None], [first, None])
    both.assert_equal()
    assert both.gpu.state[1]["step"] == 1


@pytest.mark.parametrize("container", [list, dict])
def test_bound_gradients(device: Any, container: Any, rng: np.random.Generator) -> None:
    names = "abcde"
    params, grads = (arrays("float32", rng) for _ in range(2))
    given: Any = [dict(zip(names, each, strict=True)) if container is dict else each for each in (params, grads)]
    both = Both(device, "Adam", given[0], grads=given[1], lr=0.01)
    there = both.bound if container is list else list(both.bound.values())
    for t in range(3):
        both.step(None, t)
        for host, array in zip(grads, there, strict=True):
            host[...] = gradients(host.shape, "float32", rng)
            device.write(array, host)
    both.step(
        dict(zip(names, arrays("float32", rng), strict=True)) if container is dict else arrays("float32", rng), "other ones"
    )
    both.step(None, "the bound ones again", zero_grad=True)
    assert not any(device.host(array).any() for array in there)


def test_the_same_gradients_with_other_values(device: Any, rng: np.random.Generator) -> None:
    """What was checked once is not checked again, and read all the same."""
    both = Both(device, "RAdam", arrays("float32", rng))
    grads = arrays("float32", rng)
    there = both.placed(grads)
    for t in range(3):
        both.both(lambda optimizer, given: optimizer.step(given), grads, there)
        both.assert_equal(t)
        for host, array in zip(grads, there, strict=True):
            host[...] = gradients(host.shape, "float32", rng)
            device.write(array, host)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_of_other_dtypes(device: Any, dtype: str, rng: np.random.Generator) -> None:
    """They change from step to step and from tensor to tensor: one launch for each of a step."""
    both = Both(device, "AdamW", arrays(dtype, rng), max_norm=2.0)
    names = GRADIENTS[dtype]
    for t in range(4):
        before = device.launches
        both.step([gradients(shape, WIDE[names[(t + i) % len(names)]], rng) for i, shape in enumerate(SHAPES)], t)
        if before is not None:
            assert len(device.launches) - len(before) == 2 * len(names)


@pytest.mark.parametrize("dtype", DTYPES)
def test_averages_and_copies_of_every_dtype(device: Any, dtype: str, rng: np.random.Generator) -> None:
    names = [*WIDE, None]
    params = [gradients((300 + i,), dtype, rng) for i in range(len(names))]
    copies = [None if name is None else np.zeros(p.shape, WIDE[name]) for p, name in zip(params, names, strict=True)]
    both = Both(device, "AdamW", params, copy_to=copies, ema_decay=0.9)
    both.assert_equal("before the first step")
    for t in range(3):
        both.step([gradients(p.shape, dtype, rng) for p in params], t)
    both.both(lambda optimizer, _: optimizer.options.update(ema_decay=0.5))
    both.step([gradients(p.shape, dtype, rng) for p in params], "with another decay")


def test_schedules(device: Any, rng: np.random.Generator) -> None:
    """They see the completed steps, of which the device knows."""
    params = arrays("float32", rng)
    seen: list[int] = []

    def falling(step: int) -> float:
        seen.append(step)
        return 0.1 / (1 + step)

    both = Both(device, "AdamW", [{"params": params[:2], "lr": falling}, {"params": params[2:], "lr": 0.2}], skip_nonfinite=True)
    for t in range(4):
        grads = arrays("float32", rng)
        if t == 1:
            grads[0][3, 3] = np.nan
        both.step(grads, t)
    assert both.gpu.groups[0]["lr"] == both.cpu.groups[0]["lr"]
    assert seen[::2] == seen[1::2] == [0, 0, 1, 1, 2]


@pytest.mark.parametrize("rule", RULES)
def test_numbers_that_change_between_steps(device: Any, rule: str, rng: np.random.Generator) -> None:
    params = arrays("float32", rng)
    both = Both(device, rule, [{"params": params[:2]}, {"params": params[2:]}])
    for t in range(2):

        def set_numbers(optimizer: Any, _: Any, t: int = t) -> None:
            for name, _, count, low, _, steady in RULES[rule].numbers:
                if not steady:
                    optimizer.groups[1][name] = (low + 0.25 + t / 8,) * count if count > 1 else low + 0.25 + t / 8

        both.both(set_numbers)
        both.step(arrays("float32", rng), t)
    assert both.gpu.state_dict()["groups"] == both.cpu.state_dict()["groups"]


@pytest.mark.parametrize("shape", [(), (1,)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_learning_rates_on_the_device(device: Any, dtype: str, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    params = arrays(dtype, rng)
    both = Both(device, "AdamW", [{"params": params[:2]}, {"params": params[2:]}], lr=0.1)
    for kind in DTYPES:
        rate = device.array(np.full(shape, 0.1, kind), 1)
        both.gpu.groups[0]["lr"] = rate
        for value in (0.1, 0.05, 0.3):
            device.write(rate, value)
            both.cpu.groups[0]["lr"] = float(np.dtype(kind).type(value))
            both.step(arrays(dtype, rng), (kind, value))
        assert both.gpu.groups[0]["lr"] is rate
        with pytest.raises(ValueError, match="lr: the groups have different ones"):
            _ = both.gpu.lr
        both.gpu.lr = both.cpu.lr = 0.01
        both.step(arrays(dtype, rng), "a number again")
    both.gpu.lr = device.array(np.float64(0.02))
    both.cpu.lr = 0.02
    both.both(lambda optimizer, _: optimizer.groups[1].update(weight_decay=0.3))
    both.step(arrays(dtype, rng))
    assert both.gpu.lr == 0.02
    assert both.gpu.state_dict()["groups"] == both.cpu.state_dict()["groups"]


def test_a_learning_rate_on_the_device_from_the_beginning(device: Any, rng: np.random.Generator) -> None:
    params = arrays("float64", rng)
    cpu, gpu = (Both(device, "NAdam", [p.copy() for p in params], lr=0.1) for _ in range(2))
    rebuilt = type(gpu.gpu)(gpu.params, lr=device.array(np.float64(0.1)))
    grads = arrays("float64", rng)
    cpu.step(grads)
    rebuilt.step(gpu.placed(grads))
    for there, expected in zip(gpu.params, cpu.params, strict=True):
        assert_same(device.host(there), device.host(expected), "")


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),  # examples take too long to be made smaller
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data(), rule=st.sampled_from(sorted(RULES)), dtype=st.sampled_from(DTYPES), seed=st.integers(0, 2**32))
def test_the_whole_step(device: Any, data: st.DataObject, rule: str, dtype: Any, seed: int) -> None:
    """Stages, decay, groups and missing gradients in any combination."""
    rng = np.random.default_rng(seed)
    shapes = data.draw(st.lists(st.sampled_from([(), (0,), (3,), (7, 5), (300,), (2, 3, 4)]), min_size=1, max_size=4))
    options = {name: data.draw(st.sampled_from(values), label=name) for name, values in OPTIONS.items()}
    kinds = list(combinations(RULES[rule], rng))
    each = [data.draw(st.sampled_from(kinds)) | data.draw(st.sampled_from(stage_arguments(rng))) for _ in shapes]
    groups = [{"params": [gradients(shape, dtype, rng)], **own} for shape, own in zip(shapes, each, strict=True)]
    names = [data.draw(st.sampled_from([None, *WIDE])) for _ in shapes]
    copies = [None if name is None else np.zeros(shape, WIDE[name]) for name, shape in zip(names, shapes, strict=True)]
    both = Both(device, rule, groups, copy_to=copies, **options)
    device.driver.order = data.draw(st.integers(0, 1), label="order of blocks and threads, of the emulation")
    for t in range(data.draw(st.integers(1, 4), label="steps")):
        grads: list[Any] = [gradients(shape, dtype, rng, 1 / abs(options["grad_scale"])) for shape in shapes]
        if data.draw(st.booleans(), label="one that is not finite") and shapes[0] != (0,):
            grads[0].reshape(-1)[0] = rng.choice([np.nan, np.inf, -np.inf])
        if data.draw(st.booleans(), label="a missing one"):
            grads[int(rng.integers(len(grads)))] = None
        both.step(grads, t)


def test_many_tensors(device: Any, rng: np.random.Generator) -> None:
    """Whose addresses are more words than one launch writes."""
    shapes = tuple((int(n),) for n in rng.integers(0, 9, 600))
    both = Both(device, "Lion", arrays("float32", rng, shapes), max_norm=1.0)
    for t in range(2):
        both.step(arrays("float32", rng, shapes), t)


@pytest.mark.parametrize(("dtype", "state_dtype"), [("float32", None), ("float32", "8bit"), ("float64", None)])
def test_norms_that_are_not_finite(device: Any, dtype: str, state_dtype: Any, rng: np.random.Generator) -> None:
    """With norm_eps their factor is 0 or NaN, and reaches every tensor; in blocks of 8-bit state the padding too."""
    for special in (np.inf, -np.inf, np.nan):
        both = Both(device, "AdamW", arrays(dtype, rng), max_norm=2.0, norm_eps=1e-6, ema_decay=0.9, state_dtype=state_dtype)
        both.step(arrays(dtype, rng), special)
        grads = arrays(dtype, rng)
        grads[3][100] = special
        both.step(grads, special)
        assert not np.isfinite(both.gpu.grad_norm)
        assert np.isnan(device.host(both.params[0])).all() == np.isnan(special)
        both.step(arrays(dtype, rng), special, norm_eps=0.5)


@pytest.mark.parametrize("zero_grad", [False, True])
def test_a_skipped_step_changes_nothing(device: Any, zero_grad: bool, rng: np.random.Generator) -> None:
    both = Both(device, "Adamax", arrays("float32", rng), skip_nonfinite=True, ema_decay=0.9, zero_grad=zero_grad)
    for t, spoil in enumerate((None, np.nan, -np.inf, None)):
        grads = arrays("float32", rng)
        if spoil is not None:
            grads[4][-1] = spoil
        both.step(grads, t)
    assert (both.gpu.steps, both.gpu.skipped_steps) == (2, 2)


def test_what_is_said_about_it(device: Any, rng: np.random.Generator) -> None:
    both = Both(device, "AdamW", arrays("float32", rng), ema_decay=0.9)
    both.step(arrays("float32", rng))
    assert repr(both.gpu) == repr(both.cpu)
    assert both.gpu.traffic() == both.cpu.traffic()
    assert dict(both.gpu.options) == dict(both.cpu.options)


def test_the_second_device(device: Any, rng: np.random.Generator) -> None:
    if device.devices < 2:
        pytest.skip("there is one")
    values, grads = arrays("float32", rng), arrays("float32", rng)
    both = Both(device, "AdamW", values, max_norm=1.0)
    other = [device.array(each, 1, device=1) for each in values]
    optimizer = type(both.gpu)(other, max_norm=1.0)
    both.step(grads)
    optimizer.step([device.array(each, device=1) for each in grads])
    for there, expected in zip(other, both.params, strict=True):
        assert_same(device.host(there), device.host(expected), "")
    assert optimizer.state[0]["exp_avg"].device.id == 1
    assert optimizer.grad_norm == both.gpu.grad_norm
