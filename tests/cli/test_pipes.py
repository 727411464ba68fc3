"""A command in a pipe: readers that end early, such as `head`, and what is seen before the end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.compare_runs import TINY

BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
"""An environment in which the last lines of a command leave it at its end, as usual."""

BENCH = ["bench", "--sizes", "100", "--rounds", "1", "--rules", "adam", "--threads", "1"]


@pytest.mark.parametrize("argv", [[], ["--help"], ["--version"], ["info"], ["check"], BENCH, ["compare", *TINY]], ids=" ".join)
def test_a_reader_that_has_ended_is_no_traceback(argv: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fastopt", *argv]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=BUFFERED)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), err) == (141, "")


@pytest.mark.usefixtures("nvrtc")
def test_a_reader_of_warmup_that_has_ended(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fastopt", "warmup", "--rules", "sgd", "--arch", "sm_90"]
    environment = BUFFERED | {"FASTOPT_CACHE_DIR": str(tmp_path)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, cwd=tmp_path)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait() == 141


def test_head_has_its_line(tmp_path: Path) -> None:
    command = f"set -o pipefail; {sys.executable} -m fastopt info --cache | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout.startswith("version: ")
    assert done.stderr == ""
    assert done.returncode in (0, 141)  # `head` may still read the last line


def test_a_file_is_written_though_nobody_reads_the_table(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fastopt", *BENCH, "--json", "bench.json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path)
    assert process.stdout is not None
    process.stdout.close()
    process.communicate()
    assert process.returncode == 141
    assert (tmp_path / "bench.json").stat().st_size > 100


def test_the_line_on_the_data_and_progress_come_before_the_table(tmp_path: Path) -> None:
    code = "import sys; from fastopt.cli import main, progress; progress.EVERY = 0.0; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "compare", *TINY]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True, cwd=tmp_path)
    lines = done.stdout.splitlines()
    assert lines[0] == "digits: 1,797 samples, 64 features, 10 classes"
    progress = [i for i, line in enumerate(lines) if line.startswith("fastopt compare: ")]
    table = next(i for i, line in enumerate(lines) if " rule " in line)
    assert progress == list(range(1, 1 + len(progress)))
    assert progress[-1] < table
