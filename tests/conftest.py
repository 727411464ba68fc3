"""What every test needs: the instruction set and the number of threads are put back, and a seeded generator."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import fastopt
from fastopt import _core
from fastopt._cuda import compiler
from tests.support import made
from tests.support.devices import device_fixture

__all__ = ["device_fixture"]  # the fixture `device` of all tests


def pytest_sessionstart(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):  # not in each worker of pytest-xdist
        made.remove_unused()


@pytest.fixture(autouse=True)
def restore_settings() -> Iterator[None]:
    isa, threads = _core.isa_active(), fastopt.get_num_threads()
    yield
    assert _core.set_isa(isa)
    fastopt.set_num_threads(threads)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240613)


@pytest.fixture(scope="session")
def nvrtc() -> None:
    """Skips where kernels for CUDA cannot be compiled, with the reason."""
    try:
        compiler.nvrtc()
    except ImportError as error:
        pytest.skip(str(error))
