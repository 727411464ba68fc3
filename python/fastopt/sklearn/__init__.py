"""scikit-learn estimators that any rule of fastopt trains: linear models and multi-layer perceptrons.

model = fastopt.sklearn.LinearClassifier(optimizer="nadam", learning_rate=1e-2).fit(X, y)

Needs scikit-learn 1.6 or later, the extra `sklearn`.  docs/sklearn.md has examples and measurements.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import NoReturn as _NoReturn

try:
    from sklearn.utils.validation import validate_data as _since_1_6  # noqa: F401  # its absence tells an older version
except ImportError as error:
    from .._extras import install

    raise ImportError(f"fastopt.sklearn needs scikit-learn 1.6 or later: {install('sklearn')}") from error

from .._names.calls import suggesting as _suggesting
from .linear import LinearClassifier, LinearRegressor
from .mlp import MLPClassifier, MLPRegressor

for _estimator in (LinearClassifier, LinearRegressor, MLPClassifier, MLPRegressor):
    _estimator.__init__ = _suggesting(_estimator.__init__, "ESTIMATORS")  # type: ignore[method-assign]  # same signature

__all__ = ["LinearClassifier", "LinearRegressor", "MLPClassifier", "MLPRegressor"]


if not _TYPE_CHECKING:  # to type checkers it would say that every name is there

    def __getattr__(name: str) -> _NoReturn:
        """Called only for names that the module lacks."""
        from .._names.modules import ESTIMATOR_CLASSES, no_member

        raise no_member(__name__, name, __all__, ESTIMATOR_CLASSES)


def __dir__() -> list[str]:
    return sorted(__all__)
