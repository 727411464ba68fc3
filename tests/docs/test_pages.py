"""The documents say what is true: their code runs, their links lead somewhere, what follows from the table is up to date."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import fastopt

ROOT = Path(__file__).resolve().parents[2]
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def test_the_readme_opens_with_code_that_trains(capsys: pytest.CaptureFixture[str]) -> None:
    exec(blocks(ROOT / "README.md", "python")[0], {})
    mean, steps = capsys.readouterr().out.split()
    assert float(mean) == pytest.approx(3, abs=1e-2)
    assert int(steps) == 500


def test_every_line_of_the_readmes_tour_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # it saves a file
    rng = np.random.default_rng(0)
    names = ("w1", "b1", "w2", "g1", "g3", "p", "g", "m")
    arrays = {name: rng.standard_normal(7).astype(np.float32) for name in names}
    grads = [rng.standard_normal(7).astype(np.float32) for _ in range(3)]
    exec(
        blocks(ROOT / "README.md", "python")[1],
        {
            "fastopt": fastopt,
            "grads": grads,
            "v": np.ones(7, np.float32),
            "half": np.zeros(7, np.float16),
            "p_bf16": np.ones(7, BFLOAT16),
            **arrays,
        },
    )


def test_the_readmes_tutorial_runs(capsys: pytest.CaptureFixture[str]) -> None:
    block = next(block for block in blocks(ROOT / "README.md", "python") if "GridSearchCV" in block)
    known: dict[str, Any] = {}
    exec(block, known)
    assert known["result"].success
    np.testing.assert_allclose(known["result"].x, 1, atol=1e-4)
    assert known["search"].best_score_ > 0.9


def test_the_page_on_schedules_runs() -> None:
    known: dict[str, Any] = {}
    for block in blocks(ROOT / "docs" / "schedules.md", "python"):
        exec(block, known)
    assert known["opt"].steps == 20
    assert known["plateau"].best is not None


def test_the_page_on_schedules_names_each() -> None:
    named = re.findall(r"^\| `(\w+)\(", (ROOT / "docs" / "schedules.md").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(fastopt.schedules.__all__)


def test_the_page_on_checkpoints_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # it saves a file
    known: dict[str, Any] = {}
    for block in blocks(ROOT / "docs" / "checkpoints.md", "python"):
        exec(block, known)
    opt, model = known["opt"], known["model"]
    assert opt.options["max_norm"] is None
    assert opt.groups[0].schedule == fastopt.schedules.cosine(1e-4, steps=1000)
    assert all(array is model[name] for name, array in zip("wb", opt.groups[0]["params"], strict=True))


def test_the_page_on_formats_runs() -> None:
    known: dict[str, Any] = {}
    exec(blocks(ROOT / "docs" / "formats.md", "python")[0], known)
    assert known["opt"].steps == 1
    assert (known["w"][:10] == 0).all()


def test_the_page_on_the_whole_step_runs() -> None:
    whole, parts = blocks(ROOT / "docs" / "whole-step.md", "python")
    known: dict[str, Any] = {}
    exec(whole, known)
    assert known["opt"].steps == 2
    exec(parts, known)
    assert known["opt"].steps == 1


def test_the_page_on_torch_runs() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    known: dict[str, Any] = {}
    for block in blocks(ROOT / "docs" / "torch.md", "python"):
        exec(block, known)
    assert len(known["hooks"]) == 4
    assert all(param.grad is None for param in known["model"].parameters())
    readme = next(block for block in blocks(ROOT / "README.md", "python") if "fastopt.torch" in block)
    exec(readme, known)
    assert all(torch.isfinite(param).all() for param in known["model"].parameters())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_what_follows_from_the_table_is_up_to_date() -> None:
    done = subprocess.run([sys.executable, "tools/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_call_on_the_page_of_forms_is_one() -> None:
    calls = re.findall(r"`(\w+\(p, [^`]*\))`", (ROOT / "docs" / "forms.md").read_text())
    assert {call.split("(")[0] for call in calls} == set(fastopt.rules.RULES)
    for call in calls:
        eval(f"fastopt.{call}", {"fastopt": fastopt, "p": np.ones(3, np.float32)}).step(np.ones(3, np.float32))


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_the_page_on_adding_a_rule_compiles(tmp_path: Path) -> None:
    page = ROOT / "docs" / "add-a-rule.md"
    header, row = blocks(page, "cpp")[0], blocks(page, "python")[0]
    for folder in ("csrc", "include"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    (tmp_path / "csrc/rules/signum.h").write_text(header)
    table = shutil.copytree(ROOT / "python/fastopt/rules", tmp_path / "python/fastopt/rules")
    (table / "signum.py").write_text(row)
    text = (table / "__init__.py").read_text().replace("from .sgd", "from .signum import SIGNUM\nfrom .sgd")
    (table / "__init__.py").write_text(text.replace("LION)", "LION, SIGNUM)"))
    subprocess.run([sys.executable, "csrc/generate.py", "generated"], cwd=tmp_path, check=True)
    flags = [
        "-std=c++17",
        "-fsyntax-only",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-DFASTOPT_ISA=scalar",
        "-Igenerated",
        "-Icsrc",
        "-Iinclude",
    ]
    subprocess.run(["g++", *flags, "csrc/cpu/loops/kernels.cpp"], cwd=tmp_path, check=True)
    assert "signum" in (tmp_path / "generated/rules.h").read_text()


UNOPTIMIZED = """#!/bin/sh
for word do
  shift
  case $word in -O*) word=-O0 ;; esac
  set -- "$@" "$word"
done
exec c++ -DFASTOPT_INLINE=inline "$@"
"""
"""A compiler that takes a fifth of the time, for a program that needs to be right only."""


@pytest.mark.skipif(not (shutil.which("cmake") and shutil.which("cc")), reason="cmake or a C compiler is not installed")
def test_the_example_in_c(tmp_path: Path) -> None:
    for name in ("CMakeLists.txt", "csrc", "examples", "include", "python"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    compiler = tmp_path / "unoptimized"
    compiler.write_text(UNOPTIMIZED)
    compiler.chmod(0o755)
    comment = (ROOT / "examples" / "adamw.c").read_text().split("*/")[0]
    commands = re.findall(r"^ \*   (\S.*)$", comment, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        environment = {**os.environ, "CXX": str(compiler)}
        done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("3.0000 after 500 steps on ")
