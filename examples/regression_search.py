"""Random search with two metrics, RMSE and MAE: a neural network that finds Friedman's function of ten variables in noise."""

from scipy.stats import loguniform, uniform
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import make_friedman1
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_absolute_error, root_mean_squared_error
from sklearn.model_selection import RandomizedSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastopt.sklearn import MLPRegressor

DISTRIBUTIONS = {
    "regressor__mlpregressor__learning_rate": loguniform(1e-3, 1e-1),
    "regressor__mlpregressor__momentum": uniform(0, 0.9),
    "regressor__mlpregressor__l2": loguniform(1e-4, 1),
}
SCORING = {"RMSE": "neg_root_mean_squared_error", "MAE": "neg_mean_absolute_error"}


def main() -> dict[str, float]:
    X, y = make_friedman1(n_samples=1000, noise=1.0, random_state=0)  # noise of 1: expect no RMSE below it
    X, X_test, y, y_test = train_test_split(X, y, random_state=0)
    network = MLPRegressor((32,), optimizer="sgd", batch_size=32, max_iter=20, tol=None, random_state=0)
    default = TransformedTargetRegressor(make_pipeline(StandardScaler(), network), transformer=StandardScaler())
    search = RandomizedSearchCV(default, DISTRIBUTIONS, n_iter=20, cv=5, scoring=SCORING, refit="RMSE", random_state=0)
    models = {"tuned": search, "defaults": default, "least squares": LinearRegression(), "the mean": DummyRegressor()}

    errors = {}
    for name, model in models.items():
        found = model.fit(X, y).predict(X_test)
        errors[name] = {"RMSE": root_mean_squared_error(y_test, found), "MAE": mean_absolute_error(y_test, found)}
        print(f"{name:13}  test RMSE {errors[name]['RMSE']:.2f}, MAE {errors[name]['MAE']:.2f}")
    print("tuned: " + ", ".join(f"{name.split('__')[-1]} {value:.2g}" for name, value in search.best_params_.items()))
    gained = {f"{metric} gained": errors["defaults"][metric] - errors["tuned"][metric] for metric in SCORING}
    return errors["tuned"] | gained | {"linear RMSE": errors["least squares"]["RMSE"]}


if __name__ == "__main__":
    main()
