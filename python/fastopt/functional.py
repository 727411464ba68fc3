"""The bare kernels as functions over the caller's own arrays, one for each rule: `adamw(p, g, m, v, step=1, lr=1e-3)`.

They are for frameworks that keep the state themselves.  Checks and kernels are those of the classes.
"""

from typing import NoReturn

from .faces import make_function
from .rules import RULES

__all__ = [name.lower() for name in RULES]

globals().update({rule.name.lower(): make_function(rule) for rule in RULES.values()})


def __getattr__(name: str) -> NoReturn:
    """Called only for names that the module lacks."""
    from ._names.modules import no_member

    raise no_member(__name__, name, __all__)


def __dir__() -> list[str]:
    return sorted(__all__)
