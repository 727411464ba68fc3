"""Targets of every kind, the weights of rows and classes, and probabilities to their last digits."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from scipy.special import expit, log_expit, log_softmax
from sklearn.datasets import make_classification, make_multilabel_classification, make_regression
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, cross_val_score

from fastopt.sklearn import LinearClassifier, LinearRegressor, MLPClassifier, MLPRegressor

X, Y = make_classification(120, 6, n_informative=4, n_classes=3, random_state=0)
LABELS = np.column_stack([Y == 0, Y == 1]).astype(int)
QUICK: dict[str, Any] = {"max_iter": 3, "tol": None, "random_state": 0}


@pytest.mark.parametrize("y", [LABELS + 1, 2 * LABELS - 1, 5 * LABELS, np.column_stack([Y, Y[::-1]]), LABELS.astype(str)])
def test_several_columns_are_an_indicator(y: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"y: got shape \(120, 2\) with other values than 0 and 1|multilabel|Unknown label"):
        MLPClassifier(**QUICK).fit(X, y)
    with pytest.raises(ValueError, match=r"y: got shape \(120, 2\), expected \(rows,\)|Unknown label"):
        LinearClassifier(**QUICK).fit(X, y)


def test_sparse_and_boolean_indicators_are_dense_ones() -> None:
    expected = MLPClassifier(**QUICK).fit(X, LABELS).predict_proba(X)
    for y in (scipy.sparse.csr_matrix(LABELS), scipy.sparse.coo_array(LABELS), LABELS.astype(bool), LABELS.astype(float)):
        np.testing.assert_array_equal(MLPClassifier(**QUICK).fit(X, y).predict_proba(X), expected)


@pytest.mark.parametrize("cls", [LinearClassifier, LinearRegressor, MLPRegressor])
def test_other_targets_are_not_sparse(cls: type[Any]) -> None:
    for y in (LABELS, LABELS[:, :1]):
        with pytest.raises(TypeError, match="y: got a sparse csr_matrix, expected an array"):
            cls().fit(X, scipy.sparse.csr_matrix(y))
        with pytest.raises(TypeError, match="y: got a sparse"):
            cls().partial_fit(X, scipy.sparse.csr_matrix(y))


@pytest.mark.parametrize("rows", [1, 5, 60])
@pytest.mark.parametrize("cls", [LinearClassifier, MLPClassifier])
def test_weights_of_partial_fit_count_as_they_are(cls: type[Any], rows: int) -> None:
    """The gradient of sum(weight * loss) / rows, however few rows a call has."""
    settings: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 0.01, "random_state": 0, "standardize": False}
    by_class, by_row, plain = (cls(**settings, **given) for given in ({"class_weight": {0: 4.0, 2: 0.5}}, {}, {}))
    for begin in range(0, 120, rows):
        part = slice(begin, begin + rows)
        by_class.partial_fit(X[part], Y[part], classes=[0, 1, 2])
        by_row.partial_fit(X[part], Y[part], [0, 1, 2], np.array([4.0, 1.0, 0.5])[Y[part]])
        plain.partial_fit(X[part], Y[part], [0, 1, 2])
    np.testing.assert_allclose(by_class.predict_proba(X), by_row.predict_proba(X), rtol=1e-12)
    assert by_class.predict_proba(X)[:, 0].mean() > plain.predict_proba(X)[:, 0].mean() + 0.01


def test_weights_of_partial_fit_scale_the_step() -> None:
    plain: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 0.01, "l2": 0.0, "fit_intercept": False, "standardize": False}
    model = LinearRegressor(**plain)
    x, y = np.array([[2.0]]), np.array([3.0])
    assert model.partial_fit(x, y, [5.0]).coef_[0] == pytest.approx(0.01 * 5 * 3 * 2)
    assert model.loss_curve_ == [5 * 3**2 / 2]
    before = model.coef_[0]
    assert model.partial_fit(x, y, [0.0]).coef_[0] == before
    fitted = LinearRegressor(**plain, max_iter=1, tol=None)
    assert fitted.fit(x, y, [5.0]).coef_[0] == pytest.approx(0.01 * 3 * 2)  # fit divides by their mean
    LinearRegressor().partial_fit(X, Y, np.zeros(120)).partial_fit(X, Y)


def test_the_smallest_weights_are_weights() -> None:
    for dtype, weight in ((np.float32, 2.0**-149), (np.float64, 5e-324)):
        tiny = LinearClassifier(**QUICK).fit(X.astype(dtype), Y, np.full(120, weight))
        np.testing.assert_array_equal(tiny.coef_, LinearClassifier(**QUICK).fit(X.astype(dtype), Y, np.ones(120)).coef_)
    with pytest.raises(ValueError, match="sample_weight: got zero for every weight in float32"):
        LinearClassifier(**QUICK).fit(X.astype(np.float32), Y, np.full(120, 1e-50))


def test_class_weights_of_classes_that_are_absent() -> None:
    """scikit-learn's rule: allowed where every class that is there has one."""
    y = np.append(Y[:-1] % 2, 2)
    for cls in (LinearClassifier, MLPClassifier):
        cross_val_score(cls(class_weight={0: 1, 1: 1, 2: 5}, **QUICK), X, y, cv=KFold(3), error_score="raise")
        with pytest.raises(ValueError, match=r"class_weight: got the key 9, expected one of the classes \[0, 1, 2\]"):
            cls(class_weight={0: 2, 9: 1}).fit(X, Y)
        with pytest.raises(ValueError, match=r"class_weight\[9\]: got -1"):
            cls(class_weight={0: 1, 1: 1, 2: 1, 9: -1}).fit(X, Y)


@pytest.mark.parametrize("rows", [10, 19])
def test_one_row_held_out_has_no_r2(rows: int) -> None:
    x, y = make_regression(rows, 3, random_state=0)
    for cls in (LinearRegressor, MLPRegressor):
        with pytest.raises(ValueError, match=rf"validation_fraction: got 0\.05 of {rows} rows, which is one, expected two"):
            cls(early_stopping=True, validation_fraction=0.05).fit(x, y)
    with pytest.raises(ValueError, match=r"validation_fraction: got 0\.1 of 15 rows"):
        LinearClassifier(early_stopping=True).fit(X[:15], Y[:15])


def test_whether_rows_are_one_batch_is_decided_without_those_held_out() -> None:
    x, y = make_classification(560, 8, random_state=0)
    model = LinearClassifier(early_stopping=True, **QUICK).fit(x, y)
    assert (model.t_, model._trainer.optimizer.lr) == (3, 0.2)
    assert LinearClassifier(random_state=0).partial_fit(x[:500], y[:500])._trainer.optimizer.lr == 1e-2


SCORES = [-700.0, -80.0, -40.0, -20.0, -17.0, -10.0, -1e-3, 0.0, 1e-3, 20.0, 40.0, 80.0, 700.0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_small_probabilities_have_all_their_digits(dtype: Any) -> None:
    scores = np.array(SCORES, dtype)[:, None]
    tolerance = {"rtol": 4 * np.finfo(dtype).eps, "atol": float(np.finfo(dtype).tiny)}
    linear = LinearClassifier(**QUICK).fit(np.array([[0.0], [1.0]], dtype), [0, 1])
    linear.coef_[...], linear.intercept_[...] = 1, 0
    network = MLPClassifier((), **QUICK).fit(np.array([[0.0], [1.0]], dtype), [0, 1])
    network.coefs_[0][...], network.intercepts_[0][...] = 1, 0
    wide = scores.astype(float)
    for model in (linear, network):
        found, logarithms = model.predict_proba(scores), model.predict_log_proba(scores)
        assert found.dtype == logarithms.dtype == dtype
        np.testing.assert_allclose(found, expit(np.hstack([-wide, wide])), **tolerance)
        np.testing.assert_allclose(logarithms, log_expit(np.hstack([-wide, wide])), **tolerance)
        assert np.isfinite(logarithms).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logarithms_of_several_classes_are_finite(dtype: Any) -> None:
    linear, network = LinearClassifier(**QUICK).fit(X.astype(dtype), Y), MLPClassifier(**QUICK).fit(X.astype(dtype), Y)
    far = (1e4 * X).astype(dtype)
    for model, raw in ((linear, linear.decision_function(far)), (network, network._raw(far))):
        np.testing.assert_allclose(model.predict_log_proba(far), log_softmax(raw.astype(float), axis=1), rtol=1e-5, atol=1e-6)
    several = MLPClassifier(**QUICK).fit(X.astype(dtype), LABELS)
    np.testing.assert_allclose(several.predict_log_proba(far), log_expit(several._raw(far).astype(float)), rtol=1e-5, atol=1e-6)


def test_probabilities_are_those_of_logistic_regression() -> None:
    x, y = make_classification(200, 8, random_state=0)
    model, reference = LinearClassifier(**QUICK).fit(x, y), LogisticRegression().fit(x, y)
    model.coef_, model.intercept_ = 100 * reference.coef_, reference.intercept_
    reference.coef_ = model.coef_
    np.testing.assert_allclose(model.predict_proba(x), reference.predict_proba(x), rtol=1e-12, atol=1e-15)
    with np.errstate(divide="ignore"):
        expected = reference.predict_log_proba(x)
    finite = np.isfinite(expected)
    assert not finite.all()  # its own 1 - p is 0 there
    assert np.isfinite(model.predict_log_proba(x)).all()
    near = expected > -20
    np.testing.assert_allclose(model.predict_log_proba(x)[near], expected[near], rtol=1e-6, atol=1e-12)


def test_multilabel_data_are_learnt() -> None:
    x, y = make_multilabel_classification(300, 20, n_classes=3, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = MLPClassifier(random_state=0, max_iter=60, tol=None, learning_rate=0.01).fit(x, scipy.sparse.csr_array(y))
    assert (model.predict(x) == y).mean() > 0.9


def test_messages_show_plain_numbers() -> None:
    model = LinearClassifier().partial_fit(X, Y)
    with pytest.raises(ValueError, match=r"classes: got \[0, 1\], expected those of the first call, \[0, 1, 2\]"):
        model.partial_fit(X, Y, classes=np.array([0, 1]))
