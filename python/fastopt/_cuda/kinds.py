"""Which launches a step needs: one for each kind of tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays import buffers
from .._arrays.device import DeviceArray
from ..rules import Rule
from .given import Gradients
from .kernels import GradientKernel, StepKernel, grad_format
from .launches import Launch, Tiles
from .rows import FORMAT_NAMES

__all__ = ["Launches"]


@dataclass(frozen=True)
class Kind:
    """What the tensors of a launch have in common beside the rule: the variant of their group, their formats."""

    variant: str
    dtype: str
    param: str
    grad: str
    state_dtype: str | None


class Launches:
    """The launches over a plan's tensors, made when they are first asked for.

    `tensors`: their rows (`table.TENSOR`); `state_dtypes`: for each the format of its state.  `variants`: for each group the variant of
    the rule that its hyperparameters choose, which the plan changes.  `base`: the fields that all launches share.
    """

    def __init__(
        self,
        rule: Rule,
        tensors: np.ndarray[Any, Any],
        state_dtypes: Sequence[str | None],
        variants: list[str],
        base: np.ndarray[Any, Any],
        like: DeviceArray,
    ) -> None:
        self.tiles = Tiles(tensors["length"], None, like)
        self._rule, self._tensors, self._state_dtypes, self._variants = rule, tensors, state_dtypes, variants
        self._base, self._like = base, like
        self._known: dict[tuple[tuple[str | None, ...], tuple[str, ...]], list[Launch]] = {}
        """Launches by the dtypes of the gradients and the variants of the groups."""
        self._single: dict[tuple[str, int, str | None], Launch] = {}  # over a tensor alone
        self._kinds: dict[Launch, Kind] = {}  # of the launches over a tensor alone

    def of_all(self, grads: Gradients, stream: int) -> list[Launch]:
        """A launch for each kind of tensor."""
        variants = tuple(self._variants)
        if grads.launches is None or grads.variants != variants:
            key = (tuple(grads.dtypes), variants)
            if key not in self._known:
                kinds = tuple(self._kind(i, dtype) for i, dtype in enumerate(grads.dtypes))
                self._known[key] = [self._launch(kinds, kind, stream) for kind in dict.fromkeys(kinds)]
            grads.launches, grads.variants = self._known[key], variants
        return grads.launches

    def of_one(self, index: int, given: str | None, stream: int) -> Launch:
        """A launch over one tensor alone, with a gradient of dtype `given`; for None, to count, any of the tensor's variant."""
        variant = self._variants[self._tensors["group"][index]]
        if given is None:
            for (known, _, _), launch in self._single.items():
                if known == variant:
                    return launch
        key = (variant, index, given)
        if key not in self._single:
            kind = self._kind(index, given)
            found = next((launch for launch, known in self._kinds.items() if known == kind), None)
            if found is None:
                found = self._launch((kind,) * len(self._tensors), kind, stream)
                self._kinds[found] = kind
            self._single[key] = found
        return self._single[key]

    def _kind(self, index: int, given: str | None) -> Kind:
        """The kind of a tensor with a gradient of dtype `given`."""
        row = self._tensors[index]
        dtype = buffers.DTYPES[row["dtype"]]
        variant = self._variants[row["group"]]
        param = FORMAT_NAMES[int(row["param_format"])]
        return Kind(variant, dtype, param, grad_format(dtype, given or dtype), self._state_dtypes[index])

    def _launch(self, kinds: tuple[Kind, ...], kind: Kind, stream: int) -> Launch:
        """The launch over those tensors of the plan that are of one kind."""
        indices = [i for i, each in enumerate(kinds) if each == kind]
        tiles = self.tiles
        if len(indices) < len(kinds):
            tiles = Tiles(self._tensors["length"][indices], np.array(indices, np.int32), self._like)
        variant = next(each for each in self._rule.variants if each.name == kind.variant)
        step = StepKernel(self._rule, variant, kind.dtype, kind.param, kind.grad, kind.state_dtype)
        sweep = GradientKernel("Sweep", kind.dtype, kind.grad)
        return Launch(step, sweep, tiles, self._base, stream)
