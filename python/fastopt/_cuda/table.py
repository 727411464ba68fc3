"""The structures of `include/fastopt.h` and `csrc/cuda/table.h` in NumPy's words; a test compares their layouts."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _core

__all__ = ["CONTROL", "GROUP", "LAUNCH", "OPTIONS", "TENSOR", "WORDS", "offset_of"]

LIMITS = _core.limits()

GROUP = np.dtype(
    [
        ("rule", np.int32),
        ("maximize", np.int32),
        ("decoupled_weight_decay", np.int32),
        ("lr", np.float64),
        ("weight_decay", np.float64),
        ("l1", np.float64),
        ("hyperparameters", np.float64, LIMITS["hyperparameters"]),
        ("device_lr", np.uint64),
        ("lr_is_double", np.int32),
    ],
    align=True,
)
TENSOR = np.dtype(
    [
        ("param", np.uint64),
        ("grad", np.uint64),
        ("state", np.uint64, LIMITS["slots"]),
        ("param_extra", np.uint64),
        ("state_extra", np.uint64, LIMITS["slots"]),
        ("ema", np.uint64),
        ("copy", np.uint64),
        ("length", np.int64),
        ("offset", np.int64),
        ("steps", np.int64),
        ("running", np.float64, LIMITS["running"]),
        ("dtype", np.int32),
        ("param_format", np.int32),
        ("grad_format", np.int32),
        ("state_format", np.int32, LIMITS["slots"]),
        ("stochastic", np.int32),
        ("copy_dtype", np.int32),
        ("group", np.int32),
    ],
    align=True,
)
OPTIONS = np.dtype(
    [
        ("size", np.uint64),
        ("grad_scale", np.float64),
        ("clip_value", np.float64),
        ("max_norm", np.float64),
        ("ema_decay", np.float64),
        ("skip_nonfinite", np.int32),
        ("zero_grad", np.int32),
        ("norm_eps", np.float64),
        ("team", np.uint64),  # threads, which a GPU's step has no use for
    ],
    align=True,
)
CONTROL = np.dtype(
    [
        ("norm", np.float64),
        ("norm_factor", np.float64),
        ("finite", np.int32),
        ("skipped", np.int32),
        ("completed", np.int64),
        ("skipped_steps", np.int64),
        ("infinite", np.uint32),
        ("nan", np.uint32),
        ("not_finite", np.uint32),
        ("limbs", np.uint64, LIMITS["limbs"]),
        ("done", np.uint64),
    ],
    align=True,
)
LAUNCH = np.dtype(
    [
        ("tensors", np.uint64),
        ("indices", np.uint64),
        ("grads", np.uint64),
        ("grad", np.uint64),
        ("first_tiles", np.uint64),
        ("groups", np.uint64),
        ("control", np.uint64),
        ("tensor_count", np.int64),
        ("begin_tile", np.int64),
        ("end_tile", np.int64),
        ("span", np.int64),
        ("begin", np.int64),
        ("end", np.int64),
        ("seed", np.uint64),
        ("ticket", np.uint64),
        ("options", OPTIONS),
        ("measured", np.int32),
        ("counts", np.int32),
        ("ends", np.int32),
    ],
    align=True,
)
WORDS = np.dtype([("to", np.uint64), ("count", np.int64), ("words", np.uint64, 500)], align=True)


def offset_of(struct: np.dtype[Any], field: str) -> int:
    """Bytes of a structure before a field."""
    fields = struct.fields
    assert fields is not None
    return int(fields[field][1])
