"""`Optimizer`, what the classes have in common: torch's Optimizer around a plan of fastopt's."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from .. import _core
from .._engine.arguments import bind_arguments
from .._engine.group_formats import FORMAT_KEYS
from .._engine.options import Options, StepOptions
from .._engine.tensors import MASTER
from .._storage.formats import check_seed
from ..rules import OPTIONS, Rule
from ..rules.words import describe, naming
from . import checkpoints
from .arguments import check_flags, check_keys, check_params, check_tensors
from .book import Book
from .members import check_copy
from .state import EMA
from .steps import Steps
from .turns import bind
from .views import dense, refuse_wrapper

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Optimizer"]


class Optimizer(torch.optim.Optimizer):
    """What the rules' classes have in common.  Use the classes: `SGD`, `Adam`, `AdamW` and the others."""

    rule: ClassVar[Rule]
    _signature: ClassVar[inspect.Signature]
    grad_scale: Any  # these two are there while a GradScaler makes a step
    found_inf: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if type(self) is Optimizer:
            raise TypeError("Optimizer: expected one of the rules' classes, such as AdamW")
        given = bind_arguments(type(self).__name__, self._signature, args, kwargs, self.rule.name)
        params, copies = given.pop("params"), given.pop("copy_to")
        check_params(params, self.rule)
        seed = check_seed(given.pop("seed"))
        options = Options({option.name: given.pop(option.name) for option in OPTIONS})
        self._book = Book(self.rule, given, options, seed)
        check_flags(given)
        check_tensors(self.rule, given)
        self._step_supports_amp_scaling = bool(given.get("fused"))
        super().__init__(params, given)
        self._book.seen = False
        self._book.copies.update(self._checked_copies(copies))

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.rule.defaults or name == "learning_rate":
            target = "lr" if name == "learning_rate" else name
            raise AttributeError(
                f'{name}: hyperparameters are in the groups; did you mean optimizer.param_groups[0]["{target}"]?'
            )
        super().__setattr__(name, value)

    # State and groups.  They are torch's, and live in the book.

    @property
    def state(self) -> defaultdict[Any, Any]:
        """torch's: parameter -> dict.  Its tensors are live: what is written to them, or put in their place, acts on the next step."""
        self._book.seen = True
        return self._book.state

    @state.setter
    def state(self, value: defaultdict[Any, Any]) -> None:
        self._book.seen = True
        self._book.state = value

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """torch's: dicts with the parameters and hyperparameters of each group; a change acts on the next step."""
        return self._book.groups

    @param_groups.setter
    def param_groups(self, value: list[dict[str, Any]]) -> None:
        if not isinstance(value, list) or not all(isinstance(group, dict) and "params" in group for group in value):
            raise TypeError(f"param_groups: got {describe(value)}, expected a list of dicts, each with 'params'")
        for group in value:
            self._book.complete(group)
        self._book.groups = value

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """torch's; besides, everything about the group is checked before it is added.

        `"state_dtype"` and `"master"` in a group are its formats; other arguments of the optimizer that hold for all groups are refused by name.
        """
        book = self._book
        if not isinstance(param_group, dict):
            super().add_param_group(param_group)  # which says what is wrong
        merged = {**self.defaults, **param_group}
        with naming(f"param_groups[{len(book.groups)}]" if book.groups else ""):
            check_keys(param_group, self.rule)
            values = book.check_group(merged)
        super().add_param_group(param_group)
        try:
            added = book.last_group()
            for member in added:
                refuse_wrapper(member.param, member.name)
            named = [(f"params[{member.position}]", member.param) for member in added]
            layout = book.layout_of(param_group)
            layout.check(named, values, layout.formats.master)
            if self.rule.name == "Adagrad":  # whose state torch makes at once
                book.allocate(added)
        except BaseException:
            book.groups.pop()
            raise

    def _checked_copies(self, copies: Any) -> dict[torch.Tensor, torch.Tensor]:
        """The tensors of `copy_to` by parameter."""
        if copies is None:
            return {}
        params = self._book.params()
        copies = [copies] if isinstance(copies, torch.Tensor) else list(copies)
        if len(copies) != len(params):
            raise ValueError(f"copy_to: got {len(copies)} tensors, expected {len(params)}, one or None for each parameter")
        for i, (value, param) in enumerate(zip(copies, params, strict=True)):
            if value is not None:
                check_copy(value, dense(param), f"copy_to[{i}]")
        return {param: value for param, value in zip(params, copies, strict=True) if value is not None}

    # The step

    def step(self, closure: Callable[[], Any] | None = None, **options: Unpack[StepOptions]) -> Any:
        """One step of every parameter that has a gradient, in place, in one call for all tensors of a device.

        `closure`: evaluates the model again and returns the loss, which `step` then returns.  `grad_scale`, `skip_nonfinite`,
        `clip_value`, `max_norm`, `norm_eps`, `ema_decay` and `zero_grad`, by name, hold for this step in place of those in
        `optimizer.options`.

        Raises RuntimeError for gradients and parameters that the kernels do not take (sparse, without memory), TypeError or ValueError for
        hyperparameters; nothing was written then.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._step(options)
        return loss

    @torch._disable_dynamo  # torch.compile has nothing to trace here, and would warn of it
    def _step(self, options: StepOptions) -> None:
        book = self._book
        bound = book.options.overridden(options, StepOptions) if options else book.options.bound
        params = book.params()
        grads, given = _core.gradients_of(params)
        if given:
            if "found_inf" in self.__dict__:
                amp = self._unscaled(grads, options)
                if amp is None:
                    return
                bound = amp
            steps = book.steps
            if steps is None or not steps.serves(book, params, grads, given):
                del steps
                book.let_go()  # with memory that may be needed
                steps = bind(book, grads, book.skipped)
                book.keep(steps, params)
            steps.step(grads, given, bound, seen=book.seen)

    def prepare_single_steps(self, params: list[torch.Tensor]) -> None:
        """Makes the state of parameters that `step_parameter` is to step: between gradients that come and go it would leave gaps in the heap.

        RuntimeError with `max_norm` or `skip_nonfinite`, which need all gradients at once.
        """
        self._check_single_steps()
        self._book.allocate([self._book.member(param) for param in params])

    def _check_single_steps(self) -> None:
        for name in ("max_norm", "skip_nonfinite"):
            if self.options[name]:
                raise RuntimeError(
                    f"{name}: got {self.options[name]!r}, which needs all gradients at once, expected a step without it"
                )

    @torch._disable_dynamo
    def step_parameter(self, param: torch.Tensor) -> None:
        """The step of one parameter that has a gradient; `fused_in_backward` calls it.

        RuntimeError with `max_norm` or `skip_nonfinite`, which need all gradients at once.
        """
        self._check_single_steps()
        book = self._book
        if param.grad is not None:
            steps, grads = book.single(param), [param.grad]
            if steps is None or not steps.serves(book, [param], grads, 1):
                steps = Steps(book, [book.member(param)], grads, book.skipped)
                book.keep_single(steps, param)
                # On a GPU `state` looks at the counts of the last plan that was made; others have to notice.
                book.seen = book.seen or param.is_cuda
            steps.step(grads, 1, book.options.bound, seen=book.seen)

    def _unscaled(self, grads: list[torch.Tensor | None], options: StepOptions) -> _core.Options | None:
        """What `torch.amp.GradScaler` asks of a fused optimizer: None if the step is to be skipped."""
        scale, found = self.grad_scale, self.found_inf
        if found.is_cuda:  # nothing is read back: the gradients are unscaled where they are, and the step looks for itself
            present = [grad for grad in grads if grad is not None]
            if scale is not None:
                torch._foreach_mul_(present, scale.double().reciprocal().float())
            return self.options.overridden({**options, "skip_nonfinite": True}, StepOptions)
        if found.item():
            return None
        factor = 1.0 if scale is None else scale.double().reciprocal().float().item()
        given = options.get("grad_scale")
        return self.options.overridden(
            {**options, "grad_scale": factor * (self.options["grad_scale"] if given is None else given)}, StepOptions
        )

    # What a step has seen

    @property
    def options(self) -> Options:
        """The stages that hold for all parameters; `optimizer.options["max_norm"] = 0.5` holds from the next step on."""
        return self._book.options

    @property
    def grad_norm(self) -> float | None:
        """Euclidean norm of all gradients of the last step, after `grad_scale` and `clip_value`, before `max_norm`; None if it was not measured."""
        return self._book.grad_norm

    @property
    def skipped_steps(self) -> int:
        """Steps that `skip_nonfinite` skipped."""
        return self._book.skipped

    @property
    def ema_params(self) -> list[torch.Tensor] | None:
        """The averages of the parameters (`state[p]["ema"]`), in order: of one that had no step yet the parameter itself; None without."""
        if not self._book.average:
            return None
        return [
            self.state[param].get(EMA, param.detach()) if param in self.state else param.detach() for param in self._book.params()
        ]

    def reset_masters(self) -> None:
        """Takes 16-bit parameters as they are for their masters: to be called after writing to them where `master` keeps something."""
        for param in self._book.params():
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
        for pre_hook in self._optimizer_state_dict_pre_hooks.values():
            pre_hook(self)
        self._book.seen = True  # what is handed out is live
        result = checkpoints.state_dict(self._book, self.skipped_steps)
        for post_hook in self._optimizer_state_dict_post_hooks.values():
            replaced = post_hook(self, result)
            if replaced is not None:
                result = replaced
        return result

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes on a checkpoint of this class, of torch's of this name, or of this one with other formats, as a copy.

        State comes in the formats of this optimizer, whatever it was kept in.  Raises TypeError or ValueError, with nothing changed, if it is
        of another rule, or of other parameters in number or shape.
        """
        given = checkpoints.as_dict(state_dict)
        for pre_hook in self._optimizer_load_state_dict_pre_hooks.values():
            replaced = pre_hook(self, given)
            if replaced is not None:
                given = replaced
        loaded = checkpoints.read(self._book, self.defaults, given)
        self.options.assign(loaded.options)
        self._book.seed = loaded.seed
        self.__setstate__({"state": loaded.state, "param_groups": loaded.groups})
        self._book.forget(loaded.skipped)
        self._book.seen = False  # all of it is new
        for post_hook in self._optimizer_load_state_dict_post_hooks.values():
            post_hook(self)

    def __repr__(self) -> str:
        return f"fastopt.torch.{super().__repr__()}"

    def __getstate__(self) -> dict[str, Any]:
        own = checkpoints.own(self._book, self.skipped_steps)
        return {**super().__getstate__(), "fastopt": own, "copies": list(self._book.copies.items())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        whole = "fastopt" in state  # else it is a part of the state, as torch's load_state_dict sets it
        if whole:
            own = state.pop("fastopt")
            state["defaults"] = {**{key: own[key] for key in FORMAT_KEYS}, **state["defaults"]}
            self._book = Book(self.rule, state["defaults"], Options(own["options"]), own["seed"])
            self._book.copies.update(state.pop("copies"))
            self._book.forget(own["skipped_steps"])
        for name in ("state", "param_groups"):
            if name in state:
                setattr(self, name, state.pop(name))
        super().__setstate__(state)
        if whole:
            self._step_supports_amp_scaling = bool(self.defaults.get("fused"))
        self._book.forget()
