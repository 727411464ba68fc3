"""`flatten` and `FlatBuffer`: layout, views, memory, errors; and the same bits as tensor by tensor."""

from __future__ import annotations

import copy
import gc
import mmap
import pickle
import re
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fastopt
from fastopt._arrays.memory import HUGE_BUFFER, HUGE_PAGE
from fastopt.flat import BLOCK, FlatBuffer, flatten
from tests.support.arrays import Array, gradients
from tests.support.cases import DTYPES, KERNEL_CASES, Arguments, case_id
from tests.support.comparing import assert_same_bits, digest
from tests.support.scenes import BAD_ARRAYS, N

pytestmark = pytest.mark.kernel

SHAPES = [(3, 5), (), (0, 3), (BLOCK,), (2, BLOCK + 1), (1,)]
HUGE = (HUGE_BUFFER // 4 + 1,)
ACCEPTED = {"foreign byte order", "every second element", "reversed", "broadcast", "misaligned"}  # since values are copied
REFUSED = BAD_ARRAYS.keys() - ACCEPTED


def tensors(dtype: Any, rng: np.random.Generator, shapes: list[tuple[int, ...]] = SHAPES) -> list[Array]:
    return [gradients(shape, dtype, rng) for shape in shapes]


def address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def padding(flat: FlatBuffer, array: Array) -> Array:
    """The elements of an array of the layout that are in no tensor."""
    outside = np.ones(array.size, bool)
    for offset, shape in zip(flat.offsets, flat.shapes, strict=True):
        outside[offset : offset + int(np.prod(shape))] = False
    return array[outside]


@settings(deadline=None)
@given(
    shapes=st.lists(
        st.lists(st.integers(0, 9), max_size=4).map(tuple) | st.tuples(st.integers(0, 3 * BLOCK)), min_size=1, max_size=9
    ),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 2**32),
)
def test_values_shapes_and_names_come_back(shapes: list[tuple[int, ...]], dtype: Any, seed: int) -> None:
    arrays = tensors(dtype, np.random.default_rng(seed), shapes)
    flat = flatten(arrays)
    assert_same_bits(flat.views, arrays)
    assert (flat.names, flat.shapes, len(flat)) == (None, tuple(shapes), flat.data.size)
    ends = [offset + array.size for offset, array in zip(flat.offsets, arrays, strict=True)]
    assert all(begin % BLOCK == 0 for begin in (*flat.offsets, len(flat)))
    assert all(0 <= begin - end < BLOCK for end, begin in zip(ends, [*flat.offsets[1:], len(flat)], strict=True))
    assert not padding(flat, flat.data).any()
    assert len(flat) == 0 or address(flat.data) % 64 == 0

    names = [f"tensor {i}" for i in reversed(range(len(arrays)))]
    named = flatten(dict(zip(names, arrays, strict=True)))
    assert (named.names, named.shapes, named.offsets) == (tuple(names), flat.shapes, flat.offsets)
    assert list(named.views) == names
    assert_same_bits(list(named.views.values()), arrays)
    assert_same_bits([named.data], [flat.data])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", KERNEL_CASES, ids=case_id)
def test_the_same_bits_as_tensor_by_tensor(case: tuple[str, Arguments], dtype: Any, rng: np.random.Generator) -> None:
    """And the padding stays zero, in values and in state that began so."""
    rule, arguments = case
    values = tensors(dtype, rng)
    flat = flatten(values)
    grads = flat.zeros_like()
    optimizer, other = getattr(fastopt, rule)(flat.data, **arguments), getattr(fastopt, rule)(values, **arguments)
    begun = {name: slot[BLOCK - 1] for name, slot in optimizer.state[0].items() if isinstance(slot, np.ndarray)}
    for _ in range(4):
        new = tensors(dtype, rng)
        grads.copy_from(new)
        optimizer.step(grads.data)
        other.step(new)
    assert_same_bits(flat.views, values)
    assert not padding(flat, flat.data).any()
    assert not padding(flat, grads.data).any()
    for name, first in begun.items():
        state = optimizer.state[0][name]
        assert_same_bits(flat.split(state), [entry[name] for entry in other.state], name)
        if first == 0:
            assert not padding(flat, state).any(), name


def test_a_flat_buffer_is_an_array(rng: np.random.Generator) -> None:
    values, new = tensors(np.float32, rng), tensors(np.float32, rng)
    flat, grads = flatten(values), flatten(new)
    assert np.shares_memory(np.asarray(flat), flat.data)
    fastopt.AdamW(flat).step(grads)
    fastopt.AdamW([{"params": [flat], "weight_decay": 0.1}], grads=[grads]).step()
    fastopt.AdamW(flat.views).step(grads.views)
    fastopt.functional.lion(flat, grads, flat.zeros_like(), step=1)
    for optimizer in (
        fastopt.AdamW(values),
        fastopt.AdamW(values, weight_decay=0.1),
        fastopt.AdamW(values),
        fastopt.Lion(values),
    ):
        optimizer.step(new)
    assert_same_bits(flat.views, values)


def test_views_show_the_data() -> None:
    flat = flatten({"w": np.ones((2, 3)), "b": np.array(1.0)})
    flat.views["w"][1, 2] = 7
    flat.views["b"][...] = 8
    flat.data *= 2
    assert flat.data[[0, 5, BLOCK]].tolist() == [2, 14, 16]
    assert flat.views["w"].tolist() == [[2, 2, 2], [2, 2, 14]]
    flat.views["w"] = np.zeros(3)  # of the dict that the caller got, not of the buffer
    assert flat.views["w"].shape == (2, 3)
    with pytest.raises(AttributeError, match="data: got another array"):
        flat.data = flat.data.copy()
    assert repr(flat) == "FlatBuffer(2 tensors, 512 elements of float64, 505 padding)"


def test_zeros_like_is_of_the_same_layout_and_separate() -> None:
    flat = flatten({"w": np.ones((2, 3), np.float32), "b": np.ones(4, np.float32)})
    other = flat.zeros_like()
    assert (other.names, other.shapes, other.offsets, other.data.dtype) == (
        flat.names,
        flat.shapes,
        flat.offsets,
        flat.data.dtype,
    )
    assert not other.data.any()
    assert not np.may_share_memory(other.data, flat.data)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda flat: pickle.loads(pickle.dumps(flat))])
def test_copies_and_pickles_have_views_of_their_own_data(duplicate: Any) -> None:
    flat = flatten({"w": np.ones((2, 3), np.float32), "b": np.full(4, 2, np.float32)})
    other = duplicate(flat)
    flat.data[:] = 5
    other.views["w"][...] = 3
    assert (other.names, other.shapes) == (flat.names, flat.shapes)
    assert other.data[[0, BLOCK]].tolist() == [3, 2]
    assert flat.data[0] == 5
    assert address(other.data) % 64 == 0


@pytest.mark.parametrize("shape", [(10,), HUGE])
def test_the_views_keep_the_memory(shape: tuple[int, ...]) -> None:
    flat = flatten([np.full(shape, 3, np.float32), np.full((2, 2), 4, np.float32)])
    watch, (first, second) = weakref.ref(flat), flat.views
    as_array = np.asarray(flat)
    del flat
    gc.collect()
    assert watch() is not None, "its array keeps it"
    del as_array
    gc.collect()
    assert watch() is None
    flatten([np.zeros(shape, np.float32)])  # would write over memory that was given back
    assert (first == 3).all()
    assert (second == 4).all()
    second[:] = 5


needs_huge_pages = pytest.mark.skipif(
    not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="the system has no transparent huge pages"
)


@needs_huge_pages
def test_the_memory_goes_with_the_last_view(monkeypatch: pytest.MonkeyPatch) -> None:
    watches, real = [], mmap.mmap

    def recorded(*arguments: Any) -> mmap.mmap:
        memory = real(*arguments)
        watches.append(weakref.ref(memory))
        return memory

    monkeypatch.setattr(mmap, "mmap", recorded)
    view = flatten([np.ones(HUGE, np.float32)]).views[0][5:7]
    gc.collect()
    assert watches[0]() is not None
    del view
    gc.collect()
    assert watches[0]() is None


@needs_huge_pages
def test_large_buffers_ask_for_huge_pages() -> None:
    data = flatten([np.ones(HUGE, np.float32)]).data
    assert address(data) % HUGE_PAGE == 0
    flags = None
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if found := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(found[1], 16) <= address(data) < int(found[2], 16)
        elif line.startswith("VmFlags:") and inside:
            flags = line.split()
    if flags is None:
        pytest.skip("the system does not tell")
    assert "hg" in flags


@pytest.mark.parametrize("lack", ["advice", "memory"])
def test_without_huge_pages(lack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise OSError("no more")

    if lack == "advice":
        monkeypatch.delattr(mmap, "MADV_HUGEPAGE", raising=False)
    monkeypatch.setattr(mmap, "mmap", fails)
    flat = flatten([np.ones(HUGE, np.float32)])
    assert address(flat.data) % 64 == 0
    assert (flat.views[0] == 1).all()


def test_split_shows_other_arrays() -> None:
    flat = flatten({"w": np.ones((2, 3), np.float32), "b": np.ones(2, np.float32)})
    codes = np.arange(2 * BLOCK, dtype=np.int16)
    parts = flat.split(codes)
    parts["w"][1, 2] = -1
    assert codes[5] == -1
    assert parts["b"].tolist() == [BLOCK, BLOCK + 1]
    strided = np.zeros(4 * BLOCK)[::2]
    flat.split(strided)["w"][...] = 4
    assert strided.sum() == 24
    assert flat.split(torch.ones(2 * BLOCK))["w"].shape == (2, 3)
    codes.flags.writeable = False
    assert not flat.split(codes)["w"].flags.writeable


@pytest.mark.parametrize(
    ("array", "error", "words"),
    [
        (np.zeros(BLOCK - 1), ValueError, r"array: got shape \(255,\), expected \(256,\) as data has"),
        (np.zeros((1, BLOCK)), ValueError, r"array: got shape \(1, 256\), expected \(256,\)"),
        ([0.0] * BLOCK, TypeError, "array: got list"),
        (None, TypeError, "array: got None"),
    ],
)
def test_what_split_refuses(array: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        flatten([np.ones(3)]).split(array)


def test_copy_from_takes_names_in_any_order_and_a_list() -> None:
    flat = flatten({"w": np.ones((2, 3)), "b": np.ones(3)})
    flat.copy_from({"b": np.full(3, 2.0), "w": np.full((3, 2), 3.0).T})
    assert [view.sum() for view in flat.views.values()] == [18, 6]
    flat.copy_from([torch.zeros(2, 3, dtype=torch.float64), np.full(3, 4.0)])
    assert [view.sum() for view in flat.views.values()] == [0, 12]
    assert not padding(flat, flat.data).any()


def test_copy_from_its_own_views_in_another_order() -> None:
    flat = flatten([np.full(3, i, np.float32) for i in range(3)])
    flat.copy_from(flat.views[::-1])
    assert [view[0] for view in flat.views] == [2, 1, 0]


@pytest.mark.parametrize(
    ("arrays", "error", "words"),
    [
        ([np.zeros(3)], ValueError, "arrays: got 1, expected 2, one for each tensor"),
        (
            [np.zeros(3), np.zeros(3, np.float32)],
            TypeError,
            r"arrays\[1\]: got dtype float32, expected float64 as the buffer has",
        ),
        ([np.zeros(3), np.zeros(3)], ValueError, r"arrays\[1\]: got shape \(3,\), expected \(2, 2\) as its tensor has"),
        ({"a": np.zeros(3), "b": np.zeros(3)}, ValueError, r"arrays\['b'\]: got shape \(3,\)"),
        ({"a": np.zeros(3)}, ValueError, "arrays: got none for 'b'"),
        ({"a": np.zeros(3), "b": np.zeros((2, 2)), "c": np.zeros(3)}, ValueError, "arrays: got the name 'c'"),
        ([np.zeros(3), None], TypeError, r"arrays\[1\]: got None"),
        (None, TypeError, "arrays: got NoneType"),
    ],
)
def test_what_copy_from_refuses(arrays: Any, error: type[Exception], words: str) -> None:
    flat = flatten({"a": np.ones(3), "b": np.ones((2, 2))})
    before = digest(flat.data)
    with pytest.raises(error, match=words):
        flat.copy_from(arrays)
    assert digest(flat.data) == before


def test_copy_from_a_dict_wants_names() -> None:
    with pytest.raises(TypeError, match="arrays: got a dict, expected a list"):
        flatten([np.ones(3)]).copy_from({"a": np.zeros(3)})


@pytest.mark.parametrize("bad", sorted(REFUSED))
def test_what_flatten_refuses(bad: str) -> None:
    make, error = BAD_ARRAYS[bad]
    for arrays, name in (([np.ones(3, np.float32), make()], r"arrays\[1\]"), ({"w": np.ones(3, np.float32), "b": make()}, "b")):
        with pytest.raises(error, match=name):
            flatten(arrays)


@pytest.mark.parametrize("odd", sorted(ACCEPTED))
def test_flatten_copies_from_any_layout(odd: str) -> None:
    source = BAD_ARRAYS[odd][0]()
    flat = flatten([source, np.zeros(3, np.float32)])
    assert flat.data.dtype == np.float32
    assert flat.data.dtype.isnative
    assert (flat.views[0] == source).all()
    assert flat.views[0].shape == (N,)


@pytest.mark.parametrize(
    ("arrays", "error", "words"),
    [
        (
            [np.ones(3), np.ones(3), np.ones(3, np.float32)],
            TypeError,
            r"arrays\[2\]: got dtype float32, expected float64 as arrays\[0\]",
        ),
        ([], ValueError, "arrays: got no arrays"),
        ({}, ValueError, "arrays: got no arrays"),
        ({1: np.ones(3)}, TypeError, "arrays: got the name 1, expected a string"),
        (None, TypeError, "arrays: got NoneType"),
        ([torch.ones(3, requires_grad=True)], TypeError, r"arrays\[0\]: got Tensor, which does not give its memory: .*detach"),
    ],
)
def test_flatten_wants_arrays_of_one_dtype(arrays: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        flatten(arrays)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_torch_tensors(dtype: torch.dtype) -> None:
    values = [torch.randn(4, 3, dtype=dtype).T, torch.tensor(2.0, dtype=dtype), torch.zeros(0, 3, dtype=dtype)]
    flat = flatten(values)
    assert flat.shapes == ((3, 4), (), (0, 3))
    for view, value in zip(flat.views, values, strict=True):
        assert torch.equal(torch.from_numpy(view), value)
