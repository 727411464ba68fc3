"""How many of a step's chunks lie on the memory node of the thread that takes them, in a model: `python bench/memory_nodes.py`.

A machine has nodes with as many threads each.  A page lies on the node of the thread that touches it first.  A chunk from another
node takes longer, and each chunk's time varies.  Two ways to hand chunks out are compared over some steps: one line from which
every thread takes the next chunk, and the shares of csrc/cpu/work/threads.cpp, from which others take only what is left at the end.
Nothing is measured: this is arithmetic.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

import numpy as np

CHUNKS_PER_THREAD, STEPS = 12, 20
REMOTE, VARIES = 1.7, 0.1
"""Time of a chunk on another node, and the standard deviation of all times, as parts of a local chunk's."""

Take = Callable[[int], "int | None"]


def line(chunks: int, threads: int) -> Take:
    """The next chunk of all, whoever asks."""
    left = iter(range(chunks))
    return lambda thread: next(left, None)


def shares(chunks: int, threads: int) -> Take:
    """The next chunk of the thread's own share, then of the shares behind it."""
    left = [iter(range(chunks * i // threads, chunks * (i + 1) // threads)) for i in range(threads)]

    def take(thread: int) -> int | None:
        for i in range(threads):
            if (chunk := next(left[(thread + i) % threads], None)) is not None:
                return chunk
        return None

    return take


def simulate(schedule: Callable[[int, int], Take], nodes: int, threads: int) -> tuple[float, float]:
    """The share of local chunks after the first step, and the time of a step as a multiple of that with local chunks alone."""
    rng = np.random.default_rng(0)
    chunks = CHUNKS_PER_THREAD * threads
    home = [-1] * chunks
    local = total = 0
    times = []
    for step in range(STEPS):
        take = schedule(chunks, threads)
        ready = [(abs(rng.normal(0, VARIES)), thread) for thread in range(threads)]  # nobody begins at the same time
        heapq.heapify(ready)
        end = 0.0
        while ready:
            now, thread = heapq.heappop(ready)
            end = max(end, now)
            if (chunk := take(thread)) is None:
                continue
            node = thread * nodes // threads
            if home[chunk] < 0:
                home[chunk] = node
            elif step:
                local += home[chunk] == node
                total += 1
            time = 1.0 if home[chunk] == node else REMOTE
            heapq.heappush(ready, (now + time * max(0.2, rng.normal(1, VARIES)), thread))
        if step:
            times.append(end)
    return local / total, float(np.mean(times)) / CHUNKS_PER_THREAD


def main() -> None:
    print(f"{'nodes':>5} {'threads':>7}  {'line: local':>11} {'time':>5}  {'shares: local':>13} {'time':>5}")
    for nodes, threads in ((1, 2), (1, 8), (2, 32), (2, 128), (8, 64), (8, 128)):
        (line_local, line_time), (own_local, own_time) = simulate(line, nodes, threads), simulate(shares, nodes, threads)
        print(f"{nodes:>5} {threads:>7}  {line_local:>11.0%} {line_time:>5.2f}  {own_local:>13.0%} {own_time:>5.2f}")


if __name__ == "__main__":
    main()
