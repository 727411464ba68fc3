"""The programs in `examples/` reach what they say: the textbook's numbers, on data."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "examples"
README = (FOLDER / "README.md").read_text()
PROGRAMS = sorted(FOLDER.glob("*.py"))

ROUNDING = (0, 1e-12)


def searched(iris: float, digits: float) -> dict[str, tuple[float, float]]:
    """What a search must reach on the data held out, by each metric; and it must not lose to the defaults."""
    bounds = {}
    for data, least in (("iris", iris), ("digits", digits)):
        for metric in ("accuracy", "recall", "F1"):
            bounds |= {f"{data}: {metric}": (least, 1), f"{data}: {metric} gained": (0, 1)}
    return bounds


# The least and the most that each outcome may be.  The accuracies leave 2 to 4% for another split or another BLAS.
BOUNDS = {
    "wrong_turns": {"unexpected": (0, 0)},
    "sgd_line": {
        "difference": ROUNDING,
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
    "adagrad": {
        "difference": ROUNDING,
        "accuracy": (0.93, 1),
        "loss": (0, 0.03),
        "gradient descent's loss": (0.4, 1.1),  # it begins at log(3)
    },
    "rmsprop_cache": {
        "difference": (0, 1e-10),  # where the cache is still small, a step has the rounding of its gradient
        "accuracy": (0.97, 1),
        "linear": (0.3, 0.6),
    },
    "nadam_function": {"difference": ROUNDING, "x**2 + y**2": (0, 1e-3), "Rosenbrock": (0, 1e-6)},
    "minibatch": {"difference": (0, 1e-9), "accuracy": (0.94, 1), "full batch's accuracy": (0.1, 0.6)},
    "clip_norm": {"difference": (0, 1e-10), "R2": (0.995, 1), "NaN without": (1, 1), "Keras' form": (0, 1e-5)},
    "exponential_decay": {
        "difference": (0, 1e-10),  # as of momentum
        "from least squares": (0, 1),
        "excess": (0, 0.1),
        "constant": (5, 40),  # the best of four
    },
    "plateau": {"difference": (0, 1e-10), "lr": (1e-6, 1e-2), "excess": (0, 1), "constant": (1000, 30_000)},
    "random_search": {"difference": ROUNDING, "accuracy": (0.94, 1), "default's": (0.4, 0.8), "median's": (0.8, 0.95)},
    "grid_search": searched(iris=0.9, digits=0.94),
    "randomized_search": searched(iris=0.8, digits=0.93),
    "halving_search": {
        **searched(iris=0.8, digits=0.93),
        "iris: share of the epochs": (0.333, 0.334),
        "digits: share of the epochs": (0.333, 0.334),
    },
    "bayesian_search": {
        **searched(iris=0.8, digits=0.93),
        "iris: log loss gained by guiding": (0.02, 10),
        "digits: log loss gained by guiding": (0.02, 10),
    },
    "regression_search": {
        "RMSE": (0.9, 1.9),
        "MAE": (0.7, 1.5),
        "RMSE gained": (0.3, 3),
        "MAE gained": (0.2, 3),
        "linear RMSE": (2.3, 2.9),
    },
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


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_an_example_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 60


def test_every_example_is_there() -> None:
    assert {path.stem for path in PROGRAMS} == BOUNDS.keys()


def test_the_readme_names_each_example() -> None:
    links = re.findall(r"\]\(([^)]+)\)", README)
    named = [link for link in links if "/" not in link]  # the others are pages
    assert sorted(named) == sorted(path.name for path in FOLDER.iterdir() if path.suffix in {".py", ".c"})
    assert all((FOLDER / link).exists() for link in links)


def test_the_readmes_command_runs() -> None:
    command = re.findall(r"^\.venv/bin/python (\S+)$", README, re.MULTILINE)
    done = subprocess.run([sys.executable, *command], cwd=FOLDER.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "difference from the textbook's loop" in done.stdout
