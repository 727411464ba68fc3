"""`Suggesting`: `set_params`, and so every search, ends the error for an unknown parameter with what to write instead."""

from __future__ import annotations

from typing import Any

__all__ = ["Suggesting"]


class Suggesting:
    """A base before scikit-learn's."""

    def set_params(self, **params: Any) -> Any:
        """scikit-learn's."""
        given: Any = super()
        try:
            return given.set_params(**params)
        except ValueError as error:
            known: list[str] = given.get_params(deep=False)
            unknown = next((name for name in params if name not in known and "__" not in name), None)
            if unknown is None:
                raise
            from .._names.others import ESTIMATORS
            from .._names.suggestions import suggestion

            raise ValueError(f"{str(error).removesuffix('.')}{suggestion(unknown, known, ESTIMATORS)}") from None
