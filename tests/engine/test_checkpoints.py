"""Checkpoints: what comes back is what was saved, bit for bit; a write that fails leaves the old file."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

import fastopt
from fastopt._engine import checkpoints
from fastopt._engine.checkpoints import Target, reading
from fastopt.rules import RULES
from tests.support.arrays import gradients
from tests.support.cases import DTYPES, Arguments, arguments_with_state
from tests.support.checkpoints import ANY_FOLDER, SCALARS, SHAPES, built, everything, params_of, stepped
from tests.support.comparing import assert_same_bits

ALL_RULES = pytest.mark.parametrize("rule", RULES)


@ALL_RULES
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_checkpoint_continues_bit_for_bit(rule: str, dtype: Any, rng: np.random.Generator, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    options: Arguments = {"ema_decay": 0.9, "max_norm": 1.7, "norm_eps": 0.1, "grad_scale": 1 / 3, "skip_nonfinite": True}
    optimizer = stepped(rule, 3, dtype, weight_decay=0.1 + 0.2, **options)
    optimizer.step([np.full(shape, np.nan, dtype) for shape in SHAPES])
    optimizer.step([gradients(SHAPES[0], dtype, rng), None, None, None])
    optimizer.save(path)
    again = built(rule, params_of(optimizer), ema_decay=0.5)
    again.load(path)
    assert (again.steps, again.skipped_steps) == (4, 1)
    assert everything(again) == everything(optimizer)
    for _ in range(3):
        grads = [gradients(shape, dtype, rng) for shape in SHAPES]
        optimizer.step(grads)
        again.step(grads)
    assert_same_bits(params_of(again), params_of(optimizer))
    assert everything(again) == everything(optimizer)


@ALL_RULES
def test_groups_and_names(rule: str, rng: np.random.Generator, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    make, words = getattr(fastopt, rule), arguments_with_state(rule)
    names = ("layer.0.weight", "tensor", "ü\ud800\n")
    params = {name: gradients(5, np.float32, rng) for name in names}
    grads = {name: gradients(5, np.float32, rng) for name in names}

    def groups(order: list[str]) -> Any:
        return make([{"params": {name: params[name].copy() for name in order}, "lr": 0.3}, {"params": [np.ones(2)]}], **words)

    optimizer = groups(list(names))
    optimizer.groups[1]["weight_decay"] = 0.7
    optimizer.step([*grads.values(), np.ones(2)])
    optimizer.save(path)
    again = groups(list(reversed(names)))
    again.load(path)
    assert [group["lr"] for group in again.groups] == [group["lr"] for group in optimizer.groups]
    assert again.groups[1]["weight_decay"] == 0.7
    for name in names:
        saved, loaded = optimizer.state[names.index(name)], again.state[2 - names.index(name)]
        assert {key: np.asarray(value).tobytes() for key, value in saved.items()} == {
            key: np.asarray(value).tobytes() for key, value in loaded.items()
        }


def test_what_the_file_says(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    optimizer = fastopt.AdamW({"w": np.ones((2, 3), np.float32)}, ema_decay=0.5)
    optimizer.save(str(path))
    with safe_open(path, framework="numpy") as opened:
        assert sorted(opened.keys()) == ["state.0.ema", "state.0.exp_avg", "state.0.exp_avg_sq"]
        text = opened.metadata()["fastopt"]
        assert opened.metadata()["fastopt.crc32"] == f"{zlib.crc32(text.encode()):08x}"
        document = json.loads(text)
    assert document["version"] == 2
    entry = document["state_dict"]["state"][0]
    sums = {"exp_avg": zlib.crc32(bytes(24)), "exp_avg_sq": zlib.crc32(bytes(24)), "ema": zlib.crc32(np.ones(6, "<f4").tobytes())}
    assert entry == {"name": "w", "step": 0} | {slot: {"tensor": f"state.0.{slot}", "crc32": crc} for slot, crc in sums.items()}


def test_an_optimizer_without_arrays(tmp_path: Path) -> None:
    optimizer, again = (fastopt.SGD(np.ones(3), lr=lr) for lr in (0.1, 0.2))
    optimizer.step(np.ones(3))
    optimizer.save(tmp_path / "a")
    again.load(tmp_path / "a")
    assert (again.steps, again.lr) == (1, 0.1)


def returned(nest: Any, path: Path) -> Any:
    """Any nest at all, as a file gives it back."""
    Target(path).write(nest)
    with reading(path) as back:
        return back


@pytest.mark.parametrize("dtype", checkpoints.DTYPES.values())
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (5,), (3, 2, 4)], ids=str)
def test_every_dtype_and_shape(dtype: str, shape: tuple[int, ...], rng: np.random.Generator, tmp_path: Path) -> None:
    array = rng.integers(0, 256, (*shape, np.dtype(dtype).itemsize), np.uint8).view(dtype).reshape(shape)
    for each in (array, array.T):
        odd = np.ones(3, np.uint8)
        nest = returned({"state": [{"exp_avg": {"codes": each, "odd": odd}}, [each]]}, tmp_path / "a")
        for found in (nest["state"][0]["exp_avg"]["codes"], nest["state"][1][0]):
            assert found.dtype == each.dtype
            assert found.shape == each.shape
            assert found.tobytes() == each.tobytes()
            assert found.flags.c_contiguous
            assert found.flags.aligned


KEYS = st.text(st.characters(), max_size=4).filter(lambda key: key != "tensor")


@ANY_FOLDER
@given(nest=st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4)))
def test_everything_but_arrays_comes_back(nest: Any, tmp_path: Path) -> None:
    found = returned(nest, tmp_path / "a")
    assert repr(found) == repr(nest)  # tells 0.0 from -0.0 and 1 from True


def test_scalars_of_numpy_and_tuples(tmp_path: Path) -> None:
    nest = {"mu": np.float64(0.1), "single": np.float32(0.1), "count": np.int64(3), "flag": np.True_, "betas": (0.9, 0.999)}
    found = returned(nest, tmp_path / "a")
    assert repr(found) == repr({"mu": 0.1, "single": float(np.float32(0.1)), "count": 3, "flag": True, "betas": [0.9, 0.999]})


BAD_NESTS: dict[str, tuple[Any, type[Exception]]] = {
    "nan": ({"a": float("nan")}, ValueError),
    "inf": ({"a": [np.float32("inf")]}, ValueError),
    "beyond 64 bits": ({"a": 2**64}, ValueError),
    "a key that is none": ({1: 2}, ValueError),
    "the key of tensors": ({"a": {"tensor": 1}}, ValueError),
    "two arrays of one name": ({"a.b": np.ones(1), "a": {"b": np.ones(1)}}, ValueError),
    "objects": ({"a": np.array([None])}, TypeError),
    "records": ({"a": np.ones(2, "f4,f4")}, TypeError),
    "complex": ({"a": np.ones(2, complex)}, TypeError),
    "a set": ({"a": {1}}, TypeError),
    "bytes": ({"a": b"1"}, TypeError),
}


@pytest.mark.parametrize("bad", BAD_NESTS)
def test_a_nest_that_cannot_be_saved(bad: str, tmp_path: Path) -> None:
    nest, error = BAD_NESTS[bad]
    with pytest.raises(error, match=r"got .*expected"):
        Target(tmp_path / "a").write(nest)
    assert list(tmp_path.iterdir()) == []


def test_saving_over_an_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    optimizer = stepped("Adam")
    optimizer.save(path)
    with safe_open(path, framework="numpy") as reader:  # still has the old file
        before = reader.get_tensor("state.0.exp_avg")
        optimizer.step([np.ones(shape, np.float32) for shape in SHAPES])
        optimizer.save(path)
        assert reader.get_tensor("state.0.exp_avg").tobytes() == before.tobytes()
    again = stepped("Adam", 1)
    again.load(path)
    assert again.steps == 3
    assert os.listdir(tmp_path) == ["a.safetensors"]


@pytest.fixture
def umask() -> Iterator[None]:
    old = os.umask(0o027)
    yield
    os.umask(old)


@pytest.mark.usefixtures("umask")
def test_permissions(tmp_path: Path) -> None:
    path, optimizer = tmp_path / "a", stepped("SGD")
    optimizer.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o606)
    optimizer.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o606


def test_a_symbolic_link_stays(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    link, optimizer = tmp_path / "latest", stepped("SGD")
    link.symlink_to(Path("folder") / "a")
    for _ in range(2):  # at first it leads nowhere
        optimizer.save(link)
        assert link.is_symlink()
        assert (os.listdir(folder), sorted(os.listdir(tmp_path))) == (["a"], ["folder", "latest"])
    optimizer.load(link)


def fail(*args: Any, **kwargs: Any) -> Any:
    raise OSError(28, "No space left on device")


def interrupt(*args: Any, **kwargs: Any) -> Any:
    raise KeyboardInterrupt


WRITES = ("os.replace", "os.fsync", "fastopt._engine.files.bytes_of", "zlib.crc32", "json.dumps")


@pytest.mark.parametrize(("where", "old"), [*((where, old) for where in WRITES for old in (True, False)), ("os.chmod", True)])
@pytest.mark.parametrize("failure", [fail, interrupt])
def test_a_write_that_fails(where: str, failure: Any, old: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, optimizer = tmp_path / "a", stepped("Adam")
    if old:
        optimizer.save(path)
    content = path.read_bytes() if old else None
    optimizer.step([np.ones(shape, np.float32) for shape in SHAPES])
    monkeypatch.setattr(where, failure)
    with pytest.raises((OSError, KeyboardInterrupt)):
        optimizer.save(path)
    assert os.listdir(tmp_path) == ["a"] * old
    assert (path.read_bytes() if old else None) == content


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
def test_a_full_disk(tmp_path: Path) -> None:
    import resource

    path, optimizer = tmp_path / "a", stepped("Adam")
    optimizer.save(path)
    content = path.read_bytes()
    large = fastopt.Adam(np.ones(100_000))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match=f"^{re.escape(str(path))}: "):
            large.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["a"]


def test_the_folder_is_synced_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, sync, code = [], os.fsync, [0]

    def watched(descriptor: int) -> None:
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        synced.append(os.listdir(tmp_path) if folder else "file")
        if folder and code[0]:
            raise OSError(code[0], os.strerror(code[0]))
        sync(descriptor)

    monkeypatch.setattr("os.fsync", watched)
    optimizer = stepped("SGD")
    optimizer.save(tmp_path / "a")
    assert synced == ["file", ["a"]]
    code[0] = errno.EINVAL  # a file system that cannot
    optimizer.save(tmp_path / "a")
    code[0] = errno.EIO
    with pytest.raises(OSError, match="Input/output error"):
        optimizer.save(tmp_path / "a")
    optimizer.load(tmp_path / "a")


def test_paths(tmp_path: Path) -> None:
    optimizer = stepped("SGD")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    before = sorted(os.listdir(tmp_path))
    for bad in (None, 5, b"a", ["a"], np.ones(2)):
        for call in (optimizer.save, optimizer.load):
            with pytest.raises(TypeError, match=r"^path: got .*, expected a str or an os\.PathLike"):
                call(bad)
    for call in (optimizer.save, optimizer.load):
        for path, error in (
            (tmp_path, IsADirectoryError),
            (f"{tmp_path}/", IsADirectoryError),
            ("", FileNotFoundError),
            (tmp_path / "none" / "a", FileNotFoundError),
            (tmp_path / "loop", OSError),
        ):
            with pytest.raises(error) as caught:
                call(path)
            assert caught.value.filename == str(path)
        for path in ("/dev/null", tmp_path / "pipe"):
            with pytest.raises(ValueError, match=r"^path: got .*, expected a regular file"):
                call(path)
        with pytest.raises(ValueError, match=r"^path: got .*null character"):
            call("a\0b")
    with pytest.raises(FileNotFoundError) as caught:
        optimizer.load(tmp_path / "none")
    assert caught.value.filename == str(tmp_path / "none")
    assert sorted(os.listdir(tmp_path)) == before


@contextlib.contextmanager
def as_nobody_in(folder: str) -> Iterator[None]:
    """root may write and read everything."""
    users = os.getresuid()
    if os.geteuid() == 0:
        os.chmod(folder, 0o777)
        os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(*users)


def test_files_without_permission() -> None:
    with tempfile.TemporaryDirectory() as folder, as_nobody_in(folder):
        path, optimizer = Path(folder) / "a", stepped("SGD")
        optimizer.save(path)
        path.chmod(0o400)
        with pytest.raises(PermissionError):
            optimizer.save(path)
        path.chmod(0)
        with pytest.raises(PermissionError):
            optimizer.load(path)


def test_without_safetensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = stepped("SGD")
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    for call in (optimizer.save, optimizer.load):
        with pytest.raises(ImportError, match=r'pip install "\.\[checkpoints\]"'):
            call(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_step_in_parts(tmp_path: Path) -> None:
    optimizer = fastopt.SGD([np.ones(2), np.ones(2)])
    optimizer.save(tmp_path / "a")
    optimizer.step_part(0, np.ones(2))
    with pytest.raises(ValueError, match=r"^save: a step in parts is open"):
        optimizer.save(tmp_path / "b")
    with pytest.raises(ValueError, match=r"^load: a step in parts is open"):
        optimizer.load(tmp_path / "a")
    assert os.listdir(tmp_path) == ["a"]
