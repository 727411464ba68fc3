"""Every rule as a `torch.optim.Optimizer`: `fastopt.torch.AdamW(model.parameters())` for `torch.optim.AdamW(model.parameters())`.

Needs torch 2.10 or later, the extra `torch`.  docs/torch.md has what is the same as in torch and what is not.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import NoReturn as _NoReturn

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    from .._extras import install

    raise ImportError(f"fastopt.torch needs torch 2.10 or later: {install('torch')} ({error})") from error

from . import classes
from .backward import fused_in_backward
from .classes import *
from .optimizer import Optimizer

__all__ = ["Optimizer", "fused_in_backward"]
__all__ += classes.__all__


if not _TYPE_CHECKING:  # to type checkers it would say that every name is there

    def __getattr__(name: str) -> _NoReturn:
        """Called only for names that the module lacks."""
        from .._names.modules import no_member

        raise no_member(__name__, name, __all__)


def __dir__() -> list[str]:
    return sorted(__all__)
