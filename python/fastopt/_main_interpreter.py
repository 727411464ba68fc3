"""Refuses to be imported in a subinterpreter, before the extension is: its initialization would wait for ever there."""

import importlib

for _name in ("_interpreters", "_xxsubinterpreters"):  # the former from Python 3.13 on
    try:
        _interpreters = importlib.import_module(_name)
    except ImportError:
        continue
    if _interpreters.get_current() != _interpreters.get_main():
        raise ImportError(
            "fastopt runs in the main interpreter alone, and was imported in a subinterpreter; start a process instead"
        )
    break
