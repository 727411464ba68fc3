"""fastopt.torch's checkpoints: what does not fit is refused by name with nothing changed; hooks run as torch's."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch

import fastopt.torch
from fastopt.torch.coded import Coded, rebuild
from tests.support.torch_checkpoints import bits, built, everything, groups, parameters, run, through_a_file

ARGUMENTS: dict[str, Any] = {"state_dtype": "8bit", "ema_decay": 0.9, "lr": 0.1}


def stepped(rule: str = "AdamW", dtype: torch.dtype = torch.float32, **arguments: Any) -> Any:
    optimizer = built(rule, parameters(dtype), **arguments)
    run(optimizer, 0, 3)
    return optimizer


def assert_refused(optimizer: Any, saved: Any, error: type[Exception], match: str) -> None:
    """And nothing is changed, nor is the next step."""
    other = copy.deepcopy(optimizer)
    before, steps = everything(optimizer), optimizer._book.steps
    with pytest.raises(error, match=match):
        optimizer.load_state_dict(saved)
    assert everything(optimizer) == before
    assert optimizer._book.steps is steps
    for each in (optimizer, other):
        run(each, 3, 5)
    assert everything(optimizer) == everything(other)


BAD: dict[str, tuple[tuple[Any, ...], Any, type[Exception], str]] = {
    "groups": (("param_groups",), lambda value: value[:1], ValueError, "different number of parameter groups"),
    "a group's size": (("param_groups", 1, "params"), lambda value: value[:1], ValueError, "match the size"),
    "no list of groups": (("param_groups",), lambda value: 3, TypeError, r"state_dict\['param_groups'\]: got int 3, expected"),
    "no group": (("param_groups", 1), lambda value: [], TypeError, r"state_dict\['param_groups'\]: got list"),
    "no params": (("param_groups", 1), lambda value: {"lr": 0.1}, TypeError, r"state_dict\['param_groups'\]: got list"),
    "lr": (("param_groups", 1, "lr"), lambda value: -1, ValueError, r"state_dict\['param_groups'\]\[1\]: lr: got -1, expected"),
    "betas": (("param_groups", 0, "betas"), lambda value: 3, TypeError, r"state_dict\['param_groups'\]\[0\]: betas: got 3"),
    "fused": (("param_groups", 0, "fused"), lambda value: 7, TypeError, r"\[0\]: fused: got 7, expected True, False or None"),
    "differentiable": (("param_groups", 0, "differentiable"), lambda value: True, RuntimeError, "differentiable: got True"),
    "no state": (("state",), lambda value: [1], TypeError, r"state_dict\['state'\]: got list \[1\], expected a dict"),
    "no entry": (("state", 0), lambda value: 3, TypeError, r"state_dict\['state'\]\[0\]: got int 3, expected a dict"),
    "a shape": (
        ("state", 1, "exp_avg"),
        lambda value: torch.ones(2),
        ValueError,
        r"\['state'\]\[1\]: exp_avg: got a Tensor .*\(3,\)",
    ),
    "an average's shape": (("state", 1, "ema"), lambda value: torch.ones(2), ValueError, r"\['state'\]\[1\]: ema: got .*\(3,\)"),
    "a number": (
        ("state", 0, "exp_avg"),
        lambda value: 3.0,
        TypeError,
        r"\['state'\]\[0\]: exp_avg: got float 3.0, expected a ten",
    ),
    "complex": (
        ("state", 0, "exp_avg"),
        lambda value: value.float() + 1j,
        TypeError,
        r"\[0\]: exp_avg: got .*complex64.*expected",
    ),
    "sparse": (("state", 0, "exp_avg"), lambda value: value.float().to_sparse(), TypeError, r"\[0\]: exp_avg: got .*expected"),
    "meta": (("state", 0, "exp_avg"), lambda value: value.float().to("meta"), TypeError, r"\[0\]: exp_avg: got .*meta, expected"),
    "a sign": (("state", 0, "exp_avg_sq"), lambda value: -value - 1, ValueError, r"\['state'\]\[0\]: exp_avg_sq: .*below 0"),
    "half a step": (
        ("state", 0, "step"),
        lambda value: torch.tensor(0.5),
        ValueError,
        r"\['state'\]\[0\]: step: got 0.5, expected",
    ),
    "less than no step": (("state", 4, "step"), lambda value: -1, ValueError, r"\['state'\]\[4\]: step: got -1.0, expected"),
    "a step of NaN": (("state", 4, "step"), lambda value: torch.tensor(torch.nan), ValueError, r"\[4\]: step: got nan, expected"),
    "two counts": (("state", 4, "step"), lambda value: torch.ones(2), TypeError, r"\['state'\]\[4\]: step: got Tensor .*number"),
    "words": (("state", 0, "step"), lambda value: "3", TypeError, r"\['state'\]\[0\]: step: got str '3', expected a number"),
    "ours": (("fastopt",), lambda value: None, TypeError, r"state_dict\['fastopt'\]: got NoneType None, expected a dict"),
    "options": (
        ("fastopt", "options"),
        lambda value: 3,
        TypeError,
        r"state_dict\['fastopt'\]: options: got int 3, expected a dict",
    ),
    "an option": (("fastopt", "options", "odd"), lambda value: 1, TypeError, "odd: there is no such option"),
    "max_norm": (("fastopt", "options", "max_norm"), lambda value: -1, ValueError, r"\['fastopt'\]: max_norm: got -1, expected"),
    "ema_decay": (("fastopt", "options", "ema_decay"), lambda value: 2, ValueError, r"\['fastopt'\]: ema_decay: got 2, expected"),
    "seed": (("fastopt", "seed"), lambda value: -1, ValueError, r"\['fastopt'\]: seed: got -1, expected a whole number"),
    "skipped": (("fastopt", "skipped_steps"), lambda value: -1, ValueError, r"\['fastopt'\]: skipped_steps: got -1, expected"),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_does_not_fit_is_refused(bad: str) -> None:
    path, change, error, match = BAD[bad]
    optimizer = stepped(**ARGUMENTS)
    saved = copy.deepcopy(optimizer.state_dict())
    *way, last = path
    inner: Any = saved
    for key in way:
        inner = inner[key]
    inner[last] = change(inner[last] if isinstance(inner, list) else inner.get(last))
    assert_refused(optimizer, saved, error, match)


@pytest.mark.parametrize("key", ["step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"])
def test_missing_state_is_refused(key: str) -> None:
    optimizer = stepped()
    saved = copy.deepcopy(optimizer.state_dict())
    del saved["state"][3][key]
    assert_refused(optimizer, saved, ValueError, rf"^state_dict\['state'\]\[3\]: got .*, expected '{key}' too, as AdamW has$")


@pytest.mark.parametrize("value", [None, 3, "x", [1]])
def test_what_is_no_dict_is_refused(value: Any) -> None:
    assert_refused(stepped(), value, TypeError, "^state_dict: got .*, expected a dict")


@pytest.mark.parametrize("key", ["state", "param_groups"])
def test_a_dict_without_parts_is_refused_as_by_torch(key: str) -> None:
    saved = stepped().state_dict()
    del saved[key]
    assert_refused(stepped(), saved, KeyError, key)


@pytest.mark.parametrize("wanted", ["24bit", "32bit", "float32"])
@pytest.mark.parametrize("saved", ["24bit", "32bit", "float32"])
def test_masters_of_another_kind_are_refused(saved: str, wanted: str) -> None:
    if saved != wanted:
        first, second = (stepped(dtype=torch.bfloat16, master=kind) for kind in (saved, wanted))
        assert_refused(
            second, first.state_dict(), ValueError, rf"\['state'\]\[0\]: master: got .*, expected .* of master='{wanted}'"
        )


@pytest.mark.parametrize("master", ["24bit", "32bit", "float32"])
@pytest.mark.parametrize("wanted", [None, "stochastic"])
def test_masters_that_are_not_kept_up_are_dropped(master: str, wanted: str | None) -> None:
    first, second = stepped(dtype=torch.bfloat16, master=master), stepped(dtype=torch.bfloat16, master=wanted)
    second.load_state_dict(first.state_dict())
    assert all("master" not in entry for entry in second.state.values())
    run(second, 3, 5)
    first.load_state_dict(second.state_dict())  # takes the parameters as they are then
    for param, entry in first.state.items():
        value = entry["master"]
        assert torch.equal(value, param.float()) if master == "float32" else not value.any()


@pytest.mark.parametrize("master", ["24bit", "32bit", "float32"])
def test_masters_that_torch_has_cast_are_dropped(master: str) -> None:
    """Its class trains the parameter without them."""
    ours = stepped(dtype=torch.bfloat16, master=master)
    params = [param for group in ours.param_groups for param in group["params"]]
    theirs = torch.optim.AdamW(groups(params))
    theirs.load_state_dict(ours.state_dict())
    run(theirs, 3, 5)
    before = bits(params)
    ours.load_state_dict(theirs.state_dict())
    for param in params:
        value = ours.state[param]["master"]
        assert torch.equal(value, param.float()) if master == "float32" else not value.any()
    assert bits(params) == before
    run(ours, 5, 7)


def test_averages_are_a_format_of_the_optimizer() -> None:
    plain, averaging = stepped(), stepped(ema_decay=0.9)
    plain.load_state_dict(averaging.state_dict())
    assert all("ema" not in entry for entry in plain.state.values())
    assert plain.options["ema_decay"] is None
    averaging.load_state_dict(plain.state_dict())
    assert averaging.options["ema_decay"] == 0.9
    params = [param.detach().clone() for group in averaging.param_groups for param in group["params"]]
    run(averaging, 3, 4)
    for average, before, group in zip(averaging.ema_params, params, averaging.state, strict=True):
        torch.testing.assert_close(average, before + 0.1 * (group.detach() - before))


def test_a_groups_own_values_stay_where_a_checkpoint_has_none() -> None:
    theirs = torch.optim.AdamW(groups(parameters()), lr=0.25)
    ours = fastopt.torch.AdamW([{"params": parameters()[:2], "l1": 0.125}, {"params": parameters()[2:]}])
    ours.load_state_dict(theirs.state_dict())
    assert [(group["lr"], group["l1"]) for group in ours.param_groups] == [(0.25, 0.125), (0.03, 0.0)]


def test_names_of_a_checkpoint_win_as_in_torch() -> None:
    saved = torch.optim.AdamW(groups(parameters())).state_dict()
    for cls in (torch.optim.AdamW, fastopt.torch.AdamW):
        bare, named = cls(parameters()), cls([(f"n{i}", param) for i, param in enumerate(parameters())])
        named.load_state_dict(bare.state_dict())
        assert named.param_groups[0]["param_names"] == ["n0", "n1", "n2", "n3", "n4"]
        bare.load_state_dict(named.state_dict())
        assert bare.param_groups[0]["param_names"] == ["n0", "n1", "n2", "n3", "n4"]
        named = cls(groups(parameters()))
        named.load_state_dict({**saved, "param_groups": [{**group, "param_names": None} for group in saved["param_groups"]]})
        run(named, 0, 2)


@pytest.mark.parametrize("cls", [torch.optim.AdamW, fastopt.torch.AdamW])
def test_hooks_run_as_torchs(cls: Any) -> None:
    """In order, with dicts that they replace: what is asserted here of ours is asserted of torch's too."""
    optimizer, seen = cls(parameters(), lr=0.1), []
    run(optimizer, 0, 1)
    optimizer.register_state_dict_pre_hook(lambda opt: seen.append(("pre", opt is optimizer)))
    optimizer.register_state_dict_post_hook(lambda opt, saved: seen.append(("post", sorted(set(saved) - {"fastopt"}))))
    handle = optimizer.register_state_dict_post_hook(lambda opt, saved: {"all": saved}, prepend=True)
    wrapped = optimizer.state_dict()
    assert set(wrapped) == {"all"}
    assert seen == [("pre", True), ("post", ["all"])]
    handle.remove()
    seen.clear()

    optimizer.register_load_state_dict_pre_hook(lambda opt, saved: saved["all"])
    optimizer.register_load_state_dict_pre_hook(lambda opt, saved: saved["param_groups"][0].update(lr=0.5))
    optimizer.register_load_state_dict_pre_hook(lambda opt, saved: seen.append(sorted(saved)), prepend=True)
    optimizer.register_load_state_dict_post_hook(lambda opt: seen.append(opt.param_groups[0]["lr"]))
    optimizer.load_state_dict(wrapped)
    assert seen == [["all"], 0.5]
    assert set(wrapped) == {"all"}
    run(optimizer, 1, 2)
    assert all(entry["step"] == 2 for entry in optimizer.state.values())


def test_a_buffer_of_none_is_none() -> None:
    """Which older versions of torch's SGD keep without momentum."""
    optimizer = fastopt.torch.SGD(parameters(), momentum=0.9)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": {i: {"momentum_buffer": None} for i in range(5)}})
    run(optimizer, 0, 2)
    other = fastopt.torch.SGD(parameters(), momentum=0.9)
    run(other, 0, 2)
    assert bits(optimizer.state_dict()) == bits(other.state_dict())


def test_entries_of_no_parameter_pass_as_in_torch() -> None:
    for cls in (torch.optim.AdamW, fastopt.torch.AdamW):
        optimizer = cls(parameters())
        optimizer.state["note"] = {"text": 3}
        run(optimizer, 0, 2)
        optimizer.load_state_dict(through_a_file(optimizer.state_dict()))
        assert optimizer.state["note"] == {"text": 3}
        run(optimizer, 2, 3)


HOSTILE: dict[str, dict[str, Any]] = {
    "no format": {"format": "4bit"},
    "a format without blocks": {"format": "bfloat16"},
    "a master's format": {"format": "bfloat16 24bit"},
    "a list": {"format": ["8bit"]},
    "few codes": {"codes": torch.zeros((1, 256), dtype=torch.uint8)},
    "long blocks": {"codes": torch.zeros((2, 257), dtype=torch.uint8)},
    "codes of floats": {"codes": torch.zeros(2, 256)},
    "few words": {"blocks": torch.zeros(1, dtype=torch.int32)},
    "wide words": {"blocks": torch.zeros(2, dtype=torch.int64)},
    "a table of words": {"blocks": torch.zeros((2, 1), dtype=torch.int32)},
    "codes that are none": {"codes": [0] * 512},
    "words that are none": {"blocks": 3},
    "another shape": {"shape": (600,)},
    "less than nothing": {"shape": (-300,)},
    "numbers": {"shape": 300},
    "few strides": {"shape": (30, 10), "strides": (1,)},
    "gaps": {"strides": (2,)},
    "an element many times": {"strides": (0,)},
    "backwards": {"strides": (-1,)},
}


@pytest.mark.parametrize("bad", HOSTILE)
def test_a_file_of_somebody_elses_is_refused(bad: str) -> None:
    good = Coded.zeros("8bit", torch.zeros(300))
    parts = {"format": good.format, "codes": good.codes, "blocks": good.blocks, "shape": (300,), "strides": (1,)}
    assert bits(rebuild(**parts)) == bits(good)
    with pytest.raises((TypeError, ValueError), match=r"^Coded: got "):
        rebuild(**{**parts, **HOSTILE[bad]})


def test_a_file_with_a_bad_tensor_is_refused() -> None:
    coded = Coded.zeros("8bit", torch.zeros(300))
    coded.parts = (coded.codes, coded.blocks[:1])
    file = io.BytesIO()
    torch.save(coded, file)
    file.seek(0)
    with pytest.raises(Exception, match="Coded: got "):
        torch.load(file, weights_only=True)
