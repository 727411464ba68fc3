"""A parameter's entry in `optimizer.state`: torch's keys, and tensors that the kernels update in place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from .._arrays.storages import computes
from .._engine.tensors import CORRECTIONS, MASTER, Tensor, check_formats
from .._storage.formats import FORMATS, Format, Formats, param_format, state_format
from .._storage.stored import Stored
from ..rules import Rule
from ..rules.words import describe, naming
from .coded import Coded
from .views import arithmetic, array_of, as_real, check_memory, dense, like, same_layout, words

__all__ = ["EMA", "STEP", "Layout", "whole_steps"]

STEP, EMA = "step", "ema"
MASTERS = {"24bit": torch.int8, "32bit": torch.int16, "float32": torch.float32}


@dataclass(frozen=True)
class Layout:
    """What entries of parameters of a group hold.  `param` is dense where a method has entries made for it (`views.dense`)."""

    rule: Rule
    formats: Formats
    average: bool

    def counts(self, values: Mapping[str, Any]) -> bool:
        """Whether an entry has its count of steps.  torch's SGD has none; of these only the first step of dampened momentum differs."""
        if self.rule.name != "SGD" or self.average or self.formats.master or values["dampening"] > 0:
            return True
        return self.formats.state_dtype not in (None, "float32", "float64")

    def keys(self, values: Mapping[str, Any]) -> list[str]:
        """All that a step with these hyperparameters has to do with in an entry."""
        slots = self.rule.variant(values).slots
        masters = [MASTER] * (self.formats.master in MASTERS)
        return [*[STEP] * self.counts(values), *self.rule.carried, *slots, *[EMA] * self.average, *masters]

    def check(self, params: Iterable[tuple[str, torch.Tensor]], values: Mapping[str, Any], master: str | None) -> None:
        """ValueError if parameters, given with their names, cannot have state or masters in these formats."""
        slots = [self.rule.slot(name) for name in self.rule.variant(values).slots]
        named = [(name, str(param.dtype).removeprefix("torch.")) for name, param in params]
        if self.formats.state_dtype is not None:
            for name, dtype in named:
                if dtype.startswith("complex"):
                    raise ValueError(f"state_dtype: got {self.formats.state_dtype!r}, expected None for {name}, which is {dtype}")
        if named:
            check_formats(named, self.rule.name, slots, Formats(self.formats.state_dtype, master))

    def format(self, slot: str) -> Format | None:
        return state_format(self.formats.state_dtype, self.rule.slot(slot))

    def completed(self, entry: Mapping[str, Any], param: torch.Tensor, values: Mapping[str, Any], name: str) -> dict[str, Any]:
        """The entry's tensors as a step with these hyperparameters takes them: those that will do as they are, the others anew."""
        made: dict[str, Any] = {}
        slots = self.rule.variant(values).slots
        if self.counts(values):
            # torch's SGD takes the first gradient whole whenever momentum begins, which may be later than at the first step; the
            # average, which begins with the count too, has to go on.
            begins = self.rule.name == "SGD" and not self.average and any(entry.get(slot) is None for slot in slots)
            known = STEP in entry and not (begins and values["dampening"] > 0)
            made[STEP] = scalar(entry[STEP] if known else self.uncounted(entry, name), name, STEP)
        for running in self.rule.running:
            made[running.name] = scalar(entry.get(running.name, running.initial), name, running.name, exact=True)
        for slot in slots:
            value = entry.get(slot)
            if value is None:
                made[slot] = self.new(slot, param, float(self.rule.evaluate(self.rule.slot(slot).initial, values)))
            else:
                made[slot] = (
                    value if self.fits(value, slot, param) else self.taken(unshared(value, name, slot), slot, param, name)
                )
        if self.average:
            made[EMA] = entry.get(EMA)
            if made[EMA] is None or not is_plain(made[EMA], param, arithmetic(param)):
                average = param if made[EMA] is None else unshared(made[EMA], name, EMA)
                made[EMA] = copied(average, param, arithmetic(param), f"{name}: {EMA}")
        if self.has_extra(param):
            made[MASTER] = self.master_of(entry.get(MASTER), param, name)
        return made

    def uncounted(self, entry: Mapping[str, Any], name: str) -> float:
        """The count of steps of an entry without one; of SGD's all from the first on are the same."""
        kept = [slot.name for slot in self.rule.slots if entry.get(slot.name) is not None]
        if kept and self.rule.name != "SGD":
            raise RuntimeError(f"{name}: its state has {', '.join(kept)}, expected {STEP!r} too")
        return 1.0 if kept else 0.0

    def has_extra(self, param: torch.Tensor) -> bool:
        """Whether a master is kept beside the parameter."""
        return self.formats.master in MASTERS and param.dtype in (torch.bfloat16, torch.float16)

    def fits(self, value: Any, slot: str, param: torch.Tensor) -> bool:
        format = self.format(slot)
        if format is None:
            return is_plain(value, param, arithmetic(param))
        if format.extra_size == 0:
            return is_plain(value, param, torch.bfloat16)
        return (
            isinstance(value, Coded)
            and value.format == format.name
            and same_layout(value, param)
            and value.device == param.device
        )

    def new(self, slot: str, param: torch.Tensor, initial: float) -> torch.Tensor:
        format = self.format(slot)
        if format is None:
            made = like(param, arithmetic(param))
            as_real(made).fill_(initial)
            return made
        made = Coded.zeros(format.name, param) if format.extra_size else like(param, torch.bfloat16)
        if initial != 0:
            encode(format, made, like(param, torch.float32).fill_(initial))
        return made

    def taken(self, value: Any, slot: str, param: torch.Tensor, name: str) -> torch.Tensor:
        """Another optimizer's state in the form of this one's, as a copy."""
        format = self.format(slot)
        if isinstance(value, Coded) and self.fits(value, slot, param):
            return value.twin()
        dtype = arithmetic(param) if format is None or value.dtype != torch.bfloat16 else torch.bfloat16
        values = copied(value, param, dtype, f"{name}: {slot}")
        if format is None or (format.extra_size == 0 and dtype == torch.bfloat16):
            return values
        made = Coded.zeros(format.name, param) if format.extra_size else like(param, torch.bfloat16)
        with naming(f"{name}: {slot}"):
            encode(format, made, values.to(torch.float32))
        return made

    def master_of(self, value: Any, param: torch.Tensor, name: str) -> torch.Tensor:
        """The master beside the parameter; without one yet, that of the parameter as it is."""
        dtype = MASTERS[str(self.formats.master)]
        if value is None:
            return copied(param, param, dtype, name) if dtype == torch.float32 else like(param, dtype)
        if not isinstance(value, torch.Tensor) or value.dtype != dtype:
            raise ValueError(f"{name}: {MASTER}: got {words(value)}, expected {dtype} of master={self.formats.master!r}")
        return (
            value if is_plain(value, param, dtype) else copied(unshared(value, name, MASTER), param, dtype, f"{name}: {MASTER}")
        )

    def loaded(self, entry: Mapping[str, Any], param: torch.Tensor, values: Mapping[str, Any], name: str) -> dict[str, Any]:
        """A copy of a checkpoint's entry, which may be torch's, in the form of this optimizer's; `param` may have gaps."""
        if not isinstance(entry, Mapping):
            raise TypeError(f"{name}: got {describe(entry)}, expected a dict")
        if not entry:
            return {}
        if self.rule.name != "SGD":  # whose buffer comes with the first gradient
            for key in [STEP, *self.rule.carried, *self.rule.variant(values).slots]:
                if entry.get(key) is None:
                    raise ValueError(f"{name}: got {', '.join(map(str, entry))}, expected {key!r} too, as {self.rule.name} has")
        param = dense(param)
        for key, value in entry.items():
            if isinstance(value, torch.Tensor) and not computes(value):
                check_memory(value, f"{name}: {key}")
        made = {
            key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in entry.items() if value is not None
        }
        if not self.average:  # nor is what would not be kept up to date
            made.pop(EMA, None)
        if not self.has_extra(param) or getattr(made.get(MASTER), "dtype", None) == param.dtype:
            made.pop(MASTER, None)  # torch's class casts it to the parameter's dtype, and has trained the parameter without it
        if STEP in made:
            whole_steps(made[STEP], name)
        slots = {slot.name for slot in self.rule.slots}
        for key in slots & made.keys():
            if not isinstance(made[key], torch.Tensor):
                raise TypeError(f"{name}: {key}: got {describe(made[key])}, expected a tensor")
            made[key] = self.taken(entry[key], key, param, name)
        return {**made, **self.completed(made, param, values, name)} if made.keys() & slots or STEP in made else made

    def tensor(self, entry: Mapping[str, Any], param: torch.Tensor, name: str, group: int, offset: int) -> Tensor:
        """What the plan takes of a completed entry."""
        made = Tensor(array_of(param, name), name, None, group, offset)
        for slot in self.rule.slots:
            value = entry.get(slot.name)
            if value is not None:
                made.state[slot.name] = held(value, self.format(slot.name), f"{name}: {slot.name}")
        if made.format is not None:
            made.format, made.stochastic = param_format(made.dtype, self.formats.master)
        if self.has_extra(param):
            made.extra = array_of(entry[MASTER], f"{name}: {MASTER}")
        if self.average:
            made.ema = array_of(entry[EMA], f"{name}: {EMA}")
        return made


def held(value: torch.Tensor, format: Format | None, name: str) -> Any:
    if isinstance(value, Coded):
        codes, blocks = array_of(value.codes, name), array_of(value.blocks, name)
        return Stored(FORMATS[value.format], tuple(value.shape), codes, blocks, {"codes": codes, "blocks": blocks})
    array = array_of(value, name)
    return array if format is None else Stored(format, tuple(value.shape), array, None, {"bits": array})


def encode(format: Format, to: torch.Tensor, values: torch.Tensor) -> None:
    """float32 values of the same layout into a state tensor of a storage format, rounded to nearest."""
    if isinstance(to, Coded):
        to.encode_(values)
        return
    bits = torch.empty(to.numel(), dtype=torch.int16, device="cpu")
    flat = values.cpu().as_strided((values.numel(),), (1,))
    format.encode(flat.numpy(), bits.numpy().view("uint16"), None)
    to.view(torch.int16).as_strided((to.numel(),), (1,)).copy_(bits)


def is_plain(value: Any, param: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether a state tensor lies as the parameter does, in this dtype, and its memory is what it stands for."""
    return (
        isinstance(value, torch.Tensor)
        and not isinstance(value, Coded)
        and value.dtype == dtype
        and value.device == param.device
        and value.layout == torch.strided
        and same_layout(value, param)
        and not (value.is_neg() or value.is_conj() or value._is_zerotensor())
    )


def unshared(value: Any, name: str, key: str) -> Any:
    """The value, of which a step is to make another; RuntimeError if processes share it: each would go on with one of its own."""
    strided = isinstance(value, torch.Tensor) and value.layout == torch.strided and value.device.type == "cpu"
    if strided and value.is_shared():
        raise RuntimeError(
            f"{name}: {key}: got {words(value)}, in shared memory, which this optimizer cannot keep as it is, expected state of its own "
            "dtype and layout: share_memory() shares what its first step has made"
        )
    return value


def copied(value: Any, param: torch.Tensor, dtype: torch.dtype, name: str) -> torch.Tensor:
    """A copy with the layout of `param`."""
    if not isinstance(value, torch.Tensor) or value.shape != param.shape:
        raise ValueError(f"{name}: got {words(value)}, expected the shape {tuple(param.shape)} of the parameter")
    if value.is_complex() != param.is_complex() or value.layout != torch.strided or value.device.type == "meta":
        kind = "complex" if param.is_complex() else "real"
        raise TypeError(f"{name}: got {words(value)}, expected a dense tensor of {kind} numbers")
    if not computes(value):  # which computes its values
        check_memory(value, name)
    values = value.decoded() if isinstance(value, Coded) else value.detach()
    return like(param, dtype).copy_(values)


def whole_steps(value: Any, name: str) -> int:
    """A count as a number."""
    steps = float(scalar(value, name, STEP))
    if not (0 <= steps < 2**53 and steps == int(steps)):
        raise ValueError(f"{name}: {STEP}: got {steps}, expected a number of steps from 0")
    return int(steps)


def scalar(value: Any, name: str, key: str, *, exact: bool = False) -> torch.Tensor:
    """A number that steps carry on, on the CPU; a tensor of one element that will do as it is.  Counts have torch's dtype."""
    kinds = (torch.float64,) if exact else (torch.float32, torch.float64)
    if isinstance(value, torch.Tensor) and value.device.type == "cpu" and value.numel() == 1 and value.dtype in kinds:
        check_memory(value, f"{name}: {key}")
        if value.layout == torch.strided and not (value.requires_grad or value.is_neg() or value._is_zerotensor()):
            return value
    unshared(value, name, key)
    dtype = torch.float64 if exact or torch.get_default_dtype() == torch.float64 else torch.float32
    try:
        if isinstance(value, str):
            raise TypeError
        return torch.tensor(float(value), dtype=dtype, device="cpu")
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: {key}: got {describe(value)}, expected a number") from error


assert MASTERS.keys() == CORRECTIONS.keys()
