"""Learning-rate schedules: pure functions of the number of completed steps, usable as `lr=` of every optimizer.

opt = fastopt.AdamW(p, lr=fastopt.schedules.cosine(1e-3, steps=10_000, warmup=500))
"""

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


def __dir__() -> list[str]:
    return sorted(__all__)
