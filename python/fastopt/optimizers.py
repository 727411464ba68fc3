"""The optimizer classes, one for each row of the table of rules."""

from .faces import make_class
from .rules import RULES

__all__ = [*RULES]

globals().update({rule.name: make_class(rule) for rule in RULES.values()})
