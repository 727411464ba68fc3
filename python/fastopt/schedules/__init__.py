"""Learning-rate schedules: pure functions of the number of completed steps, usable as `lr=` of every optimizer.

opt = fastopt.AdamW(p, lr=fastopt.schedules.cosine(1e-3, steps=10_000, warmup=500))
"""

from . import decays, phases
from .decays import *
from .phases import *
from .plateau import ReduceOnPlateau

__all__ = ["ReduceOnPlateau"]
__all__ += decays.__all__
__all__ += phases.__all__
