"""What programs do with an optimizer: each program below runs with our classes and with torch's, and ends the same."""

from __future__ import annotations

import copy
import gc
import tracemalloc
import weakref
from typing import Any

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

import fastopt.torch
from tests.support.torch_programs import (
    TORCH_RULES,
    default_dtype,
    give_gradients,
    loss_of,
    network,
    one_thread,
    parameter,
    program,
    random,
    state_of,
    train,
)

__all__ = ["one_thread"]

RULES = pytest.mark.parametrize("rule", ["AdamW", "SGD", "RMSprop", "Adagrad"])
ARGUMENTS: dict[str, dict[str, Any]] = {"SGD": {"momentum": 0.9, "lr": 0.05}, "RMSprop": {"momentum": 0.9, "lr": 1e-3}}
"""With state, and steps that keep a difference of one rounding small."""


def build(optim: Any, rule: str, params: Any, **more: Any) -> Any:
    return getattr(optim, rule)(params, **{**ARGUMENTS.get(rule, {}), **more})


# Groups


@RULES
@program
def test_groups(optim: Any, rule: str) -> Any:
    model = network()
    groups = [{"params": model[0].parameters(), "lr": 0.02}, {"params": model[3].parameters(), "weight_decay": 0.1}]
    optimizer = build(optim, rule, [*groups, {"params": model[5].weight, "maximize": True}], weight_decay=0.01)
    losses = train(model, optimizer, 5)
    optimizer.add_param_group({"params": [model[5].bias], "lr": 0.03})
    losses += train(model, optimizer, 5)
    optimizer.param_groups[1]["weight_decay"] = 0.0
    optimizer.param_groups[0]["lr"] *= 0.5
    optimizer.param_groups[2]["maximize"] = False
    losses += train(model, optimizer, 5)
    return losses, list(model.parameters()), state_of(optimizer), [len(group["params"]) for group in optimizer.param_groups]


@program
def test_a_group_for_each_parameter_out_of_a_generator(optim: Any) -> Any:
    model = network()
    optimizer = optim.Adam(({"params": [p], "lr": 0.01 * (i + 1)} for i, p in enumerate(model.parameters())), amsgrad=True)
    return train(model, optimizer, 5), list(model.parameters()), state_of(optimizer)


@program
def test_named_parameters(optim: Any) -> Any:
    model = network()
    optimizer = optim.AdamW(model[:5].named_parameters())
    optimizer.add_param_group({"params": model[5].named_parameters(), "lr": 0.01})
    losses = train(model, optimizer, 5)
    return losses, list(model.parameters()), [group["param_names"] for group in optimizer.param_groups]


@program
def test_parameters_that_move_between_groups(optim: Any) -> Any:
    """Also where the parameters of all groups stay the same ones, in the same order."""
    params = [parameter(4, seed=i) for i in range(4)]
    optimizer = optim.Adam([{"params": params[:3], "lr": 0.1}, {"params": params[3:], "lr": 0.5}])
    for step in range(8):
        first, second = (group["params"] for group in optimizer.param_groups)
        if step == 2:
            second.insert(0, first.pop())
        if step == 4:
            first.append(second.pop())
        if step == 6:
            second.clear()
        give_gradients(optimizer, step)
        optimizer.step()
    return params, state_of(optimizer)


@program
def test_parameters_that_leave(optim: Any) -> Any:
    """The last of them had no gradient yet."""
    params = [parameter(4, seed=i) for i in range(3)]
    optimizer = optim.AdamW(params)
    for step in range(6):
        params[step % 2].grad = random(4, seed=step)
        if step == 3:
            optimizer.param_groups[0]["params"].pop()
        optimizer.step()
    return params, state_of(optimizer)


# Gradients that come and go


@RULES
@program
def test_gradients_that_come_and_go(optim: Any, rule: str) -> Any:
    """Each parameter counts its own steps."""
    params = [parameter(5, seed=i) for i in range(4)]
    optimizer = build(optim, rule, params, weight_decay=0.1)
    for step in range(12):
        give_gradients(optimizer, step)
        for i, param in enumerate(params):
            if i == 3 or step % (i + 2) == i:
                param.grad = None
        optimizer.step()
    return params, state_of(optimizer)


@program
def test_frozen_and_unfrozen(optim: Any) -> Any:
    model = network()
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for frozen in (False, True, False):
        model[0].requires_grad_(not frozen)
        losses += train(model, optimizer, 4)
    return losses, list(model.parameters()), state_of(optimizer)


@program
def test_zero_grad(optim: Any) -> Any:
    """With set_to_none=False a parameter that is no longer used takes steps of a zero gradient."""
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    losses = train(model, optimizer, 2)
    for set_to_none in (False, True, False):
        optimizer.zero_grad(set_to_none=set_to_none)
        grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
        optimizer.step()
    return losses, grads, list(model.parameters()), state_of(optimizer)


@program
def test_a_gradient_without_requires_grad(optim: Any) -> Any:
    param = parameter(5).requires_grad_(False)
    optimizer = optim.AdamW([param, parameter(3, seed=1)])
    for step in range(3):
        param.grad = random(5, seed=step)
        optimizer.step()
    return param, state_of(optimizer)


@program
def test_a_parameter_of_two_modules(optim: Any) -> Any:
    first, second = torch.nn.Linear(10, 10).double(), torch.nn.Linear(10, 10).double()
    second.weight = first.weight
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10).double(), first, torch.nn.Tanh(), second)
    optimizer = optim.AdamW(model.parameters(), lr=0.01)
    losses = train(model, optimizer, 6)
    return losses, list(model.parameters()), len(optimizer.param_groups[0]["params"])


# Closures and hooks


@RULES
@program
def test_closure(optim: Any, rule: str) -> Any:
    model = network()
    optimizer = build(optim, rule, model.parameters())
    seen = []

    def closure() -> torch.Tensor:
        seen.append(torch.is_grad_enabled())
        optimizer.zero_grad()
        loss = loss_of(model, len(seen))
        loss.backward()
        return loss

    with torch.no_grad():
        losses = [optimizer.step(closure) for _ in range(4)]
    losses.append(optimizer.step(closure=closure))
    nothing = optimizer.step()
    return seen, [loss.detach() for loss in losses], [loss.requires_grad for loss in losses], nothing, list(model.parameters())


@program
def test_hooks(optim: Any) -> Any:
    """Calls the hooks of one optimizer and those of all; a hook before the step may replace its arguments."""
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    seen: list[Any] = []
    handles = [
        optimizer.register_step_pre_hook(lambda opt, args, kwargs: seen.append(("pre", opt is optimizer, args[1:], kwargs))),
        optimizer.register_step_post_hook(lambda opt, args, kwargs: seen.append(("post", loss_of(model, 1).item()))),
        register_optimizer_step_pre_hook(lambda opt, args, kwargs: seen.append("all pre")),
        register_optimizer_step_post_hook(lambda opt, args, kwargs: seen.append("all post")),
    ]
    train(model, optimizer, 2)
    replaced = optimizer.register_step_pre_hook(lambda opt, args, kwargs: ((opt, lambda: 7.0), {}))
    result = optimizer.step()
    for handle in (*handles, replaced):
        handle.remove()
    train(model, optimizer, 2)
    return seen, result, list(model.parameters())


@program
def test_profiler(optim: Any) -> Any:
    param = parameter(4)
    optimizer = optim.AdamW([param])
    param.grad = torch.ones_like(param)
    with torch.autograd.profiler.profile() as profile:
        optimizer.step()
        optimizer.zero_grad()
    return sorted(event.key for event in profile.key_averages() if event.key.startswith("Optimizer."))


# Hyperparameters that change


@program
def test_momentum_that_begins_later(optim: Any) -> Any:
    """The first gradient of a buffer is taken whole, whenever that is."""
    param = parameter(5)
    optimizer = optim.SGD([param], lr=0.1, dampening=0.5)
    for step in range(10):
        optimizer.param_groups[0]["momentum"] = 0.0 if step < 3 or step == 6 else 0.9
        give_gradients(optimizer, step)
        optimizer.step()
    return param, state_of(optimizer)


@pytest.mark.parametrize("rule", TORCH_RULES)
@program
def test_flags_that_change(optim: Any, rule: str) -> Any:
    param = parameter(5)
    optimizer = getattr(optim, rule)([param], foreach=False)
    for step in range(6):
        optimizer.param_groups[0].update(maximize=step % 2 == 0, weight_decay=0.1 * (step % 3), lr=0.01 * (step + 1))
        give_gradients(optimizer, step)
        optimizer.step()
    return param, {k: v for k, v in state_of(optimizer)[0].items() if k != "mu_product"}


@program
def test_tensors_that_change(optim: Any) -> Any:
    """`lr` and `weight_decay` of SGD and `lr` of AdamW, written in place and replaced."""
    params = [parameter(5), parameter(5, seed=1)]
    lr, decay = torch.tensor(0.1, dtype=torch.float64), torch.tensor(0.1, dtype=torch.float64)
    optimizers = [
        optim.SGD(params[:1], lr=lr, momentum=0.9, weight_decay=decay, foreach=False),
        optim.AdamW(params[1:], lr=lr, foreach=False),
    ]
    for step in range(6):
        lr.mul_(0.9)
        decay.mul_(1.5)
        if step == 4:
            optimizers[1].param_groups[0]["lr"] = torch.tensor(0.5, dtype=torch.float64)
        for optimizer in optimizers:
            give_gradients(optimizer, step)
            optimizer.step()
    return params, optimizers[0].param_groups[0]["lr"]


# torch.compile, copies and memory


@program
def test_a_compiled_model(optim: Any) -> Any:
    """Without code generation, which is not ours and takes half a minute."""
    model = network()
    optimizer = optim.AdamW(model.parameters(), lr=0.01)
    losses = train(torch.compile(model, backend="aot_eager"), optimizer, 5)
    return losses, list(model.parameters())


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")  # of torch's own class
@program
def test_a_compiled_step(optim: Any) -> Any:
    torch.compiler.reset()
    model = network()
    optimizer = optim.AdamW(model.parameters(), lr=torch.tensor(0.01, dtype=torch.float64), foreach=False)

    @torch.compile(backend="eager")
    def step(loss: torch.Tensor) -> torch.Tensor:
        optimizer.step()
        optimizer.zero_grad()
        return loss * 2

    losses = []
    with default_dtype(torch.float64):  # in which torch counts steps where it compiles them
        for i in range(4):
            loss = loss_of(model, i)
            loss.backward()
            losses.append(step(loss.detach()))
    return losses, list(model.parameters()), state_of(optimizer)


@program
def test_copies_of_model_and_optimizer(optim: Any) -> Any:
    model = network()
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    train(model, optimizer, 3)
    twin, copied = copy.deepcopy((model, optimizer))
    losses = train(twin, copied, 3, first=3)
    return losses, list(model.parameters()), list(twin.parameters()), state_of(optimizer), state_of(copied)


@pytest.mark.parametrize("rule", TORCH_RULES)
def test_an_optimizer_is_freed_when_it_is_let_go(rule: str) -> None:
    model = network()
    optimizer = getattr(fastopt.torch, rule)(model.parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    train(model, optimizer, 2)
    scheduler.step()
    gone, state = weakref.ref(optimizer), weakref.ref(next(iter(optimizer.state[model[0].weight].values()), model))
    gc.collect()
    gc.disable()
    try:
        del optimizer, scheduler
        assert gone() is None
        assert state() is None or state() is model
    finally:
        gc.enable()


def test_steps_keep_no_memory() -> None:
    params = [parameter(4, seed=i) for i in range(4)]
    optimizer = fastopt.torch.AdamW(params, lr=torch.tensor(1e-3))
    give_gradients(optimizer, 0)
    grads = [param.grad for param in params]

    def steps(count: int) -> None:
        for step in range(count):
            optimizer.param_groups[0]["weight_decay"] = 0.01 * (step % 3)  # written to the plan
            params[3].grad = grads[3] if step % 2 else None
            optimizer.step()

    tracemalloc.start()
    try:
        steps(4000)
        before = tracemalloc.get_traced_memory()[0]
        steps(4000)
        assert tracemalloc.get_traced_memory()[0] - before < 4000 * 16  # no object a step has so few bytes
    finally:
        tracemalloc.stop()
