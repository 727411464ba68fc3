"""The command line: `fastopt check`, `info`, `warmup`, `bench` and `compare`."""

from __future__ import annotations

import argparse
import io
import os
import sys
from argparse import ArgumentTypeError
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from .. import _core
from .._extras import install
from . import arguments as given
from .words import sentence

__all__ = ["main"]


def build_parser() -> argparse.ArgumentParser:
    """The arguments of all commands, each checked while it is parsed, before any work begins."""
    parser = argparse.ArgumentParser(prog="fastopt", description="The optimizer step at memory speed.")
    parser.add_argument("--version", action="version", version=f"fastopt {_core.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    text = (
        "take steps of each rule on this machine and compare them with NumPy's, in a few seconds; exit status 1 if one is wrong"
    )
    commands.add_parser("check", help=text, description=sentence(text))

    text = "show versions, instruction sets, threads, installed extras and compiled kernels"
    info = commands.add_parser("info", help=text, description=sentence(text))
    info.add_argument("--cache", action="store_true", help="list all kernels that were compiled for GPUs, not the first alone")

    text = "compile the kernels that steps on a GPU need, so that the first step need not"
    warmup = commands.add_parser("warmup", help=text, description=sentence(text))
    add_rules(warmup)
    warmup.add_argument("--param", choices=("float32", "float64", "bfloat16", "float16"), help="of parameters (default: float32)")
    warmup.add_argument(
        "--master", choices=("24bit", "32bit", "float32", "stochastic"), help="what 16-bit parameters keep besides"
    )
    warmup.add_argument(
        "--grad", choices=("float32", "float64", "bfloat16", "float16"), help="of gradients (default: as the parameters)"
    )
    warmup.add_argument(
        "--state-dtype", choices=("float32", "float64", "bfloat16", "8bit"), help="of state (default: the arithmetic's own)"
    )
    warmup.add_argument("--arch", type=given.archs, metavar="sm_90,...", help="architectures (default: those of the GPUs here)")
    warmup.add_argument("--all", action="store_true", help="every kernel of these rules, whatever the formats: minutes")

    text = "time each rule against its memory floor, NumPy and torch, on the CPU or on a GPU"
    bench = commands.add_parser("bench", help=text, description=sentence(text))
    add_rules(bench)
    text = "where to step: cpu, or cuda: the GPU, against a copy there, torch, CuPy and optax (default: %(default)s)"
    bench.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help=text)
    text = "elements of a parameter (default: 1e4,1e5,1e6,1e7,1e8; on a GPU 1e5 to 1e9)"
    bench.add_argument("--sizes", type=given.sizes, metavar="N,...", help=text)
    bench.add_argument("--threads", type=given.threads, metavar="N", help="threads of a step (default: as `fastopt info` shows)")
    arrays = bench.add_mutually_exclusive_group()
    arrays.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="of all arrays (default: %(default)s)")
    arrays.add_argument(
        "--formats",
        action="store_true",
        help="""AdamW, or those of --rules that keep state, in each combination of storage formats of parameters and gradients
        (float32, bfloat16, float16), masters and state: the bytes that a parameter holds and that a step moves for it, the
        share of the combination's own floor, how many times as fast it is as the all-float32 steps of torch and of fastopt,
        and the cycles that a thread takes for an element.  bfloat16 parameters and gradients need ml_dtypes""",
    )
    arrays.add_argument(
        "--in-loop",
        action="store_true",
        help="""each step after something that a program does between two: nothing, a forward and a backward pass of torch, a
        product of NumPy, a gradient of JAX, 20 ms of sleep; with the same learning rate and with a new one for each step; against
        torch, optax (jitted, donated) and NumPy, over single arrays and lists of them (default: the rules that torch fuses)""",
    )
    bench.add_argument(
        "--rounds", type=given.at_least_one, metavar="N", help="most rounds of a row (default: 25; fewer if time is short)"
    )
    bench.add_argument(
        "--seconds",
        type=given.at_least_one,
        metavar="N",
        help="about what the whole run may take (default: 240, with --quick 20)",
    )
    bench.add_argument("--quick", action="store_true", help="sizes 1e4,1e5,1e6 (on a GPU 1e5,1e6,1e7), in under 30 seconds")
    add_outputs(bench, "a roofline: GB/s achieved (--formats: elements) against size, under the floor's")
    bench.add_argument(
        "--compare",
        type=given.baseline,
        metavar="FILE",
        help="an earlier --json: flag what fell against the floor by more than the noise of both runs; exit status 1 if any did",
    )

    text = "train a network with each rule, on digits or on data of yours, and compare them"
    compare = commands.add_parser("compare", help=text, description=sentence(text))
    text = """digits (scikit-learn's, the default), mnist (fetched from openml.org), or a file: .csv or .tsv with a line of names,
        also compressed (.csv.gz), or .npz with arrays X, y, or data, target, or x_train, y_train, x_test, y_test"""
    compare.add_argument("data", type=given.data_source, nargs="?", default="digits", metavar="DATA", help=text)
    compare.add_argument("--target", metavar="NAME", help="the column of a table that is predicted (default: the last)")
    text = """classification: the target has classes; regression: it has amounts (default: amounts if some numbers are not whole,
        or if there are many different ones)"""
    compare.add_argument("--task", choices=("classification", "regression"), help=text)
    add_rules(compare)
    compare.add_argument(
        "--epochs", type=given.at_least_one, default=20, metavar="N", help="passes over the data (default: %(default)s)"
    )
    compare.add_argument(
        "--batch-size", type=given.at_least_one, default=32, metavar="N", help="samples a step (default: %(default)s)"
    )
    text = "units of each hidden layer of the network, 0 for none (default: 128,64)"
    compare.add_argument("--hidden", type=given.hidden_layers, default=(128, 64), metavar="N,...", help=text)
    text = """the training loss by which steps and seconds are counted (default: 1/20 of that of a guess, by frequency or of the
        mean, or what three quarters of the rules reach, at most 9/10 of that guess)"""
    compare.add_argument("--target-loss", type=given.loss, metavar="LOSS", help=text)
    compare.add_argument(
        "--seed", type=given.natural, default=0, metavar="N", help="of the split and of the first run (default: %(default)s)"
    )
    text = "runs of each rule, whose weights and batches follow from SEED, SEED+1, ... (default: %(default)s)"
    compare.add_argument("--seeds", type=given.at_least_one, default=5, metavar="N", help=text)
    add_outputs(compare, "the curves of loss and score")
    compare.add_argument(
        "--html", type=given.json_file, metavar="FILE", help="write a page with table and curves, which needs no other file"
    )
    return parser


def add_rules(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rules", type=given.rule_rows, metavar="RULE,...", help="only these, such as sgd,adamw (default: all)")


def add_outputs(parser: argparse.ArgumentParser, drawing: str) -> None:
    parser.add_argument("--json", type=given.json_file, metavar="FILE", help="write all numbers there")
    parser.add_argument("--plot", type=given.picture, metavar="FILE", help=f"draw {drawing} (.png, .svg, .pdf)")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command with the arguments `argv` (default: the process's) and returns its exit status.

    0: done, or no command was named and the help is shown; 1: `check` or `bench --compare` found something wrong; 2: an argument, a
    missing package, no memory or a file that cannot be written, with one line on stderr; 130: interrupted; 141: the reader of a
    pipe, such as `head`, has ended.
    """
    try:
        status = checked(argv)
        sys.stdout.flush()  # a reader that has ended shows here at the latest
        return status
    except BrokenPipeError:
        return unread()
    except KeyboardInterrupt:
        return 130  # as shells count it


def checked(argv: Sequence[str] | None) -> int:
    """Runs one command; every error that the user can mend is one line on stderr and status 2."""
    try:
        parser = build_parser()
        args = parser.parse_args(argv)
        if args.command is None:
            parser.print_help()
            return 0
        given.check_outputs(args)
        return run(args)
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # rich's way to end
            raise stop.__context__ from None
        return int(stop.code or 0)  # argparse has said why
    except ArgumentTypeError as error:
        return refused(str(error))
    except MemoryError as error:
        return refused(f"not enough memory: {error}" if str(error) else "not enough memory")
    except ImportError as error:
        message = missing(error)
        if message is None:
            raise
        return refused(message)


def unread() -> int:
    """Ends in silence, as a program does that the signal SIGPIPE ends; shells count 128 + 13."""
    with suppress(io.UnsupportedOperation):  # a stream of a test
        # The interpreter flushes both at its end, into the same closed pipe: https://docs.python.org/3/library/signal.html#note-on-sigpipe
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
    return 141


def refused(message: str) -> int:
    print(f"fastopt: {message}", file=sys.stderr)
    return 2


def missing(error: ImportError) -> str | None:
    """What to say of an optional package that is missing or too old; None: the error is about something else."""
    cause: BaseException | None = error
    while cause is not None:  # fastopt.sklearn raises its own error from the package's
        package = (getattr(cause, "name", None) or "").partition(".")[0]
        if package in ("rich", "matplotlib", "sklearn", "pandas", "scipy", "threadpoolctl"):
            if not isinstance(cause, ModuleNotFoundError):
                return str(error)
            name = "scikit-learn" if package == "sklearn" else package
            return f"{name} is not installed: {install('cli')}"
        cause = cause.__cause__
    return None


def run(args: argparse.Namespace) -> int:
    """Each command's module is imported only when it runs, so that `check` and `info` need NumPy alone."""
    command: Any
    if args.command == "check":
        from . import check as command
    elif args.command == "info":
        from . import info as command
    elif args.command == "warmup":
        from . import warmup as command
    elif args.command == "bench":
        from . import bench as command
    else:
        from . import compare as command
    return int(command.run(args))
