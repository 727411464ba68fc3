"""The examples in docstrings print what they say, and no public class or function is without one."""

from __future__ import annotations

import doctest
import inspect
import re
from typing import Any

import numpy as np
import pytest
import torch

import fastopt
import fastopt.torch
from fastopt import functional, gradients, schedules
from fastopt.rules import RULES

OBJECTS: dict[str, Any] = {
    **{name: getattr(fastopt, name) for name in (*RULES, "FlatBuffer", "flatten", *gradients.__all__)},
    **{f"functional.{name}": getattr(functional, name) for name in functional.__all__},
    **{f"schedules.{name}": getattr(schedules, name) for name in schedules.__all__ if name != "ReduceOnPlateau"},
    **{f"torch.{name}": getattr(fastopt.torch, name) for name in (*RULES, "fused_in_backward")},
}


@pytest.mark.parametrize("name", OBJECTS)
def test_the_example_prints_what_it_says(name: str) -> None:
    known = {"np": np, "torch": torch, "fastopt": fastopt}
    example = doctest.DocTestParser().get_doctest(OBJECTS[name].__doc__, known, name, None, None)
    assert example.examples
    said: list[str] = []
    doctest.DocTestRunner(verbose=False).run(example, out=said.append)
    assert said == []


@pytest.mark.parametrize("name", [name for name in OBJECTS if name.startswith("schedules.")])
def test_every_argument_of_a_schedule_is_explained(name: str) -> None:
    explained = re.findall(r"^    ([a-z_, ]+): ", OBJECTS[name].__doc__, re.MULTILINE)
    names = [each for line in explained for each in line.split(", ")]
    assert sorted(names) == sorted(set(inspect.signature(OBJECTS[name]).parameters) - {"warmup_start"})  # warmup's line has it


def test_a_rate_of_torchs_classes_is_no_callable() -> None:
    for rule in RULES:
        lines = [line for line in getattr(fastopt.torch, rule).__doc__.splitlines() if line.startswith("  lr:")]
        assert len(lines) == 1
        assert "callable" not in lines[0]
        assert "callable" in next(line for line in getattr(fastopt, rule).__doc__.splitlines() if line.startswith("  lr:"))
