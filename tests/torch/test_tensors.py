"""Parameters, gradients and state of every kind of memory, replaced and written between steps, as with torch's classes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
import torch

import fastopt.torch
from tests.support.torch_programs import (
    TORCH_RULES,
    assert_same,
    give_gradients,
    one_thread,
    parameter,
    program,
    random,
    state_of,
)

__all__ = ["one_thread"]

# Layouts of parameters: the same numbers as contiguous ones, in place

LAYOUTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "channels_last": lambda t: t.contiguous(memory_format=torch.channels_last),
    "transposed": lambda t: t.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0),
    "part of a tensor": lambda t: torch.cat([t, t])[: len(t)],
    "at an offset": lambda t: torch.cat([t.new_zeros(3), t.flatten()])[3:].view(t.shape),
}
SHAPES = ((4, 3, 2, 5), (4, 1, 2, 5), (1, 3, 2, 1), (1, 1, 1, 1), (2, 0, 3, 4))


@pytest.mark.parametrize("state_dtype", [None, "8bit"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("rule", ["AdamW", "SGD"])
def test_layouts(rule: str, layout: str, state_dtype: str | None) -> None:
    arguments = {"momentum": 0.9} if rule == "SGD" else {}
    for shape in SHAPES:
        values, dtype = random(*shape, seed=1, dtype=torch.float32), torch.float32
        laid_out = torch.nn.Parameter(LAYOUTS[layout](values))
        plain = torch.nn.Parameter(values.clone() if state_dtype is None else in_memory_order(laid_out))
        memory, strides = laid_out.data_ptr(), laid_out.stride()
        ours = getattr(fastopt.torch, rule)([laid_out], lr=0.1, state_dtype=state_dtype, **arguments)
        expected = getattr(fastopt.torch, rule)([plain], lr=0.1, state_dtype=state_dtype, **arguments)
        for step in range(3):
            laid_out.grad = (
                random(*shape, seed=step, dtype=dtype) if step else LAYOUTS[layout](random(*shape, seed=step, dtype=dtype))
            )
            plain.grad = laid_out.grad.clone() if state_dtype is None else in_memory_order(like(laid_out, laid_out.grad))
            ours.step()
            expected.step()
        assert (laid_out.data_ptr(), laid_out.stride()) == (memory, strides)
        assert torch.equal(laid_out if state_dtype is None else in_memory_order(laid_out), plain)
        for key, value in ours.state[laid_out].items():
            assert key == "step" or values.numel() == 0 or value.stride() == torch.empty_like(laid_out).stride()


def in_memory_order(tensor: torch.Tensor) -> torch.Tensor:
    order = sorted(range(tensor.dim()), key=lambda i: -tensor.stride(i))
    return tensor.detach().permute(order).contiguous().flatten().clone()


def like(param: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(param.detach()).copy_(values)


@program
def test_a_network_in_channels_last(optim: Any) -> Any:
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 3)]
    model = torch.nn.Sequential(*layers).double().to(memory_format=torch.channels_last)
    optimizer = optim.AdamW(model.parameters(), lr=0.01)
    for step in range(5):
        optimizer.zero_grad()
        images = random(2, 3, 8, 8, seed=step).contiguous(memory_format=torch.channels_last)
        model(images).square().mean().backward()
        optimizer.step()
    return list(model.parameters()), state_of(optimizer), [p.stride() for p in model.parameters()]


@program
def test_scalars_and_empty_tensors(optim: Any) -> Any:
    params = [parameter(), parameter(0, seed=1), parameter(3, 0, seed=2), parameter(1, 1, seed=3)]
    optimizer = optim.Adam(params, lr=0.1)
    for step in range(3):
        give_gradients(optimizer, step)
        optimizer.step()
    return params, state_of(optimizer)


# Gradients

GRADIENTS: dict[str, Callable[[list[torch.Tensor], int], list[torch.Tensor]]] = {
    "other strides": lambda params, step: [random(5, 4, seed=step).t(), random(4, 5, seed=9 + step)],
    "with gaps": lambda params, step: [random(4, 10, seed=step)[:, ::2], random(8, 5, seed=step)[::2]],
    "expanded": lambda params, step: [random(5, seed=step).expand(4, 5), random(1, 1, seed=step).expand(4, 5)],
    "one for both": lambda params, step: [random(4, 5, seed=step)] * 2,
    "overlapping": lambda params, step: [random(5, 5, seed=step)[:4]] + [random(5, 5, seed=step)[1:]],
    "views of one tensor": lambda params, step: list(random(8, 5, seed=step).split(4)),
    "overlapping views": lambda params, step: [w := random(5, 5, seed=step), w[:4], w[1:]][1:],
    "with a history": lambda params, step: [(random(4, 5, seed=step).requires_grad_() * 2), (params[1] * 3)],
    "negative bit": lambda params, step: [
        torch.complex(*[random(4, 5, seed=step + i) for i in (0, 1)]).conj().imag for _ in params
    ],
    "of inference mode": lambda params, step: [inference(step), inference(step + 1)],
    "unaligned": lambda params, step: [unaligned(random(4, 5, seed=step)), random(4, 5, seed=step)],
}


def inference(seed: int) -> torch.Tensor:
    with torch.inference_mode():
        return random(4, 5, seed=seed)


def unaligned(values: torch.Tensor) -> torch.Tensor:
    memory = bytearray(values.numel() * 8 + 1)
    made = torch.frombuffer(memory, dtype=torch.float64, offset=1, count=values.numel()).view(values.shape)
    return made.copy_(values)


@pytest.mark.parametrize("kind", GRADIENTS)
@pytest.mark.parametrize("rule", ["AdamW", "SGD"])
@program
def test_gradients(optim: Any, rule: str, kind: str) -> Any:
    """None is written to, none holds steps back."""
    params = [parameter(4, 5), parameter(4, 5, seed=1)]
    optimizer = getattr(optim, rule)(params, lr=0.1, weight_decay=0.1)
    grads = []
    for step in range(4):
        for param, grad in zip(params, GRADIENTS[kind](params, step), strict=True):
            param.grad = grad
        grads.append([param.grad.detach().clone() for param in params])
        optimizer.step()
        assert all(torch.equal(param.grad, kept) for param, kept in zip(params, grads[-1], strict=True))
    return params, state_of(optimizer)


@pytest.mark.parametrize("kind", GRADIENTS)
def test_gradients_are_zeroed_where_they_are(kind: str) -> None:
    params = [parameter(4, 5), parameter(4, 5, seed=1)]
    optimizer = fastopt.torch.SGD(params, lr=0.1)
    for step in range(2):
        for param, grad in zip(params, GRADIENTS[kind](params, step), strict=True):
            param.grad = grad
        before = [param.detach() - 0.1 * param.grad.detach() for param in params]
        optimizer.step(zero_grad=True)
        assert not any(param.grad.any() for param in params)
        assert_same([param.detach() for param in params], before)


@program
def test_a_gradient_that_is_the_parameter(optim: Any) -> Any:
    params = [parameter(4, 5), parameter(4, 5, seed=1)]
    optimizer = optim.SGD(params, lr=0.1, momentum=0.9)
    for _ in range(4):
        for param in params:
            param.grad = param.detach()
        optimizer.step()
    return params, state_of(optimizer)


@program
def test_a_gradient_of_a_gradient(optim: Any) -> Any:
    """create_graph=True leaves gradients with a history."""
    params = [parameter(4), parameter(4, seed=1)]
    optimizer = optim.Adam(params, lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        with torch.autograd.graph.allow_mutation_on_saved_tensors():
            grads = torch.autograd.grad((params[0] * params[1]).pow(3).sum(), params, create_graph=True)
        for param, grad in zip(params, grads, strict=True):
            param.grad = grad
        optimizer.step()
    return params, [param.grad.requires_grad for param in params]


# Memory and state that programs replace

BETWEEN: dict[str, Callable[[Any, Any], Any]] = {
    "other data": lambda o, p: setattr(p, "data", random(4, 4, seed=77)),
    "data written": lambda o, p: p.data.copy_(random(4, 4, seed=77)),
    "data in other order": lambda o, p: setattr(p, "data", p.data.t().contiguous().t()),
    "an average zeroed": lambda o, p: o.state[p]["exp_avg"].zero_(),
    "an average replaced": lambda o, p: o.state[p].update(exp_avg=random(4, 4, seed=78)),
    "averages swapped": lambda o, p: o.state[p].update(exp_avg=o.state[p]["exp_avg_sq"], exp_avg_sq=o.state[p]["exp_avg"].abs()),
    "data of an average": lambda o, p: setattr(o.state[p]["exp_avg"], "data", random(4, 4, seed=79)),
    "an average in other order": lambda o, p: o.state[p].update(exp_avg=o.state[p]["exp_avg"].t().contiguous().t()),
    "a count written": lambda o, p: o.state[p]["step"].fill_(0),
    "a count replaced": lambda o, p: o.state[p].update(step=torch.tensor(2.0)),
    "an entry cleared": lambda o, p: o.state[p].clear(),
    "an entry replaced": lambda o, p: o.state.update({p: {}}),
    "an entry removed": lambda o, p: o.state.pop(p),
    "all entries removed": lambda o, p: o.state.clear(),
    "all state replaced": lambda o, p: setattr(o, "state", defaultdict(dict)),
    "an entry copied": lambda o, p: o.state.update({p: {k: v.clone() for k, v in o.state[p].items()}}),
}


@pytest.mark.parametrize("between", BETWEEN)
@program
def test_between_steps(optim: Any, between: str) -> Any:
    """What programs do to one of two parameters and its state."""
    params = [parameter(4, 4), parameter(4, 4, seed=1)]
    optimizer = optim.Adam(params, lr=0.1)
    for step in range(9):
        if step in (3, 4, 7):
            BETWEEN[between](optimizer, params[0])
        give_gradients(optimizer, step)
        optimizer.step()
    return params, state_of(optimizer)


LAYOUT_CHANGES: dict[str, Callable[[Any, Any], Any]] = {
    "data transposed": lambda o, p: setattr(p, "data", p.data.t()),
    "an average transposed": lambda o, p: o.state[p]["exp_avg"].t_(),
}


@pytest.mark.parametrize("between", LAYOUT_CHANGES)
@program
def test_the_same_memory_in_other_order(optim: Any, between: str) -> Any:
    params = [parameter(4, 4), parameter(4, 4, seed=1)]
    optimizer = optim.Adam(params, lr=0.1)
    for step in range(6):
        if step == 3:
            LAYOUT_CHANGES[between](optimizer, params[0])
        give_gradients(optimizer, step)
        optimizer.step()
    return params, state_of(optimizer)


@program
def test_the_same_memory_in_another_shape(optim: Any) -> Any:
    param = parameter(4, 2)
    optimizer = optim.SGD([param], lr=0.1)
    for step in range(4):
        if step == 2:
            param.grad = None
            param.data = param.data.view(8)
        give_gradients(optimizer, step)
        optimizer.step()
    return param


@program
def test_a_parameter_of_another_dtype(optim: Any) -> Any:
    param = parameter(6)
    optimizer = optim.SGD([param], lr=0.1)
    for step, dtype in enumerate((torch.float64, torch.float32, torch.float64)):
        param.grad = None
        param.data = param.data.to(dtype)
        give_gradients(optimizer, step)
        optimizer.step()
    return param


# Autograd


@pytest.mark.parametrize("rule", TORCH_RULES)
def test_version_counters_rise(rule: str) -> None:
    params = [parameter(3), parameter(3, seed=1), parameter(3, seed=2).requires_grad_(False)]
    optimizer = getattr(fastopt.torch, rule)(params, copy_to=[copy := torch.zeros(3), None, None])
    params[0].grad, params[2].grad = random(3, seed=3), random(3, seed=4)
    optimizer.step()
    state = [v for k, v in optimizer.state[params[0]].items() if k != "step"]
    tensors = [params[0], params[2], copy, *state]
    before, idle, of_grad = [each._version for each in tensors], params[1]._version, params[0].grad._version
    optimizer.step()
    assert all(each._version > version for each, version in zip(tensors, before, strict=True))
    assert (params[1]._version, params[0].grad._version) == (idle, of_grad)
    optimizer.step(zero_grad=True)
    assert params[0].grad._version > of_grad


@pytest.mark.parametrize("of", ["parameter", "detached", "view", "state", "second step"])
def test_autograd_refuses_what_a_step_has_overwritten(of: str) -> None:
    messages = []
    for optim in (fastopt.torch, torch.optim):
        param, other = parameter(4), parameter(4, seed=1)
        optimizer = optim.AdamW([param])
        give_gradients(optimizer, 0)
        if of in ("state", "second step"):
            optimizer.step()
        saved = {"detached": param.detach(), "view": param[1:], "state": optimizer.state[param].get("exp_avg")}.get(of, param)
        loss = (saved * other[: len(saved)]).sum()
        optimizer.step()
        with pytest.raises(RuntimeError, match="modified by an inplace operation") as error:
            loss.backward()
        messages.append(type(error.value))
    assert messages[0] is messages[1]


def test_autograd_accepts_what_no_step_wrote() -> None:
    param, other = parameter(4), parameter(4, seed=1)
    optimizer = fastopt.torch.AdamW([param, other])
    loss = (other * other).sum()
    param.grad = random(4, seed=2)
    optimizer.step()
    loss.backward()
    assert torch.equal(other.grad, 2 * other)


@program
def test_inference_mode(optim: Any) -> Any:
    """Inference tensors, which have no version counters."""
    with torch.inference_mode():
        param = random(4, seed=1)
        optimizer = optim.Adam([param], lr=0.1)
        for step in range(3):
            param.grad = random(4, seed=step)
            optimizer.step()
        return param.tolist(), [{k: v.tolist() for k, v in each.items()} for each in state_of(optimizer)]


@program
def test_steps_in_inference_mode(optim: Any) -> Any:
    """Steps ordinary tensors whose state is there."""
    param = parameter(4)
    optimizer = optim.Adam([param], lr=0.1)
    for step in range(4):
        give_gradients(optimizer, step)
        with torch.inference_mode(mode=step in (1, 2)):
            optimizer.step()
    return param, state_of(optimizer)
