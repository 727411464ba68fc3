"""The programs in `examples/` reach what they say: the textbook's numbers, on data."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "examples"
README = (FOLDER / "README.md").read_text()
PROGRAMS = sorted(FOLDER.glob("*.py"))

ROUNDING = (0, 1e-12)
# The least and the most that each outcome may be.  The accuracies leave 2 to 4% for another split or another BLAS.
BOUNDS = {
    "sgd_line": {
        "intercept": (4 - 0.6, 4 + 0.6),  # three standard errors of a fit to 100 points
        "slope": (3 - 0.52, 3 + 0.52),
        "from least squares": (0, 5e-3),
    },
    "momentum": {
        "difference": (0, 1e-10),  # rounding of coefficients in the hundreds
        "from least squares": (0, 1e-8),
        "R2": (0.51, 0.53),
        "torch's start": (2, 6),
    },
    "rmsprop": {"difference": ROUNDING, "accuracy": (0.92, 1), "torch's form": (1, 4)},
    "adamax": {"difference": ROUNDING, "accuracy": (0.91, 1), "torch's form": (1e-8, 1e-4)},
    "nadam": {"difference": ROUNDING, "accuracy": (0.94, 1), "between the two": (1e-3, 1), "torch's form": (1e-3, 1)},
    "adadelta": {"difference": ROUNDING, "accuracy": (0.92, 1), "loss": (0, 0.22), "Keras' loss": (0.98, 1)},
}


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_an_example_reaches_its_outcome(path: Path) -> None:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    outcome, bounds = module.main(), BOUNDS[path.stem]
    assert outcome.keys() == bounds.keys()
    for name, (least, most) in bounds.items():
        assert least <= outcome[name] <= most, name


def test_every_example_is_there() -> None:
    assert {path.stem for path in PROGRAMS} == BOUNDS.keys()


def test_the_readme_names_each_example() -> None:
    named = re.findall(r"\]\(([^)]+)\)", README)
    assert sorted(named) == sorted(path.name for path in FOLDER.iterdir() if path.suffix in {".py", ".c"})


def test_the_readmes_command_runs() -> None:
    command = re.findall(r"^\.venv/bin/python (\S+)$", README, re.MULTILINE)
    done = subprocess.run([sys.executable, *command], cwd=FOLDER.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "difference from the textbook's loop" in done.stdout
