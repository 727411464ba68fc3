"""Random search over learning rate, momentum and regularization: networks that tell irises and handwritten digits apart."""

from scipy.stats import loguniform, uniform
from sklearn.datasets import load_digits, load_iris
from sklearn.metrics import accuracy_score, f1_score, recall_score
from sklearn.model_selection import RandomizedSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastopt.sklearn import MLPClassifier

DISTRIBUTIONS = {
    "mlpclassifier__learning_rate": loguniform(1e-3, 1),
    "mlpclassifier__momentum": uniform(0, 0.95),
    "mlpclassifier__l2": loguniform(1e-6, 1e-1),
}


def scores(model, X, y):
    found = model.predict(X)
    averages = {"recall": recall_score(y, found, average="macro"), "F1": f1_score(y, found, average="macro")}
    return {"accuracy": accuracy_score(y, found)} | averages


def search(load):
    """Metrics on a held-out third of the data: the best model's and a default model's."""
    X, y = load(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=1 / 3, stratify=y, random_state=0)
    network = MLPClassifier((32,), optimizer="sgd", batch_size=32, max_iter=5, tol=None, random_state=0)
    default = make_pipeline(StandardScaler(), network)
    best = RandomizedSearchCV(default, DISTRIBUTIONS, n_iter=20, cv=3, scoring="neg_log_loss", random_state=0).fit(X, y)
    chosen = ", ".join(f"{name.split('__')[1]} {value:.2g}" for name, value in best.best_params_.items())
    print(f"    of {len(best.cv_results_['params'])} the best: {chosen}; cross-validated log loss {-best.best_score_:.3f}")
    return scores(best, X_test, y_test), scores(default.fit(X, y), X_test, y_test)


def main() -> dict[str, float]:
    outcome = {}
    for data, load in (("iris", load_iris), ("digits", load_digits)):
        print(f"{data}:")
        tuned, default = search(load)
        for metric, value in tuned.items():
            print(f"    test {metric} {value:.3f}; with the defaults {default[metric]:.3f}")
            outcome |= {f"{data}: {metric}": value, f"{data}: {metric} gained": value - default[metric]}
    return outcome


if __name__ == "__main__":
    main()
