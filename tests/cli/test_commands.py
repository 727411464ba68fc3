"""The command line, run in this process: its arguments, `fastopt info` and how it words what it prints."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch

import fastopt
from fastopt.cli import info, main, words
from tests.support.cli import LABELS, status


class TestInfo:
    def test_shows_the_configuration_and_the_extras(self, capsys: pytest.CaptureFixture[str]) -> None:
        fastopt.show_config()
        config = capsys.readouterr().out
        code, out, err = status(["info"], capsys)
        assert (code, err) == (0, "")
        assert out.startswith(config)
        assert f"torch: {torch.__version__}" in out
        for package in ("rich", "matplotlib", "scikit-learn"):
            assert f"{package}: {info.installed()[package]}" in out
            assert info.installed()[package] is not None

    def test_names_what_it_works_with_and_imports_none_of_it(self) -> None:
        code = "import sys, fastopt.cli as cli; cli.main(['info']); print(sorted({'jax', 'keras', 'optax', 'torch'} & set(sys.modules)))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.endswith("[]\n")
        for package in ("ml_dtypes", "safetensors", "torch", "jax", "optax", "keras"):
            assert f"  {package}: {metadata.version(package)}\n" in done.stdout

    def test_needs_numpy_alone(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        for module in ("rich", "matplotlib", "sklearn", "torch"):
            monkeypatch.setitem(sys.modules, module, None)  # importing it now fails
        code, out, _ = status(["info"], capsys)
        assert code == 0
        for package in ("rich", "matplotlib", "scikit-learn", "torch"):
            assert f"{package}: not installed" in out


class TestArguments:
    @pytest.mark.parametrize(
        ("argv", "words_in_error"),
        [
            (["train"], ["'train'", "info", "bench", "compare"]),
            (["bench", "--rules", "sgd,adamx"], ["--rules", "'adamx'", *LABELS]),
            (["bench", "--sizes", "1e4,many"], ["--sizes", "'many'"]),
            (["bench", "--sizes", "0"], ["--sizes", "'0'"]),
            (["bench", "--sizes", "1.5"], ["--sizes", "'1.5'"]),
            (["bench", "--sizes", "inf"], ["--sizes", "'inf'"]),
            (["bench", "--sizes", "nan"], ["--sizes", "'nan'"]),
            (["bench", "--sizes", "1e13"], ["--sizes", "'1e13'", "from 1 to 1e12"]),
            (["bench", "--threads", "5000"], ["--threads", "from 1 to 4,096"]),
            (["compare", "--epochs", "1e10"], ["--epochs", "from 1 to 1e9"]),
            (["compare", "--task", "clustering"], ["--task", "classification", "regression"]),
            (["bench", "--threads", "0"], ["--threads", "'0'"]),
            (["bench", "--dtype", "float16"], ["--dtype", "float32", "float64"]),
            (["bench", "--json", "no/such/place.json"], ["--json", "'no/such/place.json'"]),
            (["bench", "--plot", "picture.doc"], ["--plot", "'picture.doc'", ".png"]),
            (["bench", "--compare", "missing.json"], ["--compare", "'missing.json'"]),
            (["compare", "--epochs", "0"], ["--epochs", "'0'"]),
            (["compare", "--batch-size", "-3"], ["--batch-size", "-3"]),
            (["compare", "--seed", "-1"], ["--seed", "-1"]),
            (["compare", "--seeds", "0"], ["--seeds", "'0'"]),
        ],
    )
    def test_a_bad_one_is_named_with_status_2(
        self, argv: list[str], words_in_error: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        code, out, err = status(argv, capsys)
        assert (code, out) == (2, "")
        for word in words_in_error:
            assert word in err

    @pytest.mark.parametrize("content", ["", "[]", "{}", '{"rows": [{"rule": "SGD"}]}', '{"rows": 3}'])
    def test_a_file_that_is_no_benchmark(self, content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "other.json"
        path.write_text(content)
        code, _, err = status(["bench", "--compare", str(path)], capsys)
        assert code == 2
        assert "fastopt bench --json" in err

    @pytest.mark.parametrize(("module", "package"), [("rich", "rich"), ("matplotlib", "matplotlib"), ("sklearn", "scikit-learn")])
    def test_a_missing_package_is_one_line_with_status_2(
        self, module: str, package: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == module]:
            monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.setitem(sys.modules, module, None)
        code, out, err = status(["compare", "--epochs", "1", "--plot", str(tmp_path / "curves.png")], capsys)
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert package in err
        assert 'pip install ".[cli]"' in err

    def test_another_missing_module_is_not_blamed_on_the_extras(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(args: Any) -> int:
            raise ModuleNotFoundError("No module named 'numpy.lost'", name="numpy.lost")

        monkeypatch.setattr(info, "run", broken)
        with pytest.raises(ModuleNotFoundError, match=r"numpy\.lost"):
            main(["info"])

    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert status(["--version"], capsys) == (0, f"fastopt {fastopt.__version__}\n", "")

    def test_no_command_shows_the_help(self, capsys: pytest.CaptureFixture[str]) -> None:
        shown = status([], capsys)
        assert shown == status(["--help"], capsys)
        assert all(f"    {command} " in shown[1] for command in ("check", "info", "warmup", "bench", "compare"))

    def test_help(self, capsys: pytest.CaptureFixture[str]) -> None:
        for argv in (["--help"], ["bench", "--help"], ["compare", "--help"]):
            code, out, _ = status(argv, capsys)
            assert code == 0
            assert "usage: fastopt" in out


class TestWords:
    def test_sizes(self) -> None:
        assert [words.short(n) for n in (1, 100, 1000, 10**8, 20_000, 12_345)] == ["1", "100", "1e3", "1e8", "2e4", "12,345"]

    def test_durations(self) -> None:
        shown = [words.duration(s) for s in (2.5e-8, 7.81e-7, 1.5e-6, 0.0123, 0.456, 12.3)]
        assert shown == ["25.0 ns", "781 ns", "1.50 µs", "12.3 ms", "456 ms", "12.3 s"]

    def test_threads(self) -> None:
        assert [words.threads(n) for n in (1, 2)] == ["1 thread", "2 threads"]

    def test_factors(self) -> None:
        assert [words.times(r) for r in (0.98, 12.34, 123.4)] == ["1.0x", "12.3x", "123x"]

    def test_seeds(self) -> None:
        assert [words.seeds(used) for used in ([3], [3, 4], [0, 1, 2])] == ["seed 3", "seeds 3 to 4", "seeds 0 to 2"]

    def test_json_has_null_for_what_json_cannot_hold(self) -> None:
        report = {"losses": [1.5, math.nan, (math.inf, -math.inf)], "rule": "SGD", "seed": 0, "spread": None}
        text = words.to_json(report)
        assert json.loads(text, parse_constant=pytest.fail) == report | {"losses": [1.5, None, [None, None]]}
        assert text.endswith("}\n")
