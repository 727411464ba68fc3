"""`Optimizer`, what the classes have in common: torch's Optimizer around a plan of fastopt's."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from .. import _core
from .._arrays.memory import BLOCK
from .._engine.arguments import bind_arguments
from .._engine.options import Options, StepOptions
from .._engine.tensors import MASTER
from .._storage.formats import STORAGE, check_seed, with_variance_floor
from ..rules import OPTIONS, Rule
from ..rules.words import naming
from . import checkpoints
from .arguments import check_flags, number
from .binding import Member, check_copy
from .state import EMA, Layout
from .steps import Steps

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Optimizer"]


class Optimizer(torch.optim.Optimizer):
    """What the rules' classes have in common.  Use the classes: `SGD`, `Adam`, `AdamW` and the others."""

    rule: ClassVar[Rule]
    _signature: ClassVar[inspect.Signature]
    param_groups: list[dict[str, Any]]
    grad_scale: Any  # these two are there while a GradScaler makes a step
    found_inf: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if type(self) is Optimizer:
            raise TypeError("Optimizer: expected one of the rules' classes, such as AdamW")
        given = bind_arguments(type(self).__name__, self._signature, args, kwargs)
        params, copies = given.pop("params"), given.pop("copy_to")
        seed = check_seed(given.pop("seed"))
        formats = {each.name: each.check(given.pop(each.name)) for each in STORAGE if each.choices}
        options = Options({option.name: given.pop(option.name) for option in OPTIONS})
        self._set_up(formats, options, seed)
        check_flags(given)
        self._step_supports_amp_scaling = bool(given.get("fused"))
        self._copies: dict[torch.Tensor, torch.Tensor] = {}
        super().__init__(params, given)
        self._state_seen = False
        self._copies = self._checked_copies(copies)

    def _set_up(self, formats: Mapping[str, Any], options: Options, seed: int) -> None:
        """What is not torch's."""
        self._layout = Layout(self.rule, formats["state_dtype"], formats["master"], average=options["ema_decay"] is not None)
        self._names = [h.name for h in self.rule.arguments]
        self._options, self._seed = options, seed
        self._skipped = 0  # before the present plans
        self._state_seen = True
        self._forget()

    def _forget(self) -> None:
        """Lets the next steps bind everything anew."""
        self._steps: Steps | None = None
        self._single: dict[torch.Tensor, Steps] = {}  # of parameters that take their steps in backward
        self._places: dict[int, Member] = {}  # of parameters by their id

    # State.  Until somebody has asked for it, nobody can have moved or replaced what is in it, nor can autograd have kept it: a step
    # then need not look at it, which with many small parameters is most of its time.

    @property
    def state(self) -> defaultdict[Any, Any]:
        """torch's: parameter -> dict.  Its tensors are live: what is written to them, or put in their place, acts on the next step."""
        self._state_seen = True
        return self._own_state

    @state.setter
    def state(self, value: defaultdict[Any, Any]) -> None:
        self._state_seen = True
        self.__dict__["state"] = value

    @property
    def _own_state(self) -> defaultdict[Any, Any]:
        """The same for fastopt itself, which keeps nothing of it for others."""
        state: defaultdict[Any, Any] = self.__dict__["state"]
        return state

    # Groups

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """torch's; besides, everything about the group is checked before it is added."""
        if isinstance(param_group, dict):
            merged = {**self.defaults, **param_group}
            with naming(f"param_groups[{len(self.param_groups)}]" if self.param_groups else ""):
                values = self._check_group(merged)
            super().add_param_group(param_group)
            try:
                named = [(f"params[{i}]", param) for i, param in enumerate(self.param_groups[-1]["params"])]
                self._layout.check(named, values, self._layout.master)
            except Exception:
                self.param_groups.pop()
                raise
        else:
            super().add_param_group(param_group)  # which says what is wrong
        if self.rule.name == "Adagrad":  # whose state torch makes at once
            self._allocate(self.param_groups[-1]["params"])

    def _check_group(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """The hyperparameters of a group, checked, with tensors as numbers; but `lr` stays a tensor where it is on a GPU."""
        check_flags(dict(group))
        given = {name: group[name] for name in self._names}
        lr = given["lr"]
        if callable(lr) and not isinstance(lr, torch.Tensor):
            raise TypeError("lr: got a callable, expected a number or a tensor; torch.optim.lr_scheduler has schedules")
        on_gpu = isinstance(lr, torch.Tensor) and lr.is_cuda
        values: dict[str, Any] = {}
        for name, value in given.items():
            with naming(name if isinstance(value, torch.Tensor) and value.numel() != 1 else ""):
                values[name] = 0.0 if name == "lr" and on_gpu else number(value)
        checked = self.rule.check(with_variance_floor(values, self._layout.state_dtype))
        return {**checked, "lr": lr} if on_gpu else checked

    def _allocate(self, params: list[torch.Tensor]) -> None:
        """Makes the state of those that have none; averages and masters are taken from a parameter at its first step."""
        for member in self._members(params):
            if not self._own_state.get(member.param):
                values = self._check_group(self.param_groups[member.group])
                made = self._layout.completed({}, member.param, values, member.name)
                self._own_state[member.param].update({key: value for key, value in made.items() if key not in (EMA, MASTER)})

    def _checked_copies(self, copies: Any) -> dict[torch.Tensor, torch.Tensor]:
        """Of `copy_to` by parameter."""
        if copies is None:
            return {}
        params = self._params()
        copies = [copies] if isinstance(copies, torch.Tensor) else list(copies)
        if len(copies) != len(params):
            raise ValueError(f"copy_to: got {len(copies)} tensors, expected {len(params)}, one or None for each parameter")
        for i, (value, param) in enumerate(zip(copies, params, strict=True)):
            if value is not None:
                check_copy(value, param, f"copy_to[{i}]")
        return {param: value for param, value in zip(params, copies, strict=True) if value is not None}

    def _params(self) -> list[torch.Tensor]:
        if len(self.param_groups) == 1:
            only = self.param_groups[0]["params"]
            return only if isinstance(only, list) else list(only)
        return [param for group in self.param_groups for param in group["params"]]

    def _members(self, params: list[torch.Tensor]) -> list[Member]:
        """These parameters, all or some, with their place among all of them."""
        if len(params) == 1 and (known := self._places.get(id(params[0]))) is not None:
            group = self.param_groups[known.group]["params"] if known.group < len(self.param_groups) else []
            if known.position < len(group) and group[known.position] is params[0]:
                return [known]
        wanted = set(map(id, params))
        members: dict[int, Member] = {}
        offset = 0
        for index, group in enumerate(self.param_groups):
            for i, param in enumerate(group["params"]):
                if id(param) in members:
                    name, first = name_of(group, index, i), members[id(param)].name
                    raise ValueError(f"{name}: got a parameter that is {first} too, expected each once")
                if id(param) in wanted:
                    members[id(param)] = Member(param, name_of(group, index, i), index, i, offset, self._copies.get(param))
                offset += -(-param.numel() // BLOCK) * BLOCK
        if len(members) != len(wanted):
            raise RuntimeError("param_groups: got a step of a parameter that is in none of the groups, expected one that is")
        self._places.update(members)
        return [members[id(param)] for param in params]

    # The step

    def step(self, closure: Callable[[], Any] | None = None, **options: Unpack[StepOptions]) -> Any:
        """One step of every parameter that has a gradient, in place, in one call for all tensors of a device.

        `closure`: evaluates the model again and returns the loss, which `step` then returns.  `grad_scale`, `skip_nonfinite`,
        `clip_value`, `max_norm`, `norm_eps`, `ema_decay` and `zero_grad`, by name, hold for this step in place of those in
        `optimizer.options`.

        Raises RuntimeError for gradients and parameters that the kernels do not take (sparse, complex, with gaps), TypeError or
        ValueError for hyperparameters; nothing was written then.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._step(options)
        return loss

    @torch._disable_dynamo  # torch.compile has nothing to trace here, and would warn of it
    def _step(self, options: StepOptions) -> None:
        bound = self._options.overridden(options, StepOptions) if options else self._options.bound
        params = self._params()
        grads, given = _core.gradients_of(params)
        if given:
            if hasattr(self, "found_inf"):
                amp = self._unscaled(grads, options)
                if amp is None:
                    return
                bound = amp
            if self._steps is None or not self._steps.serves(self, params, grads, given):
                self._skipped, self._steps = self.skipped_steps, None  # with memory that may be needed
                self._steps = Steps(self, params, grads, self._skipped)
            self._steps.step(grads, given, bound, seen=self._state_seen)

    def _check_single_steps(self) -> None:
        for name in ("max_norm", "skip_nonfinite"):
            if self._options[name]:
                raise RuntimeError(
                    f"{name}: got {self._options[name]!r}, which needs all gradients at once, expected a step without it"
                )

    @torch._disable_dynamo
    def step_parameter(self, param: torch.Tensor) -> None:
        """The step of one parameter that has a gradient; `fused_in_backward` calls it.

        RuntimeError with `max_norm` or `skip_nonfinite`, which need all gradients at once.
        """
        self._check_single_steps()
        if param.grad is not None:
            steps, grads = self._single.get(param), [param.grad]
            if steps is None or not steps.serves(self, [param], grads, 1):
                steps = self._single[param] = Steps(self, [param], grads, self.skipped_steps)
                # On a GPU `state` looks at the counts of the last plan that was made; others have to notice.
                self._state_seen = self._state_seen or param.is_cuda
            steps.step(grads, 1, self._options.bound, seen=self._state_seen)

    def _unscaled(self, grads: list[torch.Tensor | None], options: StepOptions) -> _core.Options | None:
        """What `torch.amp.GradScaler` asks of a fused optimizer: None where the step is to be skipped."""
        scale, found = self.grad_scale, self.found_inf
        if found.is_cuda:  # nothing is read back: the gradients are unscaled where they are, and the step looks for itself
            present = [grad for grad in grads if grad is not None]
            if scale is not None:
                torch._foreach_mul_(present, scale.double().reciprocal().float())
            return self._options.overridden({**options, "skip_nonfinite": True}, StepOptions)
        if found.item():
            return None
        factor = 1.0 if scale is None else scale.double().reciprocal().float().item()
        given = options.get("grad_scale")
        return self._options.overridden(
            {**options, "grad_scale": factor * (self._options["grad_scale"] if given is None else given)}, StepOptions
        )

    # What a step has seen

    @property
    def options(self) -> Options:
        """The stages that hold for all parameters; `optimizer.options["max_norm"] = 0.5` holds from the next step on."""
        return self._options

    @property
    def grad_norm(self) -> float | None:
        """Euclidean norm of all gradients of the last step, after `grad_scale` and `clip_value`, before `max_norm`; None where it was not measured."""
        return None if self._steps is None else self._steps.grad_norm

    @property
    def skipped_steps(self) -> int:
        """Steps that `skip_nonfinite` skipped."""
        return self._skipped if self._steps is None else self._steps.skipped

    @property
    def ema_params(self) -> list[torch.Tensor] | None:
        """The averages of the parameters (`state[p]["ema"]`), in order: of one that had no step yet the parameter itself; None without."""
        if not self._layout.average:
            return None
        return [self.state[param].get(EMA, param.detach()) if param in self.state else param.detach() for param in self._params()]

    def reset_masters(self) -> None:
        """Takes 16-bit parameters as they are for their masters: to be called after writing to them where `master` keeps something."""
        for param in self._params():
            if param in self.state:
                self.state[param].pop(MASTER, None)

    def share_memory(self) -> None:
        """Moves the state to shared memory, for processes that train together."""
        for entry in self.state.values():
            for value in entry.values():
                if isinstance(value, torch.Tensor):
                    value.share_memory_()

    # Checkpoints

    def state_dict(self) -> dict[str, Any]:
        """torch's, which torch's class of this name loads, with one entry more, `"fastopt"`: formats, options, seed, skipped steps.

        8-bit state is in it as `Coded`, which torch's class decodes.  With the parameters, it resumes bit for bit.
        """
        return checkpoints.state_dict(self)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes on a checkpoint of this class, of torch's of this name, or of this one with other formats, as a copy.

        State comes in the formats of this optimizer, whatever it was kept in.  Raises TypeError or ValueError, with nothing changed,
        where it is of another rule, or of other parameters in number or shape.
        """
        checkpoints.load(self, state_dict)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "fastopt": checkpoints.own(self), "copies": list(self._copies.items())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({name: value for name, value in state.items() if name not in ("fastopt", "copies")})
        if "fastopt" in state:  # else it is a part of the state, as torch's load_state_dict sets it
            own = state["fastopt"]
            self._set_up(own, Options(own["options"]), own["seed"])
            self._copies = dict(state["copies"])
            self._skipped = own["skipped_steps"]
            self._step_supports_amp_scaling = bool(self.defaults.get("fused"))
        self._forget()


def name_of(group: Mapping[str, Any], index: int, i: int) -> str:
    """Of a group's parameter in messages."""
    names = group.get("param_names")  # which a checkpoint may have brought
    if isinstance(names, list) and i < len(names):
        return f"parameter {names[i]!r}"
    return f"param_groups[{index}]['params'][{i}]"
