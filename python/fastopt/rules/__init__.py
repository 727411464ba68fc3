"""The table of update rules: every fact about a rule that is not its arithmetic.

A row, in the file of the rule's name, gives the rule's state slots, its hyperparameters (range, default, doc), the scalars that
each step derives from them in float64, and which arguments give which framework's form.  The classes, their signatures and
docstrings, the argument checks, the documents' tables, the test matrix and, via `csrc/generate.py`, the C++ structures and
derivations all follow from here.  The arithmetic itself is in `csrc/rules/<arithmetic>.h`.

This package imports nothing but the standard library: the build reads it before NumPy is installed.
"""

from .adadelta import ADADELTA
from .adagrad import ADAGRAD
from .adam import ADAM, ADAMW
from .adamax import ADAMAX
from .hyperparameters import OPTIONS, STAGES, Hyperparameter
from .lion import LION
from .nadam import NADAM
from .radam import RADAM
from .rmsprop import RMSPROP
from .rule import Form, Rule, Running, Slot, Variant
from .sgd import SGD

__all__ = ["OPTIONS", "RULES", "STAGES", "Form", "Hyperparameter", "Rule", "Running", "Slot", "Variant"]

RULES: dict[str, Rule] = {rule.name: rule for rule in (SGD, ADAM, ADAMW, ADAMAX, NADAM, RADAM, RMSPROP, ADAGRAD, ADADELTA, LION)}
