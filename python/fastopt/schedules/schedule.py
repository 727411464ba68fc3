"""What all schedules share: checked fields, a warmup, a readable form."""

from __future__ import annotations

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from ..rules.checks import check_choice, check_count, check_flag, check_number, one_number
from ..rules.words import shown

__all__ = [
    "Anneal",
    "Factor",
    "Flag",
    "Growth",
    "OptionalSteps",
    "Period",
    "Rate",
    "Schedule",
    "Shape",
    "Steps",
    "Warmed",
    "has_state",
    "numbers",
]

Check = Callable[[Any, str], Any]
"""(value, name) -> the value as a schedule keeps it; raises TypeError or ValueError for a wrong value."""


def has_state(schedule: Any) -> bool:
    """Whether a schedule has state, and so is more than a function of the step."""
    return hasattr(schedule, "state_dict") and hasattr(schedule, "load_state_dict")


def number(interval: str) -> Check:
    return lambda value, name: check_number(value, name, interval)


def check_period(value: Any, name: str) -> int:
    if check_count(value, name) == 0:
        raise ValueError(f"{name}: got 0, expected a number of steps from 1")
    return int(value)


def check_optional(value: Any, name: str) -> int | None:
    return None if value is None else check_count(value, name)


def choice(*choices: str) -> Check:
    return lambda value, name: check_choice(value, name, choices)


Rate = Annotated[float, number("[0, inf)")]
"""A learning rate, or a factor that may be 0."""
Factor = Annotated[float, number("(0, inf)")]
Growth = Annotated[float, number("[1, inf)")]
Steps = Annotated[int, check_count]
Period = Annotated[int, check_period]
"""A number of steps, from 1."""
OptionalSteps = Annotated[int | None, check_optional]
Flag = Annotated[bool, check_flag]
Anneal = Annotated[Literal["cos", "linear"], choice("cos", "linear")]
Shape = Annotated[Literal["linear", "cosine", "1-sqrt"], choice("linear", "cosine", "1-sqrt")]


def numbers(values: Any, name: str, check: Check) -> tuple[Any, ...]:
    """A list or tuple as a tuple, each entry checked."""
    if not isinstance(values, (list, tuple)):
        raise TypeError(f"{name}: got {shown(values)}, expected a list or a tuple")
    return tuple(check(value, f"{name}[{i}]") for i, value in enumerate(values))


@functools.cache
def checks(cls: Any) -> dict[str, Check]:
    hints = get_type_hints(cls, include_extras=True)
    return {name: get_args(hint)[1] for name, hint in hints.items() if get_origin(hint) is Annotated}


@dataclass(frozen=True, repr=False)
class Schedule(ABC):
    """A learning rate as a pure function of the number of completed steps, from 0; usable as `lr=` of every optimizer.

    Schedules are immutable, comparable, hashable and picklable.  Call one with a step for a float.
    """

    def __post_init__(self) -> None:
        cls: Any = type(self)  # type checkers take the class's hash for its instances'
        for name, check in checks(cls).items():
            object.__setattr__(self, name, check(getattr(self, name), name))

    def __call__(self, step: float) -> float:
        """The learning rate of the next step after `step` completed steps; a fraction is allowed, for pictures.

        Raises TypeError or ValueError if `step` is no number of steps.
        """
        if type(step) is not int:
            step = one_number(step, "step")
        if not step >= 0:
            raise ValueError(f"step: got {shown(step)}, expected a number of completed steps from 0")
        return float(self.rate(step))

    @abstractmethod
    def rate(self, step: float) -> float:
        """The learning rate after `step` completed steps."""

    def __repr__(self) -> str:
        fields = sorted(dataclasses.fields(self), key=lambda field: bool(field.kw_only))
        given = {field.name: getattr(self, field.name) for field in fields if getattr(self, field.name) != field.default}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in given.items())})"


@dataclass(frozen=True, repr=False)
class Warmed(Schedule):
    """A schedule that may begin with a warmup: over `warmup` steps the rate rises in a straight line from `warmup_start`.

    `steps`, `milestones` and `boundaries` count from the start of the training, warmup included.  Decays begin at the end of the
    warmup.
    """

    _: KW_ONLY
    warmup: Steps = 0
    warmup_start: Rate = 0.0

    def rate(self, step: float) -> float:
        if step < self.warmup:
            return self.warmup_start + (self.value(0) - self.warmup_start) * step / self.warmup
        return self.value(step - self.warmup)

    @abstractmethod
    def value(self, t: float) -> float:
        """The learning rate `t` steps after the warmup."""

    def after_warmup(self, steps: int, name: str = "steps") -> int:
        """How many of `steps` come after the warmup.  Raises ValueError if none does."""
        if steps <= self.warmup:
            raise ValueError(f"{name}: got {steps}, expected more than the {self.warmup} steps of warmup")
        return steps - self.warmup
