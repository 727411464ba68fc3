"""Successive halving: the better third of the learning rates, momenta and regularizations gets three times the epochs."""

from scipy.stats import loguniform, uniform
from sklearn.datasets import load_digits, load_iris
from sklearn.experimental import enable_halving_search_cv  # noqa: F401  # allows the import of the search
from sklearn.metrics import accuracy_score, f1_score, recall_score
from sklearn.model_selection import HalvingRandomSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastopt.sklearn import MLPClassifier

DISTRIBUTIONS = {
    "mlpclassifier__learning_rate": loguniform(1e-3, 1),
    "mlpclassifier__momentum": uniform(0, 0.95),
    "mlpclassifier__l2": loguniform(1e-6, 1e-1),
}
HALVING = {"n_candidates": 27, "factor": 3, "resource": "mlpclassifier__max_iter", "min_resources": 1, "max_resources": 9}


def scores(model, X, y):
    found = model.predict(X)
    averages = {"recall": recall_score(y, found, average="macro"), "F1": f1_score(y, found, average="macro")}
    return {"accuracy": accuracy_score(y, found)} | averages


def search(load):
    """The share of the epochs, and metrics on a held-out third of the data: the best network's and a default network's."""
    X, y = load(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=1 / 3, stratify=y, random_state=0)
    network = MLPClassifier((32,), optimizer="sgd", batch_size=32, max_iter=9, tol=None, random_state=0)
    default = make_pipeline(StandardScaler(), network)
    best = HalvingRandomSearchCV(default, DISTRIBUTIONS, **HALVING, cv=3, scoring="neg_log_loss", random_state=0).fit(X, y)
    rounds = list(zip(best.n_candidates_, best.n_resources_, strict=True))
    print("    epochs: " + ", ".join(f"{count} networks for {epochs}" for count, epochs in rounds))
    share = sum(count * epochs for count, epochs in rounds) / (27 * 9)  # all 27 candidates for all 9 epochs would be 1
    chosen = ", ".join(f"{name.split('__')[1]} {value:.2g}" for name, value in best.best_params_.items())
    print(f"    {share:.0%} of all epochs; best: {chosen}; cross-validated log loss {-best.best_score_:.3f}")
    return share, scores(best, X_test, y_test), scores(default.fit(X, y), X_test, y_test)


def main() -> dict[str, float]:
    outcome = {}
    for data, load in (("iris", load_iris), ("digits", load_digits)):
        print(f"{data}:")
        outcome[f"{data}: share of the epochs"], tuned, default = search(load)
        for metric, value in tuned.items():
            print(f"    test {metric} {value:.3f}; with the defaults {default[metric]:.3f}")
            outcome |= {f"{data}: {metric}": value, f"{data}: {metric} gained": value - default[metric]}
    return outcome


if __name__ == "__main__":
    main()
