"""A checkpoint of another rule is refused by name, with nothing changed."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

import fastopt.torch
from fastopt.rules import RULES
from tests.support.torch_checkpoints import bits, built, everything, groups, parameters, run
from tests.support.torch_programs import TORCH_RULES, one_thread

__all__ = ["one_thread"]

PAIRS = [(saved, wanted) for saved in RULES for wanted in RULES if saved != wanted]
TAKEN_FROM_TORCH = {("AdamW", "Adam"): "torch's Adam with decoupled_weight_decay=True saves the same"}


@pytest.mark.parametrize(("saved", "wanted"), PAIRS)
@pytest.mark.parametrize("steps", [0, 2])
def test_our_checkpoints_of_another_rule(saved: str, wanted: str, steps: int) -> None:
    source, optimizer = built(saved, parameters()), built(wanted, parameters())
    run(source, 0, steps)
    run(optimizer, 0, 1)
    before = everything(optimizer)
    with pytest.raises(ValueError, match=rf"^state_dict: got the checkpoint of '{saved}', expected {wanted}'s$"):
        optimizer.load_state_dict(source.state_dict())
    assert everything(optimizer) == before


@pytest.mark.parametrize(("saved", "wanted"), [pair for pair in PAIRS if "Lion" not in pair])
def test_torchs_checkpoints_of_another_rule(saved: str, wanted: str) -> None:
    source, optimizer = getattr(torch.optim, saved)(groups(parameters())), built(wanted, parameters())
    run(source, 0, 2)
    before = everything(optimizer)
    if (saved, wanted) in TAKEN_FROM_TORCH:
        optimizer.load_state_dict(source.state_dict())
        assert all(group["decoupled_weight_decay"] for group in optimizer.param_groups)
        return
    with pytest.raises(ValueError, match=r"^state_dict(\['state'\]\[0\])?: got .*, expected "):
        optimizer.load_state_dict(source.state_dict())
    assert everything(optimizer) == before


def test_what_the_words_name() -> None:
    for saved, wanted, words in (
        ("Adam", "AdamW", "got the checkpoint of Adam, with decoupled_weight_decay=False, expected AdamW's"),
        ("RMSprop", "AdamW", "got the checkpoint of RMSprop, with alpha, centered, momentum, expected AdamW's"),
        ("RAdam", "Adam", "got the checkpoint of Adamax or RAdam, without amsgrad, expected Adam's"),
        ("SGD", "Lion", "got the checkpoint of SGD, with dampening, momentum, nesterov, expected Lion's"),
    ):
        with pytest.raises(ValueError, match=words):
            built(wanted, parameters()).load_state_dict(getattr(torch.optim, saved)(groups(parameters())).state_dict())


@pytest.mark.parametrize("rule", TORCH_RULES)
def test_older_checkpoints_load(rule: str) -> None:
    """Loads checkpoints from before ours named their rule, and torch's from before its flags."""
    source = built(rule, parameters())
    run(source, 0, 2)
    saved = copy.deepcopy(source.state_dict())
    del saved["fastopt"]["rule"]
    for group in saved["param_groups"]:
        del group["state_dtype"], group["master"]
    optimizer = built(rule, parameters())
    optimizer.load_state_dict(saved)
    assert bits(optimizer.state_dict()) == bits(source.state_dict())
    theirs = getattr(torch.optim, rule)(parameters())
    run(theirs, 0, 2)
    older = copy.deepcopy(theirs.state_dict())
    for flag in ("foreach", "differentiable", "maximize", "capturable", "fused", "decoupled_weight_decay"):
        older["param_groups"][0].pop(flag, None)
    plain = getattr(fastopt.torch, rule)(parameters(), l1=0.25)
    plain.load_state_dict(older)
    assert plain.param_groups[0]["l1"] == 0.25
    assert plain.param_groups[0]["decoupled_weight_decay"] is (rule == "AdamW")
    run(plain, 2, 3)


def test_decoupled_decay_that_the_optimizer_was_built_without() -> None:
    """An AdamW with `decoupled_weight_decay=False` is Adam, and loads its checkpoints; so do AdamW's own, wherever they are loaded."""
    theirs = torch.optim.Adam(parameters(), lr=0.1)
    run(theirs, 0, 2)
    ours = fastopt.torch.AdamW(parameters(), decoupled_weight_decay=False)
    ours.load_state_dict(theirs.state_dict())
    assert ours.param_groups[0]["decoupled_weight_decay"] is False
    other = fastopt.torch.AdamW(parameters())
    other.load_state_dict(ours.state_dict())
    assert other.param_groups[0]["decoupled_weight_decay"] is False


@pytest.mark.parametrize("value", [3, None, ["AdamW"], "adamw", "nothing"])
def test_a_rule_that_is_none(value: Any) -> None:
    optimizer = built("AdamW", parameters())
    saved = copy.deepcopy(optimizer.state_dict())
    saved["fastopt"]["rule"] = value
    if value is None:
        optimizer.load_state_dict(saved)
        return
    with pytest.raises((TypeError, ValueError), match=r"^state_dict.*: got .*, expected 'AdamW'|expected AdamW's"):
        optimizer.load_state_dict(saved)


def test_a_key_of_the_programs_own_passes() -> None:
    """Even one that is a hyperparameter of another rule, if the optimizer's group has it too."""
    optimizer = fastopt.torch.AdamW([{"params": parameters(), "alpha": 0.5, "layer": 3}])
    theirs = torch.optim.AdamW([{"params": parameters(), "alpha": 0.25, "layer": 4}])
    optimizer.load_state_dict(theirs.state_dict())
    assert (optimizer.param_groups[0]["alpha"], optimizer.param_groups[0]["layer"]) == (0.25, 4)
