"""`Optimizer`, what the classes have in common: torch's Optimizer around a plan of fastopt's."""

from __future__ import annotations

import copy
import inspect
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from .. import _core, buffers
from ..arguments import bind_arguments
from ..formats import STORAGE, check_seed, with_variance_floor
from ..groups import naming
from ..memory import BLOCK
from ..options import Options, StepOptions
from ..rules import OPTIONS, Rule
from ..tensors import check_storage
from .arguments import check_flags, number
from .binding import Counts, Member
from .state import EMA, STEP, Layout
from .steps import Steps
from .views import same_layout, words

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Optimizer"]


class Optimizer(torch.optim.Optimizer):
    """What the rules' classes have in common.  Use the classes: `SGD`, `Adam`, `AdamW` and the others."""

    rule: ClassVar[Rule]
    __signature__: ClassVar[inspect.Signature]
    param_groups: list[dict[str, Any]]
    state: defaultdict[Any, Any]
    grad_scale: Any  # these two are there while a GradScaler makes a step
    found_inf: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if type(self) is Optimizer:
            raise TypeError("Optimizer: expected one of the rules' classes, such as AdamW")
        given = bind_arguments(type(self).__name__, type(self).__signature__, args, kwargs)
        params, copies = given.pop("params"), given.pop("copy_to")
        seed = check_seed(given.pop("seed"))
        formats = {each.name: each.check(given.pop(each.name)) for each in STORAGE if each.choices}
        options = Options({option.name: given.pop(option.name) for option in OPTIONS})
        self._set_up(formats, options, seed)
        check_flags(given)
        self._step_supports_amp_scaling = bool(given.get("fused"))
        self._copies: dict[torch.Tensor, torch.Tensor] = {}
        super().__init__(params, given)
        self._copies = self._checked_copies(copies)

    def _set_up(self, formats: Mapping[str, Any], options: Options, seed: int) -> None:
        """What is not torch's."""
        self.layout = Layout(self.rule, formats["state_dtype"], formats["master"], average=options["ema_decay"] is not None)
        self.names = [h.name for h in self.rule.arguments]
        self._options, self.seed = options, seed
        self._counts = Counts()
        self._forget()

    def _forget(self) -> None:
        """Lets the next steps bind everything anew."""
        self._steps: Steps | None = None
        self._single: dict[torch.Tensor, Steps] = {}  # of parameters that take their steps in backward

    # Groups

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """torch's; besides, everything about the group is checked before it is added."""
        if isinstance(param_group, dict):
            merged = {**self.defaults, **param_group}
            with naming(f"param_groups[{len(self.param_groups)}]" if self.param_groups else ""):
                values = self.check_group(merged)
            super().add_param_group(param_group)
            try:
                self._check_params(self.param_groups[-1]["params"], values)
            except Exception:
                self.param_groups.pop()
                raise
        else:
            super().add_param_group(param_group)  # which says what is wrong
        if self.rule.name == "Adagrad":  # whose state torch makes at once
            self._allocate(self.param_groups[-1], values)

    def check_group(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """The hyperparameters of a group, checked, with tensors as numbers; but `lr` stays a tensor where it is on a GPU."""
        check_flags(dict(group))
        given = {name: group[name] for name in self.names}
        lr = given["lr"]
        if callable(lr) and not isinstance(lr, torch.Tensor):
            raise TypeError("lr: got a callable, expected a number or a tensor; torch.optim.lr_scheduler has schedules")
        on_gpu = isinstance(lr, torch.Tensor) and lr.is_cuda
        values: dict[str, Any] = {}
        for name, value in given.items():
            with naming(name if isinstance(value, torch.Tensor) and value.numel() != 1 else ""):
                values[name] = 0.0 if name == "lr" and on_gpu else number(value)
        checked = self.rule.check(with_variance_floor(values, self.layout.state_dtype))
        return {**checked, "lr": lr} if on_gpu else checked

    def _check_params(self, params: list[torch.Tensor], values: Mapping[str, Any]) -> None:
        slots = [self.rule.slot(name) for name in self.rule.variant(values).slots]
        named = [(f"params[{i}]", str(param.dtype).removeprefix("torch.")) for i, param in enumerate(params)]
        check_storage(named, self.rule.name, slots, self.layout.state_dtype, self.layout.master)

    def _allocate(self, group: dict[str, Any], values: Mapping[str, Any]) -> None:
        for i, param in enumerate(group["params"]):
            self.state[param].update(self.layout.completed({}, param, values, f"params[{i}]"))

    def _checked_copies(self, copies: Any) -> dict[torch.Tensor, torch.Tensor]:
        """Of `copy_to` by parameter."""
        if copies is None:
            return {}
        params = self._params()
        copies = [copies] if isinstance(copies, torch.Tensor) else list(copies)
        if len(copies) != len(params):
            raise ValueError(f"copy_to: got {len(copies)} tensors, expected {len(params)}, one or None for each parameter")
        for i, (value, param) in enumerate(zip(copies, params, strict=True)):
            if value is None:
                continue
            known = isinstance(value, torch.Tensor) and str(value.dtype).removeprefix("torch.") in buffers.DTYPES
            if not known or value.device != param.device or not same_layout(value, param):
                came = words(value) if isinstance(value, torch.Tensor) else buffers.describe(value)
                raise ValueError(
                    f"copy_to[{i}]: got {came}, expected a floating-point tensor laid out as its parameter: {words(param)}"
                )
        return {param: value for param, value in zip(params, copies, strict=True) if value is not None}

    def _params(self) -> list[torch.Tensor]:
        if len(self.param_groups) == 1:
            only: list[torch.Tensor] = self.param_groups[0]["params"]
            return only
        return [param for group in self.param_groups for param in group["params"]]

    def members(self, params: list[torch.Tensor]) -> list[Member]:
        """These parameters, all or some, with their place among all of them."""
        wanted = set(map(id, params))
        members: dict[int, Member] = {}
        offset = 0
        for index, group in enumerate(self.param_groups):
            for i, param in enumerate(group["params"]):
                if id(param) in wanted:
                    members[id(param)] = Member(param, name_of(group, index, i), index, offset, self._copies.get(param))
                offset += -(-param.numel() // BLOCK) * BLOCK
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
        bound = self._options.overridden(options, StepOptions) if options else self._options.bound
        params = self._params()
        grads, given = _core.gradients_of(params)
        if given:
            if hasattr(self, "found_inf"):
                amp = self._unscaled(grads, options)
                if amp is None:
                    return loss
                bound = amp
            if self._steps is None or not self._steps.serves(self, params, grads, given):
                self._steps = Steps(self, params, grads, self.counts)
            self._steps.step(grads, given, bound)
        return loss

    def check_single_steps(self) -> None:
        for name in ("max_norm", "skip_nonfinite"):
            if self._options[name]:
                raise RuntimeError(
                    f"{name}: got {self._options[name]!r}, which needs all gradients at once, expected a step without it"
                )

    def step_parameter(self, param: torch.Tensor) -> None:
        """The step of one parameter that has a gradient; `fused_in_backward` calls it.

        RuntimeError with `max_norm` or `skip_nonfinite`, which need all gradients at once.
        """
        self.check_single_steps()
        if param.grad is not None:
            steps, grads = self._single.get(param), [param.grad]
            if steps is None or not steps.serves(self, [param], grads, 1):
                steps = self._single[param] = Steps(self, [param], grads, self.counts)
            steps.step(grads, 1, self._options.bound)

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
        return self.counts.skipped

    @property
    def ema_params(self) -> list[torch.Tensor] | None:
        """The averages of the parameters (`state[p]["ema"]`), in order: of one that had no step yet the parameter itself; None without."""
        if not self.layout.average:
            return None
        return [self.state[param].get(EMA, param.detach()) if param in self.state else param.detach() for param in self._params()]

    @property
    def counts(self) -> Counts:
        return self._counts if self._steps is None else self._steps.counts

    def reset_masters(self) -> None:
        """Takes 16-bit parameters as they are for their masters: to be called after writing to them where `master` keeps something."""
        for param in self._params():
            if param in self.state:
                self.state[param].pop("master", None)

    def share_memory(self) -> None:
        """Moves the state to shared memory, for processes that train together."""
        for entry in self.state.values():
            for value in entry.values():
                if isinstance(value, torch.Tensor):
                    value.share_memory_()

    # Checkpoints

    def state_dict(self) -> dict[str, Any]:
        """torch's, which torch's class of this name loads, with one entry more, `"fastopt"`: formats, options, seed and counts.

        8-bit state is in it as `Coded`, which torch's class decodes.  With the parameters, it resumes bit for bit.
        """
        state_dict: dict[str, Any] = super().state_dict()
        groups = {i: group for group in state_dict["param_groups"] for i in group["params"]}
        state_dict["state"] = {
            key: {**entry, STEP: exported(entry[STEP], groups.get(key, {}))}
            if isinstance(entry, dict) and STEP in entry
            else entry
            for key, entry in state_dict["state"].items()
        }
        state_dict["fastopt"] = self._own()
        return state_dict

    def _own(self) -> dict[str, Any]:
        counts = self.counts
        return {
            "state_dtype": self.layout.state_dtype,
            "master": self.layout.master,
            "options": dict(self._options),
            "seed": self.seed,
            "steps": counts.completed,
            "skipped_steps": counts.skipped,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes on a checkpoint of this class, of torch's of this name, or of this one with other formats, as a copy.

        State comes in the formats of this optimizer, whatever it was kept in.  Raises TypeError or ValueError, with nothing changed,
        where it is of another rule, or of other parameters in number or shape.
        """
        state_dict = state_dict.copy()
        for pre_hook in self._optimizer_load_state_dict_pre_hooks.values():
            replaced = pre_hook(self, state_dict)
            if replaced is not None:
                state_dict = replaced
        saved = copy.deepcopy(state_dict["param_groups"])
        if len(saved) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(new["params"]) != len(old["params"]) for new, old in zip(saved, self.param_groups, strict=True)):
            raise ValueError("loaded state dict contains a parameter group that doesn't match the size of optimizer's group")
        groups = []
        for i, (new, old) in enumerate(zip(saved, self.param_groups, strict=True)):
            names = {"param_names": old["param_names"]} if "param_names" in old else {}
            groups.append({**self.defaults, **names, **new, "params": old["params"]})
            with naming(f"state_dict['param_groups'][{i}]"):
                self.check_group(groups[-1])
        own = state_dict.get("fastopt", {})
        options = self._options.accept(own.get("options", {}))
        seed = check_seed(own.get("seed", self.seed))
        state = self._loaded(state_dict["state"], saved, groups)
        self.state, self.param_groups = state, groups
        self._options.assign(options)
        self.seed, self._counts = seed, Counts(own.get("steps", 0), own.get("skipped_steps", 0))
        self._forget()
        for post_hook in self._optimizer_load_state_dict_post_hooks.values():
            post_hook(self)

    def _loaded(self, entries: Mapping[Any, Any], saved: list[Any], groups: list[Any]) -> defaultdict[Any, Any]:
        """The entries by parameter, each as a copy in the formats of this optimizer."""
        params = {
            key: (p, i)
            for i, (old, new) in enumerate(zip(saved, groups, strict=True))
            for key, p in zip(old["params"], new["params"], strict=True)
        }
        values = [self.check_group(group) for group in groups]
        state: defaultdict[Any, Any] = defaultdict(dict)
        with torch.no_grad():
            for key, entry in entries.items():
                if key not in params:
                    state[key] = entry
                    continue
                param, group = params[key]
                state[param] = self.layout.loaded(entry, param, values[group], f"state_dict['state'][{key!r}]")
        return state

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_own": self._own(), "_copies": list(self._copies.items())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        own, copies = state.pop("_own"), state.pop("_copies")
        super().__setstate__(state)
        options = Options(own["options"])
        self._set_up(own, options, own["seed"])
        self._copies = dict(copies)
        self._counts = Counts(own["steps"], own["skipped_steps"])
        self._step_supports_amp_scaling = bool(self.defaults.get("fused"))


def name_of(group: Mapping[str, Any], index: int, i: int) -> str:
    """Of a group's parameter in messages."""
    return f"parameter {group['param_names'][i]!r}" if "param_names" in group else f"param_groups[{index}]['params'][{i}]"


def exported(step: Any, group: Mapping[str, Any]) -> Any:
    """A count as torch's optimizers keep it: in floating point, on the GPU only where they are to run there without the host."""
    if not isinstance(step, torch.Tensor) or step.is_floating_point():
        return step
    step = step.to(torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32)
    return step if group.get("capturable") or group.get("fused") else step.cpu()
