"""scikit-learn estimators that any rule of fastopt trains: linear models and multi-layer perceptrons.

model = fastopt.sklearn.LinearClassifier(optimizer="nadam", learning_rate=1e-2).fit(X, y)

Needs `pip install "fastopt[sklearn]"`: scikit-learn 1.6 or later.  docs/sklearn.md has examples, and how fast they are.
"""

try:
    from sklearn.utils.validation import validate_data as _since_1_6  # noqa: F401  # imported to see whether it is there
except ImportError as error:
    raise ImportError('fastopt.sklearn needs scikit-learn 1.6 or later: pip install "fastopt[sklearn]"') from error

from .linear import LinearClassifier, LinearRegressor
from .mlp import MLPClassifier, MLPRegressor

__all__ = ["LinearClassifier", "LinearRegressor", "MLPClassifier", "MLPRegressor"]
