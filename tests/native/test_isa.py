"""The choice of instruction set: by the environment, by what the machine has, and an error where it cannot be had."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastopt import _core
from tests.support.cases import ISAS
from tests.support.processes import run_python

RUN_ONE_STEP = """
import numpy as np, fastopt
p = np.ones(1000, np.float32)
fastopt.AdamW(p).step(p.copy())
print(fastopt._core.isa_last_run(), fastopt.show_config("dicts")["isa"]["active"])
"""


@pytest.mark.parametrize("isa", ISAS)
def test_the_environment_forces_an_instruction_set(isa: str) -> None:
    done = run_python(RUN_ONE_STEP, FASTOPT_ISA=isa)
    assert done.stdout.split() == [isa, isa], done.stderr


def test_without_the_environment_the_best_runs() -> None:
    assert run_python(RUN_ONE_STEP).stdout.split() == [ISAS[0], ISAS[0]]


@pytest.mark.parametrize("isa", ["nonsense", "neon" if os.uname().machine == "x86_64" else "avx2"])
def test_an_instruction_set_that_cannot_run_is_refused(isa: str) -> None:
    done = run_python("import fastopt", FASTOPT_ISA=isa)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ValueError: FASTOPT_ISA: ")
    assert repr(isa) in last
    assert all(name in last for name in ISAS)
    assert not _core.set_isa(isa)


QEMU = Path("/usr/bin/qemu-x86_64-static")
LOAD_CORE = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("fastopt._core", sys.argv[1])
core = importlib.util.module_from_spec(spec)
spec.loader.exec_module(core)
print(*[name for name in core.isa_compiled() if core.isa_available(name)], core.isa_active())
"""


@pytest.mark.skipif(not QEMU.exists(), reason="needs qemu-x86_64-static")
def test_an_old_processor_has_the_scalar_set_only() -> None:
    """NumPy's own wheels may need a newer processor, so the extension is loaded alone."""
    command = [str(QEMU), "-cpu", "Nehalem", sys.executable]
    try:
        if subprocess.run([*command, "-c", "pass"], capture_output=True, check=False, timeout=20).returncode != 0:
            pytest.skip("Python does not run under the emulator")
        done = subprocess.run(
            [*command, "-c", LOAD_CORE, _core.__file__], capture_output=True, check=False, text=True, timeout=20
        )
    except subprocess.TimeoutExpired:
        pytest.skip("the emulator is too slow here")
    assert done.stdout.split() == ["scalar", "scalar"], done.stderr
