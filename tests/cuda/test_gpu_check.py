"""`bench/gpu_check`: what it runs, its targets from made-up numbers, what it makes of pytest's report, what it writes."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import pytest

from fastopt.cli import arguments

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "bench" / "gpu_check"


@pytest.fixture(scope="module")
def check() -> Any:
    loader = SourceFileLoader("gpu_check", str(PROGRAM))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    loader.exec_module(module)
    sys.dont_write_bytecode = before
    return module


def row(rule: str, size: int, **ratios: float) -> dict[str, Any]:
    return {
        **{"rule": rule, "size": size, "dtype": "float32", "threads": None, "seconds": {"fastopt": 1.0}},
        "ratios": {name: {"median": value, "spread": 0.0} for name, value in ratios.items()},
    }


@pytest.fixture
def bench() -> dict[str, Any]:
    rows = [
        row("AdamW", 10**5, floor=0.5, fused=5.0, foreach=9.0),
        row("AdamW", 10**6, floor=0.8, fused=2.9, foreach=9.0),
        row("AdamW", 10**8, floor=0.9, fused=0.99, foreach=9.0),
        row("AdamW", 10**9, floor=0.93, fused=1.0),
        row("NAdam", 10**6, floor=0.9, foreach=5.0),
        row("NAdam", 10**8, floor=0.9, foreach=4.1),
        row("Lion", 10**6, floor=0.9, cupy=5.0),
    ]
    host = {"launches": {"bound": 1, "given": 2}, "seconds": {"bound": 14e-6, "given": 16e-6}}
    return {
        "rows": rows,
        "host": host,
        "date": "2026-01-01",
        "versions": {},
        "config": {"machine": {"processor": "x"}, "isa": {"active": "x"}},
    }


@pytest.fixture
def formats() -> dict[str, Any]:
    return {
        "rows": [
            row("AdamW, 8-bit states", 10**7, fused=9.0),
            row("AdamW, 8-bit states", 10**8, fused=1.6),
            row("AdamW, bfloat16, 24-bit masters, 8-bit states", 10**8, fused=1.8),
        ]
    }


class TestSummary:
    def test_met_and_missed(self, check: Any, bench: dict[str, Any], formats: dict[str, Any]) -> None:
        found = {line["what"]: (line["target"], line["found"], line["met"]) for line in check.summary(bench, formats)}
        assert found == {
            "AdamW, 1e9 elements: of the copy's bandwidth": (0.92, 0.93, True),
            "AdamW, 8-bit states: times torch fused float32": (1.5, 1.6, True),
            "AdamW, bfloat16, 24-bit masters, 8-bit states: times torch fused float32": (1.9, 1.8, False),
            "AdamW, 1e8: times torch fused (level)": (0.98, 0.99, True),
            "AdamW, 1e6 and below: times torch fused": (3.0, 2.9, False),
            "NAdam, every size: times torch foreach": (4.0, 4.1, True),
            "GPT-2's 148 tensors, gradients bound: launches": (1.0, 1.0, True),
            "GPT-2's 148 tensors, gradients bound: microseconds of the host": (15.0, pytest.approx(14.0), True),
            "GPT-2's 148 tensors, gradients given: launches": (1.0, 2.0, False),
            "GPT-2's 148 tensors, gradients given: microseconds of the host": (15.0, pytest.approx(16.0), False),
        }

    def test_what_was_not_measured(self, check: Any, capsys: pytest.CaptureFixture[str]) -> None:
        lines = check.summary(None, None)
        assert {line["met"] for line in lines} == {None}
        check.show(
            {"tests": 5, "skipped": 1, "failures": 1, "errors": 0, "seconds": 1.0, "failed": ["a::b"], "words": None}, lines
        )
        out = capsys.readouterr().out
        assert "GPU tests: 4 ran, 1 failed, 1 skipped" in out
        assert "failed: a::b" in out
        assert out.count("not measured") == len(lines)

    def test_the_names_are_the_benchmarks_own(self, check: Any) -> None:
        from fastopt.cli.formats import COMBINATIONS

        asked = [line["what"] for line in check.summary(None, None)][1:3]
        labels = {f"AdamW, {each.label}: times torch fused float32" for each in COMBINATIONS}
        assert set(asked) <= labels


REPORT = """<testsuites><testsuite tests="{tests}" failures="{failures}" errors="0" skipped="{skipped}" time="2.5">
<testcase classname="a" name="b"/><testcase classname="a" name="c"><failure/></testcase></testsuite></testsuites>"""


class TestTheTests:
    def test_every_file_with_gpu_tests_is_named(self, check: Any) -> None:
        """A file has some if it marks them, or uses the fixture `device` that all tests share."""
        marked = re.compile(r"mark\.gpu|def \w+\([^)]*\bdevice: Any")
        files = {path: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
        assert {str(path.relative_to(ROOT)) for path, text in files.items() if marked.search(text)} == set(check.TESTS)

    def test_without_torch_and_others_they_are_collected(self, check: Any, tmp_path: Path) -> None:
        """On a machine with a GPU there is only what `bench/gpu_check` asks for."""
        missing = ("torch", "jax", "keras", "optax", "optuna", "sklearn", "scipy", "pandas", "matplotlib", "safetensors")
        program = tmp_path / "run.py"
        program.write_text(WITHOUT.format(missing=missing))
        command = [
            sys.executable,
            "-P",
            str(program),
            "--collect-only",
            "-q",
            "-m",
            "gpu",
            "-p",
            "no:cacheprovider",
            *check.TESTS,
        ]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        assert "error" not in done.stdout.splitlines()[-1]

    def test_the_command(self, check: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[list[str]] = []
        monkeypatch.setattr(check, "run", lambda command, seconds: asked.append(command) or 0)
        check.run_tests("python", tmp_path, 5.0)
        (command,) = asked
        assert command[:5] == ["python", "-m", "pytest", "-m", "gpu"]
        assert "--continue-on-collection-errors" in command
        assert tuple(command[-len(check.TESTS) :]) == check.TESTS


WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""


class TestKernels:
    def test_those_of_the_benchmark_come_first(self, check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[tuple[list[str], float]] = []
        monkeypatch.setattr(check, "run", lambda command, seconds: asked.append((command, seconds)) or 0)
        found = check.fill_cache("python", 50.0)
        assert [command[1:] for command, _ in asked] == [["-m", "fastopt", "warmup"], ["-m", "fastopt", "warmup", "--all"]]
        assert all(49 < seconds <= 50 for _, seconds in asked)
        assert found["statuses"] == [0, 0]

    def test_the_time_is_kept(self, check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(check, "monotonic", iter([0.0, 0.0, 70.0, 70.0]).__next__)
        asked: list[float] = []
        monkeypatch.setattr(check, "run", lambda command, seconds: asked.append(seconds))
        assert check.fill_cache("python", 50.0) == {"seconds": 70.0, "statuses": [None, None]}
        assert asked == [50.0, 0.0]


class TestRuns:
    @pytest.mark.parametrize(
        ("numbers", "status", "passed", "words"),
        [
            ((2, 0, 1), 0, True, None),
            ((2, 1, 0), 1, False, None),
            ((2, 0, 2), 0, False, "none ran"),
            ((0, 0, 0), 5, False, "none ran"),
            ((2, 0, 0), None, False, "ended after 9 seconds"),
        ],
    )
    def test_counts(self, check: Any, tmp_path: Path, numbers: Any, status: Any, passed: bool, words: Any) -> None:
        path = tmp_path / "tests.xml"
        path.write_text(REPORT.format(**dict(zip(("tests", "failures", "skipped"), numbers, strict=True))))
        found = check.counts(path, status, 9.0)
        assert (found["tests"], found["failures"], found["skipped"]) == numbers
        assert (found["passed"], found["words"], found["failed"]) == (passed, words, ["a::c"])

    def test_without_a_report_nothing_passed(self, check: Any, tmp_path: Path) -> None:
        assert not check.counts(tmp_path / "none.xml", 0, 9.0)["passed"]

    def test_what_takes_too_long_is_ended(self, check: Any) -> None:
        assert check.run([sys.executable, "-c", "import time; time.sleep(60)"], 0.2) is None
        assert check.run([sys.executable, "-c", "raise SystemExit(3)"], 60) == 3

    def test_names_of_files(self, check: Any) -> None:
        assert check.file_name("NVIDIA H200") == "nvidia-h200"
        assert check.file_name("NVIDIA GeForce RTX 4090 (Laptop)") == "nvidia-geforce-rtx-4090-laptop"

    @pytest.mark.parametrize("broken", [False, True])
    def test_the_whole(
        self,
        broken: bool,
        check: Any,
        bench: dict[str, Any],
        formats: dict[str, Any],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        tests = {
            "tests": 3,
            "skipped": 0,
            "failures": 0,
            "errors": 0,
            "seconds": 1.0,
            "failed": [],
            "words": None,
            "passed": True,
        }
        asked: list[float] = []
        reports: dict[str, Any] = {"bench": None if broken else bench, "formats": formats}
        monkeypatch.setattr(check, "ask", lambda python: {"name": "NVIDIA Paper 100", "driver": "1.2"})
        monkeypatch.setattr(check, "fill_cache", lambda python, seconds: asked.append(seconds) or {"seconds": 1.0})
        monkeypatch.setattr(check, "run_tests", lambda python, folder, seconds: asked.append(seconds) or tests)
        monkeypatch.setattr(
            check, "run_bench", lambda python, folder, name, seconds, *more: asked.append(seconds) or reports[name]
        )
        monkeypatch.setattr(check, "RESULTS", tmp_path / "results")
        monkeypatch.setattr(sys, "argv", ["gpu_check", "--budget", "100"])
        assert check.main() == (1 if broken else 0)
        assert [round(seconds) for seconds in asked] == [20, 45, 70, 95]
        path = tmp_path / "results" / "nvidia-paper-100.json"
        report = json.loads(path.read_text())
        assert set(report) == {"gpu", "config", "versions", "optax", "date", "kernels", "tests", "summary", "host", "rows"}
        assert len(report["rows"]) == (3 if broken else 10)
        assert f"Wrote {path}" in capsys.readouterr().out

    def test_without_a_gpu_status_2(
        self, check: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(check, "ask", lambda python: {"error": "a CUDA array needs a GPU"})
        monkeypatch.setattr(sys, "argv", ["gpu_check"])
        assert check.main() == 2
        assert "a CUDA array needs a GPU" in capsys.readouterr().err

    def test_a_later_run_can_be_compared_with_it(self, check: Any, bench: dict[str, Any], tmp_path: Path) -> None:
        path = tmp_path / "old.json"
        path.write_text(json.dumps(check.merged({"name": "x"}, {}, {}, bench, None, [])))
        assert arguments.baseline(str(path))["gpu"]["name"] == "x"
