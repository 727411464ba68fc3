"""The optimizer step at memory speed: fused kernels that update NumPy arrays (and any array that gives its memory) in place.

opt = fastopt.AdamW(p, lr=1e-3)
opt.step(g)
"""

import importlib as _importlib
from types import ModuleType as _ModuleType

from . import _main_interpreter as _main_interpreter  # isort: split

from . import _core, functional, optimizers, schedules
from ._minimization import minimize
from .config import get_num_threads, set_num_threads, show_config
from .config import read_environment as _read_environment
from .flat import FlatBuffer, flatten
from .gradients import all_finite, clip_grad_norm, clip_grad_value, global_norm
from .optimizer import Optimizer
from .optimizers import *

_read_environment()

__version__ = _core.__version__
__all__ = ["FlatBuffer", "Optimizer", "all_finite", "clip_grad_norm", "clip_grad_value", "flatten", "functional", "schedules"]
__all__ += ["get_num_threads", "global_norm", "minimize", "set_num_threads", "show_config"]
__all__ += optimizers.__all__


_FACES = ("scipy", "sklearn", "torch")


def __getattr__(name: str) -> _ModuleType:
    """The adapters, imported when they are first asked for, since each needs a package that fastopt does not."""
    if name in _FACES:
        return _importlib.import_module(f".{name}", __name__)
    from ._names.modules import CLASSES, no_member

    raise no_member(__name__, name, [*__all__, *_FACES], CLASSES)


def __dir__() -> list[str]:
    """The public names, and the adapters whose packages are installed."""
    from importlib.util import find_spec

    return sorted([*__all__, "__version__", *(name for name in _FACES if find_spec(name))])
