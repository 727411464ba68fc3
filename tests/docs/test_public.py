"""What a reader of an interactive session meets: `dir` lists what is public, and every public object says what it is."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fastopt
import fastopt.scipy
import fastopt.sklearn
import fastopt.torch
from fastopt.rules import RULES

FACES = {"functional", "schedules", "scipy", "sklearn", "torch"}
FUNCTIONS = {"all_finite", "clip_grad_norm", "clip_grad_value", "flatten", "global_norm", "minimize"}
SETTINGS = {"__version__", "get_num_threads", "set_num_threads", "show_config"}
MODULES = [fastopt, fastopt.functional, fastopt.schedules, fastopt.scipy, fastopt.sklearn, fastopt.torch]


def test_the_package() -> None:
    assert set(dir(fastopt)) == {*RULES, "FlatBuffer", "Optimizer", *FACES, *FUNCTIONS, *SETTINGS}


def test_the_faces() -> None:
    names = {name.lower() for name in RULES}
    assert set(dir(fastopt.functional)) == names
    assert set(dir(fastopt.scipy)) == names | {"method"}
    assert set(dir(fastopt.torch)) == {*RULES, "Optimizer", "fused_in_backward"}
    assert set(dir(fastopt.sklearn)) == {"LinearClassifier", "LinearRegressor", "MLPClassifier", "MLPRegressor"}
    assert set(dir(fastopt.schedules)) == set(fastopt.schedules.__all__)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_all_that_is_listed_is_there(module: Any) -> None:
    for name in dir(module):
        assert getattr(module, name) is not None
    assert not [name for name in dir(module) if name.startswith("_") and name != "__version__"]


def test_listing_the_names_imports_no_adapter() -> None:
    program = (
        "import sys, fastopt; dir(fastopt); assert not {'torch', 'sklearn', 'scipy', 'fastopt._names.others'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def objects() -> Iterator[tuple[str, Any, str]]:
    """Public objects, with words that their forms have."""
    p = np.ones(4, np.float32)
    plateau = fastopt.schedules.ReduceOnPlateau(0.1, patience=3)
    opt = fastopt.AdamW({"w": p, "b": np.ones(2)}, lr=fastopt.schedules.cosine(0.1, steps=10))
    yield "optimizer", opt, "AdamW(2 tensors, 6 elements, 0 steps)"
    yield "one tensor", fastopt.SGD(np.ones(1)), "SGD(1 tensor, 1 element, 0 steps)"
    yield "opt.state", opt.state, "States(AdamW, 2 tensors, each with step, exp_avg, exp_avg_sq)"
    yield "no state", fastopt.SGD(p).state, "States(SGD, 1 tensor, each with step)"
    yield "opt.state[0]", opt.state[0], "'exp_avg_sq': array("
    yield "opt.groups", opt.groups, "Group(2 arrays, lr="
    yield "a schedule's group", opt.groups[0], "schedule=cosine(lr=0.1, steps=10))"
    yield "a plateau's group", fastopt.SGD(p, lr=plateau).groups[0], "schedule=ReduceOnPlateau(0.1, mode='min'"
    yield "opt.options", opt.options, "Options(grad_scale=1.0"
    yield "8-bit state", fastopt.AdamW(p.copy(), state_dtype="8bit").state[0]["exp_avg"], "8bit"
    yield "flat buffer", fastopt.flatten([p]), "FlatBuffer(1 tensor, 256 elements of float32, 252 padding)"
    yield "plateau", plateau, "ReduceOnPlateau(0.1, mode='min', factor=0.1, patience=3"
    yield "schedule", fastopt.schedules.linear(0.1, 5), "linear(lr=0.1, steps=5)"
    yield "result", fastopt.minimize(lambda x: x @ x, [1.0], steps=3), "message"
    yield "configuration", fastopt.show_config("dicts"), "'isa'"
    yield "estimator", fastopt.sklearn.MLPClassifier(optimizer="lion"), "MLPClassifier(optimizer='lion')"
    yield "function", fastopt.functional.adamw, "function adamw"
    yield "method", fastopt.scipy.adamw, "function adamw"
    model = torch.nn.Linear(2, 3)
    optimizer = fastopt.torch.AdamW(model.parameters(), lr=0.5)
    yield "torch's", optimizer, "fastopt.torch.AdamW (\nParameter Group 0"
    yield "hooks", fastopt.torch.fused_in_backward(model, optimizer), "Hooks(of fused_in_backward on 2 parameters)"
    yield "classes", [getattr(fastopt, rule) for rule in RULES], "<class 'fastopt.AdamW'>"
    yield "torch's classes", fastopt.torch.AdamW, "<class 'fastopt.torch.AdamW'>"


@pytest.mark.parametrize(("value", "words"), [each[1:] for each in objects()], ids=[each[0] for each in objects()])
def test_every_public_object_says_what_it_is(value: Any, words: str) -> None:
    assert words in repr(value)
    assert " object at 0x" not in repr(value)


def test_unknown_attributes_do_not_disturb_copies() -> None:
    opt = fastopt.AdamW(np.ones(3, np.float32))
    assert copy.deepcopy(opt).steps == 0
    assert not hasattr(opt, "__array_interface__")


README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


@pytest.mark.parametrize("rule", RULES)
def test_what_is_updated_in_place_stands_in_the_documentation_of_params(rule: str) -> None:
    text = getattr(fastopt, rule).__doc__
    for words in ("Do not rebind", "params = params.astype(...)", "Do not pass copies", "model.get_weights()"):
        assert words in text
        assert words.lower().split("(")[0] in README.lower()


@pytest.mark.parametrize("code", ["w[2:5]", "w[0]", "w.reshape(-1)"])
def test_the_readmes_views_work(code: str) -> None:
    w = np.ones((6, 2), np.float32)
    assert f"`{code}`" in README
    view = eval(code, {"w": w})
    fastopt.SGD(view, lr=1.0).step(np.ones_like(view))
    assert (w == 0).sum() == view.size


@pytest.mark.parametrize("code", ["w[[0, 2]]", "w.flatten()", "np.array(w)"])
def test_the_readmes_copies_train_alone(code: str) -> None:
    w = np.ones((6, 2), np.float32)
    assert f"`{code}`" in README
    copied = eval(code, {"w": w, "np": np})
    fastopt.SGD(copied, lr=1.0).step(np.ones_like(copied))
    assert (w == 1).all()
