"""The optimizer step at memory speed: fused kernels that update NumPy arrays (and any array that gives its memory) in place.

opt = fastopt.AdamW(p, lr=1e-3)
opt.step(g)
"""

from . import _core, functional, optimizers, schedules
from .base import Optimizer
from .config import get_num_threads, set_num_threads, show_config
from .config import read_environment as _read_environment
from .flat import FlatBuffer, flatten
from .gradients import all_finite, clip_grad_norm, clip_grad_value, global_norm
from .minimization import minimize
from .optimizers import *

_read_environment()

__version__ = _core.__version__
__all__ = ["FlatBuffer", "Optimizer", "all_finite", "clip_grad_norm", "clip_grad_value", "flatten", "functional", "schedules"]
__all__ += ["get_num_threads", "global_norm", "minimize", "set_num_threads", "show_config"]
__all__ += optimizers.__all__
