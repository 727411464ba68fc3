"""The step with all its stages against the stages one at a time in float64, and against torch's clipping, scaling and averaging."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fastopt
from fastopt import _core
from fastopt.rules import RULES
from tests.support import reference
from tests.support.helpers import (
    DTYPES,
    ISAS,
    OPTIONS,
    Array,
    History,
    assert_close,
    assert_same_bits,
    combinations,
    digest,
    gradients,
    same_bits,
    stage_arguments,
)

COPIES: dict[str, Any] = {"float32": np.float32, "float64": np.float64, "bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
ULPS = {np.float32: 60.0, np.float64: 8000.0}


class Reference:
    """The stages one at a time, each over all tensors before the next."""

    def __init__(self, rule: str, params: list[Array], arguments: list[dict[str, Any]], options: dict[str, Any]) -> None:
        self.step_of = reference.REFERENCES[rule]
        self.params = [param.astype(np.float64) for param in params]
        self.arguments, self.options = arguments, options
        self.state: list[dict[str, Array]] = [{} for _ in params]
        self.steps = [0 for _ in params]
        self.averages = [param.copy() for param in self.params]
        self.skipped = 0
        self.norm = 0.0

    def step(self, grads: list[Array | None]) -> bool:
        o = self.options
        present = {i: grad.astype(np.float64) * o["grad_scale"] for i, grad in enumerate(grads) if grad is not None}
        if o["skip_nonfinite"] and not all(np.isfinite(grad).all() for grad in present.values()):
            self.skipped += 1
            return False
        if o["clip_value"] is not None:
            present = {i: np.clip(grad, -o["clip_value"], o["clip_value"]) for i, grad in present.items()}
        self.norm = float(np.sqrt(sum(float((grad**2).sum()) for grad in present.values())))
        factor = 1.0
        if o["max_norm"] is not None and o["norm_eps"] > 0:
            factor = min(o["max_norm"] / (self.norm + o["norm_eps"]), 1.0)
        elif o["max_norm"] is not None and o["max_norm"] < self.norm < np.inf:
            factor = o["max_norm"] / self.norm
        present = {i: grad * factor for i, grad in present.items()}
        for i, grad in present.items():
            self.steps[i] += 1
            self.params[i] = self.step_of(self.params[i], grad, self.state[i], self.steps[i], **self.arguments[i])
            if o["ema_decay"] is not None:
                share = 1.0 if self.steps[i] == 1 else 1 - o["ema_decay"]
                self.averages[i] = (1 - share) * self.averages[i] + share * self.params[i]
        return True


def flat(arrays: list[Array]) -> Array:
    return np.concatenate([np.ravel(array) for array in arrays])


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data(), rule=st.sampled_from(sorted(RULES)), dtype=st.sampled_from(DTYPES), seed=st.integers(0, 2**32))
def test_the_whole_step_is_its_stages_one_at_a_time(data: st.DataObject, rule: str, dtype: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shapes = data.draw(st.lists(st.sampled_from([(), (0,), (3,), (7, 5), (300,), (2, 3, 4)]), min_size=1, max_size=4))
    options = {name: data.draw(st.sampled_from(values), label=name) for name, values in OPTIONS.items()}
    each = [
        data.draw(st.sampled_from(list(combinations(RULES[rule], rng)))) | data.draw(st.sampled_from(stage_arguments(rng)))
        for _ in shapes
    ]
    params = [gradients(shape, dtype, rng) for shape in shapes]
    copies = [data.draw(st.sampled_from([None, *COPIES])) for _ in shapes]
    copied = [None if name is None else np.zeros(shape, COPIES[name]) for name, shape in zip(copies, shapes, strict=True)]
    expected = Reference(rule, params, each, options)
    groups = [{"params": [param], **arguments} for param, arguments in zip(params, each, strict=True)]
    optimizer = getattr(fastopt, rule)(groups, copy_to=copied, **options)
    history = History()
    history.see(flat(expected.params), {})
    for t in range(data.draw(st.integers(1, 8), label="steps")):
        grads: list[Array | None] = [gradients(shape, dtype, rng, 1 / abs(options["grad_scale"])) for shape in shapes]
        if data.draw(st.booleans(), label="a missing one"):
            grads[int(rng.integers(len(grads)))] = None
        spoiled = options["skip_nonfinite"] and any(g is not None and g.size for g in grads) and data.draw(st.booleans())
        if spoiled:
            grad = next(g for g in grads if g is not None and g.size)
            grad.reshape(-1)[int(rng.integers(grad.size))] = rng.choice([np.nan, np.inf, -np.inf])
        kept = [None if grad is None else grad.copy() for grad in grads]
        before = everything(optimizer, params, copied)
        optimizer.step(grads)
        stepped = expected.step(kept)
        assert stepped != bool(spoiled)
        assert (optimizer.steps, optimizer.skipped_steps) == (t + 1 - expected.skipped, expected.skipped)
        if not stepped:
            assert everything(optimizer, params, copied) == before
        for grad, original in zip(grads, kept, strict=True):
            if grad is not None and original is not None:
                assert same_bits(grad, np.zeros_like(grad) if options["zero_grad"] else original)
        if options["max_norm"] is None and not options["skip_nonfinite"]:
            assert optimizer.grad_norm is None
        elif stepped:
            assert optimizer.grad_norm == pytest.approx(expected.norm, rel=1e-6)
        history.see(flat(expected.params), {})
    assert [entry["step"] for entry in optimizer.state] == expected.steps
    assert_close(flat(params), flat(expected.params), history.scales["params"], ULPS[dtype], "params")
    if options["ema_decay"] is None:
        assert optimizer.ema_params is None
    else:
        assert_close(flat(optimizer.ema_params), flat(expected.averages), history.scales["params"], ULPS[dtype], "averages")
    for param, copy, steps in zip(params, copied, expected.steps, strict=True):
        if copy is not None and steps:
            single = param.astype(np.float32) if copy.dtype.itemsize == 2 else param
            assert digest(copy) == digest(single.astype(copy.dtype))


def everything(optimizer: Any, params: list[Array], copied: list[Any]) -> str:
    """A hash of all that a step may write, but for the gradients."""
    state = [value for entry in optimizer.state for value in entry.values()]
    return digest(*params, *state, *(optimizer.ema_params or []), *(copy for copy in copied if copy is not None), optimizer.steps)


WHOLE: dict[str, Any] = {"grad_scale": 1 / 64, "skip_nonfinite": True, "clip_value": 1.5, "max_norm": 3.0, "ema_decay": 0.9}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
def test_bits_do_not_depend_on_threads_instruction_sets_or_cuts(rule: str, dtype: Any) -> None:
    rng = np.random.default_rng(3)
    lengths = (1, 255, 256, 30_000, 0, 70_001)
    start, grads = ([gradients(n, dtype, rng, 20.0) for n in lengths] for _ in range(2))

    def run(isa: str, threads: int, *, one: bool = False) -> list[Array]:
        assert _core.set_isa(isa)
        fastopt.set_num_threads(threads)
        buffer = fastopt.flatten(start)
        params = [buffer.data] if one else buffer.views
        gradient = fastopt.flatten(grads)
        copies = np.zeros(len(buffer), np.uint16).view(ml_dtypes.bfloat16)
        copied = [copies] if one else buffer.split(copies.view(np.uint16))
        copied = copied if one else [view.view(ml_dtypes.bfloat16) for view in copied]
        optimizer = getattr(fastopt, rule)(params, copy_to=copied, zero_grad=True, **WHOLE)
        for factor in (1.0, 0.5, 3.0):
            gradient.copy_from([grad * dtype(factor) for grad in grads])
            optimizer.step([gradient.data] if one else gradient.views)
            assert optimizer.skipped_steps == 0
        averages = optimizer.ema_params[0] if one else flat_like(buffer, optimizer.ema_params)
        return [buffer.data, averages, copies.view(np.uint16).astype(dtype), np.array([optimizer.grad_norm])]

    expected = run("scalar", 1)
    for isa in ISAS:
        for threads in (1, 2, 3):
            assert_same_bits(run(isa, threads), expected, (isa, threads))
            assert_same_bits(run(isa, threads, one=True), expected, (isa, threads, "one flat tensor"))


def flat_like(buffer: fastopt.FlatBuffer, arrays: list[Array]) -> Array:
    result = buffer.zeros_like()
    result.copy_from(arrays)
    return result.data


@pytest.mark.parametrize("max_norm", [0.1, 5.0, 1e9])
def test_clipping_against_torch(max_norm: float, rng: np.random.Generator) -> None:
    """torch's clip_grad_norm_ multiplies by max_norm/(norm + 1e-6): the same but for that 1e-6."""
    params = [gradients(shape, np.float64, rng) for shape in ((7, 5), (300,))]
    tensors = [torch.nn.Parameter(torch.from_numpy(param.copy())) for param in params]
    optimizer, peer = fastopt.SGD(params, lr=0.1, max_norm=max_norm), torch.optim.SGD(tensors, lr=0.1)
    for _ in range(5):
        grads = [gradients(param.shape, np.float64, rng) for param in params]
        for tensor, grad in zip(tensors, grads, strict=True):
            tensor.grad = torch.from_numpy(grad.copy())
        norm = torch.nn.utils.clip_grad_norm_(tensors, max_norm)
        peer.step()
        optimizer.step(grads)
        assert optimizer.grad_norm == pytest.approx(float(norm), rel=1e-12)
    for param, tensor in zip(params, tensors, strict=True):
        assert param == pytest.approx(tensor.detach().numpy(), rel=1e-6)


def test_scaling_and_skipping_against_torch(rng: np.random.Generator) -> None:
    """torch.amp.GradScaler: unscale, and no step where a gradient is Inf or NaN, also one that only unscaling makes."""
    scale = 2.0**10
    param = gradients(50, np.float32, rng)
    tensor = torch.nn.Parameter(torch.from_numpy(param.copy()))
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=10**6, backoff_factor=1 - 1e-9)
    optimizer, peer = fastopt.AdamW(param, skip_nonfinite=True), torch.optim.AdamW([tensor])
    for spoil in (None, np.inf, None, np.nan, -np.inf, None):
        grad = gradients(50, np.float32, rng, scale)
        if spoil is not None:
            grad[17] = spoil
        scaler.scale(torch.zeros(()))
        tensor.grad = torch.from_numpy(grad.copy())
        scaler.step(peer)
        scaler.update(scale)
        optimizer.step(grad, grad_scale=1 / scale)
    assert (optimizer.steps, optimizer.skipped_steps) == (3, 3)
    assert param == pytest.approx(tensor.detach().numpy(), rel=1e-6)
    huge = np.full(50, 1e30, np.float32)
    before = digest(param)
    optimizer.step(huge, grad_scale=1e30)
    assert optimizer.skipped_steps == 4
    assert digest(param) == before


def test_averages_against_torch(rng: np.random.Generator) -> None:
    param = gradients(50, np.float64, rng)
    tensor = torch.nn.Parameter(torch.from_numpy(param.copy()))
    model = torch.nn.ParameterList([tensor])
    averaged = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    optimizer, peer = fastopt.Adam(param, ema_decay=0.9), torch.optim.Adam([tensor])
    for _ in range(10):
        grad = gradients(50, np.float64, rng)
        tensor.grad = torch.from_numpy(grad.copy())
        peer.step()
        averaged.update_parameters(model)
        optimizer.step(grad)
        assert optimizer.ema_params == pytest.approx(next(averaged.module.parameters()).detach().numpy(), rel=1e-12)


def test_finite_gradients_whose_squares_are_not(rng: np.random.Generator) -> None:
    for size in (1e200, 1e-200):
        param = np.ones(300)
        optimizer = fastopt.SGD(param, lr=1.0, skip_nonfinite=True, max_norm=1.0)
        optimizer.step(np.full(300, size))
        assert optimizer.skipped_steps == 0
        assert optimizer.grad_norm == pytest.approx(size * np.sqrt(300), rel=1e-15)
        assert param == pytest.approx(1 - min(size, 1 / np.sqrt(300)), rel=1e-15)


def test_an_infinite_norm_clips_nothing() -> None:
    param = np.zeros(3)
    optimizer = fastopt.SGD(param, lr=1.0, max_norm=1.0)
    optimizer.step(np.array([np.inf, 2.0, -3.0]))
    assert optimizer.grad_norm == np.inf
    assert param.tolist() == [-np.inf, -2.0, 3.0]
    optimizer.step(np.array([0.0, np.nan, 0.0]))
    assert np.isnan(optimizer.grad_norm)


def test_the_order_of_the_stages_by_hand() -> None:
    """Scale, clip, norm, sign, L2 and L1, decay, rule, average, copy, zero: each changes what the next would do."""
    param, copy, grad = np.array([2.0, -2.0]), np.zeros(2, np.float32), np.array([8.0, -80.0])
    optimizer = fastopt.SGD(
        param,
        lr=0.1,
        l1=0.5,
        weight_decay=0.25,
        maximize=True,
        clip_value=3.0,
        max_norm=2.5,
        ema_decay=0.5,
        copy_to=copy,
        zero_grad=True,
    )
    optimizer.step(grad, grad_scale=0.5)
    # 4, -40 -> 3, -3 (wait for the norm: sqrt(18)) -> times 2.5/sqrt(18) -> sign -> plus 0.5*sign(p) + 0.25*p
    clipped = np.array([3.0, -3.0]) * (2.5 / np.sqrt(18))
    expected = np.array([2.0, -2.0]) - 0.1 * (-clipped + np.array([1.0, -1.0]))
    assert optimizer.grad_norm == pytest.approx(np.sqrt(18), rel=1e-15)
    assert param == pytest.approx(expected, rel=1e-14)
    assert optimizer.ema_params.tolist() == param.tolist()
    assert copy.tolist() == param.astype(np.float32).tolist()
    assert grad.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", COPIES)
def test_copies_are_rounded_to_nearest_even(name: str, dtype: Any) -> None:
    """Around every 16-bit pattern: ties, denormals, overflow, NaN."""
    bits = np.arange(2**16, dtype=np.uint32) << 16
    near = np.concatenate([bits + d for d in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF)]).view(np.float32)
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)
    with np.errstate(all="ignore"):
        beside = [np.nextafter(halves, np.float32(end)) for end in (np.inf, -np.inf)]
        ties = (halves[:-1] + halves[1:]) / 2
        values = np.concatenate([near, halves, *beside, ties]).astype(dtype)
        expected = (values if name == "float64" else values.astype(np.float32)).astype(COPIES[name])
        for isa in ISAS:
            assert _core.set_isa(isa)
            param, copy = values.copy(), np.zeros(values.size, COPIES[name])
            fastopt.SGD(param, lr=0.0, copy_to=copy).step(np.zeros_like(param))
            size = np.dtype(f"u{copy.itemsize}")
            nan = np.isnan(copy.astype(np.float64)) & np.isnan(expected.astype(np.float64))
            same = (copy.view(size) == expected.view(size)) | nan
            assert same.all(), (isa, values[~same][:4], copy[~same][:4], expected[~same][:4])


def test_a_torch_bfloat16_tensor_takes_the_copy(rng: np.random.Generator) -> None:
    param, half = gradients(33, np.float32, rng), torch.zeros(33, dtype=torch.bfloat16)
    fastopt.AdamW(param, copy_to=half).step(gradients(33, np.float32, rng))
    assert torch.equal(half, torch.from_numpy(param).to(torch.bfloat16))


def test_options_of_one_step_and_from_the_next_on(rng: np.random.Generator) -> None:
    param, grad = np.zeros(4), np.full(4, 3.0)
    optimizer = fastopt.SGD(param, lr=1.0)
    optimizer.step(grad, max_norm=1.0)
    assert param.tolist() == [-0.5] * 4
    optimizer.step(grad)
    assert param.tolist() == [-3.5] * 4
    optimizer.options["clip_value"] = 2.0
    optimizer.step(grad, zero_grad=True)
    assert param.tolist() == [-5.5] * 4
    assert grad.tolist() == [0.0] * 4
    assert dict(optimizer.options)["clip_value"] == 2.0
    assert optimizer.grad_norm is None
