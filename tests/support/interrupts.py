"""Exceptions that come from outside, at any place of fastopt's own Python."""

from __future__ import annotations

import inspect
import math
import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import fastopt

__all__ = ["Interrupt", "assert_all_or_nothing", "interrupted", "outcomes"]

FASTOPT = os.path.dirname(fastopt.__file__)


class Interrupt(BaseException):
    """What comes from outside, as KeyboardInterrupt does: from a signal's handler, from another thread."""


def interrupted(call: Callable[[], Any], place: float) -> int | None:
    """Runs `call` with an Interrupt at that place of fastopt's Python; how many places it has, if it came to its end.

    Python lets an exception in where a function begins and where a call into C returns, and in loops, which signals reach.
    """
    passed = 0

    def profile(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal passed
        inside = FASTOPT in frame.f_code.co_filename and not frame.f_code.co_flags & inspect.CO_GENERATOR  # whose end swallows it
        if inside and event in ("call", "c_return"):
            passed += 1
            if passed > place:
                sys.setprofile(None)
                raise Interrupt

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        call()
    except Interrupt:
        return None
    finally:
        sys.setprofile(before)
    return passed


def outcomes(prepare: Callable[[], Any], call: Callable[[], Any], look: Callable[[], Any], every: int = 1) -> list[Any]:
    """What `look` finds after `call` was interrupted at one of its places, for the last 200 places and `every` so many before, in order.

    `prepare` goes before each call.
    """
    prepare()
    total = interrupted(call, math.inf)
    assert total
    found = []
    for place in range(total):
        if place % every == 0 or place >= total - 200:
            prepare()
            assert interrupted(call, place) is None
            found.append(look())
    return found


def assert_all_or_nothing(found: list[Any], before: Any, after: Any) -> None:
    """Each of `outcomes` is one of the two: from some place on what is there `after`, as it was `before` until then."""
    assert before != after
    assert all(each in (before, after) for each in found), "half of it"
    changed = [each == after for each in found]
    assert changed == sorted(changed)
    assert 20 < sum(changed) < len(changed) - 20
