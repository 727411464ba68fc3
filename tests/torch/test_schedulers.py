"""What torch puts around an optimizer, with our classes and with torch's: schedulers, GradScaler, clipping, averaged models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler, swa_utils

import fastopt.torch
from tests.support.torch_programs import (
    FUSED,
    digits,
    loss_of,
    network,
    numbers_of,
    one_thread,
    parameter,
    program,
    random,
    state_of,
)

__all__ = ["one_thread"]

CLASSES: dict[str, dict[str, Any]] = {"AdamW": {"lr": 0.01}, "SGD": {"lr": 0.05, "momentum": 0.9}}
STEPS = 12
SCHEDULERS: dict[str, Callable[[Any], Any]] = {
    "StepLR": lambda o: lr_scheduler.StepLR(o, 3, gamma=0.5),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [2, 5]),
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, [lambda e: 0.9**e, lambda e: 1 / (1 + e)]),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda e: 0.8),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, 0.3, 4),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, 0.1, total_iters=6),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.8),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, 10, 2.0),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 6, eta_min=1e-4),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 4),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, [0.05, 0.02], total_steps=STEPS + 1),
    "OneCycleLR three phases": lambda o: lr_scheduler.OneCycleLR(o, 0.05, total_steps=STEPS + 1, three_phase=True),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 1e-3, 0.05, step_size_up=3, cycle_momentum="momentum" in o.defaults),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0, threshold=0.3),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.ConstantLR(o, 0.1, 3), lr_scheduler.ExponentialLR(o, 0.7)], [4]
    ),
    "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler([lr_scheduler.StepLR(o, 2), lr_scheduler.ConstantLR(o)], o),
    "SWALR": lambda o: swa_utils.SWALR(o, 0.002, anneal_epochs=4),
}


@pytest.mark.parametrize("of_tensors", [False, True], ids=["numbers", "tensors"])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("rule", CLASSES)
@program
def test_schedulers(optim: Any, rule: str, scheduler: str, of_tensors: bool) -> Any:
    """Over two groups, `lr` a number or a tensor that is written in place."""
    model = network()
    arguments = {**CLASSES[rule]}
    if of_tensors:
        arguments["lr"] = torch.tensor(arguments["lr"], dtype=torch.float64)
    groups = [{"params": model[:3].parameters()}, {"params": model[3:].parameters()}]
    optimizer = getattr(optim, rule)(groups, foreach=False, **arguments)
    schedule = SCHEDULERS[scheduler](optimizer)
    trace = []
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(model, step)
        loss.backward()
        optimizer.step()
        schedule.step(*([loss.detach()] if scheduler == "ReduceLROnPlateau" else []))
        trace.append(
            (loss.detach(), [{k: float(v) if k == "lr" else v for k, v in each.items()} for each in numbers_of(optimizer)])
        )
    assert len({str(numbers) for _, numbers in trace}) > 1, "the schedule changed nothing"
    return [
        [loss, [{k: group[k] for k in ("lr", "betas", "momentum") if k in group} for group in groups]] for loss, groups in trace
    ]


# GradScaler


@pytest.mark.parametrize("unscale", [False, True])
@pytest.mark.parametrize("fused", [None, True])
@pytest.mark.parametrize("rule", ["AdamW", "SGD"])
def test_grad_scaler(rule: str, fused: bool | None, unscale: bool) -> None:
    """With overflows, which are skipped; after `unscale_` gradients are clipped.

    torch's fused SGD is no measure: its buffer is uninitialized memory where the first step is skipped.
    """
    ends = []
    for optim in (fastopt.torch, torch.optim):
        param = parameter(6, dtype=torch.float32)
        kind = None if optim is torch.optim and rule == "SGD" else fused
        optimizer = getattr(optim, rule)([param], **CLASSES[rule], fused=kind)
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
        trace = []
        for step in range(9):
            optimizer.zero_grad()
            factor = torch.inf if step in (0, 4) else 1.0
            scaler.scale((param * random(6, seed=step, dtype=torch.float32)).sum() * factor).backward()
            if unscale:
                scaler.unscale_(optimizer)
                trace.append(float(torch.nn.utils.clip_grad_norm_([param], 0.5)))
            scaler.step(optimizer)
            scaler.update()
            trace.append(scaler.get_scale())
        ends.append((trace, param.detach(), state_of(optimizer)))
    (trace, *mine), (expected, *theirs) = ends
    assert trace == pytest.approx(expected, rel=1e-6, nan_ok=True)
    assert trace[1 if unscale else 0] == 4.0, "an overflow halved the scale"
    torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("rule", FUSED)
def test_a_scaler_and_a_stage_of_ours(rule: str) -> None:
    """The scale and the caller's own `grad_scale` multiply; `max_norm` sees unscaled gradients."""
    params = [parameter(6), parameter(6)]
    ours = getattr(fastopt.torch, rule)(params[:1], lr=0.1, fused=True, max_norm=0.5, grad_scale=0.25)
    plain = getattr(fastopt.torch, rule)(params[1:], lr=0.1, max_norm=0.5)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for step in range(3):
        scaler.scale((params[0] * random(6, seed=step)).sum()).backward()
        params[1].grad = random(6, seed=step) * 0.25
        scaler.step(ours)
        scaler.update()
        plain.step()
        assert ours.grad_norm == plain.grad_norm
        ours.zero_grad()
    assert torch.equal(*params)


# Clipping and averages


@pytest.mark.parametrize("clip", ["norm", "norm inf", "value"])
@program
def test_clipping(optim: Any, clip: str) -> Any:
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    norms = []
    for step in range(6):
        optimizer.zero_grad()
        loss_of(model, step).backward()
        if clip == "value":
            torch.nn.utils.clip_grad_value_(model.parameters(), 0.01)
        else:
            kind = float("inf") if clip == "norm inf" else 2.0
            norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 0.05, norm_type=kind))
        optimizer.step()
    return norms, list(model.parameters())


def test_max_norm_is_clip_grad_norm() -> None:
    """The stage and torch's function before the step."""
    models = [network(), network()]
    ours = fastopt.torch.AdamW(models[0].parameters(), lr=0.01, max_norm=0.1)
    plain = fastopt.torch.AdamW(models[1].parameters(), lr=0.01)
    for step in range(6):
        for model in models:
            model.zero_grad()
            loss_of(model, step).backward()
        norm = torch.nn.utils.clip_grad_norm_(models[1].parameters(), 0.1)
        ours.step()
        plain.step()
        assert ours.grad_norm == pytest.approx(float(norm), rel=1e-9)
    torch.testing.assert_close(list(models[0].parameters()), list(models[1].parameters()), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("average", ["mean", "ema"])
@program
def test_averaged_models(optim: Any, average: str) -> Any:
    """torch.optim.swa_utils with SWALR and update_bn."""
    model = torch.nn.Sequential(network()[:3], torch.nn.BatchNorm1d(144).double(), *network()[3:])
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    multi = swa_utils.get_ema_multi_avg_fn(0.9) if average == "ema" else None
    averaged = swa_utils.AveragedModel(model, multi_avg_fn=multi)
    schedule = swa_utils.SWALR(optimizer, swa_lr=0.01, anneal_epochs=3)
    for step in range(8):
        optimizer.zero_grad()
        loss_of(model, step).backward()
        optimizer.step()
        averaged.update_parameters(model)
        schedule.step()
    images, _ = digits()
    swa_utils.update_bn(images.split(64), averaged)
    return list(averaged.parameters()), list(averaged.buffers()), loss_of(averaged.eval(), 0).detach()


def test_our_averages_are_swa_utils() -> None:
    """`ema_decay` and torch's EMA of every step."""
    model = network()
    optimizer = fastopt.torch.AdamW(model.parameters(), lr=0.01, ema_decay=0.9)
    averaged = swa_utils.AveragedModel(model, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.9))
    for step in range(6):
        optimizer.zero_grad()
        loss_of(model, step).backward()
        optimizer.step()
        averaged.update_parameters(model)
    torch.testing.assert_close(optimizer.ema_params, [p.detach() for p in averaged.parameters()], rtol=1e-9, atol=1e-12)
