"""The whole step against its floor and torch's calls for the same: `python bench/whole_step.py [elements ...]`.

The whole step unscales, checks for Inf and NaN, clips by the global norm, and has AdamW, an average of the weights, a bfloat16
copy and zeroed gradients, all in float32.  torch has two arms: `calls` is `_amp_foreach_non_finite_check_and_unscale_`,
`clip_grad_norm_`, fused AdamW, `_foreach_lerp_`, `copy_`, `zero_`; `folded` folds scale and norm into the fused AdamW's
`grad_scale` and `found_inf`.  `bare` is fastopt's AdamW alone.  Arms take turns in one process; the figures are medians of the
rounds' ratios.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

import fastopt
from fastopt.cli.bench.host import Host
from fastopt.cli.bench.place import Arm
from fastopt.cli.bench.timing import compare, measure

copy = functools.partial(Host().cast, dtype="float32")

SCALE, MAX_NORM, EMA_DECAY, LR, ROUNDS = 1 / 1024, 1.0, 0.999, 1e-6, 15


def torch_arm(grad: Any, *, folded: bool) -> Arm:
    """torch's calls over their own tensors.  Each step zeroes the gradients, which does not change its time."""
    array = copy(grad)
    param, average = torch.from_numpy(array).requires_grad_(), torch.from_numpy(array.copy())
    param.grad = torch.from_numpy(copy(grad))
    half = torch.empty(grad.size, dtype=torch.bfloat16)
    optimizer: Any = torch.optim.AdamW([param], lr=LR, fused=True)
    found, inverse = torch.zeros(()), torch.tensor(SCALE)

    def after() -> None:
        with torch.no_grad():
            torch._foreach_lerp_([average], [param], 1 - EMA_DECAY)
            half.copy_(param)
            param.grad.zero_()

    def calls() -> None:
        found.zero_()
        torch._amp_foreach_non_finite_check_and_unscale_([param.grad], found, inverse)
        if not found.item():
            torch.nn.utils.clip_grad_norm_([param], MAX_NORM)
            optimizer.step()
            after()

    def fold() -> None:
        norm = torch.linalg.vector_norm(param.grad) * SCALE
        optimizer.found_inf = (~norm.isfinite()).float()
        optimizer.grad_scale = torch.clamp((norm + 1e-6) / MAX_NORM, min=1.0) / SCALE  # torch divides by it
        optimizer.step()
        after()

    return Arm("torch, folded" if folded else "torch, calls", [fold if folded else calls], [array])


def arms(grad: Any) -> Sequence[Arm]:
    options: dict[str, Any] = {
        "grad_scale": SCALE,
        "skip_nonfinite": True,
        "max_norm": MAX_NORM,
        "ema_decay": EMA_DECAY,
        "zero_grad": True,
    }

    def whole() -> fastopt.Optimizer:
        half = torch.empty(grad.size, dtype=torch.bfloat16)
        return fastopt.AdamW(copy(grad), lr=LR, grads=copy(grad), copy_to=half, **options)

    step, floor = whole(), whole()
    bare = fastopt.AdamW(copy(grad), lr=LR, grads=copy(grad))
    return [
        Arm("fastopt", [step.step], [grad]),
        Arm("floor", [functools.partial(floor._plan.floor, floor.options.bound)], [grad]),
        Arm("bare", [bare.step], [grad]),
        torch_arm(grad, folded=False),
        torch_arm(grad, folded=True),
    ]


def main() -> None:
    torch.set_num_threads(fastopt.get_num_threads())
    print(
        f"fastopt {fastopt.__version__}, torch {torch.__version__}, {fastopt.get_num_threads()} threads; time over fastopt's (quartiles' distance)"
    )
    for size in sys.argv[1:] or ["1e5", "1e6", "1e7", "1e8"]:
        grad = np.random.default_rng(0).standard_normal(int(float(size)), dtype=np.float32)
        result = compare(measure(functools.partial(arms, grad), 1, ROUNDS, 1e99, lambda: None))
        ratios = ", ".join(f"{name} {r['median']:.2f} ({r['spread']:.0%})" for name, r in result["ratios"].items())
        print(f"{float(size):.0e} elements: {result['seconds']['fastopt'] * 1e3:.3f} ms; {ratios}", flush=True)


if __name__ == "__main__":
    main()
