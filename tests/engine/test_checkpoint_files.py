"""Files that are no checkpoint of this optimizer: an error that begins with the path, and nothing changed."""

from __future__ import annotations

import json
import re
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import fastopt
from tests.support.checkpoints import ANY_FOLDER, SCALARS, everything, stepped


def refuses(optimizer: Any, path: Path, words: str = "") -> None:
    before = everything(optimizer)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: (?s:.*)({words})"):
        optimizer.load(path)
    assert everything(optimizer) == before, "something was changed all the same"


def header_of(path: Path) -> tuple[dict[str, Any], bytes]:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def put(path: Path, header: Any, data: bytes) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def test_another_optimizers_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "a"
    stepped("Adam").save(path)
    refuses(stepped("NAdam"), path, "got the state of Adam, expected NAdam's")
    refuses(stepped("Adam", ema_decay=0.5), path, "expected .*ema")
    refuses(stepped("Adam", dtype=np.float64), path, "got dtype float32, expected float64")
    refuses(fastopt.Adam(np.ones(3)), path, "got 4 entries, expected 1")


class Small:
    """A small checkpoint, and another optimizer that is to refuse what becomes of it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "small.safetensors"
        self.saved = saved = fastopt.NAdam({"w": np.ones(3, np.float32)}, lr=0.25)
        saved.step({"w": np.ones(3, np.float32)})
        saved.save(self.path)
        self.content = self.path.read_bytes()
        self.header, self.data = header_of(self.path)
        self.document = json.loads(self.header["__metadata__"]["fastopt"])
        self.optimizer = fastopt.NAdam({"w": np.ones(3, np.float32)})

    def refuses(self, words: str = "") -> None:
        refuses(self.optimizer, self.path, words)

    def message(self) -> str | None:
        """That of the error with which the file is refused."""
        try:
            self.optimizer.load(self.path)
        except ValueError as error:
            return str(error)
        return None

    def put(self, document: Any) -> None:
        text = document if isinstance(document, str) else json.dumps(document)
        metadata = {"fastopt": text, "fastopt.crc32": f"{zlib.crc32(text.encode()):08x}"}
        put(self.path, {**self.header, "__metadata__": metadata}, self.data)


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return Small(tmp_path)


def test_the_good_file_is_good(small: Small) -> None:
    small.put(small.document)
    small.optimizer.load(small.path)
    assert (small.optimizer.steps, small.optimizer.lr) == (1, 0.25)


def test_truncation_at_every_length(small: Small) -> None:
    for length in range(len(small.content)):
        small.path.write_bytes(small.content[:length])
        small.refuses("got no valid safetensors file")
    small.path.write_bytes(small.content + b"\0")
    small.refuses("got no valid safetensors file")


@settings(ANY_FOLDER, max_examples=400)
@given(data=st.data())
def test_flipped_bytes(data: st.DataObject, small: Small) -> None:
    place = data.draw(st.integers(0, len(small.content) - 1))
    changed = bytearray(small.content)
    changed[place] ^= data.draw(st.integers(1, 255))
    small.path.write_bytes(changed)
    small.optimizer.step({"w": np.ones(3, np.float32)})
    before = everything(small.optimizer)
    begin = len(small.content) - len(small.data)
    message = small.message()
    if message is None:
        assert place < begin, "flipped values were taken"
        assert everything(small.optimizer)[0] == everything(small.saved)[0], "something else than what was saved"
        return
    assert message.startswith(f"{small.path}: ")
    assert everything(small.optimizer) == before


def changed_entry(key: str, value: Any) -> Any:
    def change(document: Any) -> Any:
        document["state_dict"]["state"][0][key] = value
        return document

    return change


def changed_top(key: str, value: Any) -> Any:
    def change(document: Any) -> Any:
        document["state_dict"][key] = value
        return document

    return change


BAD_DOCUMENTS: dict[str, tuple[Any, str]] = {
    "empty": (lambda d: "", "no JSON"),
    "text": (lambda d: "hello", "no JSON"),
    "more after it": (lambda d: json.dumps(d) + "]", "no JSON"),
    "a pickle": (lambda d: "cposix\nsystem\n(S'true'\ntR.", "no JSON"),
    "null": (lambda d: None, "without a version"),
    "a list": (lambda d: [d], "without a version"),
    "no version": (lambda d: {"state_dict": d["state_dict"]}, "without a version"),
    "a later version": (lambda d: {**d, "version": 3}, "version 3 .*expected one from 1 to 2"),
    "a version that is true": (lambda d: {**d, "version": True}, "version True"),
    "a version that is a float": (lambda d: {**d, "version": 1.0}, r"version 1\.0"),
    "a version of text": (lambda d: {**d, "version": "1"}, "version '1'"),
    "a version that is a tensor": (lambda d: {**d, "version": {"tensor": "state.0.exp_avg"}}, "version array|once"),
    "no state_dict": (lambda d: {"version": 1}, r"\['version'\], expected 'state_dict'"),
    "more than a state_dict": (lambda d: {**d, "code": "import os"}, "expected 'state_dict'"),
    "a state_dict that is none": (lambda d: {**d, "state_dict": None}, "got the tensors"),
    "deep lists": (lambda d: "[" * 100_000, "nested too deeply"),
    "deep dicts": (lambda d: '{"a":' * 100_000, "nested too deeply"),
    "closed deep lists": (lambda d: "[" * 50_000 + "]" * 50_000, "nested too deeply"),
    "NaN": (lambda d: json.dumps(changed_top("steps", float("nan"))(d)), "NaN"),
    "-Infinity": (lambda d: json.dumps(changed_top("steps", -float("inf"))(d)), "-Infinity"),
    "a float beyond float64": (lambda d: json.dumps(d).replace("0.25", "1e999"), "metadata: got inf"),
    "a long whole number": (lambda d: json.dumps(d).replace('"steps": 1', '"steps": ' + "1" * 10_000), "64 bits"),
    "a whole number of 65 bits": (changed_top("steps", 2**64), "64 bits"),
    "a count of 64 bits": (changed_top("steps", 2**64 - 1), r"state_dict\['steps'\]: got"),
    "a key twice": (lambda d: json.dumps(d).replace('"steps": 1', '"steps": 1, "steps": 2'), "twice"),
    "a tensor that is not there": (changed_entry("exp_avg", {"tensor": "state.1.exp_avg"}), "'state.1.exp_avg'"),
    "a tensor twice": (changed_entry("exp_avg", {"tensor": "state.0.exp_avg_sq"}), "once"),
    "a tensor without a place": (changed_entry("exp_avg", None), r"got the tensors \['state.0.exp_avg'\]"),
    "a tensor's name that is none": (changed_entry("exp_avg", {"tensor": ["state.0.exp_avg"]}), "once"),
    "a tensor among others": (changed_entry("exp_avg", {"tensor": "state.0.exp_avg", "a": 1}), "alone"),
    "a tensor for a number": (changed_entry("step", {"tensor": "state.0.exp_avg"}), "once"),
    "a count of text": (changed_entry("step", "1"), r"\['step'\]: got str"),
    "a name that is a list": (changed_entry("name", ["w"]), "names"),
    "another name": (changed_entry("name", "v"), "names"),
    "a rule of another type": (changed_top("rule", ["NAdam"]), r"\['rule'\]"),
    "state of another type": (changed_top("state", "ab"), "tensors|state"),
    "groups of another type": (changed_top("groups", {}), r"\['groups'\]"),
    "groups of numbers": (changed_top("groups", [1]), r"\['groups'\]\[0\]"),
    "options of another type": (changed_top("options", []), r"\['options'\]"),
    "betas of another type": (
        lambda d: changed_top("groups", [{**d["state_dict"]["groups"][0], "betas": {"a": 1}}])(d),
        r"betas: got",
    ),
}


@pytest.mark.parametrize("bad", BAD_DOCUMENTS)
def test_hostile_metadata(bad: str, small: Small) -> None:
    change, words = BAD_DOCUMENTS[bad]
    small.put(change(json.loads(json.dumps(small.document))))
    small.refuses(words)


def test_lists_at_every_depth(small: Small) -> None:
    for depth in (*range(1, 200, 20), *range(200, sys.getrecursionlimit() + 100)):
        nest: Any = "[" * depth + "]" * depth
        small.put(json.dumps(changed_top("rule", "@")(small.document)).replace('"@"', nest))
        small.refuses()


VALUES = (
    SCALARS
    | st.floats()
    | st.integers()
    | st.sampled_from(["exp_avg", "exp_avg_sq"]).map(lambda slot: {"tensor": f"state.0.{slot}"})
)
HOSTILE = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


def places(nest: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield before
    for key in nest if isinstance(nest, dict) else range(len(nest)) if isinstance(nest, list) else ():
        yield from places(nest[key], (*before, key))


@settings(ANY_FOLDER, max_examples=400)
@given(data=st.data())
def test_anything_anywhere_in_the_metadata(data: st.DataObject, small: Small) -> None:
    document = {"": json.loads(json.dumps(small.document))}
    target: Any = document
    place = ("", *data.draw(st.sampled_from(list(places(small.document)))))
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = data.draw(HOSTILE)
    small.put(document[""])
    before = everything(small.optimizer)
    message = small.message()
    if message is not None:
        assert message.startswith(f"{small.path}: ")
        assert everything(small.optimizer) == before


def tensor(dtype: str, shape: list[int], *offsets: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}


META = {"fastopt": '{"version": 1, "state_dict": [{"tensor": "a"}]}'}
FOREIGN: dict[str, tuple[Any, bytes, str]] = {
    "an empty header": ({}, b"", "without fastopt's metadata"),
    "a header that is no JSON": (b"{hello", b"", "no valid safetensors"),
    "a header with no UTF-8": (b'{"\xff": 1}', b"", "no valid safetensors"),
    "other metadata": ({"__metadata__": {"format": "pt"}, "a": tensor("F32", [1], 0, 4)}, b"1234", "without fastopt's metadata"),
    "metadata of numbers": ({"__metadata__": {"fastopt": 1}}, b"", "no valid safetensors"),
    "metadata that is a list": ({"__metadata__": []}, b"", "no valid safetensors"),
    "deep metadata": (b'{"__metadata__":{"fastopt":' + b"[" * 100_000, b"", "no valid safetensors"),
    "a petabyte": ({"__metadata__": META, "a": tensor("F32", [2**48], 0, 2**50)}, b"", "no valid safetensors"),
    "overlapping tensors": (
        {"__metadata__": META, "a": tensor("U8", [2], 0, 2), "b": tensor("U8", [2], 1, 3)},
        b"123",
        "no valid safetensors",
    ),
    "a tensor twice": (
        b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}',
        b"12",
        "no valid safetensors",
    ),
    "an unknown dtype": ({"__metadata__": META, "a": tensor("X9", [1], 0, 1)}, b"1", "no valid safetensors"),
    "a dtype without NumPy's": ({"__metadata__": META, "a": tensor("BF16", [1], 0, 2)}, b"12", "a: got dtype BF16"),
    "half a byte": ({"__metadata__": META, "a": tensor("F4", [2], 0, 1)}, b"1", "a: got dtype F4|no valid safetensors"),
    "too many dimensions": ({"__metadata__": META, "a": tensor("U8", [1] * 100, 0, 1)}, b"1", "a: got a shape"),
    "0 times a huge shape": ({"__metadata__": META, "a": tensor("U8", [0, 2**62, 2**62], 0, 0)}, b"", "a: got a shape|no valid"),
    "0 times the hugest shape": ({"__metadata__": META, "a": tensor("U8", [0, 2**64 - 1], 0, 0)}, b"", "a: got a shape|no valid"),
    "a state_dict that is a list": ({"__metadata__": META, "a": tensor("U8", [1], 0, 1)}, b"1", "state_dict: got list"),
}


@pytest.mark.parametrize("foreign", FOREIGN)
def test_foreign_files(foreign: str, small: Small) -> None:
    header, data, words = FOREIGN[foreign]
    put(small.path, header, data)
    small.refuses(words)


@pytest.mark.parametrize("content", [b"", b"\0" * 8, b"\xff" * 64, b"\x80\x04.", b"PK\3\4" * 9, struct.pack("<Q", 2**50) + b"{}"])
def test_files_of_other_kinds(content: bytes, small: Small) -> None:
    small.path.write_bytes(content)
    small.refuses("got no valid safetensors file")


def test_a_models_file(small: Small) -> None:
    save_file({"w": np.ones(3, np.float32)}, small.path)
    small.refuses("without fastopt's metadata, expected a checkpoint")


def test_other_shapes(small: Small) -> None:
    for dtype, shape, words in (("F32", [3, 1], "got shape"), ("U32", [3], "got dtype"), ("F64", [1, 3], "valid|dtype")):
        header = json.loads(json.dumps(small.header))
        header["state.0.exp_avg"] |= {"dtype": dtype, "shape": shape}
        put(small.path, header, small.data)
        small.refuses(words)
