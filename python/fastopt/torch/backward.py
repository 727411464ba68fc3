"""`fused_in_backward`: each parameter takes its step as its gradient arrives, and the gradient is freed."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch

from .optimizer import Optimizer

__all__ = ["fused_in_backward"]


class Hooks:
    """What `fused_in_backward` set up; `remove()` ends it."""

    def __init__(self, handles: list[Any]) -> None:
        self._handles = handles

    def __len__(self) -> int:
        return len(self._handles)

    def remove(self) -> None:
        """From the next backward pass on gradients stay, for `optimizer.step()`."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


def fused_in_backward(model: torch.nn.Module, optimizer: Optimizer) -> Hooks:
    """Lets `loss.backward()` step each parameter of `model` that `optimizer` has, as its gradient arrives, and free the gradient.

    At no time are there more than a few gradients: a model's gradients need no memory of their own.  State that there is not
    yet is made at once.  The numbers are those of `step()`, to the bit.  `optimizer.step()` then has nothing left to do but for
    parameters that are not the model's, and stays in the program for schedulers, which look for it; its hooks run there and not
    for each parameter.  Each backward pass is a step: gradients are not accumulated over several, also not by reentrant
    checkpointing of segments that share a parameter, and a `GradScaler`, which looks at all of them, has nothing to see.  Copies of
    the model have no hooks.

    Returns hooks with `remove()`.  Raises TypeError where an argument is not that, ValueError where the optimizer has none of the
    model's parameters, and RuntimeError, also later from `backward()`, with `max_norm` or `skip_nonfinite`, which need all
    gradients at once.
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model: got {type(model).__name__}, expected a torch.nn.Module")
    if isinstance(model, torch.nn.parallel.DistributedDataParallel):
        raise RuntimeError(
            "model: got DistributedDataParallel, which averages gradients after they have arrived, expected another module"
        )
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer: got {type(optimizer).__name__}, expected one of fastopt.torch's")
    own = {param for group in optimizer.param_groups for param in group["params"]}
    params = [param for param in model.parameters() if param in own and param.requires_grad]
    if not params:
        raise ValueError("optimizer: got one that has none of the model's parameters, expected some")
    optimizer.prepare_single_steps(params)
    hook = hook_of(weakref.ref(optimizer))
    return Hooks([param.register_post_accumulate_grad_hook(hook) for param in params])


def hook_of(owner: weakref.ref[Optimizer]) -> Callable[[torch.Tensor], None]:
    """By a weak reference: in a circle through its parameters an optimizer would not be freed when it is let go."""

    def hook(param: torch.Tensor) -> None:
        if (optimizer := owner()) is not None:
            optimizer.step_parameter(param)
            param.grad = None

    return hook
