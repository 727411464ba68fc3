"""What a busy process on one processor does to a step: `python bench/neighbour.py [elements ...]`.

Times AdamW in float32 on one quiet thread, on all threads, and on all threads beside a process that computes without pause
(signals stop and continue it).  The three take turns; it prints the median and the 90th percentile of the rounds' ratios.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np

import fastopt

ROUNDS = 21


def seconds(opt: fastopt.Optimizer, repeats: int) -> float:
    """The mean time of a step over a turn of `repeats`."""
    opt.step()
    start = time.perf_counter()
    for _ in range(repeats):
        opt.step()
    return (time.perf_counter() - start) / repeats


def measure(elements: int, neighbour: subprocess.Popen[bytes]) -> None:
    rng = np.random.default_rng(0)
    p, g = (rng.standard_normal(elements, dtype=np.float32) for _ in range(2))
    opt = fastopt.AdamW(p, lr=1e-6, grads=g)
    repeats = max(1, 30_000_000 // elements)
    threads = fastopt.get_num_threads()
    times: dict[str, list[float]] = {"one thread, quiet": [], "all threads, quiet": [], "all threads, busy neighbour": []}
    for _ in range(ROUNDS):
        fastopt.set_num_threads(1)
        times["one thread, quiet"].append(seconds(opt, repeats))
        fastopt.set_num_threads(threads)
        times["all threads, quiet"].append(seconds(opt, repeats))
        neighbour.send_signal(signal.SIGCONT)
        time.sleep(0.02)
        times["all threads, busy neighbour"].append(seconds(opt, repeats))
        neighbour.send_signal(signal.SIGSTOP)
        time.sleep(0.02)
    alone = np.array(times["one thread, quiet"])
    print(f"AdamW float32, {elements:.0e} elements, {threads} threads, {os.cpu_count()} processors, {repeats} steps a turn")
    for name, values in times.items():
        ratio = np.array(values) / alone
        print(
            f"  {name:28s} {np.median(values) * 1e3:9.3f} ms  {np.median(ratio):5.2f} (90 %: {np.quantile(ratio, 0.9):.2f}) of one quiet thread"
        )


def main() -> None:
    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    time.sleep(0.1)
    neighbour.send_signal(signal.SIGSTOP)
    try:
        for size in sys.argv[1:] or ["1e5", "1e6", "1e7"]:
            measure(int(float(size)), neighbour)
    finally:
        neighbour.kill()


if __name__ == "__main__":
    main()
