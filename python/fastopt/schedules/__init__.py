"""Learning-rate schedules: pure functions of the number of completed steps, usable as `lr=` of every optimizer.

opt = fastopt.AdamW(p, lr=fastopt.schedules.cosine(1e-3, steps=10_000, warmup=500))
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import NoReturn as _NoReturn

from .._names.calls import suggesting as _suggesting
from . import decays, phases
from .decays import *
from .phases import *
from .plateau import ReduceOnPlateau

__all__ = ["ReduceOnPlateau"]
__all__ += decays.__all__
__all__ += phases.__all__

for _name in __all__:
    _schedule = globals()[_name]
    _schedule.__init__ = _suggesting(_schedule.__init__, "PLATEAU" if _name == "ReduceOnPlateau" else "SCHEDULES")


if not _TYPE_CHECKING:  # to type checkers it would say that every name is there

    def __getattr__(name: str) -> _NoReturn:
        """Called only for names that the module lacks."""
        from .._names.modules import SCHEDULE_CLASSES, no_member

        raise no_member(__name__, name, __all__, SCHEDULE_CLASSES)


def __dir__() -> list[str]:
    return sorted(__all__)
