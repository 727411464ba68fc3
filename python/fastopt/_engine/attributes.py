"""The words for an attribute that an optimizer lacks, with what to write instead."""

from __future__ import annotations

from typing import Any

from ..rules import OPTIONS

__all__ = ["no_attribute"]


def no_attribute(cls: Any, name: str) -> AttributeError:
    """The error for reading or setting `name`: hyperparameters and options have their places in `groups` and `options`."""
    words = f"{name}: {cls.__name__} has no such attribute"
    if name.startswith("_"):  # Python looks for such names
        return AttributeError(words)
    from .._names.optimizers import ATTRIBUTES
    from .._names.suggestions import suggestion

    public = [each for each in dir(cls) if not each.startswith("_")]
    known = any(name in row.names for row in ATTRIBUTES)
    if not known and name in cls.rule.defaults:
        return AttributeError(f'{words}; did you mean opt.groups[0]["{name}"]?')
    if not known and name in {option.name for option in OPTIONS}:
        return AttributeError(f'{words}; did you mean opt.options["{name}"]?')
    return AttributeError(f"{words}; hyperparameters are in opt.groups[i]{suggestion(name, public, ATTRIBUTES)}")
