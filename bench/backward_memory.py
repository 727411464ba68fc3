"""Memory that `fused_in_backward` saves: `python bench/backward_memory.py`.

It makes three training steps of AdamW over linear layers of GPT-2 small's sizes, on a batch of 8, so that activations are next to
nothing.  Each way runs in a fresh process; the figures are the peaks of the process's resident memory over its whole life.  They
are taken with two allocators: the C library's as it is, which keeps freed memory in gaps that not everything fits into, and one
that maps every large block by itself (`MALLOC_MMAP_THRESHOLD_`, which glibc reads), so that freed memory is free.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import torch

import fastopt.torch

WIDTH, BLOCKS, BATCH, STEPS = 768, 12, 8, 3
WAYS = ("torch fused", "fastopt step()", "fused_in_backward")
ALLOCATORS: dict[str, dict[str, str]] = {"malloc": {}, "blocks mapped": {"MALLOC_MMAP_THRESHOLD_": "65536"}}
"""Name of the allocator -> environment."""
MIB = 2**20


class Block(torch.nn.Module):
    """Layers of four shapes that keep values at one magnitude."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inside = [torch.nn.Linear(width, 3 * width), torch.nn.Linear(3 * width, width)]
        outside = [torch.nn.Linear(width, 4 * width), torch.nn.GELU(), torch.nn.Linear(4 * width, width)]
        self.layers = torch.nn.Sequential(*inside, *outside)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)


def peak() -> int:
    """The most bytes of memory that this process has held."""
    if sys.platform == "linux":  # whose getrusage includes the parent's peak
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS


def train(way: str, width: int, blocks: int) -> dict[str, int]:
    """Bytes of all gradients together, and the peak of this process, which does nothing else."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(*(Block(width) for _ in range(blocks)))
    params = list(model.parameters())
    optimizer = torch.optim.AdamW(params, fused=True) if way == "torch fused" else fastopt.torch.AdamW(params)
    hooks = fastopt.torch.fused_in_backward(model, optimizer) if way == "fused_in_backward" else None
    x = torch.randn(BATCH, width)
    for _ in range(STEPS):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    assert (params[0].grad is None) == (hooks is not None)
    return {"gradients": sum(param.nbytes for param in params), "peak": peak()}


def measure(way: str, width: int, blocks: int, environment: dict[str, str]) -> dict[str, int]:
    """`train` in a process of its own."""
    command = [sys.executable, __file__, way, str(width), str(blocks)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **environment})
    result: dict[str, int] = json.loads(done.stdout)
    return result


def table(width: int = WIDTH, blocks: int = BLOCKS, allocators: dict[str, dict[str, str]] = ALLOCATORS) -> list[str]:
    """The lines of the table."""
    found = {(way, name): measure(way, width, blocks, environment) for way in WAYS for name, environment in allocators.items()}
    gradients = next(iter(found.values()))["gradients"]

    def words(way: str, allocator: str) -> str:
        """The peak, and its distance from that of `fused_in_backward` as a share of all gradients."""
        most = found[way, allocator]["peak"]
        saved = most - found["fused_in_backward", allocator]["peak"]
        return f"{most / MIB:.0f} MiB" + (f" ({saved / gradients:+.0%})" if way != "fused_in_backward" else "")

    title = f"peak memory, AdamW; (more than fused_in_backward has, of the gradients' {gradients / MIB:.0f} MiB)"
    rows = [f"{way:20s}" + "".join(f"{words(way, name):>20s}" for name in allocators) for way in WAYS]
    return [title, f"{'':20s}" + "".join(f"{name:>20s}" for name in allocators), *rows]


def main() -> None:
    if sys.argv[1:]:
        way, width, blocks = sys.argv[1:]
        print(json.dumps(train(way, int(width), int(blocks))))
    else:
        print("\n".join(table()))


if __name__ == "__main__":
    main()
