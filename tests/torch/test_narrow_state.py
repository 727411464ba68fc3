"""fastopt.torch's 8-bit state: float32 values to whoever reads it, rounded to nearest from whoever writes."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import fastopt
import fastopt.torch
from fastopt.torch.coded import Coded
from tests.support.torch_checkpoints import bits, nonzero, run, twins


def made(format: str = "8bit", values: torch.Tensor | None = None) -> Coded:
    """Coded state of random values, or of these."""
    if values is None:
        values = nonzero((20, 30), torch.float32, torch.Generator().manual_seed(1))
        values = values.abs() if format.endswith("non-negative") else values
    coded = Coded.zeros(format, values)
    coded.encode_(values)
    return coded


def stored(coded: Coded) -> Any:
    """The core's state with the same codes."""
    core = fastopt.Adam(np.zeros(tuple(coded.shape), np.float32), state_dtype="8bit")
    state = core.state[0]["exp_avg_sq" if coded.format.endswith("non-negative") else "exp_avg"]
    state.raw["codes"].reshape(-1)[:] = coded.codes.numpy().reshape(-1)[: state.raw["codes"].size]
    state.raw["blocks"][:] = coded.blocks.numpy().view(np.uint32)
    return state


OTHER = nonzero((20, 30), torch.float32, torch.Generator().manual_seed(2))
READS: dict[str, Callable[[Any], Any]] = {
    "add": lambda x: x + OTHER,
    "multiply from the left": lambda x: 2.0 * x,
    "matmul": lambda x: x @ OTHER.T,
    "norm": lambda x: x.norm(),
    "linalg": torch.linalg.vector_norm,
    "sum": lambda x: x.sum(0),
    "where": lambda x: torch.where(x > 0, x, OTHER),
    "index": lambda x: x[3],
    "slice": lambda x: x[2:5, ::2],
    "mask": lambda x: x[x > 0],
    "item": lambda x: torch.tensor(x[3, 4].item()),
    "view": lambda x: x.view(-1),
    "transpose": lambda x: x.T,
    "cat": lambda x: torch.cat([x, OTHER]),
    "split": lambda x: x.split(7)[1],
    "foreach": lambda x: torch._foreach_add([x, OTHER], 1.0)[0],
    "float": lambda x: x.float(),
    "to itself": lambda x: x.to(torch.float32),
    "to the CPU": lambda x: x.to("cpu"),
    "to": lambda x: x.to(device="cpu", dtype=torch.float32),
    "double": lambda x: x.double(),
    "bfloat16": lambda x: x.to(torch.bfloat16),
    "like another": lambda x: x.to(OTHER.double()),
    "zeros_like": torch.zeros_like,
    "copied into another": lambda x: torch.ones(20, 30).copy_(x),
    "added to another": lambda x: torch.ones(20, 30).add_(x),
}


@pytest.mark.parametrize("format", ["8bit", "8bit non-negative"])
@pytest.mark.parametrize("name", READS)
def test_reading_gives_the_values(name: str, format: str) -> None:
    coded = made(format)
    values = torch.from_numpy(np.array(stored(coded)))
    before = bits(coded)
    found, expected = READS[name](coded), READS[name](values)
    assert type(found) is torch.Tensor
    assert bits(found) == bits(expected)
    assert found.stride() == expected.stride()
    assert bits(coded) == before
    if found.numel() == coded.numel():
        found.fill_(7.0)  # its own memory
        assert bits(coded) == before


def full(x: Any) -> None:
    x[:] = OTHER


def element(x: Any) -> None:
    x[3, 4] = 0.25


def rows(x: Any) -> None:
    x[2:5] *= 2


def mask(x: Any) -> None:
    x[x > 1] = 0.5


WRITES: dict[str, Callable[[Any], Any]] = {
    "mul_": lambda x: x.mul_(0.5),
    "operator": lambda x: x.__iadd__(OTHER),
    "a chain": lambda x: x.mul_(0.9).add_(OTHER, alpha=0.1),
    "lerp_": lambda x: x.lerp_(OTHER, 0.1),
    "addcmul_": lambda x: x.addcmul_(OTHER, OTHER, value=0.1),
    "with itself": lambda x: x.add_(x),
    "zero_": lambda x: x.zero_(),
    "fill_": lambda x: x.fill_(0.3),
    "copy_": lambda x: x.copy_(OTHER),
    "copy_ of one": lambda x: x.copy_(torch.tensor(0.7, dtype=torch.float64)),
    "out": lambda x: torch.mul(OTHER, 3.0, out=x),
    "data": lambda x: x.data.mul_(0.5),
    "detach": lambda x: x.detach().mul_(0.5),
    "foreach": lambda x: torch._foreach_mul_([x, torch.ones(3)], 0.5),
    "foreach of two": lambda x: torch._foreach_add_([x], [OTHER], alpha=0.5),
    "all": full,
    "an element": element,
    "rows": rows,
    "a mask": mask,
}


@pytest.mark.parametrize("name", WRITES)
def test_writing_rounds_to_nearest(name: str) -> None:
    coded = made()
    values, version = coded.float(), coded._version
    WRITES[name](coded)
    if name == "a chain":  # of which each link rounds
        middle = made(values=values.mul(0.9))
        values = middle.float().add(OTHER, alpha=0.1)
    else:
        WRITES[name](values)
    assert bits(coded) == bits(made(values=values))
    assert coded._version > version or name in ("data", "detach")  # which count for themselves, as any tensor's do


def test_writing_gives_the_tensor_itself() -> None:
    coded = made()
    assert coded.mul_(0.5) is coded
    assert torch.add(OTHER, 1.0, out=coded) is coded
    coded += 1
    assert type(coded) is Coded


def test_no_value_below_zero_where_there_is_none() -> None:
    coded = made("8bit non-negative")
    before = bits(coded)
    for write in (lambda: coded.sub_(100.0), lambda: coded.__setitem__(0, -1.0), lambda: torch._foreach_neg_([coded])):
        with pytest.raises(ValueError, match=r"value: got -.*, expected no value below 0 in a non-negative slot"):
            write()
        assert bits(coded) == before
    coded.copy_(torch.full((20, 30), -0.0))
    assert not coded.float().any()


@pytest.mark.parametrize("shape", [(20, 30), (), (0,), (0, 4), (256,), (257,), (1, 1, 5)], ids=str)
def test_copies_keep_the_bits(shape: tuple[int, ...]) -> None:
    coded = made(values=nonzero(shape, torch.float32, torch.Generator().manual_seed(1)))
    file = io.BytesIO()
    torch.save({"a": coded, "b": coded}, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)["a"]
    for copied in (coded.clone(), copy.deepcopy(coded), pickle.loads(pickle.dumps(coded)), loaded):
        assert type(copied) is Coded
        assert bits(copied) == bits(coded)
        assert (copied.shape, copied.stride(), copied.dtype) == (coded.shape, coded.stride(), torch.float32)
        assert copied.codes.data_ptr() != coded.codes.data_ptr() or coded.numel() == 0
    assert coded.detach().codes is coded.codes
    pair = copy.deepcopy([coded, coded])
    assert pair[0] is pair[1]
    assert bits(torch.from_numpy(np.array(stored(coded)))) == bits(coded.float())


def test_its_words() -> None:
    assert repr(made()) == str(made()) == f"{made()}" == "Coded('8bit', shape (20, 30), 780 bytes)"
    assert repr([made("8bit non-negative")]) == "[Coded('8bit non-negative', shape (20, 30), 780 bytes)]"


def steps(params: list[torch.nn.Parameter], core: Any, optimizer: Any, begin: int, end: int) -> None:
    """Takes the same steps with both, whose elements are in the order of the memory."""
    for i in range(begin, end):
        run(optimizer, i, i + 1)
        grads = [torch.empty_like(param.detach()).copy_(param.grad) for param in params]
        core.step([grad.as_strided((grad.numel(),), (1,)).numpy() for grad in grads])
        for param, array in zip(params, core.groups[0]["params"], strict=True):
            assert np.array_equal(param.detach().as_strided((param.numel(),), (1,)).numpy(), array)


LAYOUTS: dict[str, Callable[[], torch.Tensor]] = {
    "plain": lambda: OTHER,
    "channels_last": lambda: OTHER.view(2, 5, 3, 20).contiguous(memory_format=torch.channels_last),
    "transposed": lambda: OTHER.T,
    "permuted": lambda: OTHER.view(2, 10, 30).permute(2, 0, 1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_written_acts_on_the_next_step(layout: str) -> None:
    params = twins([LAYOUTS[layout]()])
    with torch.no_grad():
        params = [torch.nn.Parameter(LAYOUTS[layout]().clone(memory_format=torch.preserve_format))]
    assert params[0].stride() == LAYOUTS[layout]().stride()
    optimizer = fastopt.torch.AdamW(params, lr=0.1, state_dtype="8bit")
    core = fastopt.AdamW([params[0].detach().as_strided((600,), (1,)).clone().numpy()], lr=0.1, state_dtype="8bit")
    steps(params, core, optimizer, 0, 3)
    exp_avg, exp_avg_sq = (optimizer.state[params[0]][name] for name in ("exp_avg", "exp_avg_sq"))
    assert exp_avg.stride() == exp_avg.float().stride() == exp_avg.clone().stride() == params[0].stride()
    for name, coded in (("exp_avg", exp_avg), ("exp_avg_sq", exp_avg_sq)):
        assert np.array_equal(coded.codes.numpy().reshape(-1), core.state[0][name].raw["codes"].reshape(-1))
        assert np.array_equal(coded.float().as_strided((600,), (1,)).numpy(), np.asarray(core.state[0][name]))
    exp_avg.mul_(-0.5)
    exp_avg_sq[...] = OTHER.abs().view(-1)[: exp_avg_sq.numel()].view(exp_avg_sq.shape)
    flat = [coded.float().as_strided((600,), (1,)).numpy() for coded in (exp_avg, exp_avg_sq)]
    core.state[0]["exp_avg"][...] = np.asarray(core.state[0]["exp_avg"]) * np.float32(-0.5)
    wanted = torch.empty_like(params[0].detach()).copy_(OTHER.abs().view(-1).view(exp_avg_sq.shape))
    core.state[0]["exp_avg_sq"][...] = wanted.as_strided((600,), (1,)).numpy()
    for values, name in zip(flat, ("exp_avg", "exp_avg_sq"), strict=True):
        assert np.array_equal(values, np.asarray(core.state[0][name]))
    steps(params, core, optimizer, 3, 6)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    optimizer.load_state_dict(torch.load(file, weights_only=True))
    assert optimizer.state[params[0]]["exp_avg"].stride() == params[0].stride()
    steps(params, core, optimizer, 6, 8)


def test_another_layout_than_the_parameters_is_laid_out_anew() -> None:
    """Loads state from a model that was not in channels_last."""
    values = OTHER.view(2, 5, 3, 20)
    plain = torch.nn.Parameter(values.clone())
    last = torch.nn.Parameter(values.clone(memory_format=torch.channels_last))
    first, second = (fastopt.torch.AdamW([param], state_dtype="8bit") for param in (plain, last))
    run(first, 0, 3)
    second.load_state_dict(first.state_dict())
    for name in ("exp_avg", "exp_avg_sq"):
        found, expected = second.state[last][name], first.state[plain][name].float()
        assert found.stride() == last.stride()
        assert bits(found) == bits(made(found.format, torch.empty_like(last.detach()).copy_(expected)))
    run(second, 3, 5)


def test_shared_memory() -> None:
    params = twins([OTHER])
    optimizer = fastopt.torch.AdamW(params, state_dtype="8bit")
    run(optimizer, 0, 2)
    optimizer.share_memory()
    entry = optimizer.state[params[0]]
    assert all(value.is_shared() for value in entry.values())
    pointer, before = entry["exp_avg"].codes.data_ptr(), bits(entry)
    run(optimizer, 2, 3)
    assert optimizer.state[params[0]]["exp_avg"] is entry["exp_avg"]
    assert entry["exp_avg"].codes.data_ptr() == pointer
    assert bits(entry) != before


@pytest.mark.parametrize("state_dtype", [None, "8bit"])
def test_autograd_notices_a_step(state_dtype: str | None) -> None:
    params = twins([OTHER])
    optimizer = fastopt.torch.AdamW(params, state_dtype=state_dtype)
    run(optimizer, 0, 2)
    weight = torch.ones(20, 30, requires_grad=True)
    loss = (weight * optimizer.state[params[0]]["exp_avg"]).sum()
    run(optimizer, 2, 3)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_torchs_class_takes_ordinary_tensors() -> None:
    params = twins([OTHER])
    ours = fastopt.torch.AdamW(params, state_dtype="8bit")
    run(ours, 0, 3)
    before = bits(ours.state_dict())
    for flags in ({"foreach": False}, {"foreach": True}, {"fused": True}):
        theirs = torch.optim.AdamW(twins(params), **flags)
        theirs.load_state_dict(ours.state_dict())
        (entry,) = theirs.state.values()
        assert {type(value) for value in entry.values()} == {torch.Tensor}
        assert bits(entry["exp_avg"]) == bits(ours.state[params[0]]["exp_avg"].float())
        entry["exp_avg"].zero_()
    assert bits(ours.state_dict()) == before
