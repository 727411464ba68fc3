"""Which kernel a step needs on a GPU, and its source: a few lines that choose from the headers in `csrc`."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from .. import _core
from .._arrays.buffers import GRADIENTS
from .._storage.formats import FORMAT_ARGUMENTS, FORMATS, param_format, state_format
from ..rules import RULES, Rule, Variant

__all__ = ["WRITE", "GradientKernel", "StepKernel", "headers", "step_kernels"]


@functools.cache
def headers() -> dict[str, str]:
    """The text of each header, by its name in `#include`."""
    return {**_core.cuda_headers(), "stdint.h": STDINT}


STDINT = """// NVRTC has no C library.
#pragma once
typedef signed char int8_t;
typedef short int16_t;
typedef int int32_t;
typedef long long int64_t;
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;
typedef unsigned long long uintptr_t;
#define INT64_MAX 9223372036854775807LL
"""


@dataclass(frozen=True)
class StepKernel:
    """The update of one variant of a rule, over tensors of certain formats; "" stands for the arithmetic's own."""

    rule: Rule
    variant: Variant
    dtype: str
    """The arithmetic's."""
    param: str
    grad: str
    state_dtype: str | None

    @property
    def name(self) -> str:
        """The kernel's name in the cache."""
        rule = f"{self.rule.arithmetic}-{self.variant.name}-{self.dtype}"
        formats = [
            self.param or self.dtype,
            self.grad or self.dtype,
            *([self.state_dtype or self.dtype] if self.variant.slots else []),
        ]
        return "-".join([rule, *formats]).replace(" ", "+")

    @property
    def blocks(self) -> int:
        """How many blocks of threads share a multiprocessor: as many as leave each thread the registers that it needs."""
        if self.dtype == "float64":
            return 2
        return 3 if self.state_dtype == "8bit" else 4

    @property
    def source(self) -> str:
        rule, variant = self.rule, self.variant
        slots = [rule.slot(name) for name in variant.slots]
        formats = [found.index if (found := state_format(self.state_dtype, slot)) else 0 for slot in slots]
        places = [rule.slots.index(slot) for slot in slots]
        mask = sum(1 << k for k, slot in enumerate(slots) if slot.kind == "non-negative")
        index = {"": 0, **{name: format.index for name, format in FORMATS.items()}}
        element = {"float32": "float", "float64": "double"}[self.dtype]
        loop = f"GridLoop<Rule, {element}, {index[self.param]}, {index[self.grad]}>"
        return f"""#include "cuda/kernels.h"
namespace fastopt::cuda {{
FASTOPT_VARIANT({rule.arithmetic}, {variant.name}, {len(slots)}, {mask})
struct Rule : {rule.arithmetic}_{variant.name} {{
  static constexpr int running = {len(rule.running)};
  static constexpr int slot(int k) {{ return {choice(places)}; }}
  static constexpr int format(int k) {{ return {choice(formats)}; }}
  static FASTOPT_INLINE void derive(const fastopt_group& group, int64_t t, double* running, double* out) {{
    derive_{rule.arithmetic}(group, t, running, out);
  }}
}};
}}
FASTOPT_KERNEL({self.blocks}, {loop})
"""


def choice(values: list[int]) -> str:
    """A C++ expression for the k-th of `values`."""
    return "".join(f"k == {k} ? {value} : " for k, value in enumerate(values)) + "0"


@dataclass(frozen=True)
class GradientKernel:
    """A loop over gradients alone: `loop` is "Sweep" (their norm) or "Clip"."""

    loop: str
    dtype: str
    grad: str

    @property
    def name(self) -> str:
        return f"{self.loop.lower()}-{self.dtype}-{self.grad or self.dtype}"

    @property
    def source(self) -> str:
        element = {"float32": "float", "float64": "double"}[self.dtype]
        index = FORMATS[self.grad].index if self.grad else 0
        return f'#include "cuda/kernels.h"\nFASTOPT_KERNEL(8, {self.loop}Loop<{element}, {index}>)\n'


@dataclass(frozen=True)
class WriteKernel:
    """Writes a few words from its parameters."""

    name: str = "write"
    source: str = '#include "cuda/kernels.h"\nFASTOPT_WRITE_KERNEL()\n'


WRITE = WriteKernel()


def grad_format(dtype: str, grad: str) -> str:
    """The format of gradients of dtype `grad`."""
    return "" if grad == dtype else grad


def step_kernels(rules: Iterator[Rule] | None = None) -> Iterator[StepKernel]:
    """Every kernel for which arguments of the classes can ask."""
    masters = next(each for each in FORMAT_ARGUMENTS if each.name == "master").choices
    params = {param_format(dtype, master)[0] for dtype in ("bfloat16", "float16") for master in masters}
    names = ["", *sorted(format.name for format in params if format is not None)]
    for rule in {rule.arithmetic: rule for rule in rules or RULES.values()}.values():
        for variant in rule.variants:
            compressed = ("bfloat16", "8bit") if variant.slots else ()
            for grad in GRADIENTS["float64"]:
                yield StepKernel(rule, variant, "float64", "", grad_format("float64", grad), None)
            for param in names:
                for grad in GRADIENTS["float32"]:
                    for state_dtype in (None, *compressed):
                        yield StepKernel(rule, variant, "float32", param, grad_format("float32", grad), state_dtype)
