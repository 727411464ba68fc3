"""The estimators without an argument, on data as given, against least squares and scikit-learn: `python bench/sklearn_defaults.py`.

Each row is a plain case: a line, iris, wine, breast cancer, digits, diabetes, Friedman's first function, and prices made like those
of California's houses (raw: features in units from 1 to 10^4, a target of 10^5).  A cell has the mean score on test data (accuracy,
or R2) over five splits, the share of fits with a ConvergenceWarning, and the median time of a fit.  scikit-learn's estimators get
what they need: scaled features, and scaled targets in a regression.  They too have their defaults otherwise.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import warnings
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import sklearn
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine, make_friedman1
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier, SGDRegressor
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier
from sklearn.neural_network import MLPRegressor as SklearnMLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastopt
from fastopt.sklearn import LinearClassifier, LinearRegressor, MLPClassifier, MLPRegressor

Data = tuple[np.ndarray, np.ndarray]
Make = Callable[[int], Any]


def line(rows: int = 100) -> Data:
    """4 + 3x, without noise."""
    x = np.random.default_rng(0).uniform(-5, 5, (rows, 1))
    return x, 4 + 3 * x[:, 0]


def houses(rows: int = 4000) -> Data:
    """Prices made like those of California's houses: income, age, rooms, bedrooms, population, household, latitude, longitude."""
    rng = np.random.default_rng(0)
    income, age = rng.lognormal(1.2, 0.45, rows), rng.integers(1, 53, rows).astype(float)
    rooms, people = rng.lognormal(1.6, 0.3, rows), rng.lognormal(7.0, 0.7, rows)
    bedrooms, household = rooms / 5 + rng.normal(0, 0.05, rows), rng.lognormal(1.05, 0.2, rows)
    latitude = rng.uniform(32.5, 42.0, rows)
    longitude = -119.6 - 0.85 * (latitude - 36) + rng.normal(0, 0.7, rows)
    price = 42e3 * income + 900 * age - 30e3 * household + 5 * people - 40e3 * (latitude - 36) - 38e3 * (longitude + 120)
    price += 30e3 * np.sin(2 * latitude) * np.cos(longitude) + rng.normal(0, 40e3, rows)
    return np.column_stack([income, age, rooms, bedrooms, people, household, latitude, longitude]), price.clip(15e3)


def scaled(model: Any) -> Any:
    return make_pipeline(StandardScaler(), model)


def both_scaled(model: Any) -> Any:
    return TransformedTargetRegressor(scaled(model), transformer=StandardScaler())


CLASSIFIED = {"iris": load_iris, "wine": load_wine, "breast cancer": load_breast_cancer, "digits": load_digits}
MEASURED: dict[str, Callable[[], Data]] = {
    "line 4 + 3x": line,
    "diabetes": lambda: load_diabetes(return_X_y=True, scaled=False),
    "friedman1": lambda: make_friedman1(1000, noise=1.0, random_state=0),
    "houses": houses,
}
MODELS: dict[str, tuple[str, list[tuple[str, Make]]]] = {
    "linear classifier": (
        "classified",
        [
            ("LinearClassifier", lambda seed: LinearClassifier(random_state=seed)),
            ("SGDClassifier", lambda seed: scaled(SGDClassifier(loss="log_loss", random_state=seed))),
            ("LogisticRegression", lambda seed: scaled(LogisticRegression())),
        ],
    ),
    "linear regressor": (
        "measured",
        [
            ("LinearRegressor", lambda seed: LinearRegressor(random_state=seed)),
            ("SGDRegressor", lambda seed: both_scaled(SGDRegressor(random_state=seed))),
            ("LinearRegression", lambda seed: LinearRegression()),
        ],
    ),
    "MLP classifier": (
        "classified",
        [
            ("MLPClassifier", lambda seed: MLPClassifier(random_state=seed)),
            ("scikit-learn's", lambda seed: scaled(SklearnMLPClassifier(random_state=seed))),
        ],
    ),
    "MLP regressor": (
        "measured",
        [
            ("MLPRegressor", lambda seed: MLPRegressor(random_state=seed)),
            ("scikit-learn's", lambda seed: both_scaled(SklearnMLPRegressor(random_state=seed))),
        ],
    ),
}


def cell(make: Make, X: np.ndarray, y: np.ndarray, seeds: int, *, classified: bool) -> str:
    scores, seconds, warned = [], [], 0
    for seed in range(seeds):
        train, test, y_train, y_test = train_test_split(X, y, random_state=seed, stratify=y if classified else None)
        model = make(seed)
        begin = perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            model.fit(train, y_train)
        seconds.append(perf_counter() - begin)
        warned += any(issubclass(each.category, ConvergenceWarning) for each in caught)
        scores.append(model.score(test, y_test))
    return f"{statistics.mean(scores):.4f}, {warned}/{seeds}, {1e3 * statistics.median(seconds):.0f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="splits of each case")
    parser.add_argument("--ours", action="store_true", help="leave scikit-learn's out")
    arguments = parser.parse_args()
    print(f"fastopt {fastopt.__version__}, scikit-learn {sklearn.__version__}, Python {platform.python_version()}, float64")
    for title, (kind, models) in MODELS.items():
        chosen = models[:1] if arguments.ours else models
        print(f"\n| {title} | " + " | ".join(name for name, _ in chosen) + " |\n|---" * 1 + "|---" * len(chosen) + "|")
        for name, load in (CLASSIFIED if kind == "classified" else MEASURED).items():
            X, y = load(return_X_y=True) if kind == "classified" else load()
            cells = [cell(make, X, y, arguments.seeds, classified=kind == "classified") for _, make in chosen]
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
