"""Parameters whose memory has gaps, such as columns of a matrix, take the steps of dense ones, and what lies in the gaps stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import fastopt.torch
from tests.support.torch_programs import TORCH_RULES, float64_by_default, one_thread, program, random, state_of

__all__ = ["float64_by_default", "one_thread"]

VIEWS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "columns": lambda whole: whole[:, ::2],
    "rows": lambda whole: whole[::3],
    "a window": lambda whole: whole[2:6, 1:5],
    "a diagonal": lambda whole: whole.diagonal(),
    "transposed columns": lambda whole: whole[:, 1::3].t(),
    "one column": lambda whole: whole[:, 2],
    "strided by hand": lambda whole: whole.as_strided((3, 2), (16, 3), 1),
}


@pytest.mark.usefixtures("float64_by_default")
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("rule", TORCH_RULES)
@program
def test_a_parameter_with_gaps(optim: Any, rule: str, view: str) -> Any:
    whole = random(8, 8, seed=1)
    param = VIEWS[view](whole).requires_grad_()
    optimizer = getattr(optim, rule)([param], lr=0.01, weight_decay=0.1)
    for step in range(4):
        if step == 2:
            whole.mul_(0.5)  # what is written to the memory between steps counts
        param.grad = None if step == 1 else random(*param.shape, seed=step)
        optimizer.step()
    return whole, state_of(optimizer)


@pytest.mark.parametrize("rule", ["AdamW", "SGD"])
@program
def test_parameters_in_each_others_gaps(optim: Any, rule: str) -> Any:
    whole = random(8, 8, seed=1)
    params = [whole[:, i::3].requires_grad_() for i in range(3)]
    optimizer = getattr(optim, rule)(params, lr=0.1, weight_decay=0.1)
    for step in range(3):
        for i, param in enumerate(params):
            param.grad = random(*param.shape, seed=10 * step + i)
        optimizer.step()
    return whole


@pytest.mark.parametrize("other", ["the whole", "a row", "one element"])
def test_a_parameter_that_lies_in_another_is_refused(other: str) -> None:
    """torch takes one after the other."""
    whole = random(8, 8, seed=1)
    meets = {"the whole": whole, "a row": whole[2], "one element": whole[3:4, 4:5]}[other]
    params = [whole[:, ::2].requires_grad_(), whole[:, 1:2].requires_grad_(), meets.detach().requires_grad_()]
    optimizer = fastopt.torch.AdamW(params)
    for param in params:
        param.grad = torch.ones_like(param)
    before = whole.clone()
    with pytest.raises(ValueError, match=r"\['params'\]\[2\]: got memory that overlaps .*\['params'\]\[0\], expected separate"):
        optimizer.step()
    assert torch.equal(whole, before)


def test_elements_that_share_memory_are_refused_as_by_torch() -> None:
    whole = random(16, seed=1)
    for shape, strides in (((4, 3), (1, 0)), ((4, 4), (2, 1)), ((3, 3), (4, 2))):
        for optim in (torch.optim, fastopt.torch):
            param = whole.as_strided(shape, strides).requires_grad_()
            optimizer = optim.AdamW([param])
            param.grad = torch.ones(shape, dtype=torch.float64)
            if optim is fastopt.torch:
                with pytest.raises(RuntimeError, match=r"got strides .* expected each element in memory of its own"):
                    optimizer.step()
            elif 0 in strides:
                with pytest.raises(RuntimeError, match="single memory location"):
                    optimizer.step()


@pytest.mark.parametrize(
    "arguments", [{"state_dtype": "8bit"}, {"master": "24bit"}, {"master": "float32", "ema_decay": 0.9}], ids=str
)
def test_bits_in_every_format(arguments: dict[str, Any]) -> None:
    """Has the bits of a dense parameter, with stages, `copy_to` and a step that is skipped."""
    dtype = torch.bfloat16 if "master" in arguments else torch.float32
    whole = random(30, 40, seed=1, dtype=dtype)
    param, twin = whole[:, ::2].requires_grad_(), torch.nn.Parameter(whole[:, ::2].clone())
    copies = [torch.zeros(30, 20), torch.zeros(30, 20)]
    ours = fastopt.torch.AdamW([param], lr=0.1, skip_nonfinite=True, max_norm=1.0, copy_to=copies[:1], **arguments)
    expected = fastopt.torch.AdamW([twin], lr=0.1, skip_nonfinite=True, max_norm=1.0, copy_to=copies[1:], **arguments)
    gaps = whole[:, 1::2].clone()
    for step in range(5):
        for each in (param, twin):
            each.grad = random(30, 20, seed=step + 5, dtype=dtype)
            each.grad[3, 4] = torch.nan if step == 2 else 1.0
        ours.step(zero_grad=True)
        expected.step()
        assert not param.grad.any()
    assert torch.equal(param, twin)
    assert torch.equal(*copies)
    assert torch.equal(whole[:, 1::2], gaps)
    assert (ours.skipped_steps, ours.grad_norm) == (1, expected.grad_norm)
    assert ours.ema_params is None or torch.equal(ours.ema_params[0], expected.ema_params[0])
    ours.load_state_dict(ours.state_dict())
    for each in (param, twin):
        each.grad = random(30, 20, seed=9, dtype=dtype)
    ours.step()
    expected.step()
    assert torch.equal(param, twin)


def test_steps_in_backward_of_a_parameter_with_gaps() -> None:
    whole = random(8, 8, seed=1)
    param, twin = whole[:, ::2].requires_grad_(), torch.nn.Parameter(whole[:, ::2].clone())
    ours, expected = fastopt.torch.AdamW([param]), fastopt.torch.AdamW([twin])
    for step in range(3):
        param.grad = random(8, 4, seed=step)
        twin.grad = param.grad.clone()
        ours.step_parameter(param)
        expected.step()
    assert torch.equal(param, twin)
    assert param._version > 0
