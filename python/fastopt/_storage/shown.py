"""`Shown`: a read-only mapping of arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["Shown"]


class Shown(Mapping[str, Any]):
    """A read-only mapping of live arrays.  Its copies and pickles are plain dicts: deepcopy and pickle copy the arrays too."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**self._values, **other}

    def __ror__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**other, **self._values}

    def copy(self) -> dict[str, Any]:
        """A dict of the same arrays."""
        return self._values.copy()

    def __reduce__(self) -> Any:
        return dict, (self._values.copy(),)

    def __repr__(self) -> str:
        return repr(self._values)
