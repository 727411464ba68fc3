"""What every test needs: the instruction set and the number of threads are put back, and a seeded generator."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import fastopt
from fastopt import _core


@pytest.fixture(autouse=True)
def restore_settings() -> Iterator[None]:
    isa, threads = _core.isa_active(), fastopt.get_num_threads()
    yield
    assert _core.set_isa(isa)
    fastopt.set_num_threads(threads)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240613)
