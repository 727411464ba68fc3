"""Optuna's Bayesian search over learning rate, momentum and regularization: networks that tell irises and digits apart."""

import numpy as np
import optuna
from sklearn.datasets import load_digits, load_iris
from sklearn.metrics import accuracy_score, f1_score, recall_score
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastopt.sklearn import MLPClassifier


def network(**hyperparameters):
    fixed = {"optimizer": "sgd", "batch_size": 32, "max_iter": 5, "tol": None, "random_state": 0}
    return make_pipeline(StandardScaler(), MLPClassifier((32,), **fixed, **hyperparameters))


def scores(model, X, y):
    found = model.predict(X)
    averages = {"recall": recall_score(y, found, average="macro"), "F1": f1_score(y, found, average="macro")}
    return {"accuracy": accuracy_score(y, found)} | averages


def search(load):
    """What guiding gains, and metrics on a held-out third of the data: the best network's and a default network's."""
    X, y = load(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=1 / 3, stratify=y, random_state=0)

    def objective(trial):
        lr = trial.suggest_float("learning_rate", 1e-3, 1, log=True)
        momentum = trial.suggest_float("momentum", 0, 0.95)
        l2 = trial.suggest_float("l2", 1e-6, 1e-1, log=True)
        return -cross_val_score(network(learning_rate=lr, momentum=momentum, l2=l2), X, y, cv=3, scoring="neg_log_loss").mean()

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(objective, n_trials=20)
    chosen = ", ".join(f"{name} {value:.2g}" for name, value in study.best_params.items())
    print(f"    of {len(study.trials)} the best: {chosen}; cross-validated log loss {study.best_value:.3f}")
    losses = [trial.value for trial in study.trials]  # Optuna draws the first ten at random
    gain = np.median(losses[:10]) - np.median(losses[10:])
    print(f"    median log loss of the second ten trials, which are guided, {gain:.3f} below that of the random ten")
    return gain, *(scores(network(**values).fit(X, y), X_test, y_test) for values in (study.best_params, {}))


def main() -> dict[str, float]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    outcome = {}
    for data, load in (("iris", load_iris), ("digits", load_digits)):
        print(f"{data}:")
        outcome[f"{data}: log loss gained by guiding"], tuned, default = search(load)
        for metric, value in tuned.items():
            print(f"    test {metric} {value:.3f}; with the defaults {default[metric]:.3f}")
            outcome |= {f"{data}: {metric}": value, f"{data}: {metric} gained": value - default[metric]}
    return outcome


if __name__ == "__main__":
    main()
