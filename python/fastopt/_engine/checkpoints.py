"""Checkpoints: `state_dict` as one safetensors file, written whole or not at all.

Each array is a tensor of the file, under the place where it stood: `state.0.exp_avg`.  Everything else is JSON in the file's
metadata, under "fastopt": `{"version": 2, "state_dict": {...}}` with `{"tensor": "state.0.exp_avg", "crc32": 305419896}` where an array
stood.  The JSON's own CRC-32 stands beside it, under "fastopt.crc32", in eight hexadecimal digits.  Version 1 has no checksums.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .._arrays.buffers import Array, dtype_name
from .._extras import install
from ..rules.words import describe, shown
from .files import DTYPES, checksum, write

__all__ = ["Target", "reading"]

VERSION = 2
METADATA, SUM = "fastopt", "fastopt.crc32"

TENSOR, CRC = "tensor", "crc32"
"""The keys of what stands in the JSON for an array."""


class Target:
    """A file to be written.  All that can be known to be wrong with its path is said at once, before state is copied for it.

    A file that exists is replaced when the new one is on the disk, and keeps its permissions.  A symbolic link stays, and the file that
    it points to is replaced.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        file = named(path)
        require_safetensors()
        self._permissions = check_target(file)
        self._file = os.path.realpath(file)

    def write(self, state_dict: Mapping[str, Any]) -> None:
        """OSError if the file cannot be written, with the old one as it was; ValueError or TypeError for what it cannot hold."""
        tensors: dict[str, Array] = {}
        text = json.dumps({"version": VERSION, "state_dict": flattened(state_dict, "", tensors)})
        write(self._file, tensors, {METADATA: text, SUM: f"{checksum(text.encode()):08x}"}, self._permissions)


@contextlib.contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[Any]:
    """The nest in a file, and a place to take it on: whatever is wrong with it there is a ValueError that begins with the path."""
    file = named(path)
    require_safetensors()
    check_source(file)
    try:
        yield read(file)
    except RecursionError:
        raise ValueError(f"{file}: got JSON that is nested too deeply, expected a checkpoint of Optimizer.save") from None
    except (TypeError, ValueError) as error:  # about what the file says: the caller's types are right
        raise ValueError(f"{file}: {error}") from error


def require_safetensors() -> None:
    try:
        importlib.import_module("safetensors.numpy")
    except ImportError as error:
        raise ImportError(f"checkpoints need safetensors: {install('checkpoints')}") from error


def named(path: Any) -> str:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path: got {describe(path)}, expected a str or an os.PathLike")
    file = os.fsdecode(path)
    if "\0" in file:
        raise ValueError(f"path: got {shown(file)}, which holds a null character, expected the path of a file")
    return file


def check_target(file: str) -> int | None:
    """The permissions of what is to be replaced; OSError as `open(file, "w")` raises it if that may not be written."""
    try:
        status = os.stat(file)
    except FileNotFoundError:
        if os.path.basename(file):
            return None
        raise
    check_regular(file, status)
    if not os.access(file, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), file)
    return stat.S_IMODE(status.st_mode)


def check_source(file: str) -> None:
    """OSError as `open(file)` raises it."""
    check_regular(file, os.stat(file))  # before it is opened: that waits for a pipe's other end
    with open(file, "rb"):
        pass


def check_regular(file: str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), file)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"path: got {shown(file)}, which is a device, a pipe or a socket, expected a regular file")


def flattened(value: Any, place: str, tensors: dict[str, Array]) -> Any:
    """`value` as JSON has it, its arrays put into `tensors`."""
    if isinstance(value, np.ndarray):
        if dtype_name(value) not in DTYPES.values():
            raise TypeError(f"{place}: got dtype {value.dtype}, expected {', '.join(DTYPES.values())}")
        if place in tensors:
            raise ValueError(f"{place}: got two arrays of this name, expected different ones")
        tensors[place] = np.asarray(value, value.dtype.newbyteorder("<"), order="C")  # the file is the memory as it lies
        return {TENSOR: place, CRC: checksum(tensors[place])}
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or key == TENSOR:
                raise ValueError(f"{place}: got the key {key!r}, expected a string other than {TENSOR!r}")
        return {key: flattened(each, f"{place}.{key}" if place else key, tensors) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [flattened(each, f"{place}.{i}" if place else str(i), tensors) for i, each in enumerate(value)]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, int):
        return checked_integer(value, place)
    if isinstance(value, float):
        return checked_float(value, place)
    raise TypeError(f"{place}: got {describe(value)}, expected an array, a dict, a list, a string, a number or None")


def checked_integer(value: int, place: str) -> int:
    if not -(2**63) <= value < 2**64:
        raise ValueError(f"{place}: got {shown(value)}, expected one of 64 bits")
    return value


def checked_float(value: float, place: str) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{place}: got {value!r}, expected a finite number, since JSON has no other")
    return value


def read(file: str) -> Any:
    """The nest that `save` wrote; ValueError if the file is not one of its."""
    from safetensors import SafetensorError, safe_open

    # Its annotations stop at the names of its arguments.
    opening: Any = safe_open
    try:
        with opening(file, framework="numpy") as opened:
            metadata = opened.metadata() or {}
            if METADATA not in metadata:
                raise ValueError("got a safetensors file without fastopt's metadata, expected a checkpoint of Optimizer.save")
            tensors = Tensors(opened)
            document = parsed(checked_text(metadata), tensors)
    except SafetensorError as error:
        raise ValueError(f"got no valid safetensors file ({error}), expected a checkpoint of Optimizer.save") from None
    if not isinstance(document, dict) or "version" not in document:
        raise ValueError("got metadata without a version, expected a checkpoint of Optimizer.save")
    version = document["version"]
    if type(version) is not int or not 1 <= version <= VERSION:
        raise ValueError(f"got version {shown(version)} of the format, expected one from 1 to {VERSION}")
    if version > 1 and (SUM not in metadata or tensors.unsure):
        raise ValueError("got a damaged checkpoint, which lacks checksums that were written, expected it as it was saved")
    if set(document) != {"version", "state_dict"}:
        raise ValueError(f"got metadata with {shown(sorted(document))}, expected 'state_dict' and 'version'")
    if tensors.unread:
        raise ValueError(f"got the tensors {shown(sorted(tensors.unread))}, expected those that its metadata names")
    return document["state_dict"]


def checked_text(metadata: Mapping[str, str]) -> str:
    """The JSON; ValueError if it is not what was written."""
    text = metadata[METADATA]
    if SUM in metadata and metadata[SUM] != (found := f"{checksum(text.encode()):08x}"):
        raise ValueError(f"got damaged metadata, whose checksum is {found}, expected {shown(metadata[SUM])}")
    return text


class Tensors:
    """The tensors of an open file, each to be read once.  `unsure`: whether one had no checksum, as in version 1."""

    def __init__(self, opened: Any) -> None:
        self._opened = opened
        self.unread = set(opened.keys())
        self.unsure = False

    def read(self, name: Any, *crc: Any) -> Array:
        if not isinstance(name, str) or name not in self.unread:
            raise ValueError(f"got metadata with the tensor {shown(name)}, expected each tensor of the file once")
        self.unread.remove(name)
        kind = self._opened.get_slice(name).get_dtype()
        if kind not in DTYPES:  # NumPy lacks some of safetensors'
            raise ValueError(f"{name}: got dtype {kind}, expected {', '.join(DTYPES)}")
        try:
            array: Array = self._opened.get_tensor(name)
        except ValueError as error:
            raise ValueError(f"{name}: got a shape that NumPy refuses ({error}), expected one of an array") from None
        if crc and crc[0] != (found := checksum(array)):
            raise ValueError(f"{name}: got damaged values, whose checksum is {found}, expected {shown(crc[0])}")
        self.unsure = self.unsure or not crc
        return array


def parsed(text: str, tensors: Tensors) -> Any:
    """JSON with the arrays in their places; ValueError for what `save` does not write."""

    def entries(pairs: list[tuple[str, Any]]) -> Any:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError(f"got metadata with a key twice in {shown([key for key, _ in pairs])}, expected different ones")
        if TENSOR not in found:
            return found
        if not set(found) <= {TENSOR, CRC}:
            raise ValueError(f"got metadata with {TENSOR!r} among {shown(list(found))}, expected it alone")
        return tensors.read(found[TENSOR], *([found[CRC]] if CRC in found else []))

    def constant(word: str) -> Any:
        raise ValueError(f"got {word} in its metadata, expected finite numbers")

    def integer(digits: str) -> int:
        if len(digits) > 20:  # 2**64 has 20, and int() has a limit of its own
            raise ValueError("got metadata with a whole number beyond 64 bits, expected none")
        return checked_integer(int(digits), "metadata")

    def number(digits: str) -> float:
        return checked_float(float(digits), "metadata")

    try:
        return json.loads(text, object_pairs_hook=entries, parse_constant=constant, parse_int=integer, parse_float=number)
    except json.JSONDecodeError as error:
        raise ValueError(f"got metadata that is no JSON ({error}), expected a checkpoint of Optimizer.save") from None
