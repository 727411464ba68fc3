"""Every rule as a `torch.optim.Optimizer`: `fastopt.torch.AdamW(model.parameters())` for `torch.optim.AdamW(model.parameters())`.

Needs `pip install "fastopt[torch]"`.  docs/torch.md has what is the same as in torch and what is not.
"""

from . import classes
from .backward import fused_in_backward
from .classes import *
from .optimizer import Optimizer

__all__ = ["Optimizer", "fused_in_backward"]
__all__ += classes.__all__
