"""Writing a safetensors file: whole or not at all, with a checksum for each tensor.

A file is written under a name of fastopt's own in the same folder, with a lock on it while its process lives, and then takes the place of
the old one.  What a killed process left behind has no lock, and goes at the next write into that folder.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import stat
import struct
import zlib
from collections.abc import Iterator, Mapping

import numpy as np

from .._arrays.buffers import Array, dtype_name

__all__ = ["DTYPES", "checksum", "write"]

DTYPES = {"F64": "float64", "F32": "float32", "U32": "uint32", "U16": "uint16", "I16": "int16", "U8": "uint8", "I8": "int8"}
"""The dtypes of a state's arrays, by safetensors' names for them."""

TEMPORARY = re.compile(r"\.fastopt-[0-9a-f]{16}\.tmp")

LARGEST = 100_000_000
"""Bytes of a header, which readers refuse beyond."""

LINE = 8
"""Bytes that each tensor begins at a multiple of."""


def checksum(data: Array | bytes) -> int:
    """CRC-32 of an array's bytes, or of a text's."""
    return zlib.crc32(data if isinstance(data, bytes) else bytes_of(data))


def bytes_of(array: Array) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def write(file: str, tensors: Mapping[str, Array], metadata: Mapping[str, str], permissions: int | None) -> None:
    """Replaces `file` when all of the new one is on the disk; OSError, with the old file as it was, if that fails.

    `tensors`: C-contiguous, little-endian, of DTYPES.  `permissions`: None for those of any new file.
    """
    folder = os.path.dirname(file)
    in_order = dict(sorted(tensors.items(), key=lambda entry: (-entry[1].itemsize, entry[0])))  # so that each is aligned
    begin = header(in_order, metadata)
    clean(folder)
    with temporary(folder, file) as (name, descriptor):
        try:
            with open(descriptor, "wb", closefd=False) as opened:
                opened.write(begin)
                for array in in_order.values():
                    opened.write(bytes_of(array))
        except OSError as error:  # a full disk too
            raise OSError(f"{file}: {error}") from error
        if permissions is not None:
            os.chmod(name, permissions)
        os.fsync(descriptor)
        os.replace(name, file)
    sync_folder(folder)


def header(tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> bytes:
    """Where each tensor lies, as JSON behind its length."""
    words = {dtype: word for word, dtype in DTYPES.items()}
    entries: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name, array in tensors.items():
        begin, end = end, end + array.nbytes
        entries[name] = {"dtype": words[dtype_name(array)], "shape": array.shape, "data_offsets": (begin, end)}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    if len(text) > LARGEST:
        raise ValueError(
            f"got {len(tensors)} arrays, whose names take {len(text)} bytes, expected at most {LARGEST} of a safetensors file"
        )
    text += b" " * (-len(text) % LINE)
    return struct.pack("<Q", len(text)) + text


@contextlib.contextmanager
def temporary(folder: str, file: str) -> Iterator[tuple[str, int]]:
    """A new file that this process holds: its name and a descriptor.  It is gone afterwards unless it was given another name."""
    while True:
        name = os.path.join(folder, f".fastopt-{secrets.token_hex(8)}.tmp")
        try:
            descriptor = os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        except OSError as error:  # a folder that is not there: of the caller's name, not of this one
            raise OSError(error.errno, error.strerror, file) from None
        try:
            with contextlib.suppress(OSError):  # a file system without locks: there nobody cleans up either
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:  # else another process took it for a leftover before it was locked
                yield name, descriptor
                return
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            os.close(descriptor)


def clean(folder: str) -> None:
    """Removes files of this kind that no process holds; what it may not look at or remove stays."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for name in [entry.path for entry in entries if TEMPORARY.fullmatch(entry.name)]:
            with contextlib.suppress(OSError):
                descriptor = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    found = os.fstat(descriptor)
                    # Under the lock, so that a writer which has just made it notices.
                    if stat.S_ISREG(found.st_mode) and os.path.samestat(found, os.lstat(name)):
                        os.unlink(name)
                finally:
                    os.close(descriptor)


def sync_folder(folder: str) -> None:
    """So that the new name outlives a power failure; does nothing if a folder cannot be opened or synced."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
