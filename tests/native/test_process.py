"""fastopt within a process: threads, forks, the environment, what an import loads."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt import _core
from fastopt.rules import RULES
from tests.support.arrays import Array, gradients
from tests.support.cases import ISAS
from tests.support.comparing import assert_same_bits
from tests.support.processes import run_python


def in_threads(count: int, work: Any) -> None:
    """Runs work(i) in `count` threads at once and raises what one of them raised."""
    errors: list[BaseException] = []
    start = threading.Barrier(count)

    def run(i: int) -> None:
        try:
            start.wait()
            work(i)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=300)  # under a sanitizer, beside other tests, steps take long
        assert not thread.is_alive(), "a step hangs"
    if errors:
        raise errors[0]


def test_state_goes_with_its_optimizer() -> None:
    """At once, not when the garbage collector comes by: state is twice as large as its model."""
    gc.disable()
    try:
        optimizer = fastopt.AdamW([np.ones(3), np.ones(4)], lr=lambda step: 0.1, grads=[np.ones(3), np.ones(4)])
        optimizer.step()
        optimizer.groups[0]["eps"] = 1e-3
        watched = weakref.ref(optimizer.state[1]["exp_avg"]), weakref.ref(optimizer)
        group = optimizer.groups[0]
        del optimizer
        assert [each() for each in watched] == [None, None]
        group["eps"] = 1e-4  # a group may be left, and does nothing more
    finally:
        gc.enable()


def test_steps_of_different_optimizers_at_once(rng: np.random.Generator) -> None:
    fastopt.set_num_threads(3)
    starts = [gradients(100_000, np.float32, rng) for _ in range(4)]
    grads = [gradients(100_000, np.float32, rng) for _ in range(4)]

    def run(i: int, param: Array) -> Array:
        optimizer = getattr(fastopt, list(RULES)[i % len(RULES)])(param, lr=0.01)
        for _ in range(20):
            optimizer.step(grads[i])
        return param

    expected = [run(i, start.copy()) for i, start in enumerate(starts)]
    actual = [start.copy() for start in starts]
    in_threads(4, lambda i: run(i, actual[i]))
    assert_same_bits(actual, expected)


@pytest.mark.parametrize("n", [10, 100_000])
def test_steps_of_one_optimizer_at_once(n: int) -> None:
    """They go one after the other: none is lost."""
    fastopt.set_num_threads(2)
    param, grad = np.zeros(n), np.ones(n)
    optimizer = fastopt.SGD(param, lr=1.0)

    def work(_: int) -> None:
        for _ in range(50):
            optimizer.step(grad)

    in_threads(4, work)
    assert optimizer.steps == 200
    assert optimizer.state[0]["step"] == 200
    assert (param == -200).all()


def test_reading_and_assigning_while_others_step() -> None:
    param = np.zeros(100_000)
    optimizer = fastopt.Adam(param, lr=0.0)
    grad = np.ones_like(param)

    def work(i: int) -> None:
        for k in range(50):
            if i == 0:
                optimizer.groups[0]["weight_decay"] = k / 1000
                optimizer.state_dict()
                assert 0 <= optimizer.state[0]["step"] <= 100
                repr(optimizer)
            else:
                optimizer.step(grad)

    in_threads(3, work)
    assert optimizer.steps == 100
    assert not param.any()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_steps_in_parallel() -> None:
    """In a process of NumPy and fastopt alone: what other tests have imported has threads of its own."""
    code = """
import os, time
import numpy as np, fastopt

fastopt.set_num_threads(3)
param, grad = np.zeros(1_000_000, np.float32), np.ones(1_000_000, np.float32)
optimizer = fastopt.SGD(param, lr=1.0)
optimizer.step(grad)
child = os.fork()
if child == 0:
    code = 1
    try:
        optimizer.step(grad)
        optimizer.step(grad)
        code = 0 if (param == -3).all() and optimizer.steps == 3 else 2
    finally:
        os._exit(code)
optimizer.step(grad)
deadline = time.monotonic() + 30
while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
    time.sleep(0.01)
if ended == (0, 0):
    os.kill(child, 9)
    os.waitpid(child, 0)
    raise SystemExit("the child hangs")
assert os.waitstatus_to_exitcode(ended[1]) == 0
assert (param == -2).all()
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr


def test_number_of_threads() -> None:
    fastopt.set_num_threads(3)
    assert fastopt.get_num_threads() == 3 == fastopt.show_config("dicts")["threads"]
    fastopt.set_num_threads(np.int64(2))  # type: ignore[arg-type]  # an integer to all but the type checker
    assert fastopt.get_num_threads() == 2
    for bad in (0, -1, 4097, 2**40):
        with pytest.raises(ValueError, match=f"count: got {bad}"):
            fastopt.set_num_threads(bad)
    for bad_type in (2.0, True, "2", None):
        with pytest.raises(TypeError, match="count: got"):
            fastopt.set_num_threads(bad_type)  # type: ignore[arg-type]  # that is the test
    assert fastopt.get_num_threads() == 2


def test_number_of_threads_from_the_environment() -> None:
    code = "import fastopt; print(fastopt.get_num_threads())"
    assert run_python(code, FASTOPT_NUM_THREADS="3").stdout.split() == ["3"]
    assert int(run_python(code).stdout) >= 1
    for bad in ("0", "-2", "two", "1.5", "99999"):
        done = run_python(code, FASTOPT_NUM_THREADS=bad)
        assert done.returncode == 1
        assert f"ValueError: FASTOPT_NUM_THREADS: got {bad!r}" in done.stderr


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs an affinity mask")
def test_number_of_threads_within_the_affinity_mask() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); import fastopt; print(fastopt.get_num_threads())"
    assert run_python(code).stdout.split() == ["1"]


def test_show_config(capsys: pytest.CaptureFixture[str]) -> None:
    config = fastopt.show_config(mode="dicts")
    assert set(config) == {"version", "isa", "threads", "build", "python", "numpy", "machine"}
    assert config["version"] == fastopt.__version__
    assert config["numpy"] == np.__version__
    assert set(config["isa"]) == {"compiled", "available", "active"}
    assert config["isa"]["available"] == list(ISAS)
    assert set(ISAS) <= set(config["isa"]["compiled"])
    assert config["isa"]["compiled"][-1] == "scalar"
    assert config["isa"]["active"] in ISAS
    assert _core.set_isa("scalar")
    assert fastopt.show_config("dicts")["isa"]["active"] == "scalar"
    assert capsys.readouterr().out == ""
    assert fastopt.show_config() is None
    out = capsys.readouterr().out
    assert "active: scalar" in out
    assert fastopt.__version__ in out
    with pytest.raises(ValueError, match="mode: got 'json'"):
        fastopt.show_config(mode="json")  # type: ignore[call-overload]  # that is the test


def test_an_import_loads_numpy_and_the_standard_library_only() -> None:
    code = """
import sys, numpy
before = {name.partition(".")[0] for name in sys.modules}
import fastopt
after = {name.partition(".")[0] for name in sys.modules}
print(*sorted(after - before - {*sys.stdlib_module_names, "_interpreters", "_xxsubinterpreters", "fastopt"}))
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_adapters_are_imported_when_they_are_asked_for() -> None:
    code = """
import sys, fastopt
assert not {"scipy", "sklearn", "torch"} & set(sys.modules)
fastopt.scipy.adam
assert not {"scipy", "sklearn", "torch"} & set(sys.modules)
fastopt.sklearn.MLPClassifier
assert "sklearn" in sys.modules and "torch" not in sys.modules
fastopt.torch.AdamW
try:
    fastopt.numpy
except AttributeError as error:
    print(error)
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "module 'fastopt' has no attribute 'numpy'"
