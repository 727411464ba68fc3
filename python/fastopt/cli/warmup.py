"""`fastopt warmup`: compiles kernels for CUDA into the cache, so that the first step on a GPU finds them there."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from time import perf_counter

from .._arrays.buffers import GRADIENTS
from .._cuda import compiler
from .._cuda.kernels import WRITE, GradientKernel, StepKernel, grad_format, step_kernels
from .._storage.formats import param_format
from .progress import Progress
from .rows import ROWS
from .words import duration

__all__ = ["gradient_kernels", "run", "wanted"]


def run(args: argparse.Namespace) -> int:
    from rich.console import Console

    console, start = Console(), perf_counter()
    try:
        kernels = wanted(args)
        compiler.nvrtc()
        archs = args.arch or archs_here()
        with Progress("warmup", "kernels", len(kernels) * len(archs)) as progress:
            work = [(kernel, arch) for arch in archs for kernel in kernels]
            compiled = fill(work, lambda: progress.advance(", ".join(archs)))
    except (ImportError, ValueError, RuntimeError, OSError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        print(f"fastopt: {' '.join(lines[:2])}", file=sys.stderr)
        return 2
    there = len(kernels) * len(archs) - compiled
    summary = f"{', '.join(archs)}: compiled {compiled}, {there} were there, {duration(perf_counter() - start)}"
    console.print(summary, highlight=False, soft_wrap=True)
    return 0


def wanted(args: argparse.Namespace) -> list[compiler.Kernel]:
    """The kernels, each once; ValueError if no step has such arguments."""
    rows = args.rules or ROWS
    kernels: list[compiler.Kernel]
    if args.all:
        given = [f"--{name.replace('_', '-')}" for name in ("param", "master", "grad", "state_dtype") if getattr(args, name)]
        if given:
            raise ValueError(f"{given[0]}: got it together with --all, which is every format")
        kernels = [*step_kernels(iter([row.rule for row in rows])), *gradient_kernels()]
    else:
        param, master, state_dtype = args.param or "float32", args.master, args.state_dtype
        grad = args.grad or param
        dtype = "float64" if param == "float64" else "float32"
        check(param, master, grad, state_dtype)
        format, _ = param_format(param, master)
        own = "float64" if grad == "float64" else "float32"  # of gradients alone
        kernels = [GradientKernel("Sweep", each, grad_format(each, grad)) for each in (dtype, own)]
        kernels.append(GradientKernel("Clip", own, grad_format(own, grad)))
        for row in rows:
            variant = row.rule.variant(row.rule.check({**row.rule.defaults, **row.arguments}))
            state = state_dtype if variant.slots and state_dtype != dtype else None
            formats = (format.name if format else "", grad_format(dtype, grad), state)
            kernels.append(StepKernel(row.rule, variant, dtype, *formats))
    return list({kernel.name: kernel for kernel in [*kernels, WRITE]}.values())


def check(param: str, master: str | None, grad: str, state_dtype: str | None) -> None:
    """Raises ValueError if these formats do not go together."""
    grads = GRADIENTS["float64" if param == "float64" else "float32"]
    states = ("float64",) if param == "float64" else ("float32", "bfloat16", "8bit")
    if grad not in grads:
        raise ValueError(f"--grad: got {grad}, expected one of {', '.join(grads)} for {param} parameters")
    if master is not None and param not in ("bfloat16", "float16"):
        raise ValueError(f"--master: got {master}, expected none for {param} parameters; bfloat16 and float16 can have one")
    if state_dtype is not None and state_dtype not in states:
        raise ValueError(f"--state-dtype: got {state_dtype}, expected one of {', '.join(states)} for {param} parameters")


def gradient_kernels() -> Iterator[GradientKernel]:
    """All of them: the sweep before a step runs in the step's arithmetic, functions of gradients alone in the gradients'."""
    for dtype, grads in GRADIENTS.items():
        for grad in grads:
            yield GradientKernel("Sweep", dtype, grad_format(dtype, grad))
            if dtype == "float32" or grad == "float64":
                yield GradientKernel("Clip", dtype, grad_format(dtype, grad))


def archs_here() -> list[str]:
    """The architectures of this machine's GPUs; ValueError if it has none."""
    from cupy.cuda import Device, runtime

    try:
        return sorted({f"sm_{Device(device).compute_capability}" for device in range(runtime.getDeviceCount())})
    except runtime.CUDARuntimeError as error:  # also if there is a driver and no GPU
        raise ValueError(f"--arch: no GPU is found here ({error}); name an architecture, such as sm_90") from error


def fill(work: list[tuple[compiler.Kernel, str]], tick: Callable[[], object]) -> int:
    """Puts kernels into the cache, several at once; returns how many had to be compiled."""
    executor = ThreadPoolExecutor(os.cpu_count())  # NVRTC works outside Python's lock
    try:
        compiled = 0
        for done in as_completed([executor.submit(compile_one, *each) for each in work]):
            compiled += done.result()
            tick()
        return compiled
    finally:
        executor.shutdown(cancel_futures=True)


def compile_one(kernel: compiler.Kernel, arch: str) -> bool:
    """Compiles a kernel unless the cache has it; returns whether it did.  OSError if the cache cannot be written."""
    path = compiler.place(kernel, arch)
    if compiler.read(path) is not None:
        return False
    compiler.cubin(kernel, arch)
    if not path.exists():
        raise OSError(f"cannot write into {path.parent}; FASTOPT_CACHE_DIR names another folder")
    return True
