"""`States`: what `opt.state` shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._storage.shown import Shown
from ..rules import Rule
from ..rules.words import counted
from .plans import Plan
from .tensors import Tensor

__all__ = ["States"]


class States(Sequence[Mapping[str, Any]]):
    """The state of each tensor by its position, or by its name if the parameters came in a dict.

    An entry maps `"step"` to the tensor's count of steps and the rule's slots, under torch's names, to their arrays, and `"master"` to the
    master weights if there are any.  The arrays are the live state: writing into them acts on the next step.  What is kept in a storage
    format is a `Stored`, whose values are float32.  Scalars that a rule carries from step to step (NAdam's `"mu_product"`) stand there as
    numbers.

    Copies and pickles are plain lists of dicts, or dicts of dicts by the parameters' names.
    """

    def __init__(self, rule: Rule, tensors: Sequence[Tensor], plan: Plan) -> None:
        self._rule = rule
        self._tensors = tensors
        self._plan = plan
        self._index = {tensor.key: i for i, tensor in enumerate(tensors) if tensor.key is not None}

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return [self[i] for i in range(*key.indices(len(self)))]
        index = self._index[key] if isinstance(key, str) else range(len(self))[key]
        steps, running = self._plan.progress_of(index)
        carried = dict(zip(self._rule.carried, map(np.float64, running), strict=True))
        return Shown({"step": steps, **carried, **self._tensors[index].shown()})

    def __len__(self) -> int:
        return len(self._tensors)

    def __repr__(self) -> str:
        keys = dict.fromkeys(key for tensor in self._tensors for key in ("step", *self._rule.carried, *tensor.entries()))
        return f"States({self._rule.name}, {counted(len(self), 'tensor')}, each with {', '.join(keys)})"

    def __reduce__(self) -> Any:
        entries = [self[i].copy() for i in range(len(self))]
        if len(self._index) == len(self):
            return dict, (dict(zip(self._index, entries, strict=True)),)
        return list, (entries,)
