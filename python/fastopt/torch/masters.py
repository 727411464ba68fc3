"""`Masters`: the float32 masters of a plan's parameters, which follow what programs write to the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .._engine.tensors import MASTER

__all__ = ["Masters"]


class Masters:
    """What programs write to a parameter (`model.load_state_dict`) raises its version counter, as each step does.

    An element of the parameter that is no longer its master's rounding was written: its master becomes what it is.  The others keep
    theirs, so that a write of the same values, or weights that are exchanged for others and back, cost nothing.
    Corrections ("24bit", "32bit") are of at most half a unit in the last place of whatever the parameter is, and stay.
    """

    def __init__(self, params: list[torch.Tensor], entries: list[dict[str, Any]]) -> None:
        """Follows what was written until now too."""
        self.pairs = [pair for param, entry in zip(params, entries, strict=True) for pair in pair_of(param, entry)]
        for param, master in self.pairs:
            follow(param, master)
        self.note()

    def note(self) -> None:
        """Takes the parameters for written to as far as they are now."""
        self._versions = [version_of(param) for param, _ in self.pairs]

    def follow(self) -> None:
        """Lets the masters of parameters that were written to since the last note follow."""
        now = [version_of(param) for param, _ in self.pairs]
        if now != self._versions:
            for (param, master), before, version in zip(self.pairs, self._versions, now, strict=True):
                if version != before:
                    follow(param, master)


def pair_of(param: torch.Tensor, entry: Mapping[str, Any]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The parameter with its master, if it has one in float32."""
    master = entry.get(MASTER)
    return [] if master is None or master.dtype != torch.float32 else [(param, master)]


def version_of(param: torch.Tensor) -> int:
    return 0 if param.is_inference() else param._version


@torch.no_grad()
def follow(param: torch.Tensor, master: torch.Tensor) -> None:
    """Elements whose master rounds to another value than theirs become their own masters."""
    written = master.to(param.dtype) != param
    master.copy_(torch.where(written, param.to(torch.float32), master))
