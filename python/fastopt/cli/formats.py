"""The combinations of storage formats that `fastopt bench --formats` times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["COMBINATIONS", "Formats"]


@dataclass(frozen=True)
class Formats:
    """How the arrays of one row lie in memory."""

    label: str
    param: str = "float32"
    grad: str = ""
    """The parameter's dtype, unless another is named."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    """The optimizer's `state_dtype` and `master`."""

    @property
    def dtypes(self) -> tuple[str, str]:
        """The dtypes of parameter and gradient."""
        return self.param, self.grad or self.param


COMBINATIONS = (
    Formats("float32"),
    Formats("bfloat16 states", arguments={"state_dtype": "bfloat16"}),
    Formats("8-bit states", arguments={"state_dtype": "8bit"}),
    Formats("bfloat16 gradients, 8-bit states", grad="bfloat16", arguments={"state_dtype": "8bit"}),
    Formats("bfloat16, 24-bit masters, float32 states", "bfloat16", arguments={"master": "24bit"}),
    Formats("bfloat16, 24-bit masters, bfloat16 states", "bfloat16", arguments={"master": "24bit", "state_dtype": "bfloat16"}),
    Formats("bfloat16, 24-bit masters, 8-bit states", "bfloat16", arguments={"master": "24bit", "state_dtype": "8bit"}),
    Formats("bfloat16, 32-bit masters, 8-bit states", "bfloat16", arguments={"master": "32bit", "state_dtype": "8bit"}),
    Formats("bfloat16, float32 masters, float32 states", "bfloat16", arguments={"master": "float32"}),
    Formats("bfloat16, stochastic, 8-bit states", "bfloat16", arguments={"master": "stochastic", "state_dtype": "8bit"}),
    Formats("float16, 24-bit masters, 8-bit states", "float16", arguments={"master": "24bit", "state_dtype": "8bit"}),
)
"""A label begins with the dtype of parameters and gradients, unless that is float32."""
