"""The estimators without an argument, on data as given: as accurate as least squares and scikit-learn's own, without a warning."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import make_friedman1, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from fastopt.sklearn import LinearRegressor, MLPRegressor

PAGE = Path(__file__).resolve().parents[2] / "bench" / "sklearn_defaults.py"
spec = importlib.util.spec_from_file_location("sklearn_defaults", PAGE)
assert spec is not None
assert spec.loader is not None
bench: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)

CASES = [(title, name) for title, (kind, _) in bench.MODELS.items() for name in getattr(bench, kind.upper())]


@pytest.mark.parametrize(("title", "name"), CASES)
def test_plain_cases(title: str, name: str) -> None:
    """On two splits on average, within a hundredth of the best of the references that the table has."""
    kind, models = bench.MODELS[title]
    classified = kind == "classified"
    X, y = bench.CLASSIFIED[name](return_X_y=True) if classified else bench.MEASURED[name]()
    scores = np.zeros(len(models))
    for seed in range(2):
        train, test, y_train, y_test = train_test_split(X, y, random_state=seed, stratify=y if classified else None)
        for i, (_, make) in enumerate(models):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore" if i else "error", ConvergenceWarning)
                scores[i] += make(seed).fit(train, y_train).score(test, y_test) / 2
    assert scores[0] >= scores[1:].max() - 0.01


def test_a_line_without_noise_is_found() -> None:
    X, y = bench.line()
    model = LinearRegressor(random_state=0).fit(X, y)
    assert model.coef_[0] == pytest.approx(3, rel=5e-3)
    assert model.intercept_[0] == pytest.approx(4, rel=5e-3)


def test_a_last_batch_of_one_row_takes_no_step_of_its_own() -> None:
    """On 1,025 rows in batches of 64 the score is that of least squares, less the noise of the steps."""
    X, y = make_regression(1025, 10, noise=100, random_state=0)
    best = np.linalg.lstsq(np.column_stack([X, np.ones(1025)]), y)[0]
    expected = 1 - ((y - np.column_stack([X, np.ones(1025)]) @ best) ** 2).mean() / y.var()
    model = LinearRegressor(optimizer="sgd", random_state=0, batch_size=64).fit(X, y)
    assert model.t_ % 17 == 0
    assert model.score(X, y) > expected - 2e-3


def test_rows_one_more_than_the_batches_are_learnt_as_well() -> None:
    X, y = make_friedman1(801, noise=1.0, random_state=0)
    scores = [
        MLPRegressor(random_state=0, batch_size=200).fit(X[:n], y[:n]).score(*make_friedman1(1000, random_state=1))
        for n in (800, 801)
    ]
    assert scores[1] > scores[0] - 0.02
