"""What `fastopt compare` writes and prints, and where: files that must not be overwritten, packages, terminals and disks that fail."""

from __future__ import annotations

import errno
import json
import math
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fastopt.cli import compare, main, progress, words
from fastopt.cli.compare import tuning
from fastopt.cli.progress import Progress
from tests.support.cli import status
from tests.support.compare_runs import TINY, npz, samples


@pytest.fixture(autouse=True)
def no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """Says nothing on standard error, however slow the machine is."""
    monkeypatch.setattr(progress, "EVERY", math.inf)


@pytest.fixture
def source(tmp_path: Path, rng: np.random.Generator) -> Path:
    inputs, labels = samples(rng)
    path = tmp_path / "data.csv"
    pd.DataFrame(inputs, columns=list("abcd")).assign(kind=np.array(["x", "y", "z"])[labels]).to_csv(path, index=False)
    return path


class TestOverwriting:
    @pytest.mark.parametrize(
        ("option", "way"),
        [
            *((option, way) for option in ("--json", "--html") for way in ("same", "relative", "symlink", "hard link")),
            ("--plot", "symlink"),  # a picture's name ends otherwise, so that others are refused anyhow
            ("--plot", "hard link"),
        ],
    )
    def test_the_data_are_never_an_output(
        self, option: str, way: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = npz(tmp_path / "data.npz", X=np.ones((3, 2)), y=np.zeros(3))
        before = data.read_bytes()
        output = tmp_path / "other.svg"
        if way == "symlink":
            output.symlink_to(data)
        elif way == "hard link":
            output.hardlink_to(data)
        else:
            output = data
        if way == "relative":
            monkeypatch.chdir(tmp_path)
            output = Path(f"../{tmp_path.name}/data.npz")
        code, out, err = status(["compare", str(data), *TINY, option, str(output)], capsys)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert option in err
        assert "file of DATA" in err
        assert data.read_bytes() == before

    def test_an_output_is_no_other_output(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path, link = tmp_path / "out.svg", tmp_path / "link.svg"
        link.symlink_to(path)  # which is not there yet
        for first, second, other in (("--json", "--html", path), ("--json", "--plot", link), ("--plot", "--html", path)):
            code, out, err = status(["compare", *TINY, first, str(path), second, str(other)], capsys)
            assert (code, out, err.count("\n")) == (2, "", 1)
            assert first in err
            assert second in err
        assert not path.exists()

    def test_devices_take_all_of_them(self, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
        code, _, _ = status(["compare", str(source), *TINY, "--json", os.devnull, "--html", os.devnull], capsys)
        assert code == 0


MISSING = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {package!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Finder())
from fastopt.cli import main
sys.exit(main({argv!r}))
"""


class TestPackages:
    @pytest.mark.parametrize("package", ["rich", "sklearn", "threadpoolctl", "pandas", "matplotlib"])
    def test_a_missing_one_is_one_line_with_status_2(self, package: str, source: Path) -> None:
        argv = ["compare", str(source), *TINY, "--plot", str(source.parent / "p.png")]
        code = MISSING.format(package=package, argv=argv)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        name = {"sklearn": "scikit-learn"}.get(package, package)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f'fastopt: {name} is not installed: pip install ".[cli]" in the folder of fastopt\'s clone\n'

    def test_an_old_one_is_named(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        def run(args: Any) -> int:
            try:
                raise ImportError("cannot import name 'validate_data'", name="sklearn.utils.validation")
            except ImportError as error:
                raise ImportError("fastopt.sklearn needs scikit-learn 1.6 or later") from error

        monkeypatch.setattr(compare, "run", run)
        assert status(["compare"], capsys) == (2, "", "fastopt: fastopt.sklearn needs scikit-learn 1.6 or later\n")

    def test_other_errors_of_imports_are_not_hidden(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def run(args: Any) -> int:
            raise ImportError("a mistake", name="fastopt.cli.compare")

        monkeypatch.setattr(compare, "run", run)
        with pytest.raises(ImportError, match="a mistake"):
            main(["compare"])


class TestFailures:
    def test_what_cannot_be_written_costs_nothing_else(
        self, source: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(report: Any, path: Path) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def large(report: Any, path: Path) -> None:
            raise MemoryError

        monkeypatch.setattr(compare, "write_json", full)
        monkeypatch.setattr(compare, "write_plot", large)
        names = {
            option: source.parent / f"out{suffix}" for option, suffix in (("--json", ".j"), ("--plot", ".png"), ("--html", ".h"))
        }
        argv = [word for option, path in names.items() for word in (option, str(path))]
        code, out, err = status(["compare", str(source), *TINY, *argv], capsys)
        assert code == 2
        assert " AdamW " in out
        assert f"Wrote {names['--html']}" in out
        assert str(names["--json"]) not in out
        assert err.splitlines() == [
            f"fastopt: cannot write {names['--json']}: {os.strerror(errno.ENOSPC)}",
            f"fastopt: cannot write {names['--plot']}: MemoryError",
        ]
        assert names["--html"].read_text(encoding="utf-8").startswith("<!DOCTYPE html>")

    def test_files_are_written_before_the_table(
        self, source: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(report: Any) -> Any:
            raise MemoryError("of the table")

        monkeypatch.setattr(compare, "table", broken)
        output = source.parent / "out.json"
        code, _, err = status(["compare", str(source), *TINY, "--json", str(output)], capsys)
        assert (code, err) == (2, "fastopt: not enough memory: of the table\n")
        assert json.loads(output.read_text())["rows"]

    def test_no_memory_is_one_line(
        self, source: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def tune(*args: Any) -> Any:
            raise MemoryError

        monkeypatch.setattr(compare, "tune", tune)
        code, out, err = status(["compare", str(source), *TINY], capsys)
        assert (code, out.count("\n"), err) == (2, 1, "fastopt: not enough memory\n")


class TestTerminal:
    @pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
    def test_any_encoding_shows_the_table(self, encoding: str, source: Path) -> None:
        argv = ["compare", str(source), *TINY, "--seeds", "2", "--html", str(source.parent / "größe.html")]
        environment = os.environ | {"PYTHONIOENCODING": encoding, "COLUMNS": "40"}
        command = [sys.executable, "-m", "fastopt", *argv]
        done = subprocess.run(command, capture_output=True, env=environment, check=False)
        out = done.stdout.decode(encoding)
        assert done.returncode == 0, done.stderr
        row = next(line for line in out.splitlines() if "AdamW" in line)
        assert ("?" if encoding == "ascii" else "±") in row
        assert "train %" in out  # in 40 columns too
        assert (source.parent / "größe.html").exists()

    def test_a_stream_is_strict_again(self, tmp_path: Path) -> None:
        with (tmp_path / "a").open("w", encoding="ascii") as file:
            with words.encodable(file):
                print("±", file=file)
            with pytest.raises(UnicodeEncodeError):
                print("±", file=file)
        assert (tmp_path / "a").read_text() == "?\n"

    def test_no_name_commands_the_terminal(self, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
        evil = source.with_name("a\nb\x1b[31m\udcff.csv")
        source.rename(evil)
        html = evil.with_name("c\x1b[0m.html")
        code, out, _ = status(["compare", str(evil), *TINY, "--html", str(html)], capsys)
        assert code == 0
        assert "\x1b" not in out
        assert out.startswith("a\\nb\\x1b[31m\\udcff.csv: 60 samples, 4 features, 3 classes of 'kind'\n")
        assert "c\\x1b[0m.html" in out
        assert html.stat().st_size > 10_000
        evil.write_text("a,b\n1,x\n")
        _, _, err = status(["compare", str(evil), *TINY], capsys)
        assert "\x1b" not in err
        assert err.count("\n") == 1

    def test_the_progress_has_no_thread(self) -> None:
        assert not Progress("compare", "epochs", 1).bar.live.auto_refresh


class TestOrder:
    def test_every_rule_runs_with_a_seed_before_the_next(self, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        order, tuned = [], []
        train = compare.train

        def watched(row: Any, lr: float, data: Any, settings: Any, seed: Any, *rest: Any) -> Any:
            order.append((seed, row.label))
            return train(row, lr, data, settings, seed, *rest)

        def tune(row: Any, *rest: Any) -> Any:
            tuned.append((row.label, len(order), rest[3]))
            return [tuning.Trial(0.1, (1.0,)), tuning.Trial(0.2, (0.5,)), tuning.Trial(0.3, (0.6,))]

        monkeypatch.setattr(compare, "train", watched)
        monkeypatch.setattr(compare, "tune", tune)
        output = source.parent / "o.json"
        argv = ["compare", str(source), *TINY[:2], "--rules", "adam,lion", "--seeds", "3", "--json", str(output)]
        assert main(argv) == 0
        assert order == [(seed, rule) for seed in range(3) for rule in ("Adam", "Lion")]
        assert tuned == [("Adam", 0, 5), ("Lion", 0, 5)]
        rows = json.loads(output.read_text())["rows"]
        assert [row["lr_at_an_end"] for row in rows] == [False, False]
        assert [[run["seed"] for run in row["runs"]] for row in rows] == [[0, 1, 2]] * 2


class TestCommand:
    def test_names_that_begin_with_a_dash(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
    ) -> None:
        monkeypatch.chdir(tmp_path)
        inputs, labels = samples(rng)
        frame = pd.DataFrame(inputs, columns=["a", "b", "c", "d"])
        frame.insert(0, "-y", labels)
        frame.to_csv("-x.csv", index=False)
        assert main(["compare", *TINY, "--target=-y", "--json", "first", "--", "-x.csv"]) == 0
        first = json.loads(Path("first").read_text())
        program, *argv = shlex.split(first["command"])
        assert program == "fastopt"
        assert "--target=-y" in argv
        assert main([*argv, "--json", "second"]) == 0
        second = json.loads(Path("second").read_text())
        assert first["rows"][0]["trials"] == second["rows"][0]["trials"]

    def test_the_share_of_the_most_frequent_class(self, tmp_path: Path, rng: np.random.Generator) -> None:
        labels = np.r_[np.zeros(20, int), np.full(60, 5)]
        path = npz(tmp_path / "a.npz", X=rng.standard_normal((80, 2)), y=labels)
        output = tmp_path / "a.json"
        assert main(["compare", str(path), *TINY, "--json", str(output)]) == 0
        report = json.loads(output.read_text())
        assert report["data"]["most_frequent"] == {"class": "5", "test_share": 0.75}
        assert report["looks"] == 2  # as many as an epoch has steps
