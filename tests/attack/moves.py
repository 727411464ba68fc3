"""The moves of memory that `tests.attack.moved` makes: `python -m tests.attack.moves COUNT SEED` makes some, one line before and one after each."""

from __future__ import annotations

import functools
import json
import random
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import fastopt
import fastopt.torch
from fastopt.rules import RULES
from tests.support.cases import arguments_with_state
from tests.support.comparing import digest
from tests.support.torch_checkpoints import bits, everything

Move: TypeAlias = "Callable[[Any], Any]"
"""Moves an array or a tensor, or returns what takes its place."""

REFUSALS = (TypeError, ValueError, RuntimeError)
DTYPES: tuple[tuple[Any, torch.dtype], ...] = (
    (np.float32, torch.float32),
    (np.float64, torch.float64),
    (np.float16, torch.float16),
    (ml_dtypes.bfloat16, torch.bfloat16),
)


# Moves


def assigned(name: str, value: Callable[[Any], Any]) -> Move:
    return lambda array: setattr(array, name, value(array))


def locked(array: Any) -> None:
    array.flags.writeable = False


def swapped(tensor: torch.Tensor) -> None:
    tensor.data = torch.zeros_like(tensor)


def another_dtype(tensor: torch.Tensor) -> None:
    tensor.data = tensor.data.to(torch.float64 if tensor.dtype == torch.float32 else torch.float32)


def fake(tensor: torch.Tensor) -> torch.Tensor:
    with FakeTensorMode():
        return torch.ones(tensor.shape, dtype=tensor.dtype)


def freed(tensor: torch.Tensor) -> None:
    """Nothing is left: no step sees a storage that was cut to less than its tensor reaches over."""
    tensor.untyped_storage().resize_(0)


LOCK = "made read-only"
ARRAYS: dict[str, Move] = {
    "of another dtype": assigned("dtype", lambda array: {2: np.int16, 4: np.int32, 8: np.int64}[array.itemsize]),
    "of bytes": assigned("dtype", lambda array: np.uint8),
    "of another shape": assigned("shape", lambda array: (1, array.size)),
    "of strides 0": assigned("strides", lambda array: (0,)),
    "grown": lambda array: array.resize(3 * array.size + 100_000, refcheck=False),
    "shrunk": lambda array: array.resize(array.size - 1, refcheck=False),
    LOCK: locked,
}
VIEWS: dict[str, Move] = {
    "base grown": lambda view: view.base.resize(3 * view.base.size + 100_000, refcheck=False),
    "base shrunk": lambda view: view.base.resize(view.base.size // 2, refcheck=False),
}
TENSORS: dict[str, Move] = {
    "swapped": swapped,
    "of another dtype": another_dtype,
    "grown": lambda tensor: tensor.resize_(3 * tensor.numel() + 100_000),
    "freed": freed,
    "set to another": lambda tensor: tensor.set_(torch.zeros(tensor.numel(), dtype=tensor.dtype)),
    "of another layout": lambda tensor: tensor.as_strided_((tensor.numel() // 2,), (2,)),
}
WITHOUT_MEMORY: dict[str, Move] = {
    "freed": freed,
    "fake": fake,
    "efficient zeros": lambda tensor: torch._efficientzerotensor(tensor.shape, dtype=tensor.dtype),
}


# Optimizers over arrays


def settings(dice: random.Random, dtype: str) -> tuple[str, dict[str, Any]]:
    """A rule, and arguments with state, formats and stages."""
    rule = dice.choice(list(RULES))
    single = dtype != "float64"
    more = {
        "lr": 0.01,
        "state_dtype": dice.choice([None, "bfloat16", "8bit"]) if single else None,
        "master": dice.choice([None, "24bit", "float32"]) if dtype in ("float16", "bfloat16") else None,
        "max_norm": dice.choice([None, 0.5]),
        "clip_value": dice.choice([None, 0.5]),
        "ema_decay": dice.choice([None, 0.9]),
        "skip_nonfinite": dice.choice([False, True]),
        "maximize": dice.choice([False, True]),
    }
    return rule, arguments_with_state(rule) | more


@dataclass
class Victims:
    """Memory of some numbers, in arrays, views, tensors, and canaries allocated between them, which nobody may write."""

    dice: random.Random
    numpy: Any
    torch: torch.dtype
    canaries: list[Any] = field(default_factory=list)

    def make(self, sort: str, size: int) -> Any:
        self.canaries.append(np.full(size, 7, self.numpy))
        if sort == "tensor":
            return torch.ones(size, dtype=self.torch)
        array = np.ones(2 * size if sort == "view" else size, self.numpy)
        self.canaries.append(np.full(size, 7, self.numpy))
        return array[:size] if sort == "view" else array

    def alive(self) -> bool:
        return all((canary == 7).all() for canary in self.canaries)


def move_of_arrays(dice: random.Random) -> tuple[str, str]:
    """Moves a parameter, copy or bound gradient of an optimizer over arrays."""
    numpy, dtype = dice.choice(DTYPES)
    rule, arguments = settings(dice, str(dtype).removeprefix("torch."))
    victims = Victims(dice, numpy, dtype)
    sizes = [dice.randrange(4, 600) for _ in range(dice.randrange(1, 4))]
    sorts = {role: [dice.choice(["array", "view", "tensor"]) for _ in sizes] for role in ("params", "copy_to", "grads")}
    given = {role: [victims.make(*each) for each in zip(own, sizes, strict=True)] for role, own in sorts.items()}
    role, at = dice.choice(list(sorts)), dice.randrange(len(sizes))
    moves = {"array": ARRAYS, "view": VIEWS, "tensor": TENSORS}[sorts[role][at]]
    kind = dice.choice(list(moves))
    optimizer = getattr(fastopt, rule)(**given, **arguments)
    optimizer.step()
    moves[kind](given[role][at])
    moved = given[role].pop(at)
    others = [array for arrays in given.values() for array in arrays]
    before, seen = digest_of(optimizer.state_dict()), [digest_of(each) for each in others]
    fresh: list[Any] = [np.ones(size, numpy) for size in sizes]
    calls: list[Callable[[], Any]] = [optimizer.step]
    if role != "grads":
        calls += [lambda: optimizer.step(fresh)]
        if not (arguments["max_norm"] or arguments["skip_nonfinite"]):
            calls += [lambda: optimizer.step_part(at, fresh[at])]
    name = f"{sorts[role][at]} of {role} {kind}"
    if role == "grads" and kind == LOCK:  # gradients are only read
        optimizer.step()
        assert optimizer.steps == 2
        return name, "stepped"
    for call in calls:
        assert_refused(call, rf"{role}(\[{at}\])?")
    assert victims.alive(), "somebody else's memory was written"
    assert digest_of(optimizer.state_dict()) == before, "the state was written"
    assert [digest_of(each) for each in others] == seen, "another array was written"
    if role == "grads":
        optimizer.step(fresh)
        assert optimizer.steps == 2
    del moved
    return name, "refused by name"


def move_of_new_gradients(dice: random.Random) -> tuple[str, str]:
    """Gives an optimizer over arrays a gradient that has no memory."""
    numpy, dtype = dice.choice(DTYPES)
    rule, arguments = settings(dice, str(dtype).removeprefix("torch."))
    victims = Victims(dice, numpy, dtype)
    size, kind = dice.randrange(4, 600), dice.choice(list(WITHOUT_MEMORY))
    param, gradient = victims.make("array", size), victims.make("tensor", size)
    gradient = WITHOUT_MEMORY[kind](gradient) if kind in ("fake", "efficient zeros") else emptied(WITHOUT_MEMORY[kind], gradient)
    optimizer = getattr(fastopt, rule)(param, **arguments)
    before = digest_of([optimizer.state_dict(), param])
    for call in (lambda: optimizer.step(gradient), lambda: optimizer.step([gradient]), lambda: fastopt.global_norm(gradient)):
        assert_refused(call, r"grads(\[0\])?")
    assert digest_of([optimizer.state_dict(), param]) == before
    assert victims.alive()
    return f"gradient {kind}", "refused by name"


def emptied(move: Move, tensor: torch.Tensor) -> torch.Tensor:
    move(tensor)
    return tensor


def assert_refused(call: Callable[[], Any], name: str) -> None:
    """`name`: how the error begins, as a pattern."""
    refusal = None
    try:
        call()
    except REFUSALS as error:
        refusal = error
    assert refusal is not None, f"a step over {name} that moved"
    assert re.match(f"{name}: ", str(refusal)), f"a nameless error: {refusal!r}"


def digest_of(value: Any) -> Any:
    """A digest of the arrays and tensors in a nest, and everything else as it is."""
    if isinstance(value, dict):
        return {key: digest_of(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [digest_of(each) for each in value]
    if isinstance(value, torch.Tensor):
        return bits(value)
    return digest(value) if isinstance(value, np.ndarray) else value


# fastopt.torch


def moved(tensor: torch.Tensor) -> None:
    """Moves the elements, which stay what they are."""
    tensor.data = tensor.data.clone()


def moved_storage(tensor: torch.Tensor) -> None:
    storage = tensor.untyped_storage()
    storage.resize_(3 * storage.nbytes() + 100_000)


FOLLOWED: dict[str, tuple[str, Move, Move]] = {
    "parameter swapped": ("param", swapped, torch.zeros_like),
    "parameter moved": ("param", moved, torch.clone),
    "parameter's storage moved": ("param", moved_storage, torch.clone),
    "gradient moved": ("grad", moved, torch.clone),
    "gradient of efficient zeros": ("grad", WITHOUT_MEMORY["efficient zeros"], torch.zeros_like),
    "state moved": ("state", moved, torch.clone),
    "state replaced": ("state", torch.zeros_like, torch.zeros_like),
}
"""What moves, how, and the values that are there afterwards."""
GONE: dict[str, tuple[str, Move]] = {
    "parameter freed": ("param", freed),
    "gradient freed": ("grad", freed),
    "gradient fake": ("grad", fake),
    "state freed": ("state", freed),
}


def move_of_torch(dice: random.Random) -> tuple[str, str]:
    """Moves a parameter, gradient or state of one of torch's optimizers."""
    _, dtype = dice.choice(DTYPES)
    rule, arguments = settings(dice, str(dtype).removeprefix("torch."))
    arguments["state_dtype"] = None  # 8-bit state has no memory of its own
    sizes = [dice.randrange(4, 600) for _ in range(dice.randrange(1, 4))]
    seed, at = dice.randrange(2**32), dice.randrange(len(sizes))
    optimizer, twin = (stepped(seed, rule, arguments, dtype, sizes) for _ in range(2))
    kind = dice.choice([*FOLLOWED, *GONE])
    if kind in FOLLOWED:
        what, move, values = FOLLOWED[kind]
        change(optimizer, at, what, move)
        change(twin, at, what, functools.partial(write, values))
        for each in (optimizer, twin):
            each.step()
        assert everything(optimizer) == everything(twin), "other numbers than without the move"
        return f"fastopt.torch, {kind}", "followed"
    change(optimizer, at, *GONE[kind])
    gone = optimizer.param_groups[0]["params"][at]
    others = [param for param in optimizer.param_groups[0]["params"] if param is not gone]
    before = bits([others, [optimizer.state[param] for param in others]])
    assert_refused(optimizer.step, rf"param_groups\[0\]\['params'\]\[{at}\]")
    assert bits([others, [optimizer.state[param] for param in others]]) == before, "another parameter was written"
    return f"fastopt.torch, {kind}", "refused by name"


def write(values: Move, tensor: torch.Tensor) -> None:
    """Writes what a move leaves, without the move."""
    tensor.detach().copy_(values(tensor.detach()))


def stepped(seed: int, rule: str, arguments: dict[str, Any], dtype: torch.dtype, sizes: list[int]) -> Any:
    """An optimizer after a step, with gradients for the next; the same for the same arguments."""
    source = torch.Generator().manual_seed(seed)

    def numbers(size: int) -> torch.Tensor:
        return torch.randn(size, generator=source, dtype=torch.float64).to(dtype)

    params = [torch.nn.Parameter(numbers(size)) for size in sizes]
    optimizer = getattr(fastopt.torch, rule)(params, **arguments)
    for last in (False, True):
        for param in params:
            param.grad = numbers(param.numel())
        if not last:
            optimizer.step()
    return optimizer


def change(optimizer: Any, at: int, what: str, move: Move) -> None:
    """Moves the tensor that is asked for, or puts another in its place."""
    param = optimizer.param_groups[0]["params"][at]
    entry = optimizer.state[param]
    slot = next(slot.name for slot in optimizer.rule.slots if slot.name in entry)
    replaced = move({"param": param, "grad": param.grad, "state": entry[slot]}[what])
    if replaced is not None and what == "grad":
        param.grad = None
        torch.Tensor.grad.__set__(param, replaced)
    elif replaced is not None:
        entry[slot] = replaced


KINDS = (move_of_arrays, move_of_arrays, move_of_new_gradients, move_of_torch)


def main(count: int, seed: int) -> int:
    """Makes moves: its number before each, how it ended after it."""
    warnings.simplefilter("ignore")  # NumPy's, of what the moves do
    dice = random.Random(seed)
    for i in range(count):
        own = dice.randrange(2**32)
        print(f"{i}", flush=True)
        move = dice.choice(KINDS)
        print(json.dumps(move(random.Random(own))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
