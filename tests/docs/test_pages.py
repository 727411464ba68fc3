"""The documents say what is true: their code runs, their links lead somewhere, what follows from the table is up to date."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fastopt
from fastopt.cli import build_parser
from tests.support.pages import ROOT, blocks, run

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs of the pages save files."""
    monkeypatch.chdir(tmp_path)


def readme(word: str) -> dict[str, Any]:
    """Runs the README's block that has this word, as if it had been pasted into a new interpreter."""
    (block,) = (block for block in blocks("README.md") if word in block)
    return run([block])


class TestReadme:
    def test_it_opens_with_code_that_trains(self) -> None:
        known = run(blocks("README.md")[:1])
        np.testing.assert_allclose(known["p"], 3, atol=1e-2)
        assert known["opt"].steps == 500

    def test_its_tour_runs(self) -> None:
        known = readme("fastopt.flatten")
        assert known["opt"].steps == 0
        assert (known["v"] > 0).any()

    def test_its_tutorial_runs(self) -> None:
        known = readme("GridSearchCV")
        assert known["result"].success
        assert known["search"].best_score_ > 0.9

    def test_its_torch_program_runs(self) -> None:
        known = readme("fastopt.torch")
        assert all(torch.isfinite(param).all() for param in known["model"].parameters())

    def test_its_commands_are_those_of_the_command_line(self) -> None:
        parser = build_parser()
        commands = re.findall(r"\.venv/bin/fastopt ([a-z -]+?)(?: &&|$)", "\n".join(blocks("README.md", "bash")), re.MULTILINE)
        assert {command.split()[0] for command in commands} == {"check", "compare", "bench"}
        for command in commands:
            parser.parse_args(command.split())


class TestPrograms:
    """The pages' programs run, and print what they say."""

    def test_schedules(self) -> None:
        known = run(blocks("docs/schedules.md"))
        assert known["opt"].steps == 20
        assert known["plateau"].best is not None

    def test_checkpoints(self) -> None:
        known = run(blocks("docs/checkpoints.md"))
        opt, model = known["opt"], known["model"]
        assert opt.options["max_norm"] is None
        assert opt.groups[0].schedule == fastopt.schedules.cosine(1e-4, steps=1000)
        assert all(array is model[name] for name, array in zip("wb", opt.groups[0]["params"], strict=True))

    def test_formats(self) -> None:
        known = run(blocks("docs/formats.md"))
        assert known["opt"].steps == 1
        assert (known["w"][:10] == 0).all()

    def test_the_whole_step(self) -> None:
        whole, parts = blocks("docs/whole-step.md")
        known = run([whole])
        assert known["opt"].steps == 2
        run([parts], known)
        assert known["opt"].steps == 1

    def test_torch(self) -> None:
        known = run(blocks("docs/torch.md"))
        assert len(known["hooks"]) == 4

    def test_flat_buffers(self) -> None:
        known = run(blocks("docs/flat.md"))
        assert known["opt"].steps == 1
        assert not known["grads"].data.any()
        assert (known["model"].weight.detach().numpy() == known["flat"].views[0]).all()

    def test_memory(self) -> None:
        run(blocks("docs/memory.md"))

    def test_cuda_with_numpy_in_cupys_place(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "cupy", np)  # a step on a GPU has the CPU's bits
        run(blocks("docs/cuda.md")[:1])
        readme("import cupy")


def test_the_page_on_schedules_names_each() -> None:
    named = re.findall(r"^\| `(\w+)\(", (ROOT / "docs" / "schedules.md").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(fastopt.schedules.__all__)


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
    page = "docs/add-a-rule.md"
    header, row = blocks(page, "cpp")[0], blocks(page)[0]
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
