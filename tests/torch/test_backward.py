"""fastopt.torch.fused_in_backward: the numbers of step(), while no more than a few gradients are there at a time."""

from __future__ import annotations

import copy
import gc
import warnings
import weakref
from collections.abc import Iterable
from typing import Any

import pytest
import torch

import fastopt.torch
from fastopt.rules import RULES
from fastopt.torch import fused_in_backward
from tests.support.cases import arguments_with_state
from tests.support.torch_checkpoints import bits, everything, through_a_file
from tests.support.torch_programs import one_thread

__all__ = ["one_thread"]  # a fixture for every test here


class Net(torch.nn.Module):
    """With a convolution in channels_last, a matrix that is used twice, and a parameter that the loss does not reach."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            self.conv = torch.nn.Conv2d(2, 4, 3, dtype=dtype).to(memory_format=torch.channels_last)
            self.twice = torch.nn.Linear(36, 36, dtype=dtype)
            self.last = torch.nn.Linear(36, 3, dtype=dtype)
            self.unused = torch.nn.Parameter(torch.randn(5, dtype=dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(self.conv(x)).flatten(1)
        return self.last(torch.tanh(self.twice(torch.tanh(self.twice(hidden)))))


def loss_of(model: torch.nn.Module, step: int) -> torch.Tensor:
    source = torch.Generator().manual_seed(step)
    param = next(model.parameters())
    return model(torch.randn(6, 2, 5, 5, generator=source).to(param.dtype)).square().sum() / 7


def train(model: torch.nn.Module, optimizer: Any, steps: Iterable[int], *, fused: bool, scheduler: Any = None) -> None:
    for i in steps:
        loss_of(model, i).backward()
        if not fused:
            optimizer.step()
            optimizer.zero_grad()
        assert all(param.grad is None for param in model.parameters())
        if scheduler is not None:
            optimizer.step()  # which has nothing left to do; schedulers look for it
            scheduler.step()


def groups(model: Net) -> list[dict[str, Any]]:
    return [
        {"params": [*model.conv.named_parameters(), ("unused", model.unused)]},
        {
            "params": [*model.twice.named_parameters("twice"), *model.last.named_parameters("last")],
            "lr": 0.01,
            "weight_decay": 0.1,
        },
    ]


def pair(rule: str, dtype: torch.dtype = torch.float32, **arguments: Any) -> Any:
    """A model and its optimizer, twice the same."""
    words = {"lr": 0.02, **arguments_with_state(rule), **arguments}
    models = Net(dtype), Net(dtype)
    return [(model, getattr(fastopt.torch, rule)(groups(model), **words)) for model in models]


def assert_same(one: tuple[Net, Any], other: tuple[Net, Any]) -> None:
    """Parameters and their state; one that has never had a step may have state already, as it begins."""
    assert bits(list(one[0].parameters())) == bits(list(other[0].parameters()))
    for name, a in one[0].named_parameters():
        b = other[0].get_parameter(name)
        if name != "unused":
            assert bits(one[1].state.get(a, {})) == bits(other[1].state.get(b, {}))
    assert all(
        not float(entry.get("step", 0))
        for entry in (one[1].state.get(one[0].unused, {}), other[1].state.get(other[0].unused, {}))
    )


FORMATS: list[tuple[torch.dtype, dict[str, Any]]] = [
    (torch.float64, {}),
    (torch.float32, {}),
    (torch.float32, {"state_dtype": "8bit", "ema_decay": 0.9, "clip_value": 0.5, "grad_scale": 0.7}),
    (torch.float32, {"state_dtype": "bfloat16"}),
    (torch.bfloat16, {"state_dtype": "8bit", "master": "24bit", "seed": 11}),
    (torch.bfloat16, {"master": "stochastic", "seed": 12}),
    (torch.bfloat16, {"master": "32bit", "ema_decay": 0.9}),
    (torch.float16, {"master": "24bit", "state_dtype": "bfloat16", "seed": 2**63}),
    (torch.float16, {"master": "float32"}),
]


@pytest.mark.parametrize(("dtype", "formats"), FORMATS, ids=lambda value: str(value).replace(" ", ""))
@pytest.mark.parametrize("rule", RULES)
def test_the_bits_of_step(rule: str, dtype: torch.dtype, formats: dict[str, Any]) -> None:
    one, other = pair(rule, dtype, **formats)
    hooks = fused_in_backward(*one)
    assert len(hooks) == 7
    train(*one, range(5), fused=True)
    train(*other, range(5), fused=False)
    assert_same(one, other)
    hooks.remove()
    assert len(hooks) == 0
    loss_of(one[0], 5).backward()
    assert sum(param.grad is not None for param in one[0].parameters()) == 6
    one[1].step()
    one[1].zero_grad()
    train(*other, [5], fused=False)
    train(*one, [6], fused=False)
    train(*other, [6], fused=False)
    assert_same(one, other)
    fused_in_backward(*one)
    train(*one, range(7, 9), fused=True)
    train(*other, range(7, 9), fused=False)
    assert_same(one, other)


@pytest.mark.parametrize(("dtype", "formats"), FORMATS[2:6], ids=lambda value: str(value).replace(" ", ""))
def test_a_checkpoint_in_the_middle(dtype: torch.dtype, formats: dict[str, Any]) -> None:
    one, other = pair("AdamW", dtype, **formats)
    third = pair("AdamW", dtype, **formats)[0]
    for model, optimizer in (one, third):
        fused_in_backward(model, optimizer)
    train(*one, range(4), fused=True)
    train(*third, range(2), fused=True)
    third[0].load_state_dict(one[0].state_dict())
    third[1].load_state_dict(through_a_file(one[1].state_dict()))
    train(*third, range(4, 7), fused=True)
    train(*other, range(7), fused=False)
    assert_same(third, other)


def test_schedulers_and_hyperparameters_that_change() -> None:
    one, other = pair("AdamW")
    fused_in_backward(*one)
    for (model, optimizer), fused in ((one, True), (other, False)):
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=9)
        train(model, optimizer, range(6), fused=fused, scheduler=scheduler)
        optimizer.param_groups[0]["amsgrad"] = False
        optimizer.param_groups[1]["betas"] = (0.5, 0.6)
        optimizer.options["clip_value"] = 0.1
        train(model, optimizer, range(6, 9), fused=fused)
    assert_same(one, other)


def test_parameters_of_only_one_of_the_two() -> None:
    """What the optimizer does not have keeps its gradient; what is not the model's is left for step()."""
    models = Net(), Net()
    outside = [torch.nn.Parameter(torch.ones(4)) for _ in models]
    optimizers = [
        fastopt.torch.AdamW([*model.conv.parameters(), model.last.weight, extra], lr=0.1)
        for model, extra in zip(models, outside, strict=True)
    ]
    hooks = fused_in_backward(models[0], optimizers[0])
    assert len(hooks) == 3
    for i in range(4):
        for model, extra in zip(models, outside, strict=True):
            (loss_of(model, i) + (extra**3).sum()).backward()
        assert models[0].last.weight.grad is None
        assert torch.equal(models[0].twice.weight.grad, models[1].twice.weight.grad)
        assert outside[0].grad is not None
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.step()
            optimizer.zero_grad()
            model.zero_grad()
    assert bits(list(models[0].parameters())) == bits(list(models[1].parameters()))
    assert bits(outside[0]) == bits(outside[1])
    assert bits(optimizers[0].state_dict()["state"]) == bits(optimizers[1].state_dict()["state"])


def test_frozen_parameters() -> None:
    one, other = pair("NAdam")
    for model, _ in (one, other):
        model.twice.requires_grad_(False)
    assert len(fused_in_backward(*one)) == 5
    for _ in range(2):
        train(*one, range(3), fused=True)
        train(*other, range(3), fused=False)
        assert_same(one, other)
        for model, _ in (one, other):
            model.conv.requires_grad_(False)  # hooks stay, and are not called


def test_a_parameter_that_two_modules_share() -> None:
    models = [torch.nn.Sequential(torch.nn.Linear(6, 6), torch.nn.Tanh(), torch.nn.Linear(6, 6)) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    optimizers = []
    for model in models:
        model[2].weight = model[0].weight
        optimizers.append(fastopt.torch.Adam(model.parameters(), lr=0.1))
    assert len(fused_in_backward(models[0], optimizers[0])) == 3
    for i in range(4):
        for model, optimizer in zip(models, optimizers, strict=True):
            x = torch.randn(3, 6, generator=torch.Generator().manual_seed(i))
            model(x).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    assert bits(list(models[0].parameters())) == bits(list(models[1].parameters()))
    assert bits(optimizers[0].state_dict()["state"]) == bits(optimizers[1].state_dict()["state"])


@pytest.mark.parametrize("option", [{"max_norm": 0.5}, {"skip_nonfinite": True}], ids=str)
def test_stages_that_need_all_gradients_are_refused(option: dict[str, Any]) -> None:
    (name,) = option
    message = rf"^{name}: got .*, which needs all gradients at once, expected a step without it$"
    model = Net()
    with pytest.raises(RuntimeError, match=message):
        fused_in_backward(model, fastopt.torch.AdamW(model.parameters(), **option))
    loss_of(model, 0).backward()  # no hook was left behind
    assert model.last.weight.grad is not None
    model.zero_grad()
    optimizer = fastopt.torch.AdamW(model.parameters())
    fused_in_backward(model, optimizer)
    train(model, optimizer, range(2), fused=True)
    optimizer.options[name] = option[name]
    before = everything(optimizer)
    with pytest.raises(RuntimeError, match=message):
        loss_of(model, 2).backward()
    assert everything(optimizer) == before
    optimizer.options[name] = False if name == "skip_nonfinite" else None
    optimizer.zero_grad()
    train(model, optimizer, range(2, 4), fused=True)


def test_wrong_arguments() -> None:
    model = Net()
    optimizer = fastopt.torch.AdamW(model.parameters())
    with pytest.raises(TypeError, match=r"^model: got list, expected a torch\.nn\.Module$"):
        fused_in_backward([*model.parameters()], optimizer)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^optimizer: got AdamW, expected one of fastopt\.torch's$"):
        fused_in_backward(model, torch.optim.AdamW(model.parameters()))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^optimizer: got one that has none of the model's parameters, expected some$"):
        fused_in_backward(Net(), optimizer)
    with pytest.raises(ValueError, match="none of the model's parameters"):
        fused_in_backward(torch.nn.ReLU(), optimizer)


@pytest.mark.parametrize("kind", ["sparse", "strange dtype"])
def test_gradients_that_no_step_takes(kind: str) -> None:
    model = torch.nn.Sequential(torch.nn.Embedding(5, 3, sparse=True)) if kind == "sparse" else torch.nn.Linear(3, 3)
    optimizer = fastopt.torch.AdamW(model.parameters())
    fused_in_backward(model, optimizer)
    before = bits(list(model.parameters()))
    if kind == "sparse":
        with pytest.raises(RuntimeError, match="does not support sparse gradients"):
            model(torch.tensor([1, 2])).sum().backward()
    else:
        optimizer.param_groups[0]["lr"] = -1.0
        with pytest.raises(ValueError, match=r"lr: got -1\.0, expected"):
            model(torch.ones(2, 3)).sum().backward()
    assert bits(list(model.parameters())) == before


def test_few_gradients_at_a_time() -> None:
    model = torch.nn.Sequential(*(torch.nn.Linear(8, 8) for _ in range(30)))
    optimizer = fastopt.torch.AdamW(model.parameters())
    live: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0

    def count(param: torch.Tensor) -> None:
        nonlocal most
        live.add(param.grad)
        most = max(most, len(live))

    for param in model.parameters():
        param.register_post_accumulate_grad_hook(count)  # before those that free the gradients
    model(torch.randn(4, 8)).sum().backward()
    assert most == 60
    optimizer.zero_grad()
    assert len(live) == 0
    most = 0
    fused_in_backward(model, optimizer)
    for _ in range(3):
        model(torch.randn(4, 8)).sum().backward()
    assert most <= 2
    assert all(optimizer.state[param]["step"] == 3 for param in model.parameters())


def test_an_optimizer_that_is_let_go_is_freed() -> None:
    model = Net()
    optimizer = fastopt.torch.AdamW(model.parameters())
    fused_in_backward(model, optimizer)
    train(model, optimizer, range(2), fused=True)
    state = weakref.ref(optimizer.state[model.conv.weight]["exp_avg"])
    owner = weakref.ref(optimizer)
    gc.disable()  # by reference counts alone
    try:
        del optimizer
        assert owner() is None
        assert state() is None
    finally:
        gc.enable()
    before = bits(list(model.parameters()))
    loss_of(model, 2).backward()
    assert bits(list(model.parameters())) == before
    assert model.last.weight.grad is not None


def test_a_copy_of_the_model_has_no_hooks_on_the_optimizer() -> None:
    model = Net()
    optimizer = fastopt.torch.AdamW(model.parameters())
    fused_in_backward(model, optimizer)
    twin, twin_optimizer = copy.deepcopy((model, optimizer))
    before = everything(optimizer)
    loss_of(twin, 0).backward()
    assert everything(optimizer) == before
    assert twin.last.weight.grad is not None
    twin_optimizer.step()
    assert bits(list(twin.parameters())) != bits(list(model.parameters()))


def test_gradients_with_a_history() -> None:
    one, other = pair("AdamW")
    fused_in_backward(*one)
    for i in range(3):
        for model, optimizer in (one, other):
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Using backward.. with create_graph=True", UserWarning)  # a cycle, freed below
                loss_of(model, i).backward(create_graph=True)
            if optimizer is other[1]:
                optimizer.step()
            optimizer.zero_grad()
    assert_same(one, other)


def test_a_graph_that_still_needs_a_parameter_notices_its_step() -> None:
    param = torch.nn.Parameter(torch.ones(3))
    model = torch.nn.ParameterList([param])
    optimizer = fastopt.torch.SGD(model.parameters(), lr=0.1)
    fused_in_backward(model, optimizer)
    loss = (param * param).sum()
    loss.backward(retain_graph=True)
    assert torch.equal(param.detach(), torch.full((3,), 0.8))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_stepping_twice_in_one_pass_is_asked_for_twice() -> None:
    """Hooks for two optimizers: the first takes the gradient, the second finds none."""
    model = Net()
    first, second = fastopt.torch.SGD(model.parameters(), lr=0.1), fastopt.torch.SGD(model.parameters(), lr=0.1)
    twin = Net()
    third = fastopt.torch.SGD(twin.parameters(), lr=0.1)
    fused_in_backward(model, first)
    fused_in_backward(model, second)
    train(model, first, range(2), fused=True)
    train(twin, third, range(2), fused=False)
    assert bits(list(model.parameters())) == bits(list(twin.parameters()))


@pytest.mark.parametrize("master", ["24bit", "float32"])
def test_parameters_may_be_loaded_after_it_is_set_up(master: str) -> None:
    """State is made at once, but masters are the parameters' at their first step."""
    one, other = pair("Adagrad", torch.bfloat16, master=master, ema_decay=0.9)
    torch.manual_seed(99)
    values = {name: torch.randn_like(value) for name, value in one[0].state_dict().items()}
    fused_in_backward(*one)
    for model, _ in (one, other):
        model.load_state_dict(values)
    train(*one, range(3), fused=True)
    train(*other, range(3), fused=False)
    assert_same(one, other)
