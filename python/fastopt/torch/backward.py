"""`fused_in_backward`: each parameter takes its step as its gradient arrives, and the gradient is freed."""

from __future__ import annotations

import functools
import gc
import weakref
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from ..rules.words import counted
from .optimizer import Optimizer

__all__ = ["fused_in_backward"]


class Hooks:
    """What `fused_in_backward` set up; `remove()` ends it."""

    def __init__(self, handles: list[Any]) -> None:
        self._handles = handles

    def __len__(self) -> int:
        return len(self._handles)

    def __repr__(self) -> str:
        return f"Hooks(of fused_in_backward on {counted(len(self), 'parameter')})"

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

    `DistributedDataParallel` averages gradients after they have arrived, when the steps are taken and ranks have diverged: it is refused,
    whether it wraps the model now or later.

    Returns hooks with `remove()`.  Raises TypeError if an argument is not that, ValueError if the optimizer has none of the
    model's parameters, and RuntimeError, also later from `backward()`, with `max_norm` or `skip_nonfinite`, which need all
    gradients at once.

    >>> model = torch.nn.Linear(3, 2)
    >>> optimizer = fastopt.torch.SGD(model.parameters(), lr=0.1)
    >>> hooks = fastopt.torch.fused_in_backward(model, optimizer)
    >>> model(torch.ones(1, 3)).sum().backward()  # steps weight and bias
    >>> model.weight.grad is None
    True
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model: got {type(model).__name__}, expected a torch.nn.Module")
    if any(isinstance(module, DistributedDataParallel) for module in model.modules()):
        raise RuntimeError(
            "model: got DistributedDataParallel, which averages gradients after they have arrived, expected another module"
        )
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer: got {type(optimizer).__name__}, expected one of fastopt.torch's")
    own = {param for group in optimizer.param_groups for param in group["params"]}
    params = [param for param in model.parameters() if param in own and param.requires_grad]
    if not params:
        raise ValueError("optimizer: got one that has none of the model's parameters, expected some")
    if are_wrapped(params):
        raise RuntimeError(
            "model: got one that DistributedDataParallel wraps, which averages gradients after they have arrived, expected another module"
        )
    optimizer.prepare_single_steps(params)
    refuse_later_wrappers()
    hook = StepHook(optimizer)
    return Hooks([param.register_post_accumulate_grad_hook(hook) for param in params])


class StepHook:
    """Steps a parameter whose gradient has arrived.

    It knows the optimizer by a weak reference: in a circle through its parameters an optimizer would not be freed when it is let go.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._owner = weakref.ref(optimizer)

    @property
    def acts(self) -> bool:
        return self._owner() is not None

    def __call__(self, param: torch.Tensor) -> None:
        if (optimizer := self._owner()) is not None:
            optimizer.step_parameter(param)
            param.grad = None

    def __deepcopy__(self, memo: dict[int, Any]) -> StepHook:
        return self


def are_wrapped(params: list[torch.nn.Parameter]) -> bool:
    """Whether a DistributedDataParallel averages the gradients of some.

    Nothing at a parameter tells: all objects are searched, which takes as long as a collection.  Without a process group none is.
    """
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return False
    gc.collect()  # wrappers that nobody has any more
    wrappers = [each for each in gc.get_objects() if issubclass(type(each), DistributedDataParallel)]
    ids = {id(param) for wrapper in wrappers if "_modules" in vars(wrapper) for param in wrapper.parameters()}
    return not ids.isdisjoint(map(id, params))


@functools.cache  # once a process
def refuse_later_wrappers() -> None:
    """Looks at modules as they come into others, as a model into its wrapper."""

    def look(module: torch.nn.Module, name: str, child: torch.nn.Module | None) -> None:
        if child is None or not isinstance(module, DistributedDataParallel):
            return
        for param in child.parameters():
            hooks = getattr(param, "_post_accumulate_grad_hooks", None) or {}
            if any(isinstance(hook, StepHook) and hook.acts for hook in hooks.values()):
                raise RuntimeError(
                    "DistributedDataParallel: got a model whose parameters take their steps in backward, before their gradients are averaged, "
                    "expected one without fused_in_backward: call remove() of what it returned, and optimizer.step()"
                )

    torch.nn.modules.module.register_module_module_registration_hook(look)
