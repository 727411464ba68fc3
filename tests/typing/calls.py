"""Calls as a type checker reads them: each line without a comment is right, each with comments is wrong under both checkers."""

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

import fastopt


class Cuda:
    """What CuPy's arrays have."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {}


class Tensor:
    """What torch's tensors have."""

    def __dlpack__(self, *, stream: int | None = -1, max_version: tuple[int, int] | None = None) -> object:
        return stream, max_version

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


def right(device: Cuda, tensor: Tensor, anything: Any, schedule: Callable[[int], float]) -> None:
    p, g = np.ones(3, np.float32), np.ones(3)
    half: npt.NDArray[Any] = np.ones(3, ml_dtypes.bfloat16)
    flat = fastopt.flatten([p, g])
    fastopt.AdamW(p)
    fastopt.AdamW([p, g], lr=1e-3, betas=(0.9, 0.99))
    fastopt.AdamW((p, half), lr=schedule)
    fastopt.AdamW({"w": p, "b": g}, lr=fastopt.schedules.cosine(1e-3, steps=100))
    fastopt.AdamW([{"params": [p], "lr": 1e-4}, {"params": g, "weight_decay": 0.0}])
    fastopt.AdamW(device)
    fastopt.AdamW([tensor, tensor], grads=[tensor, None])
    fastopt.AdamW(flat, grads=flat.zeros_like())
    fastopt.AdamW(flat.data, copy_to=half)
    fastopt.AdamW(anything)
    opt = fastopt.SGD([p, g], momentum=0.9)
    opt.step([p, None], max_norm=1.0)
    opt.step({"w": p, "b": None})
    opt.step(g)
    opt.step_part(0, p)
    opt.groups[0]["lr"] = opt.lr = 1e-4
    fastopt.functional.adamw(p, g, p, g, step=1, lr=1e-3)
    fastopt.functional.adam(tensor, tensor, tensor, tensor, None, step=1)
    fastopt.clip_grad_norm({"w": p}, 1.0)
    fastopt.all_finite([p, None])


def wrong() -> None:
    p = np.ones(3, np.float32)
    fastopt.AdamW("hello")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fastopt.AdamW([1.0, 2.0])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    fastopt.AdamW(3.0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fastopt.AdamW(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fastopt.AdamW({"w": {"b": 1.0}})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    fastopt.AdamW(p, learning_rate=1e-3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    fastopt.AdamW(p, lr="fast")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fastopt.AdamW(p, copy_to="half")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    opt = fastopt.SGD(p)
    opt.step("gradient")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    opt.step([1.0, 2.0])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    opt.step(p, loss_scale=2.0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    opt.learning_rate = 1e-4  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    fastopt.functional.sgd("p", p, step=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fastopt.global_norm(1.0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
