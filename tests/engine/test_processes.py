"""Threads at the interpreter's end, forks during a step, code that a step runs, subinterpreters: an answer, never a hang or an abort."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

LIMIT = 120


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(program), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)


def assert_ends_well(program: str, *arguments: str) -> str:
    done = run(program, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


AT_EXIT = """
    import sys, threading, time
    import numpy as np
    import fastopt
    p, g = np.ones(int(sys.argv[2]), np.float32), np.ones(int(sys.argv[2]), np.float32)
    opt = fastopt.AdamW(p, state_dtype="8bit" if sys.argv[1] == "values" else None)
    calls = {
        "step": lambda: opt.step(g),
        "part": lambda: opt.step_part(0, g),
        "norm": lambda: fastopt.global_norm(g),
        "values": lambda: opt.state[0]["exp_avg"][0],
    }
    def work():
        while True:
            calls[sys.argv[1]]()
    for _ in range(2):
        threading.Thread(target=work, daemon=True).start()
    time.sleep(0.2)
"""


@pytest.mark.parametrize("call", ["step", "part", "norm", "values"])
@pytest.mark.parametrize("size", ["1", "3000000"])
def test_daemon_threads_that_step_while_the_interpreter_ends(call: str, size: str) -> None:
    for _ in range(3):
        assert_ends_well(AT_EXIT, call, size)


ASKS = """
    import sys
    import numpy as np, torch
    import fastopt
    p = np.ones(8, np.float32)
    opt = fastopt.AdamW(p, max_norm=1e6)
    asks = {
        "steps": lambda: opt.steps,
        "norm": lambda: opt.grad_norm,
        "state": lambda: opt.state[0]["step"],
        "state_dict": lambda: opt.state_dict(),
        "lr": lambda: setattr(opt, "lr", 0.5),
        "step": lambda: opt.step(np.ones(8, np.float32)),
        "load": lambda: opt.load_state_dict(saved),
    }
    saved = opt.state_dict()
    class Asking(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            asks[sys.argv[1]]()
            return super().__torch_function__(function, types, args, kwargs or {})
    gradient = torch.ones(8).as_subclass(Asking)
    try:
        opt.step(gradient)
        print(opt.steps)
    except RuntimeError as error:
        print(error)
"""


@pytest.mark.parametrize("what", ["steps", "norm", "state", "state_dict", "lr", "load"])
def test_a_gradients_own_code_may_ask_the_optimizer(what: str) -> None:
    assert assert_ends_well(ASKS, what).strip() == "1"


def test_a_gradients_own_code_cannot_step_the_optimizer() -> None:
    assert "called by a gradient's own code" in assert_ends_well(ASKS, "step")


FORKS = """
    import os, signal, sys, threading, time
    import numpy as np
    import fastopt
    n = 3_000_000
    p, g = np.ones(n, np.float32), np.ones(n, np.float32)
    opt = fastopt.AdamW(p)
    saved = opt.state_dict()
    stop = threading.Event()
    def work():
        while not stop.is_set():
            opt.step_part(0, g) if sys.argv[1] == "part" else opt.step(g)
    threading.Thread(target=work).start()
    outcomes = set()
    for i in range(20):
        time.sleep(0.003 * (i % 5))
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # a hang would end here
            try:
                opt.step_part(0, g) if sys.argv[1] == "part" else opt.step(g)
                opt.options["max_norm"] = None
                opt.groups[0]["lr"] = 0.1
                os._exit(0)
            except RuntimeError as error:
                asks = [lambda: opt.state_dict(), lambda: opt.step(g)]
                for ask in asks:
                    try:
                        ask()
                        os._exit(3)
                    except RuntimeError:
                        pass
                if "forked while another thread was in a step" not in str(error):
                    os._exit(4)
                opt.load_state_dict(saved)
                opt.step(g)
                os._exit(1)
        outcomes.add(os.waitpid(child, 0)[1])
    stop.set()
    print(sorted(outcomes))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("call", ["step", "part"])
def test_a_child_forked_during_a_step_steps_or_says_why_not(call: str) -> None:
    outcomes = assert_ends_well(FORKS, call)
    assert set(eval(outcomes)) <= {0, 256}, outcomes  # status 0, or 1 after the error and a load


SUBINTERPRETER = """
    import importlib
    for name in ("_interpreters", "_xxsubinterpreters"):
        try:
            interpreters = importlib.import_module(name)
        except ImportError:
            continue
        break
    import warnings
    program = '''
    import warnings
    warnings.simplefilter("ignore")  # NumPy's, of being imported there
    try:
        import fastopt
    except ImportError as error:
        print(error, flush=True)
    '''
    import textwrap
    own = interpreters.create("legacy") if name == "_interpreters" else interpreters.create(isolated=False)
    (interpreters.exec if name == "_interpreters" else interpreters.run_string)(own, textwrap.dedent(program))
"""


def test_a_subinterpreter_is_refused_by_name() -> None:
    assert "fastopt runs in the main interpreter alone" in assert_ends_well(SUBINTERPRETER)
