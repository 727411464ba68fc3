"""Options: the stages that hold for all tensors of a step, as a checked mapping."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any, TypedDict

from .. import _core
from ..rules import OPTIONS
from .locks import fork_safe_lock
from .ranges import check_options

__all__ = ["Options", "PartOptions", "StepOptions"]


class PartOptions(TypedDict, total=False):
    """What `Optimizer.step_part` takes by name; None keeps what is in `opt.options`."""

    grad_scale: float | None
    clip_value: float | None
    ema_decay: float | None
    zero_grad: bool | None


class StepOptions(PartOptions, total=False):
    """What `Optimizer.step` takes by name."""

    skip_nonfinite: bool | None
    max_norm: float | None
    norm_eps: float | None


BY_NAME = {option.name: option for option in OPTIONS}


class Options(MutableMapping[str, Any]):
    """What holds for all tensors of each step, as in `opt.options["max_norm"] = 0.5`.

    A value is checked when it is assigned (TypeError, ValueError) and holds from the next step on; `update` takes on
    several at once, or none if one is refused.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._lock = fork_safe_lock()
        self._averages = True  # until it is known whether there are arrays for averages
        self._single: str | None = None
        self._values = self.accept(values)
        self._averages = self._values["ema_decay"] is not None
        self.bound = bound(self._values)
        self._overridden: dict[Any, _core.Options] = {}

    def accept(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """`values` checked; nothing is changed yet."""
        for key in values:
            if key not in BY_NAME:
                raise TypeError(no_option(key, "", BY_NAME))
        checked = {key: BY_NAME[key].check(value) for key, value in values.items()}
        if checked.get("ema_decay") is not None and not self._averages:
            raise ValueError("ema_decay: got a number, expected None, since the optimizer was built without averages")
        check_options(checked, self._single)
        return checked

    def fit(self, tensor: str | None) -> None:
        """From now on values are such as float32 holds, in which the tensor of that name is computed; ValueError if one is not."""
        check_options(self._values, tensor)
        self._single = tensor

    def assign(self, values: Mapping[str, Any]) -> None:
        """Takes on values that have been checked."""
        with self._lock:
            self._values = {**self._values, **values}
            self.bound = bound(self._values)
            self._overridden = {}

    def overridden(self, values: Mapping[str, Any], call: type[PartOptions] | type[StepOptions]) -> _core.Options:
        """For one call: these values, unless they are None, over the present ones; TypeError for a name it does not take."""
        for key in values:
            if key not in call.__annotations__:
                raise TypeError(no_option(key, " here", call.__annotations__))
        given = (*values.items(), *map(type, values.values()))  # 1 and True are equal, and are not the same
        try:
            known = self._overridden.get(given)
        except TypeError:  # of a value that cannot be hashed, such as an array
            given, known = (), None
        if known is None:
            with self._lock:  # an assignment in another thread empties the cache
                known = bound({**self._values, **self.accept(present(values))})
                self._overridden = {given: known} if given else {}  # the last alone: most loops give every step the same
        return known

    def update(self, *args: Any, **kwargs: Any) -> None:
        self.assign(self.accept(dict(*args, **kwargs)))

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __getitem__(self, key: str) -> Any:
        if key in self._values:
            return self._values[key]
        raise KeyError(no_option(key, "", self._values))

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __delitem__(self, key: str) -> None:
        raise TypeError(f"{key}: an option cannot be deleted")

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __reduce__(self) -> Any:
        return dict, (dict(self),)  # a copy of an optimizer's options is of their values

    def __repr__(self) -> str:
        return f"Options({', '.join(f'{key}={value!r}' for key, value in self._values.items())})"


def no_option(key: object, where: str, possible: Iterable[str]) -> str:
    """The words for a name that is none of the `possible` options."""
    from .._names.optimizers import OPTIMIZERS, STEP
    from .._names.suggestions import suggestion

    cure = suggestion(key, possible, STEP, OPTIMIZERS)
    return f"{key}: there is no such option{where}; there are {', '.join(possible)}{cure}"


def present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def bound(values: Mapping[str, Any]) -> _core.Options:
    """Checked values as the extension takes them: there 0 is none, or below 0 of an average."""
    none = {"ema_decay": -1.0}
    numbers: dict[str, Any] = {key: none.get(key, 0.0) if value is None else value for key, value in values.items()}
    return _core.Options(**numbers)
