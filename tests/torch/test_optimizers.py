"""fastopt.torch against torch.optim on a small network, over every combination of their arguments; and against fastopt, to the bit."""

from __future__ import annotations

import inspect
import itertools
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

import fastopt.torch
from fastopt.rules import RULES
from fastopt.torch.coded import Coded
from tests.support.cases import arguments_with_state, label
from tests.support.comparing import History, assert_close
from tests.support.formats import MASTERS, STATE_DTYPES
from tests.support.torch_programs import (
    ARGUMENTS,
    FUSED,
    TORCH_RULES,
    assert_same,
    combinations,
    default_dtype,
    loss_of,
    network,
    one_thread,
    random,
    state_of,
    train,
)

__all__ = ["one_thread"]

STEPS = 20
ULPS, ULPS_CENTERED = 15.0, 40.0
"""The error that tests/rules/test_against_torch.py allows.  Here gradients come from a network, and centered RMSprop divides by a
difference of two near numbers."""

CASES = [(rule, arguments) for rule in TORCH_RULES for arguments in combinations(rule)]


def name(case: Any) -> str:
    return f"{case[0]}-{label(case[1])}-{'-'.join(str(v) for v in case[1].values() if not isinstance(v, bool))}".replace(" ", "")


def implementations(rule: str) -> list[dict[str, bool]]:
    """torch's."""
    return [{"foreach": False}, {"foreach": True}, *([{"fused": True}] if rule in FUSED else [])]


@pytest.mark.parametrize("case", CASES, ids=name)
def test_float64(case: tuple[str, dict[str, Any]]) -> None:
    """Each on its own network: 1e-9 is what 20 steps make of 1e-16, at most."""
    rule, arguments = case
    with default_dtype(torch.float64 if rule == "NAdam" else torch.float32):
        model = network()
        ours = getattr(fastopt.torch, rule)(model.parameters(), **arguments)
        losses = train(model, ours, STEPS)
        for implementation in implementations(rule):
            peer = network()
            theirs = getattr(torch.optim, rule)(peer.parameters(), **arguments, **implementation)
            assert_same(losses, train(peer, theirs, STEPS), f"losses, {implementation}")
            assert_same(list(model.parameters()), list(peer.parameters()), f"params, {implementation}")
            assert_same(state_of(ours), state_of(theirs), f"state, {implementation}")


@pytest.mark.parametrize("case", CASES, ids=name)
def test_float32(case: tuple[str, dict[str, Any]]) -> None:
    """The gradients of one network for all, as a network makes more of a difference of one rounding with every step."""
    rule, arguments = case
    model = network(torch.float32)
    optimizer = getattr(fastopt.torch, rule)(model.parameters(), **arguments)
    peers = [getattr(torch.optim, rule)(network(torch.float32).parameters(), **arguments, **i) for i in implementations(rule)]
    params = [peer.param_groups[0]["params"] for peer in peers]
    histories = [History() for _ in params[0]]
    for step in range(STEPS):
        model.zero_grad()
        loss_of(model, step).backward()
        for peer, own in zip(peers, params, strict=True):
            for param, given in zip(own, model.parameters(), strict=True):
                param.grad = given.grad.clone()
            with default_dtype(torch.float64):
                peer.step()
        optimizer.step()
        for history, param, state in zip(histories, params[0], state_of(peers[0]), strict=True):
            kept = {k: v.double().numpy() for k, v in state.items() if k not in ("step", *RULES[rule].carried)}
            history.see(param.detach().double().numpy(), kept)
    mine, ulps = state_of(optimizer), ULPS_CENTERED if arguments.get("centered") else ULPS
    for peer, own in zip(peers, params, strict=True):
        where = [peer.defaults["foreach"], peer.defaults.get("fused")]
        for i, (param, theirs) in enumerate(zip(model.parameters(), own, strict=True)):
            state, scales = state_of(peer)[i], histories[i].scales
            assert_close(param.detach().numpy(), theirs.detach().numpy(), floor(scales["params"]), ulps, (where, i))
            assert mine[i].keys() == state.keys()
            for key, value in state.items():
                if key == "step" or key in RULES[rule].carried:
                    assert float(mine[i][key]) == pytest.approx(float(value), rel=1e-12)
                else:
                    assert (mine[i][key].dtype, mine[i][key].stride()) == (value.dtype, value.stride())
                    assert_close(mine[i][key].numpy(), value.numpy(), floor(scales[key]), ulps, (where, i, key))


def floor(scale: Any) -> Any:
    return np.maximum(scale, np.finfo(np.float32).tiny)


@pytest.mark.parametrize("foreach", [False, True])
def test_centered_rmsprop_does_not_run_away_as_torchs_does(foreach: bool) -> None:
    """Under gradients of 1 with 3e-4 of noise, whose variance is a unit of rounding in float32."""
    ours, theirs = (torch.zeros(1000, requires_grad=True) for _ in range(2))
    optimizers = {
        ours: fastopt.torch.RMSprop([ours], lr=1e-3, centered=True),
        theirs: torch.optim.RMSprop([theirs], lr=1e-3, centered=True, foreach=foreach),
    }
    generator = torch.Generator().manual_seed(17)
    for _ in range(3000):
        grad = 1 + 3e-4 * torch.randn(1000, generator=generator)
        for param, optimizer in optimizers.items():
            param.grad = grad
            optimizer.step()
    assert ((ours > -5000) & (ours < -1000)).all()
    assert (theirs.isnan() | (theirs < -1e5)).any()


@pytest.mark.parametrize("rule", TORCH_RULES)
def test_defaults_are_torchs(rule: str) -> None:
    """And the arguments, their order and what may come by position."""
    ours, theirs = network(torch.float32), network(torch.float32)
    optimizer, peer = getattr(fastopt.torch, rule)(ours.parameters()), getattr(torch.optim, rule)(theirs.parameters())
    assert {k: v for k, v in optimizer.defaults.items() if k in peer.defaults} == peer.defaults
    mine = inspect.signature(getattr(fastopt.torch, rule)).parameters
    for place, (argument, expected) in enumerate(inspect.signature(getattr(torch.optim, rule)).parameters.items()):
        assert mine[argument].default == expected.default
        if expected.kind is expected.POSITIONAL_OR_KEYWORD:
            assert list(mine)[place] == argument
            assert mine[argument].kind is expected.kind
    train(ours, optimizer, 3)
    train(theirs, peer, 3)
    assert_same(list(ours.parameters()), list(theirs.parameters()), rtol=1e-5)


@pytest.mark.parametrize("default", [torch.float32, torch.float64])
@pytest.mark.parametrize("rule", TORCH_RULES)
def test_numbers_in_the_state_have_torchs_dtype(rule: str, default: torch.dtype) -> None:
    """But the running product of NAdam, which is float64 always."""
    with default_dtype(default):
        states = []
        for optim in (fastopt.torch, torch.optim):
            model = network(torch.float32)
            optimizer = getattr(optim, rule)(model.parameters())
            train(model, optimizer, 2)
            states.append(state_of(optimizer))
        for ours, theirs in zip(*states, strict=True):
            assert ours.keys() == theirs.keys()
            for key, value in theirs.items():
                dtype = torch.float64 if key == "mu_product" else value.dtype
                assert (ours[key].dtype, ours[key].shape, ours[key].device) == (dtype, value.shape, value.device)


@pytest.mark.parametrize("rule", TORCH_RULES)
def test_learns_as_well(rule: str) -> None:
    """The loss falls, so that equal numbers are those of a training that works."""
    model = network()
    losses = train(
        model,
        getattr(fastopt.torch, rule)(model.parameters(), lr={"Adadelta": 5.0, "SGD": 0.3, "RAdam": 0.1}.get(rule, 0.02)),
        60,
    )
    assert sum(losses[-8:]) < 0.6 * sum(losses[:8])


SHAPES = ((700,), (3, 5, 7), (), (0,), (257,))
STAGES: tuple[dict[str, Any], ...] = (
    {},
    {"weight_decay": 0.1, "decoupled_weight_decay": True, "l1": 0.01, "maximize": True},
    {"weight_decay": 0.1, "grad_scale": 0.5, "clip_value": 1.5, "max_norm": 2.0, "zero_grad": True},
    {"skip_nonfinite": True, "ema_decay": 0.9, "copy_to": torch.bfloat16},
)
KINDS = {torch.bfloat16: ml_dtypes.bfloat16, torch.float16: np.float16, torch.float32: np.float32, torch.float64: np.float64}


def array_of(tensor: torch.Tensor) -> Any:
    """A copy, with NumPy's types."""
    return np.frombuffer(bits_of(tensor), KINDS[tensor.dtype]).reshape(tensor.shape).copy()


def bits_of(value: Any) -> list[bytes] | bytes:
    """The bits of a tensor or an array; for what is stored in blocks, those of its codes and words."""
    if isinstance(value, Coded):
        return [bits_of(value.codes), bits_of(value.blocks)]
    if hasattr(value, "raw"):
        raw = [bits_of(each) for each in value.raw.values()]
        return raw if len(raw) > 1 else raw[0]
    array = value.detach().reshape(-1).view(torch.uint8).numpy() if isinstance(value, torch.Tensor) else value
    return bytes(array.tobytes())


def storages() -> list[Any]:
    narrow = itertools.product((torch.bfloat16, torch.float16), MASTERS, STATE_DTYPES)
    return [(torch.float64, None, None), *((torch.float32, None, each) for each in STATE_DTYPES), *narrow]


@pytest.mark.parametrize("storage", storages(), ids=lambda s: "-".join(str(each).removeprefix("torch.") for each in s))
@pytest.mark.parametrize("rule", RULES)
def test_same_bits_as_fastopt(rule: str, storage: tuple[torch.dtype, str | None, str | None]) -> None:
    """The same memory, arguments and seed: every stage, in every format, with torch's `norm_eps` given."""
    dtype, master, state_dtype = storage
    arguments = arguments_with_state(rule)
    for number, given in enumerate(STAGES):
        stages = {**given}
        params = [torch.nn.Parameter(random(*shape, seed=i, dtype=dtype)) for i, shape in enumerate(SHAPES)]
        arrays = [array_of(param) for param in params]
        copies: list[Any] = [None, None]
        if "copy_to" in stages:
            kind = stages.pop("copy_to")
            copies = [[torch.zeros(shape, dtype=kind) for shape in SHAPES], [np.zeros(shape, KINDS[kind]) for shape in SHAPES]]
        formats = {"state_dtype": state_dtype, "master": master, "seed": 5 + number}
        ours = getattr(fastopt.torch, rule)(params, lr=0.01, **arguments, **stages, **formats, copy_to=copies[0])
        core = getattr(fastopt, rule)(arrays, lr=0.01, **arguments, **stages, **formats, copy_to=copies[1], norm_eps=1e-6)
        for step in range(4):
            for i, param in enumerate(params):
                param.grad = random(*param.shape, seed=100 * step + i, dtype=dtype)
            if step == 2 and stages.get("skip_nonfinite"):
                params[0].grad[3] = torch.inf
            grads = [array_of(param.grad) for param in params]
            ours.step()
            core.step(grads)
            assert [bits_of(param.grad) for param in params] == [bits_of(grad) for grad in grads]
        where = (given, formats)
        assert [bits_of(param) for param in params] == [bits_of(array) for array in arrays], where
        assert (ours.grad_norm, ours.skipped_steps) == (core.grad_norm, core.skipped_steps)
        if copies[0] is not None:
            assert [bits_of(copy) for copy in copies[0]] == [bits_of(copy) for copy in copies[1]]
        if ours.ema_params is not None:
            assert [bits_of(each) for each in ours.ema_params] == [bits_of(each) for each in core.ema_params]
        for param, expected in zip(params, core.state, strict=True):
            entry = ours.state[param]
            for key, value in expected.items():
                if key in ("step", *RULES[rule].carried):
                    assert key not in entry or float(entry[key]) == value, where
                else:
                    assert bits_of(entry[key]) == bits_of(value), (key, where)


@pytest.mark.parametrize("rule", [rule for rule in TORCH_RULES if "betas" in ARGUMENTS[rule]])
def test_tensors_as_hyperparameters(rule: str) -> None:
    """`lr` and betas as tensors, changed in place between steps, as torch's classes take them."""
    trained = []
    for optim in (fastopt.torch, torch.optim):
        model = network()
        lr = torch.tensor(0.01, dtype=torch.float64)
        betas: Any = (
            tuple(torch.tensor(b, dtype=torch.float64) for b in (0.9, 0.99)) if rule in ("Adam", "AdamW") else (0.9, 0.99)
        )
        with default_dtype(torch.float64):
            optimizer = getattr(optim, rule)(model.parameters(), lr=lr, betas=betas, foreach=False)
            train(model, optimizer, 3)
            lr.fill_(0.02)
            if rule in ("Adam", "AdamW"):
                betas[0].fill_(0.5)
            train(model, optimizer, 3, first=3)
        assert optimizer.param_groups[0]["lr"] is lr
        trained.append(list(model.parameters()))
    assert_same(*trained)
