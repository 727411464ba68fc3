"""What is refused: with torch's kind of error where torch raises one, in words that name it, and with nothing changed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

import fastopt.torch
from tests.support.torch_programs import TORCH_RULES, give_gradients, one_thread, parameter, random

__all__ = ["one_thread"]


def error_of(action: Callable[[Any], Any], argument: Any) -> Exception | None:
    try:
        action(argument)
    except Exception as error:  # any: it is compared
        return error
    return None


# Arguments

ARGUMENTS: list[tuple[str, Callable[[Any], Any], str]] = [
    ("lr below 0", lambda o: o.AdamW([parameter(3)], lr=-1.0), r"^lr: got -1.0"),
    ("lr not a number", lambda o: o.AdamW([parameter(3)], lr=float("nan")), r"^lr: got nan"),
    ("lr of a str", lambda o: o.AdamW([parameter(3)], lr="1e-3"), r"^lr: got str '1e-3'"),
    ("lr None", lambda o: o.AdamW([parameter(3)], lr=None), r"^lr: got NoneType"),
    ("lr of two", lambda o: o.AdamW([parameter(3)], lr=torch.ones(2)), r"^lr: got a tensor of 2 elements"),
    ("lr callable", lambda o: o.AdamW([parameter(3)], lr=lambda: 0.1), r"^lr: got a callable.*lr_scheduler"),
    ("beta 1", lambda o: o.AdamW([parameter(3)], betas=(1.0, 0.9)), r"^betas\[0\]: got 1.0"),
    ("beta below 0", lambda o: o.Adam([parameter(3)], betas=(0.9, -0.1)), r"^betas\[1\]: got -0.1"),
    ("betas a number", lambda o: o.NAdam([parameter(3)], betas=0.9), r"^betas: got 0.9"),
    ("eps", lambda o: o.RAdam([parameter(3)], eps=-1e-8), r"^eps: got -1e-08"),
    ("weight_decay", lambda o: o.Adamax([parameter(3)], weight_decay=-0.1), r"^weight_decay: got -0.1"),
    ("momentum", lambda o: o.SGD([parameter(3)], momentum=-0.1), r"^momentum: got -0.1"),
    ("nesterov", lambda o: o.SGD([parameter(3)], nesterov=True), r"nesterov=True needs momentum"),
    ("alpha", lambda o: o.RMSprop([parameter(3)], alpha=-0.1), r"^alpha: got -0.1"),
    ("rho", lambda o: o.Adadelta([parameter(3)], rho=1.5), r"^rho: got 1.5"),
    ("lr_decay", lambda o: o.Adagrad([parameter(3)], lr_decay=-1.0), r"^lr_decay: got -1.0"),
    ("unknown", lambda o: o.AdamW([parameter(3)], beta=0.9), r"^AdamW: got an unexpected keyword argument 'beta'"),
    ("one of another class", lambda o: o.Adam([parameter(3)], momentum=0.9), r"'momentum'"),
    ("fused of a class without", lambda o: o.RMSprop([parameter(3)], fused=True), r"'fused'"),
    ("too many", lambda o: o.AdamW([parameter(3)], 0.1, (0.9, 0.9), 1e-8, 0.1, False, 1), r"AdamW"),
    ("no params", lambda o: o.AdamW(), r"params"),
    ("fused and foreach", lambda o: o.AdamW([parameter(3)], fused=True, foreach=True), r"`fused` and `foreach`"),
    ("an empty list", lambda o: o.AdamW([]), r"empty parameter list"),
    ("a tensor", lambda o: o.AdamW(parameter(3)), r"iterable of Tensors or dicts"),
    ("None", lambda o: o.AdamW(None), r"None"),
    ("a dict", lambda o: o.AdamW({"w": parameter(3)}), r"one of the params is str"),
    ("an array", lambda o: o.AdamW([parameter(3).detach().numpy()]), r"expected tensors; fastopt.AdamW steps arrays of NumPy"),
    ("no leaf", lambda o: o.AdamW([parameter(3) * 2]), r"non-leaf"),
    ("a set in a group", lambda o: o.AdamW([{"params": {parameter(3)}}]), r"ordered collections"),
    ("a group without params", lambda o: o.AdamW([{"lr": 0.1}]), r"params"),
    ("in two groups", lambda o: o.AdamW([{"params": p} for p in [parameter(3)] * 2]), r"more than one parameter group"),
    ("some names", lambda o: o.AdamW([("w", parameter(3)), parameter(2)]), r"with/without names"),
]


@pytest.mark.parametrize(("action", "words"), [each[1:] for each in ARGUMENTS], ids=[each[0] for each in ARGUMENTS])
def test_arguments(action: Callable[[Any], Any], words: str) -> None:
    ours, theirs = error_of(action, fastopt.torch), error_of(action, torch.optim)
    assert theirs is not None
    assert type(ours) is type(theirs)
    with pytest.raises(type(theirs), match=words):
        action(fastopt.torch)


@pytest.mark.parametrize("rule", TORCH_RULES)
def test_differentiable_is_refused_by_name(rule: str) -> None:
    with pytest.raises(RuntimeError, match=r"^differentiable: got True"):
        getattr(fastopt.torch, rule)([parameter(3)], differentiable=True)


@pytest.mark.parametrize("flag", ["foreach", "capturable", "fused"])
def test_flags_are_flags(flag: str) -> None:
    with pytest.raises(TypeError, match=rf"^{flag}: got 'yes', expected True, False or None"):
        fastopt.torch.AdamW([parameter(3)], **{flag: "yes"})
    for value in (True, False, None):
        fastopt.torch.AdamW([parameter(3)], **{flag: value})


OWN: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"state_dtype": "4bit"}, ValueError, "^state_dtype: got '4bit'"),
    ({"master": "24bit"}, ValueError, "master"),
    ({"max_norm": -1.0}, ValueError, "^max_norm: got -1.0"),
    ({"ema_decay": 1.5}, ValueError, "^ema_decay: got 1.5"),
    ({"seed": -1}, ValueError, "^seed: got -1"),
    ({"copy_to": [torch.zeros(3)]}, ValueError, "^copy_to: got 1 tensors, expected 2"),
    ({"copy_to": [torch.zeros(4), None]}, ValueError, r"^copy_to\[0\]: got a Tensor of torch.float32, shape \(4,\)"),
    ({"copy_to": [torch.zeros(3, dtype=torch.int32), None]}, ValueError, r"^copy_to\[0\]: got"),
]


@pytest.mark.parametrize(("arguments", "kind", "words"), OWN, ids=[str(each[0]) for each in OWN])
def test_arguments_of_our_own(arguments: dict[str, Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        fastopt.torch.AdamW([parameter(3), parameter(2)], **arguments)


def test_the_base_class_is_no_optimizer() -> None:
    with pytest.raises(TypeError, match=r"^Optimizer: expected one of the rules' classes"):
        fastopt.torch.Optimizer([parameter(3)])


@pytest.mark.parametrize(
    ("group", "words"),
    [
        ({"lr": -1.0}, r"^param_groups\[1\]: lr: got -1.0"),
        ({"foreach": "yes"}, r"^param_groups\[1\]: foreach: got 'yes'"),
        ({"differentiable": True}, "^differentiable: got True"),
        ({"amsgrad": "largest"}, r"^param_groups\[1\]: amsgrad: got 'largest'"),
    ],
)
def test_a_group_is_added_whole_or_not_at_all(group: dict[str, Any], words: str) -> None:
    optimizer = fastopt.torch.Adam([parameter(3)])
    with pytest.raises((TypeError, ValueError, RuntimeError), match=words):
        optimizer.add_param_group({"params": [parameter(2)], **group})
    assert len(optimizer.param_groups) == 1
    for wrong in ([parameter(2)], {"params": optimizer.param_groups[0]["params"]}, {"params": parameter(2) * 2}):
        theirs = error_of(torch.optim.Adam(optimizer.param_groups[0]["params"]).add_param_group, wrong)
        assert theirs is not None
        assert type(error_of(optimizer.add_param_group, wrong)) is type(theirs)
        assert len(optimizer.param_groups) == 1


# Steps


def with_gradient(param: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
    param.grad = grad
    return param


TENSORS: dict[str, tuple[Callable[[], torch.Tensor], str]] = {
    "a sparse gradient": (lambda: with_gradient(parameter(4), torch.ones(4).double().to_sparse()), "sparse gradients"),
    "overlaps": (
        lambda: with_gradient(torch.zeros(4, 1).expand(4, 3).requires_grad_(), torch.ones(4, 3)),
        r"got strides \(1, 0\)",
    ),
    "integers": (lambda: with_gradient(torch.zeros(4, dtype=torch.int32), torch.ones(4, dtype=torch.int32)), "got torch.int32"),
    "no memory": (lambda: with_gradient(torch.zeros(4, device="meta"), torch.ones(4, device="meta")), "on meta"),
}
TORCH_STEPS = ("no memory",)
"""What torch's classes do not refuse."""


@pytest.mark.parametrize("what", TENSORS)
@pytest.mark.parametrize("rule", ["AdamW", "RMSprop"])
def test_tensors(rule: str, what: str) -> None:
    """RuntimeError, as torch's; the others take no step either, before their first one and later."""
    make, words = TENSORS[what]
    for steps in (0, 2):
        others = [parameter(3), parameter(5, seed=1)]
        optimizer = getattr(fastopt.torch, rule)([others[0], bad := make(), others[1]], lr=0.1)
        grad, bad.grad = bad.grad, None
        for step in range(steps):
            for param in others:
                param.grad = random(*param.shape, seed=step)
            optimizer.step()
        for param in others:
            param.grad = random(*param.shape, seed=9)
        bad.grad = grad
        before = everything(optimizer, others)
        with pytest.raises(RuntimeError, match=rf"^param_groups\[0\]\['params'\]\[1\]: .*{words}"):
            optimizer.step()
        assert everything(optimizer, others) == before
        bad.grad = None
        optimizer.step()
        assert optimizer.state[others[0]]["step"] == steps + 1
    theirs = error_of(lambda o: getattr(o, rule)([make()]).step(), torch.optim)
    assert what in TORCH_STEPS or isinstance(theirs, RuntimeError)


def everything(optimizer: Any, params: list[torch.Tensor]) -> Any:
    """What a step that fails may not change, in bits."""
    groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    state = [[(k, v.tolist(), v._version) for k, v in optimizer.state.get(p, {}).items()] for p in params]
    tensors = [(p.tolist(), p._version, None if p.grad is None else p.grad.tolist()) for p in params]
    return copy.deepcopy((groups, state, tensors, optimizer.skipped_steps, len(optimizer.state)))


def test_named_parameters_are_named() -> None:
    optimizer = fastopt.torch.AdamW([("body.weight", with_gradient(parameter(4), torch.ones(4).double().to_sparse()))])
    with pytest.raises(RuntimeError, match=r"^parameter 'body.weight': AdamW does not support sparse gradients"):
        optimizer.step()


CHANGES: dict[str, tuple[Callable[[Any, Any], Any], type[Exception], str]] = {
    "lr below 0": (lambda o, p: o.param_groups[0].update(lr=-1.0), ValueError, "^lr: got -1.0"),
    "lr a str": (lambda o, p: o.param_groups[0].update(lr="1"), TypeError, "^lr: got str"),
    "betas": (lambda o, p: o.param_groups[0].update(betas=(2.0, 0.9)), ValueError, r"^betas\[0\]: got 2.0"),
    "eps None": (lambda o, p: o.param_groups[0].update(eps=None), TypeError, "^eps: got NoneType"),
    "no lr": (lambda o, p: o.param_groups[0].pop("lr"), KeyError, "lr"),
    "the second group's": (lambda o, p: [o.param_groups[i].update(lr=3.0 - 4 * i) for i in (0, 1)], ValueError, "^lr: got -1.0"),
    "a state of another shape": (lambda o, p: o.state[p].update(exp_avg=torch.zeros(4)), ValueError, r"exp_avg: got a Tensor"),
    "a count lost": (lambda o, p: o.state[p].pop("step"), RuntimeError, "expected 'step' too"),
    "a count of 1.5": (lambda o, p: o.state[p]["step"].fill_(1.5), ValueError, "step: got 1.5, expected a number of steps"),
    "a count below 0": (lambda o, p: o.state[p]["step"].fill_(-1), ValueError, "step: got -1.0"),
    "a count of words": (lambda o, p: o.state[p].update(step="two"), TypeError, "step: got"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_changes_between_steps(what: str) -> None:
    change, kind, words = CHANGES[what]
    params = [parameter(3), parameter(5, seed=1)]
    optimizer = fastopt.torch.AdamW([{"params": [params[0]]}, {"params": [params[1]], "lr": 0.2}], lr=0.1)
    for step in range(2):
        give_gradients(optimizer, step)
        optimizer.step()
    kept = [dict(group) for group in optimizer.param_groups]
    entry = {k: v.clone() for k, v in optimizer.state[params[0]].items()}
    change(optimizer, params[0])
    written = [(p.tolist(), p._version, optimizer.state[params[1]]["exp_avg"].tolist()) for p in params]
    for _ in range(2):
        with pytest.raises(kind, match=words):
            optimizer.step()
        assert [(p.tolist(), p._version, optimizer.state[params[1]]["exp_avg"].tolist()) for p in params] == written
    assert optimizer.state[params[1]]["step"] == 2
    for group, values in zip(optimizer.param_groups, kept, strict=True):
        group.update(values)
    optimizer.state[params[0]] = entry
    optimizer.step()
    assert [float(optimizer.state[p]["step"]) for p in params] == [3, 3]


@pytest.mark.parametrize("what", ["the same memory", "overlapping"])
def test_parameters_that_share_memory(what: str) -> None:
    """A step of both at once would race; torch takes one after the other."""
    whole = random(6, seed=1)
    first = torch.nn.Parameter(whole[:4])
    second = torch.nn.Parameter(whole[:4] if what == "the same memory" else whole[2:])
    optimizer = fastopt.torch.AdamW([first, second])
    give_gradients(optimizer, 0)
    before = whole.clone()
    with pytest.raises(ValueError, match=r"\['params'\]\[1\]: got (the same memory as|memory that overlaps) .*\[0\]"):
        optimizer.step()
    assert torch.equal(whole, before)
    assert not optimizer.state


def test_arguments_of_step() -> None:
    optimizer = fastopt.torch.AdamW([parameter(3)])
    give_gradients(optimizer, 0)
    before = everything(optimizer, optimizer.param_groups[0]["params"])
    for options, kind, words in (
        ({"max_nrom": 1.0}, TypeError, "^max_nrom: there is no such option here"),
        ({"max_norm": -1.0}, ValueError, "^max_norm: got -1.0"),
        ({"zero_grad": 1}, TypeError, "^zero_grad: got 1"),
        ({"ema_decay": 0.9}, ValueError, "^ema_decay: got a number"),
        ({"closure": 3}, TypeError, "not callable"),
    ):
        with pytest.raises(kind, match=words):
            optimizer.step(**options)
        assert everything(optimizer, optimizer.param_groups[0]["params"]) == before


def test_a_closure_that_fails_changes_nothing() -> None:
    optimizer = fastopt.torch.AdamW([parameter(3)])
    give_gradients(optimizer, 0)
    before = everything(optimizer, optimizer.param_groups[0]["params"])

    def closure() -> float:
        raise ArithmeticError("of the program")

    with pytest.raises(ArithmeticError, match="of the program"):
        optimizer.step(closure)
    assert everything(optimizer, optimizer.param_groups[0]["params"]) == before
