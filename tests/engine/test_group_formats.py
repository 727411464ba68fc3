"""Formats of a group: embeddings in float32 and the rest in 8 bits, norms without masters beside weights with them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import fastopt
from fastopt._storage.stored import Stored


def arrays() -> list[np.ndarray]:
    source = np.random.default_rng(1)
    sizes, dtypes = (700, 300, 300), (np.float32, np.float32, ml_dtypes.bfloat16)
    return [source.normal(size=size).astype(dtype) for size, dtype in zip(sizes, dtypes, strict=True)]


def mixed(params: list[np.ndarray]) -> Any:
    groups: list[dict[str, Any]] = [
        {"params": params[0], "state_dtype": None},
        {"params": params[1], "lr": 0.05},
        {"params": params[2], "state_dtype": "bfloat16", "master": "float32"},
    ]
    return fastopt.AdamW(groups, lr=0.1, state_dtype="8bit", seed=3)


def step(optimizer: Any, params: list[np.ndarray], first: int, last: int) -> None:
    for t in range(first, last):
        source = np.random.default_rng(100 + t)
        optimizer.step([source.normal(size=p.shape).astype(p.dtype) for p in params])


def test_each_group_has_the_bits_of_an_optimizer_with_its_formats() -> None:
    params, alone = arrays(), arrays()
    optimizer = mixed(params)
    others = [
        fastopt.AdamW(alone[0], lr=0.1),
        fastopt.AdamW(alone[1], lr=0.05, state_dtype="8bit"),
        fastopt.AdamW(alone[2], lr=0.1, state_dtype="bfloat16", master="float32"),
    ]
    for t in range(4):
        source = np.random.default_rng(100 + t)
        grads = [source.normal(size=p.shape).astype(p.dtype) for p in params]
        optimizer.step(grads)
        for other, grad in zip(others, grads, strict=True):
            other.step(grad)
    # State in fewer bits is rounded by noise of the place among all tensors; what has none agrees to the bit.
    assert params[0].tobytes() == alone[0].tobytes()
    for i in (1, 2):
        assert np.allclose(params[i].astype(np.float32), alone[i].astype(np.float32), atol=2e-2)
    kinds = [optimizer.state[i]["exp_avg"] for i in range(3)]
    assert [isinstance(kind, Stored) for kind in kinds] == [False, True, True]
    assert set(kinds[1].arrays) == {"codes", "blocks"}
    assert set(kinds[2].arrays) == {"bits"}
    assert optimizer.state[2]["master"].dtype == np.float32
    assert "master" not in optimizer.state[0]
    assert [group.formats.state_dtype for group in optimizer.groups] == [None, "8bit", "bfloat16"]


@pytest.mark.parametrize("through", ["state_dict", "a file"])
def test_snapshots_resume_with_the_same_bits(through: str, tmp_path: Path) -> None:
    params, others = arrays(), arrays()
    source, optimizer = mixed(params), mixed(others)
    step(source, params, 0, 3)
    step(optimizer, others, 7, 9)
    if through == "a file":
        source.save(tmp_path / "a.safetensors")
        optimizer.load(tmp_path / "a.safetensors")
    else:
        optimizer.load_state_dict(copy.deepcopy(source.state_dict()))
    for param, other in zip(params, others, strict=True):
        other[...] = param
    step(source, params, 3, 5)
    step(optimizer, others, 3, 5)
    assert [p.tobytes() for p in params] == [p.tobytes() for p in others]


def test_snapshots_of_other_formats_are_refused_by_name() -> None:
    source = mixed(arrays())
    saved = source.state_dict()
    assert saved["group_formats"] == [{"state_dtype": None}, {}, {"state_dtype": "bfloat16", "master": "float32"}]
    params = arrays()
    plain = fastopt.AdamW([{"params": p} for p in params], state_dtype="8bit")
    step(plain, params, 0, 1)
    before = plain.state_dict()
    assert "group_formats" not in before
    with pytest.raises(ValueError, match=r"^state_dict\['group_formats'\]: got \[\{'state_dtype': None\}.*, expected None as"):
        plain.load_state_dict(saved)
    with pytest.raises(ValueError, match=r"^state_dict\['group_formats'\]: got None, expected \[\{'state_dtype': None\}"):
        source.load_state_dict(before)
    saved["group_formats"][2]["master"] = "24bit"
    with pytest.raises(ValueError, match=r"^state_dict\['group_formats'\]: got "):
        source.load_state_dict(saved)


@pytest.mark.parametrize(
    ("group", "error", "words"),
    [
        ({"state_dtype": "4bit"}, ValueError, r"^params\[0\]: state_dtype: got '4bit'"),
        ({"state_dtype": 8}, TypeError, r"^params\[0\]: state_dtype: got "),
        ({"state_dtype": "float64"}, ValueError, r"^state_dtype: got 'float64', expected None or one of .* for params\[0\]"),
        ({"master": "24bit"}, ValueError, r"^master: got '24bit', expected None for params\[0\]"),
        ({"seed": 1}, TypeError, r"^params\[0\]: got the key 'seed', expected 'params' or one of lr.*state_dtype, master"),
    ],
)
def test_formats_that_a_group_cannot_have_are_refused(group: dict[str, Any], error: type[Exception], words: str) -> None:
    param = np.ones(3, np.float32)
    with pytest.raises(error, match=words):
        fastopt.AdamW([{"params": param, **group}, {"params": np.ones(2, ml_dtypes.bfloat16)}])


def test_masters_are_for_the_group_alone() -> None:
    """Which lets norms in float32 stand beside weights of 16 bits that have them, and a group go without."""
    weights, norms = np.ones(5, ml_dtypes.bfloat16), np.ones(5, np.float32)
    optimizer = fastopt.AdamW([{"params": weights}, {"params": norms, "master": None}], master="24bit")
    step(optimizer, [weights, norms], 0, 2)
    assert ["master" in optimizer.state[i] for i in range(2)] == [True, False]


def test_the_variance_floor_is_that_of_the_groups_format() -> None:
    groups = [
        {"params": np.ones(5, np.float32), "state_dtype": "8bit"},
        {"params": np.ones(5, np.float32), "state_dtype": "bfloat16"},
    ]
    optimizer = fastopt.RMSprop(groups, centered=True)
    assert [group["variance_floor"] for group in optimizer.groups] == [0.25, 2.0**-7]
    with pytest.raises(ValueError, match=r"^variance_floor: got 0.01, expected None or 0.25 and above with state_dtype='8bit'"):
        optimizer.groups[0]["variance_floor"] = 0.01
    optimizer.groups[1]["variance_floor"] = 0.01


def test_formats_are_fixed_when_the_optimizer_is_built() -> None:
    optimizer = mixed(arrays())
    with pytest.raises(TypeError, match="state_dtype: AdamW has no such hyperparameter"):
        optimizer.groups[0]["state_dtype"] = "8bit"
