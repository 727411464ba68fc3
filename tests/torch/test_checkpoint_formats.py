"""fastopt.torch's checkpoints in every format: what is resumed goes on bit for bit, and one format is loaded from another."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import fastopt
import fastopt.torch
from fastopt.rules import RULES
from fastopt.torch.coded import Coded
from tests.support.cases import arguments_with_state
from tests.support.torch_checkpoints import bits, built, everything, parameters, params_of, run, through_a_file, twins
from tests.support.torch_programs import TORCH_RULES, one_thread

__all__ = ["one_thread"]

Format = tuple[torch.dtype, dict[str, Any]]
FORMATS: list[Format] = [
    (torch.float64, {}),
    (torch.float64, {"state_dtype": "float64", "ema_decay": 0.9}),
    (torch.float32, {}),
    (torch.float32, {"state_dtype": "bfloat16", "ema_decay": 0.9}),
    (torch.float32, {"state_dtype": "8bit"}),
    (torch.bfloat16, {}),
    (torch.bfloat16, {"state_dtype": "bfloat16", "master": "24bit", "seed": 2**64 - 1}),
    (torch.bfloat16, {"state_dtype": "8bit", "master": "24bit", "ema_decay": 0.9, "seed": 11}),
    (torch.bfloat16, {"state_dtype": "8bit", "master": "32bit", "seed": 12}),
    (torch.bfloat16, {"master": "float32"}),
    (torch.bfloat16, {"state_dtype": "8bit", "master": "stochastic", "seed": 13}),
    (torch.float16, {"state_dtype": "bfloat16"}),
    (torch.float16, {"master": "24bit", "seed": 14}),
    (torch.float16, {"state_dtype": "8bit", "master": "32bit", "ema_decay": 0.9, "seed": 15}),
    (torch.float16, {"state_dtype": "bfloat16", "master": "float32"}),
    (torch.float16, {"master": "stochastic", "seed": 16}),
]


def in_formats(test: Callable[..., None]) -> Any:
    words = [f"{dtype}-{'-'.join(map(str, given.values()))}".removeprefix("torch.") for dtype, given in FORMATS]
    return pytest.mark.parametrize(("dtype", "formats"), FORMATS, ids=words)(test)


@in_formats
@pytest.mark.parametrize("rule", RULES)
def test_a_checkpoint_resumes_bit_for_bit(rule: str, dtype: torch.dtype, formats: dict[str, Any]) -> None:
    first = built(rule, parameters(dtype), **formats, clip_value=1.5)
    run(first, 0, 5, gaps=True)
    second = built(rule, twins(params_of(first)), **{**formats, "seed": 1}, lr=0.5)  # the checkpoint has the rest
    second.load_state_dict(through_a_file(first.state_dict()))
    assert everything(second) == everything(first)
    for optimizer in (first, second):
        run(optimizer, 5, 9, gaps=True)
    assert everything(second) == everything(first)
    assert dict(second.options)["clip_value"] == 1.5


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))], ids=["deepcopy", "pickle"])
@in_formats
def test_copies_continue_bit_for_bit(dtype: torch.dtype, formats: dict[str, Any], copied: Callable[..., Any]) -> None:
    for rule in ("AdamW", "NAdam", "Lion"):
        model = torch.nn.ParameterList(parameters(dtype))
        optimizer = built(rule, list(model), **formats)
        run(optimizer, 0, 5, gaps=True)
        twin, other = copied((model, optimizer))
        assert all(a is b for a, b in zip(twin, params_of(other), strict=True))
        assert everything(other) == everything(optimizer)
        run(optimizer, 5, 6)
        assert everything(other) != everything(optimizer)
        run(other, 5, 6)
        for each in (optimizer, other):
            run(each, 6, 9, gaps=True)
        assert everything(other) == everything(optimizer)


def test_copies_have_copies_of_what_takes_copies() -> None:
    params = parameters()
    optimizer = fastopt.torch.AdamW(params, lr=0.1, copy_to=[torch.zeros_like(p, dtype=torch.bfloat16) for p in params])
    run(optimizer, 0, 2)
    for copied in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        before = bits(list(optimizer._book.copies.values()))
        assert bits(list(copied._book.copies.values())) == before
        run(copied, 2, 3)
        assert bits(list(copied._book.copies.values())) == bits([param.bfloat16() for param in params_of(copied)])
        assert bits(list(optimizer._book.copies.values())) == before


def test_skipped_steps_are_counted_on() -> None:
    first = built("AdamW", parameters(), skip_nonfinite=True)
    run(first, 0, 2)
    params_of(first)[1].grad.fill_(torch.nan)
    before = bits(params_of(first))
    first.step()
    assert (first.skipped_steps, bits(params_of(first))) == (1, before)
    second = built("AdamW", twins(params_of(first)), skip_nonfinite=True)
    for other in (copy.deepcopy(first), second):
        other.load_state_dict(through_a_file(first.state_dict()))
        assert other.skipped_steps == 1
        params_of(other)[1].grad = torch.full((3,), torch.inf)
        other.step()
        assert other.skipped_steps == 2


@in_formats
def test_going_back_to_an_earlier_checkpoint(dtype: torch.dtype, formats: dict[str, Any]) -> None:
    """Loads a checkpoint into the optimizer that saved it, which by then steps other tensors and has skipped a step."""
    optimizer = built("AdamW", parameters(dtype), **formats, skip_nonfinite=True)
    run(optimizer, 0, 3)
    start = everything(optimizer)
    saved, params = copy.deepcopy(optimizer.state_dict()), [param.detach().clone() for param in params_of(optimizer)]
    ends = []
    for _ in range(2):
        run(optimizer, 3, 6, gaps=True)
        params_of(optimizer)[0].grad = torch.full_like(params[0], torch.inf)
        optimizer.step()
        assert optimizer.skipped_steps == 1
        ends.append(everything(optimizer))
        with torch.no_grad():
            for param, value in zip(params_of(optimizer), params, strict=True):
                param.copy_(value)
        optimizer.load_state_dict(saved)
        assert everything(optimizer) == start
    assert ends[0] == ends[1] != start


# Conversions


def flat(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    """float32 values in the order of the memory."""
    values = tensor.detach().float()
    return values.as_strided((values.numel(),), (1,)).numpy()


@pytest.mark.parametrize("to", [None, "bfloat16", "8bit"])
@pytest.mark.parametrize("saved", [None, "bfloat16", "8bit"])
@pytest.mark.parametrize("rule", ["AdamW", "SGD", "Adadelta", "RMSprop"])
def test_a_format_from_another_is_rounded_as_by_fastopt(rule: str, saved: str | None, to: str | None) -> None:
    first = built(rule, parameters(), state_dtype=saved)
    run(first, 0, 4, gaps=True)
    second = built(rule, twins(params_of(first)), state_dtype=to)
    second.load_state_dict(through_a_file(first.state_dict()))
    for a, b in zip(params_of(first), params_of(second), strict=True):
        core = getattr(fastopt, rule)(flat(b).copy(), state_dtype=to, **arguments_with_state(rule))
        for slot in RULES[rule].slots:
            value, found = first.state[a][slot.name], second.state[b][slot.name]
            state = core.state[0][slot.name]
            state[...] = flat(value)
            assert found.stride() == b.stride()
            assert np.array_equal(flat(found), np.asarray(state, np.float32))
            if isinstance(value, Coded) and isinstance(found, Coded):
                assert bits(found) == bits(value)  # of the same values there may be other codes
            elif isinstance(found, Coded):
                assert np.array_equal(found.codes.numpy().reshape(-1), state.raw["codes"].reshape(-1))
                assert np.array_equal(found.blocks.numpy().view(np.uint32), state.raw["blocks"])
        assert second.state[b].get("step") == first.state[a].get("step") or rule == "SGD"
    run(second, 4, 6)


# The checkpoint and the optimizer are apart


@in_formats
def test_nothing_is_shared_with_what_was_loaded(dtype: torch.dtype, formats: dict[str, Any]) -> None:
    first = built("AdamW", parameters(dtype), **formats)
    run(first, 0, 3)
    saved = through_a_file(first.state_dict())
    second = built("AdamW", twins(params_of(first)), **formats)
    before = bits(saved)
    second.load_state_dict(saved)
    run(second, 3, 5)
    second.param_groups[0]["lr"] = 7.0
    second.options["clip_value"] = 0.5
    assert bits(saved) == before
    now = everything(second)
    for entry in saved["state"].values():
        for value in entry.values():
            value.zero_()
        entry["new"] = 3
    saved["param_groups"][0].update(lr=-3.0, new=4)
    saved["fastopt"]["options"]["max_norm"] = 0.1
    assert everything(second) == now


@pytest.mark.parametrize("rule", TORCH_RULES)
def test_nothing_is_shared_with_torchs_optimizer(rule: str) -> None:
    """Whose state_dict has its live tensors."""
    arguments = {"lr": 0.1, **arguments_with_state(rule)}
    theirs = getattr(torch.optim, rule)(parameters(), **arguments)
    run(theirs, 0, 3)
    ours = getattr(fastopt.torch, rule)(twins(params_of(theirs)), **arguments)
    ours.load_state_dict(theirs.state_dict())
    before = bits(theirs.state_dict())
    run(ours, 3, 5)
    assert bits(theirs.state_dict()) == before
    now = everything(ours)
    run(theirs, 3, 5)
    assert everything(ours) == now


def test_a_learning_rate_that_is_a_tensor_is_copied() -> None:
    first = built("AdamW", parameters(), lr=torch.tensor(0.25))
    run(first, 0, 2)
    second = built("AdamW", twins(params_of(first)))
    second.load_state_dict(first.state_dict())
    first.param_groups[0]["lr"].fill_(0.5)
    assert float(second.param_groups[0]["lr"]) == 0.25
    run(second, 2, 3)


@pytest.mark.parametrize("state_dtype", [None, "8bit"])
def test_setstate_takes_what_torch_gives_it(state_dtype: str | None) -> None:
    """State and groups, as the last line of torch's load_state_dict; formats, options and seed stay."""
    first = built("AdamW", parameters(), state_dtype=state_dtype, clip_value=0.5, seed=3)
    run(first, 0, 3)
    second = built("AdamW", twins(params_of(first)), state_dtype=state_dtype, clip_value=0.5, seed=3)
    run(second, 3, 4)
    with torch.no_grad():
        for a, b in zip(params_of(first), params_of(second), strict=True):
            b.copy_(a)
    state = {b: copy.deepcopy(first.state[a]) for a, b in zip(params_of(first), params_of(second), strict=True)}
    second.__setstate__({"state": state, "param_groups": second.param_groups})
    assert everything(second) == everything(first)
    for optimizer in (first, second):
        run(optimizer, 3, 6)
    assert everything(second) == everything(first)
