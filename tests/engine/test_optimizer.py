"""What users type: every way to pass arrays, groups, state, schedules and snapshots."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt.rules import RULES
from tests.support.arrays import Array, gradients
from tests.support.cases import DTYPES, arguments_with_state
from tests.support.comparing import assert_same_bits

pytestmark = pytest.mark.kernel

ALL_RULES = pytest.mark.parametrize("rule", RULES)
CLASSES: dict[str, Callable[..., Any]] = {name: getattr(fastopt, name) for name in RULES}


def states(optimizer: Any) -> list[Array]:
    return [array for entry in optimizer.state for slot, array in entry.items() if slot != "step"]


@ALL_RULES
@pytest.mark.parametrize("dtype", DTYPES)
def test_one_array_a_list_a_tuple_a_dict_and_groups_are_one_step(rule: str, dtype: Any, rng: np.random.Generator) -> None:
    starts = [gradients(n, dtype, rng) for n in (5, 40, 1)]
    grads = [gradients(n, dtype, rng) for n in (5, 40, 1)]
    make, words = CLASSES[rule], arguments_with_state(rule)

    def run(arrange: Callable[[list[Array]], Any], arrange_grads: Callable[[list[Array]], Any] = list) -> list[Array]:
        params = [a.copy() for a in starts]
        optimizer = make(arrange(params), lr=0.1, **words)
        for _ in range(3):
            optimizer.step(arrange_grads(grads))
        return params + states(optimizer)

    def named(arrays: list[Array]) -> dict[str, Array]:
        return dict(zip("abc", arrays, strict=True))

    expected = run(list)
    assert_same_bits(run(tuple, tuple), expected)
    assert_same_bits(run(list, tuple), expected)
    assert_same_bits(run(named, named), expected)
    assert_same_bits(run(named, lambda a: dict(reversed(named(a).items()))), expected, "a dict goes by its names")
    assert_same_bits(run(named, list), expected)
    assert_same_bits(run(lambda a: [{"params": a[:1]}, {"params": tuple(a[1:])}]), expected)
    assert_same_bits(run(lambda a: [{"params": a[0]}, {"params": {"b": a[1], "c": a[2]}}]), expected)
    assert_same_bits(run(lambda a: [{"params": {"a": a[0]}}, {"params": {"b": a[1], "c": a[2]}}], named), expected)
    one = []
    for start, grad in zip(starts, grads, strict=True):
        param = start.copy()
        optimizer = make(param, lr=0.1, **words)
        for _ in range(3):
            optimizer.step(grad)
        one.append((param, states(optimizer)))
    assert_same_bits([p for p, _ in one] + [a for _, each in one for a in each], expected)


@ALL_RULES
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 4), (2, 3, 4), (2, 0, 3), (1,) * 8], ids=str)
def test_any_shape(rule: str, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    param, grad = gradients(shape, np.float32, rng), gradients(shape, np.float32, rng)
    flat, flat_grad = param.ravel().copy(), grad.ravel().copy()
    optimizer, expected = CLASSES[rule](param, lr=0.1), CLASSES[rule](flat, lr=0.1)
    optimizer.step(grad)
    expected.step(flat_grad)
    assert_same_bits([param.ravel()], [flat])
    assert all(optimizer.state[0][slot].shape == shape for slot in optimizer.groups[0].slots)
    assert optimizer.state[0]["step"] == 1


@ALL_RULES
def test_a_missing_gradient_leaves_its_tensor_alone(rule: str, rng: np.random.Generator) -> None:
    params = {name: gradients(30, np.float32, rng) for name in "abc"}
    optimizer = CLASSES[rule](params, lr=0.1, **arguments_with_state(rule))
    alone = {name: array.copy() for name, array in params.items()}
    separate = {name: CLASSES[rule](array, lr=0.1, **arguments_with_state(rule)) for name, array in alone.items()}
    for present in ("abc", "ac", "c", "", "bc", "abc"):
        grads = {name: gradients(30, np.float32, rng) if name in present else None for name in "abc"}
        optimizer.step(grads)
        for name in present:
            separate[name].step(grads[name])
    assert [entry["step"] for entry in optimizer.state] == [3, 3, 5]
    assert optimizer.steps == 6
    for name, own in separate.items():
        state = [optimizer.state[name][slot] for slot in own.state[0] if slot != "step"]
        assert_same_bits([params[name], *state], [alone[name], *states(own)], name)


@ALL_RULES
def test_bound_gradients(rule: str, rng: np.random.Generator) -> None:
    starts = [gradients(n, np.float64, rng) for n in (9, 33)]
    bound = [np.empty(9), np.empty(33)]
    params, expected = [a.copy() for a in starts], [a.copy() for a in starts]
    optimizer, other = CLASSES[rule](params, grads=bound), CLASSES[rule](expected)
    for round_ in range(4):
        for array in bound:
            array[...] = gradients(array.size, np.float64, rng)
        if round_ == 2:  # gradients given for one step leave the bound ones bound
            optimizer.step([array.copy() for array in bound])
        else:
            optimizer.step()
        other.step(bound)
    assert_same_bits(params + states(optimizer), expected + states(other))


def test_bound_gradients_in_a_dict_and_none(rng: np.random.Generator) -> None:
    params = {"a": np.zeros(2), "b": np.zeros(2)}
    optimizer = fastopt.SGD(params, lr=1.0, grads={"b": np.ones(2), "a": None})
    optimizer.step()
    assert params["a"].tolist() == [0, 0]
    assert params["b"].tolist() == [-1, -1]
    assert [entry["step"] for entry in optimizer.state] == [0, 1]


def test_groups_override_and_inherit(rng: np.random.Generator) -> None:
    a, b, c = (np.ones(3) for _ in range(3))
    groups = [
        {"params": [a], "lr": 0.5, "weight_decay": 0.0},
        {"params": {"b": b}, "momentum": 0.9},
        {"params": c, "maximize": True},
    ]
    optimizer = fastopt.SGD(groups, lr=0.25, weight_decay=0.5, decoupled_weight_decay=True)
    assert [group["lr"] for group in optimizer.groups] == [0.5, 0.25, 0.25]
    assert [group["momentum"] for group in optimizer.groups] == [0.0, 0.9, 0.0]
    assert [set(entry) for entry in optimizer.state] == [{"step"}, {"step", "momentum_buffer"}, {"step"}]
    assert optimizer.groups[0]["params"][0] is a
    optimizer.step([np.full(3, 2.0) for _ in range(3)])
    assert a.tolist() == [0.0] * 3
    assert b.tolist() == [1 * (1 - 0.125) - 0.5] * 3
    assert c.tolist() == [1 * (1 - 0.125) + 0.5] * 3
    with pytest.raises(ValueError, match=r"lr: .*groups\[i\]"):
        _ = optimizer.lr


@ALL_RULES
def test_assigned_hyperparameters_hold_from_the_next_step(rule: str, rng: np.random.Generator) -> None:
    param, twin, grad = np.ones(4), np.ones(4), gradients(4, np.float64, rng)
    optimizer, other = CLASSES[rule](param, lr=0.1), CLASSES[rule](twin, lr=0.1)
    optimizer.lr = 0.3
    assert optimizer.lr == 0.3 == optimizer.groups[0]["lr"]
    assert_same_bits([param], [twin])
    optimizer.step(grad)
    other.groups[0]["lr"] = 0.3
    other.step(grad)
    assert_same_bits([param], [twin])
    reference = CLASSES[rule](np.ones(4), lr=0.3)
    reference.step(grad)
    assert_same_bits([param], [reference.groups[0]["params"][0]])
    optimizer.groups[0].update(weight_decay=0.5, maximize=True, l1=0.1)
    other.step(grad)
    optimizer.step(grad)
    assert not np.array_equal(param, twin)


def test_assigned_betas(rng: np.random.Generator) -> None:
    param, grads = np.ones(4), [gradients(4, np.float64, rng) for _ in range(2)]
    optimizer = fastopt.Adam(param)
    optimizer.step(grads[0])
    optimizer.groups[0]["betas"] = [0.5, 0.75]
    assert optimizer.groups[0]["betas"] == (0.5, 0.75)
    before = optimizer.state[0]["exp_avg"].copy()
    optimizer.step(grads[1])
    assert np.allclose(optimizer.state[0]["exp_avg"], 0.5 * before + 0.5 * grads[1])


def test_a_group_is_a_mapping() -> None:
    optimizer = fastopt.Adagrad(np.ones(2))
    group = optimizer.groups[0]
    assert set(group) == {"params", *RULES["Adagrad"].defaults}
    assert len(group) == len(set(group))
    assert dict(group)["lr"] == 1e-2
    assert repr(group).startswith("Group(1 array, lr=0.01")
    with pytest.raises(KeyError):
        _ = group["momentum"]
    with pytest.raises(TypeError, match=r"^lr: "):
        del group["lr"]
    for key in ("params", "momentum"):
        with pytest.raises(TypeError, match=f"^{key}: "):
            group[key] = []


def test_state_is_live_and_named() -> None:
    params = {"w": np.zeros(3), "b": np.zeros(1)}
    optimizer = fastopt.SGD(params, lr=1.0, momentum=0.5)
    optimizer.step({"w": np.ones(3), "b": np.ones(1)})
    assert optimizer.state["w"]["momentum_buffer"] is optimizer.state[0]["momentum_buffer"]
    assert optimizer.state[-1]["momentum_buffer"].shape == (1,)
    assert len(optimizer.state[0:2]) == len(optimizer.state) == 2
    optimizer.state["w"]["momentum_buffer"][...] = 10.0
    optimizer.step({"w": np.ones(3), "b": None})
    assert params["w"].tolist() == [-1 - 6.0] * 3
    with pytest.raises(TypeError):
        optimizer.state[0]["step"] = 5
    for missing in (2, "nothing"):
        with pytest.raises((IndexError, KeyError)):
            _ = optimizer.state[missing]


@ALL_RULES
def test_schedules_see_the_completed_steps(rule: str, rng: np.random.Generator) -> None:
    seen: list[int] = []

    def schedule(completed: int) -> float:
        seen.append(completed)
        return 0.1 / (1 + completed)

    param, twin = np.ones(4), np.ones(4)
    optimizer, other = CLASSES[rule](param, lr=schedule), CLASSES[rule](twin)
    for t in range(4):
        grad = gradients(4, np.float64, rng)
        optimizer.step(grad)
        other.lr = 0.1 / (1 + t)
        other.step(grad)
        assert seen[-1] == t
        assert optimizer.lr == other.lr
    assert_same_bits([param], [twin])
    assert sorted(set(seen)) == [0, 1, 2, 3]
    optimizer.lr = 0.5  # a number ends the schedule
    optimizer.step(np.ones(4))
    assert optimizer.lr == 0.5
    assert seen[-1] == 3
    optimizer.groups[0]["lr"] = schedule
    optimizer.step(np.ones(4))
    assert seen[-1] == 5


def test_a_schedule_for_one_group() -> None:
    a, b = np.zeros(1), np.zeros(1)
    optimizer = fastopt.SGD([{"params": a, "lr": lambda t: 1.0 + t}, {"params": b}], lr=0.5)
    for _ in range(3):
        optimizer.step([np.ones(1), np.ones(1)])
    assert a[0] == -6.0
    assert b[0] == -1.5


@ALL_RULES
def test_traffic(rule: str) -> None:
    params = [np.zeros(100, np.float32), np.zeros(10, np.float32)]
    traffic = CLASSES[rule](params, **arguments_with_state(rule)).traffic()
    slots = [slot.name for slot in RULES[rule].slots]
    assert list(traffic) == ["params", "grads", *slots, "total"]
    for name in traffic:
        written = 0 if name == "grads" else 440
        if name != "total":
            assert traffic[name] == {"read": 440, "write": written}
    assert traffic["total"] == {"read": 440 * (2 + len(slots)), "write": 440 * (1 + len(slots))}


def test_traffic_of_adamw_is_28_bytes_a_parameter() -> None:
    assert sum(fastopt.AdamW(np.zeros(1000, np.float32)).traffic()["total"].values()) == 28_000


@ALL_RULES
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_snapshot_continues_bit_for_bit(rule: str, dtype: Any, rng: np.random.Generator) -> None:
    params = [gradients(n, dtype, rng) for n in (20, 7)]
    make, words = CLASSES[rule], arguments_with_state(rule)
    optimizer = make(params, lr=0.1, **words)
    for _ in range(3):
        optimizer.step([gradients(20, dtype, rng), None])
    optimizer.lr = 0.05
    snapshot, copies = optimizer.state_dict(), [a.copy() for a in params]
    grads = [[gradients(20, dtype, rng), gradients(7, dtype, rng)] for _ in range(3)]
    for each in grads:
        optimizer.step(each)
    again = make(copies, **words)
    again.load_state_dict(snapshot)
    assert again.steps == 3
    assert [entry["step"] for entry in again.state] == [3, 0]
    assert again.lr == 0.05
    for each in grads:
        again.step(each)
    assert_same_bits(copies + states(again), params + states(optimizer))
    assert (snapshot["rule"], snapshot["steps"]) == (rule, 3), "a snapshot does not follow the optimizer"
    assert not any(np.shares_memory(entry[slot], own) for entry in snapshot["state"] for slot in entry for own in states(again))


def test_loading_keeps_a_schedule() -> None:
    optimizer = fastopt.SGD(np.zeros(1), lr=lambda t: 1.0 + t)
    optimizer.step(np.ones(1))
    param = np.zeros(1)
    again = fastopt.SGD(param, lr=lambda t: 1.0 + t)
    again.load_state_dict(optimizer.state_dict())
    again.step(np.ones(1))
    assert param[0] == -2.0


@ALL_RULES
def test_repr(rule: str) -> None:
    optimizer = CLASSES[rule]([np.zeros(3), np.zeros(4)])
    optimizer.step([np.ones(3), np.ones(4)])
    assert repr(optimizer).startswith(f"{rule}(2 tensors, 7 elements, 1 step)")
    assert "lr=" in repr(optimizer)


def test_an_update_of_several_values_is_all_or_nothing() -> None:
    optimizer = fastopt.SGD(np.ones(3), lr=0.1, momentum=0.9, dampening=0.5)
    group = optimizer.groups[0]
    with pytest.raises(ValueError, match="weight_decay: got -1"):
        group.update(lr=0.7, weight_decay=-1)
    assert group["lr"] == 0.1
    group.update(nesterov=True, dampening=0.0)  # neither could come alone after the other's old value
    assert (group["nesterov"], group["dampening"]) == (True, 0.0)
    assert isinstance(group["params"], tuple)


def test_a_schedule_may_set_other_values() -> None:
    optimizer = fastopt.SGD(np.ones(3), lr=0.1)

    def schedule(completed: int) -> float:
        optimizer.groups[0]["weight_decay"] = 0.01 * completed
        return 0.1

    optimizer.lr = schedule
    for _ in range(3):
        optimizer.step(np.ones(3))
    assert optimizer.groups[0]["weight_decay"] == 0.02


def test_a_schedule_that_fails_leaves_the_others_where_they_were() -> None:
    groups = [{"params": np.ones(2), "lr": lambda t: 1.0 + t}, {"params": np.ones(2), "lr": lambda t: -1.0 if t else 0.5}]
    optimizer = fastopt.SGD(groups)
    grads = [np.ones(2), np.ones(2)]
    optimizer.step(grads)
    with pytest.raises(ValueError, match="lr: got -1"):
        optimizer.step(grads)
    assert [group["lr"] for group in optimizer.groups] == [1.0, 0.5]


def test_snapshots_find_parameters_by_name() -> None:
    rng = np.random.default_rng(5)
    grads = {name: rng.standard_normal(3) for name in "ab"}
    first = fastopt.Adam({"a": np.ones(3), "b": np.ones(3)})
    first.step(grads)
    second = fastopt.Adam({"b": np.ones(3), "a": np.ones(3)})
    second.load_state_dict(first.state_dict())
    assert (second.state["a"]["exp_avg"] == first.state["a"]["exp_avg"]).all()
    with pytest.raises(ValueError, match="names"):
        fastopt.Adam({"c": np.ones(3), "a": np.ones(3)}).load_state_dict(first.state_dict())
    with pytest.raises(ValueError, match="names"):
        fastopt.Adam([np.ones(3), np.ones(3)]).load_state_dict(first.state_dict())


def test_a_snapshot_brings_its_own_accumulators() -> None:
    first = fastopt.Adagrad(np.ones(3), initial_accumulator_value=0.1)
    first.step(np.full(3, 2.0))
    second = fastopt.Adagrad(np.ones(3))
    second.load_state_dict(first.state_dict())
    assert second.groups[0]["initial_accumulator_value"] == 0.1
    assert (second.state[0]["sum"] == first.state[0]["sum"]).all()


def test_what_is_no_attribute_is_not_quietly_taken() -> None:
    optimizer = fastopt.SGD(np.ones(3))
    with pytest.raises(AttributeError, match=r"weight_decay: SGD has no such attribute.*groups"):
        optimizer.weight_decay = 0.1  # type: ignore[attr-defined]  # that is the test
    with pytest.raises(TypeError, match="state_dict"):
        copy.copy(optimizer)
    with pytest.raises(TypeError, match="AdamW"):
        fastopt.Optimizer(np.ones(3))


def test_a_step_without_any_gradient_counts_for_the_optimizer_alone() -> None:
    optimizer = fastopt.SGD([np.ones(2), np.ones(2)])
    optimizer.step([None, None])
    assert optimizer.steps == 1
    assert [optimizer.state[i]["step"] for i in range(2)] == [0, 0]
