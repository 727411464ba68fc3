"""The estimators of fastopt.sklearn against scikit-learn's own: `python bench/sklearn_estimators.py [--quick] [--dtype float64]`.

First comes accuracy, on handwritten digits, breast cancer and a synthetic set of seven classes, with the same splits for both and
default arguments (MLPs: at most 100 epochs).  Then comes time, on large synthetic sets.  A whole fit with default arguments ends
when the estimator finds that its loss has stopped falling; its accuracy and epochs are printed too.  An epoch has the same batch
size on both sides if both have batches.  Arms take turns in one process and in beginning a round; ratios are medians of the
rounds' ratios.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import sklearn
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier as SklearnMLP
from sklearn.preprocessing import StandardScaler

import fastopt
from fastopt.sklearn import LinearClassifier, MLPClassifier

Data = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Pair:
    """fastopt's estimator and scikit-learn's, each made from a seed and further arguments."""

    name: str
    ours: Callable[..., Any]
    theirs: Callable[..., Any]


LINEAR = [
    Pair("linear, log loss", LinearClassifier, partial(SGDClassifier, loss="log_loss")),
    Pair("linear, hinge", partial(LinearClassifier, "hinge"), SGDClassifier),
]
NETWORK = Pair("MLP (100,)", MLPClassifier, SklearnMLP)


def split(X: np.ndarray, y: np.ndarray, seed: int, dtype: str) -> Data:
    """Three quarters of the data for training, and the rest; both standardised."""
    train, test, y_train, y_test = train_test_split(X, y, random_state=seed, stratify=y)
    scaler = StandardScaler().fit(train)
    return scaler.transform(train).astype(dtype), scaler.transform(test).astype(dtype), y_train, y_test


def accuracy(pair: Pair, sets: dict[str, tuple[np.ndarray, np.ndarray]], seeds: int, dtype: str) -> None:
    """Test accuracies over the splits: mean and standard deviation."""
    limits = {"max_iter": 100} if pair is NETWORK else {}
    for name, (X, y) in sets.items():
        found: list[list[float]] = [[], []]
        for seed in range(seeds):
            train, test, y_train, y_test = split(X, y, seed, dtype)
            for scores, make in zip(found, (pair.ours, pair.theirs), strict=True):
                scores.append(make(random_state=seed, **limits).fit(train, y_train).score(test, y_test))
        cells = [f"{statistics.mean(scores):.4f} ± {statistics.pstdev(scores):.4f}" for scores in found]
        print(f"{pair.name:<18}{name:<16}{cells[0]:>20}{cells[1]:>20}", flush=True)


def timed(model: Any, train: np.ndarray, y: np.ndarray) -> float:
    begin = perf_counter()
    model.fit(train, y)
    return perf_counter() - begin


def rotated(round_: int) -> tuple[int, int]:
    """The order of the two arms; each begins every other round."""
    return (0, 1) if round_ % 2 == 0 else (1, 0)


def whole_fits(pair: Pair, data: Data, rounds: int) -> None:
    """Times fits that end by themselves."""
    train, test, y_train, y_test = data
    seconds: list[list[float]] = [[], []]
    models: list[Any] = []
    for round_ in range(rounds):
        models = [make(random_state=round_) for make in (pair.ours, pair.theirs)]
        for i in rotated(round_):
            seconds[i].append(timed(models[i], train, y_train))
    report(f"{pair.name}, whole fit", seconds, models, test, y_test)


def epochs(pair: Pair, data: Data, rounds: int, count: int, **arguments: Any) -> None:
    """Times the same number of epochs on both sides."""
    train, test, y_train, y_test = data
    seconds: list[list[float]] = [[], []]
    models: list[Any] = []
    for round_ in range(rounds):
        models = [
            make(random_state=round_, max_iter=count, tol=limit, **arguments)
            for make, limit in ((pair.ours, None), (pair.theirs, 0.0))
        ]
        if isinstance(models[1], SGDClassifier):
            models[1].set_params(tol=None)
        for i in rotated(round_):
            seconds[i].append(timed(models[i], train, y_train) / count)
    report(f"{pair.name}, an epoch", seconds, models, test, y_test)


def report(name: str, seconds: list[list[float]], models: list[Any], test: np.ndarray, y_test: np.ndarray) -> None:
    ratio = statistics.median(theirs / ours for ours, theirs in zip(*seconds, strict=True))
    cells = [
        f"{statistics.median(times):9.3f} s {model.score(test, y_test):7.4f} {model.n_iter_:4d}"
        for times, model in zip(seconds, models, strict=True)
    ]
    print(f"{name:<34}{cells[0]}{cells[1]}{ratio:8.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rows, splits and rounds")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="of the features, for both")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)  # the table has the numbers of epochs
    quick, dtype = arguments.quick, arguments.dtype
    print(
        f"fastopt {fastopt.__version__}, scikit-learn {sklearn.__version__}, NumPy {np.__version__}, Python {platform.python_version()}, {dtype}"
    )

    print(f"\n{'test accuracy':<34}{'fastopt':>20}{'scikit-learn':>20}")
    made = make_classification(
        6_000 if quick else 40_000, 54, n_informative=20, n_redundant=10, n_classes=7, class_sep=1.5, random_state=0
    )
    sets = {"digits": load_digits(return_X_y=True), "breast cancer": load_breast_cancer(return_X_y=True), "seven classes": made}
    for pair in (*LINEAR, NETWORK):
        accuracy(pair, sets, 2 if quick else 5, dtype)

    print(f"\n{'':<34}{'fastopt: time, accuracy, epochs':<25}   {'scikit-learn':<17}{'ratio':>8}")
    rounds = 2 if quick else 7
    X, y = make_classification(
        60_000 if quick else 600_000,
        64,
        n_informative=20,
        n_redundant=10,
        n_clusters_per_class=3,
        class_sep=0.7,
        flip_y=0.02,
        random_state=0,
    )
    large = split(X, y, 0, dtype)
    for pair in LINEAR:
        whole_fits(pair, large, rounds)
        epochs(pair, large, rounds, 5)
    rng = np.random.default_rng(0)
    digits = rng.integers(0, 10, 8_000 if quick else 70_000)
    pictures = 0.15 * rng.standard_normal((10, 784))[digits] + rng.standard_normal((len(digits), 784))  # MNIST's size
    images = split(pictures, digits, 0, dtype)
    for sizes in ((100,), (256,)):
        pair = Pair(f"MLP {sizes}", partial(MLPClassifier, sizes), partial(SklearnMLP, sizes))
        epochs(pair, images, rounds, 2, batch_size=200)
    small = split(*make_classification(8_000 if quick else 40_000, 20, n_informative=10, random_state=0), 0, dtype)
    epochs(
        Pair("MLP (50,), 20 features", partial(MLPClassifier, (50,)), partial(SklearnMLP, (50,))),
        small,
        rounds,
        5,
        batch_size=200,
    )


if __name__ == "__main__":
    main()
