"""Bad snapshots and bad calls of the bare kernels: an error that names what is wrong, and nothing changed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt.rules import RULES
from tests.support.cases import arguments_with_state
from tests.support.comparing import digest
from tests.support.scenes import BAD_GRADIENTS, N, Scene, read_only

ALL_RULES = pytest.mark.parametrize("rule", RULES)


def put(*path: Any, value: Any) -> Callable[[dict[str, Any]], Any]:
    """Replaces what stands at `path`; "slot" is the last slot of an entry."""

    def change(snapshot: dict[str, Any]) -> dict[str, Any]:
        target: Any = snapshot
        for key in path[:-1]:
            target = target[key]
        key = list(target)[-1] if path[-1] == "slot" else path[-1]
        target[key] = value
        return snapshot

    return change


def without(*path: Any) -> Callable[[dict[str, Any]], Any]:
    def change(snapshot: dict[str, Any]) -> dict[str, Any]:
        target: Any = snapshot
        for key in path[:-1]:
            target = target[key]
        del target[list(target)[-1] if path[-1] == "slot" else path[-1]]
        return snapshot

    return change


SLOT = r"state_dict\['state'\]\[2\]\['\w+'\]"
COUNT = r"state_dict\['state'\]\[2\]\['step'\]"
BAD_SNAPSHOTS: dict[str, tuple[Callable[[dict[str, Any]], Any], type[Exception] | tuple[type[Exception], ...], str]] = {
    "None": (lambda s: None, TypeError, "state_dict: got"),
    "a list": (list, TypeError, "state_dict: got"),
    "empty": (lambda s: {}, ValueError, "state_dict: got none of 'rule'"),
    "no rule": (without("rule"), ValueError, "state_dict: got none of 'rule'"),
    "no steps": (without("steps"), ValueError, "state_dict: got none of 'steps'"),
    "no state": (without("state"), ValueError, "state_dict: got none of 'state'"),
    "no groups": (without("groups"), ValueError, "state_dict: got none of 'groups'"),
    "another rule": (put("rule", value="Momo"), ValueError, "state_dict: got the state of Momo"),
    "fewer tensors": (without("state", 2), ValueError, r"state_dict\['state'\]: got 2 entries, expected 3"),
    "state is a dict": (put("state", value={}), TypeError, r"state_dict\['state'\]: got dict"),
    "groups is a number": (put("groups", value=1), TypeError, r"state_dict\['groups'\]: got int"),
    "no groups in it": (put("groups", value=[]), ValueError, r"state_dict\['groups'\]: got 0 entries, expected 1"),
    "an entry that is none": (put("state", 2, value=None), ValueError, r"state_dict\['state'\]\[2\]: got"),
    "a slot too few": (without("state", 2, "slot"), ValueError, r"state_dict\['state'\]\[2\]: got"),
    "a slot too many": (
        put("state", 2, "velocity", value=np.ones(N, np.float32)),
        ValueError,
        r"state_dict\['state'\]\[2\]: got .*velocity",
    ),
    "no count": (without("state", 2, "step"), ValueError, r"state_dict\['state'\]\[2\]: got"),
    "a negative count": (put("state", 2, "step", value=-1), ValueError, COUNT),
    "a broken count": (put("state", 2, "step", value=1.5), TypeError, COUNT),
    "a count that is true": (put("state", 2, "step", value=True), TypeError, COUNT),
    "a count of text": (put("state", 2, "step", value="1"), TypeError, COUNT),
    "a huge count": (put("state", 2, "step", value=2**63), ValueError, COUNT),
    "negative steps": (put("steps", value=-1), ValueError, r"state_dict\['steps'\]"),
    "no number of steps": (put("steps", value=None), TypeError, r"state_dict\['steps'\]"),
    "another dtype": (put("state", 2, "slot", value=np.ones(N)), TypeError, SLOT),
    "another shape": (put("state", 2, "slot", value=np.ones((2, 3), np.float32)), ValueError, SLOT),
    "another length": (put("state", 2, "slot", value=np.ones(N + 1, np.float32)), ValueError, SLOT),
    "a running scalar of text": (
        lambda s: put("state", 2, "mu_product", value="1")(s) if "mu_product" in s["state"][2] else None,
        TypeError,
        r"state_dict(\['state'\]\[2\]\['mu_product'\])?: got",
    ),
    "a running scalar out of range": (
        lambda s: put("state", 2, "mu_product", value=-3.0)(s) if "mu_product" in s["state"][2] else {},
        ValueError,
        r"state_dict(\['state'\]\[2\]\['mu_product'\])?: got",
    ),
    "no array": (put("state", 2, "slot", value=None), TypeError, SLOT),
    "a list of numbers": (put("state", 2, "slot", value=[1.0] * N), TypeError, SLOT),
    "a group without lr": (without("groups", 0, "lr"), ValueError, r"state_dict\['groups'\]\[0\]"),
    "a group with more": (put("groups", 0, "speed", value=1), ValueError, r"state_dict\['groups'\]\[0\]"),
    "a group that is none": (put("groups", 0, value=None), ValueError, r"state_dict\['groups'\]\[0\]"),
    "an lr out of range": (put("groups", 0, "lr", value=-1.0), ValueError, "lr: got -1.0"),
    "an lr of text": (put("groups", 0, "lr", value="1"), TypeError, "lr: got"),
    "a flag of text": (put("groups", 0, "maximize", value="yes"), (TypeError, ValueError), "maximize: got"),
}


@ALL_RULES
@pytest.mark.parametrize("bad", BAD_SNAPSHOTS)
def test_snapshots(rule: str, bad: str) -> None:
    change, error, words = BAD_SNAPSHOTS[bad]
    scene = Scene(rule)
    snapshot = copy.deepcopy(scene.optimizer.state_dict())
    scene.optimizer.step(scene.grads)
    for entry in snapshot["state"]:  # so that what is copied too early shows
        for key in entry:
            if key != "step":
                entry[key] = entry[key] * 0.5
    snapshot["groups"][0]["weight_decay"] = 0.25
    with scene.refuses(error, words):
        scene.optimizer.load_state_dict(change(snapshot))


@ALL_RULES
def test_a_snapshot_of_every_other_rule(rule: str) -> None:
    for other in RULES:
        scene = Scene(rule)
        if other != rule:
            with scene.refuses(ValueError, f"state_dict: got the state of {other}, expected {rule}'s"):
                scene.optimizer.load_state_dict(Scene(other).optimizer.state_dict())


def test_a_snapshot_with_other_state() -> None:
    scene = Scene("Adam")
    plain = fastopt.Adam([np.ones(N, np.float32) for _ in range(3)])
    with scene.refuses(ValueError, r"state_dict\['state'\]\[0\]: got"):
        scene.optimizer.load_state_dict(plain.state_dict())


def bare(rule: str) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """A kernel, good arrays for it, and the other arguments."""
    arrays = {name: np.full(N, 2.0, np.float32) for name in ("param", "grad", *(slot.name for slot in RULES[rule].slots))}
    arrays |= {name: np.full((), 2.0) for name in RULES[rule].carried}
    return getattr(fastopt.functional, rule.lower()), arrays, {"step": 1, **arguments_with_state(rule)}


def refuses(rule: str, error: Any, words: str, **changes: Any) -> None:
    function, arrays, arguments = bare(rule)
    given = arrays | arguments | changes
    watched = [value for value in {**arrays, **changes}.values() if isinstance(value, np.ndarray)]
    before = digest(*watched)
    with pytest.raises(error, match=words):
        function(**given)
    assert digest(*watched) == before


@ALL_RULES
def test_the_good_call_is_good(rule: str) -> None:
    function, arrays, arguments = bare(rule)
    arrays["grad"][...] = 3.0
    function(**arrays, **arguments)
    assert all((array != 2.0).all() for name, array in arrays.items() if name not in ("grad", "max_exp_avg_sq"))


@ALL_RULES
@pytest.mark.parametrize("bad", BAD_GRADIENTS)
def test_arrays_of_a_bare_kernel(rule: str, bad: str) -> None:
    make, error = BAD_GRADIENTS[bad]
    _, arrays, _ = bare(rule)
    for name in arrays.keys() - set(RULES[rule].carried):
        if name == "param" and bad not in (
            "too short",
            "too long",
            "empty",
            "of another shape",
            "of one more dimension",
            "of the other dtype",
        ):
            refuses(rule, error, "^param: got", param=make())
        elif name != "param":
            refuses(rule, error, f"^{name}: got", **{name: make()})


@ALL_RULES
def test_state_of_a_bare_kernel(rule: str) -> None:
    _, arrays, _ = bare(rule)
    slots = [slot.name for slot in RULES[rule].slots]
    for name in slots:
        refuses(rule, ValueError, f"^{name}: got None, expected an array", **{name: None})
        refuses(rule, ValueError, f"^{name}: got a read-only array", **{name: read_only(np.ones(N, np.float32))})
        refuses(
            rule,
            ValueError,
            f"{name}: got the same memory as grad|grad: got the same memory as {name}",
            **{name: arrays["grad"], "grad": arrays["grad"]},
        )
        refuses(rule, ValueError, "got the same memory as", **{name: arrays["param"], "param": arrays["param"]})
    refuses(rule, ValueError, "^param: got a read-only array", param=read_only(np.ones(N, np.float32)))
    refuses(rule, ValueError, "same memory", param=arrays["param"], grad=arrays["param"])
    refuses(rule, TypeError, "^(param|grad): got None", grad=None)
    refuses(rule, TypeError, "^param: got None", param=None)


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        (None, ValueError, "got None, expected a float64 array of shape"),
        (1.0, TypeError, "got float 1.0"),
        (np.float64(1), TypeError, "got the scalar"),
        (np.ones(()).astype(np.float32), TypeError, "got dtype float32"),
        (np.ones(1), ValueError, r"got shape \(1,\)"),
        (read_only(np.ones(())), ValueError, "got a read-only array"),
        (np.full((), np.nan), ValueError, "got nan, expected a number in"),
        (np.full((), 1.5), ValueError, "got 1.5, expected a number in"),
        (np.full((), -0.5), ValueError, "got -0.5, expected a number in"),
    ],
    ids=str,
)
def test_running_scalar_of_a_bare_kernel(bad: Any, error: Any, words: str) -> None:
    refuses("NAdam", error, f"^mu_product: {words}", mu_product=bad, step=2)


@pytest.mark.parametrize(
    ("rule", "changes", "slot"), [("SGD", {"momentum": 0.0}, "momentum_buffer"), ("Adam", {"amsgrad": False}, "max_exp_avg_sq")]
)
def test_superfluous_state_of_a_bare_kernel(rule: str, changes: dict[str, Any], slot: str) -> None:
    refuses(rule, ValueError, f"^{slot}: got an array of .*, expected None", **changes)


@ALL_RULES
def test_step_and_other_arguments_of_a_bare_kernel(rule: str) -> None:
    for value, error in (
        (0, ValueError),
        (-1, ValueError),
        (2**60, ValueError),
        (1.0, TypeError),
        (None, TypeError),
        ("1", TypeError),
        (True, TypeError),
    ):
        refuses(rule, error, "^step: got", step=value)
    for value, error in ((float("nan"), ValueError), (None, TypeError), (True, TypeError)):
        refuses(rule, error, "^grad_scale: got", grad_scale=value)
    refuses(rule, TypeError, f"{rule.lower()}: .*speed", speed=1)
    function, arrays, arguments = bare(rule)
    del arguments["step"]
    with pytest.raises(TypeError, match=f"{rule.lower()}: .*step"):
        function(**arrays, **arguments)
    with pytest.raises(TypeError, match=f"{rule.lower()}: .*param"):
        function(step=1)
