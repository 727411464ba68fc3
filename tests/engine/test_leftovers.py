"""Files that a killed process left behind, and files that changed on the disk."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import fastopt
from tests.support.checkpoints import everything, stepped

SAVE = """
import os, sys
import numpy as np, fastopt
def stop(descriptor):
    {stop}
os.fsync = stop
fastopt.SGD(np.ones(100_000), momentum=0.9).save(sys.argv[1])
"""
KILLED = SAVE.format(stop="os.kill(os.getpid(), 9)")
WAITING = SAVE.format(stop="print(flush=True); input(); os.fsync = int")


def temporary(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if re.fullmatch(r"\.fastopt-[0-9a-f]{16}\.tmp", name)]


def killed(path: Path) -> None:
    found = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, capture_output=True)
    assert found.returncode == -signal.SIGKILL


def test_the_next_save_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    path, optimizer = tmp_path / "a", stepped("Adam")
    optimizer.save(path)
    content = path.read_bytes()
    for count in (1, 2):
        killed(path)
        assert len(temporary(tmp_path)) == 1, f"after {count}: the second removes the first's"
    assert path.read_bytes() == content
    optimizer.save(tmp_path / "b")  # any save into that folder
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
    stepped("Adam").load(path)


def test_a_file_that_is_being_written_stays(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WAITING, str(tmp_path / "a")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdout.readline()
        (held,) = temporary(tmp_path)
        stepped("SGD").save(tmp_path / "b")
        assert temporary(tmp_path) == [held]
        other.stdin.write("\n")
        other.stdin.flush()
        assert other.wait() == 0
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
    again = fastopt.SGD(np.ones(100_000), momentum=0.9)
    again.load(tmp_path / "a")


def test_what_only_looks_like_one_stays(tmp_path: Path) -> None:
    name = f".fastopt-{'0' * 16}.tmp"
    (tmp_path / "own").write_text("own")
    (tmp_path / name).symlink_to("own")
    (tmp_path / name.replace("0", "1")).mkdir()
    os.mkfifo(tmp_path / name.replace("0", "2"))
    for each in (f"{name}.txt", "fastopt.tmp", f"a{name}"):
        (tmp_path / each).write_text("own")
    before = sorted(os.listdir(tmp_path))
    stepped("SGD").save(tmp_path / "a")
    assert sorted(os.listdir(tmp_path)) == sorted([*before, "a"])
    assert (tmp_path / "own").read_text() == "own"


def test_a_file_that_is_taken_before_it_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process cleans up between the making of a file and its lock: the writer makes another."""
    import fcntl

    lock, taken = fcntl.flock, []

    def late(descriptor: int, how: int) -> None:
        if not taken:
            taken.extend(temporary(tmp_path))
            os.unlink(tmp_path / taken[0])
        lock(descriptor, how)

    monkeypatch.setattr("fcntl.flock", late)
    optimizer = stepped("Adam")
    optimizer.save(tmp_path / "a")
    assert os.listdir(tmp_path) == ["a"]
    again = stepped("Adam", 1)
    again.load(tmp_path / "a")
    assert everything(again)[0] == everything(optimizer)[0]


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed(tmp_path / "a")
    (left,) = temporary(tmp_path)

    def lock(descriptor: int, how: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", lock)
    stepped("SGD").save(tmp_path / "a")
    assert sorted(os.listdir(tmp_path)) == sorted(["a", left])


@pytest.mark.parametrize("slot", ["exp_avg", "exp_avg_sq"])
def test_flipped_values_are_named(slot: str, tmp_path: Path) -> None:
    path, optimizer = tmp_path / "a", fastopt.Adam({"w": np.ones(5, np.float32)})
    optimizer.step({"w": np.ones(5, np.float32)})
    optimizer.save(path)
    content, values = bytearray(path.read_bytes()), optimizer.state["w"][slot].tobytes()
    content[content.index(values) + 7] ^= 1
    path.write_bytes(content)
    before = everything(optimizer)
    words = rf"^{re.escape(str(path))}: state\.0\.{slot}: got damaged values"
    with pytest.raises(ValueError, match=words):
        optimizer.load(path)
    assert everything(optimizer) == before


def metadata_of(path: Path) -> dict[str, Any]:
    from safetensors import safe_open

    opening: Any = safe_open
    with opening(path, framework="numpy") as opened:
        return dict(opened.metadata())


def test_changed_metadata_is_refused(tmp_path: Path) -> None:
    path, optimizer = tmp_path / "a", fastopt.SGD(np.ones(3), lr=0.25, momentum=0.5)
    optimizer.save(path)
    path.write_bytes(path.read_bytes().replace(b"0.25", b"0.75"))
    with pytest.raises(ValueError, match=r"a: got damaged metadata, whose checksum is"):
        optimizer.load(path)
    optimizer.save(path)
    tensors, metadata = load_file(path), metadata_of(path)
    for lost in (
        {"fastopt": metadata["fastopt"]},
        {"fastopt": re.sub(r', "crc32": \d+', "", metadata["fastopt"])},
    ):
        save_file(tensors, path, lost)
        with pytest.raises(ValueError, match=r"a: got a damaged checkpoint, which lacks checksums"):
            optimizer.load(path)


def test_a_file_of_version_1_loads(tmp_path: Path) -> None:
    path, optimizer, again = tmp_path / "a", stepped("NAdam"), stepped("NAdam", 1)
    optimizer.save(path)
    document = json.loads(metadata_of(path)["fastopt"])
    text = re.sub(r', "crc32": \d+', "", json.dumps({**document, "version": 1}))
    assert "crc32" not in text
    save_file(load_file(path), path, {"fastopt": text})
    again.load(path)
    assert everything(again)[0] == everything(optimizer)[0]


@pytest.mark.parametrize("count", [2**53 - 1, 2**53, 2**62, 2**63 - 2, 2**63 - 1])
def test_every_count_that_can_be_saved_can_be_loaded(count: int, tmp_path: Path) -> None:
    optimizer, again = (fastopt.AdamW([np.ones(3), np.ones(2)]) for _ in range(2))
    snapshot = optimizer.state_dict()
    snapshot |= {"steps": count, "skipped_steps": count}
    snapshot["state"][0]["step"] = min(count, 2**63 - 3)
    optimizer.load_state_dict(snapshot)
    for _ in range(2):
        optimizer.step([np.ones(3), np.ones(2)])
    optimizer.save(tmp_path / "a")
    again.load(tmp_path / "a")
    assert everything(again)[0] == everything(optimizer)[0]
    assert again.steps == min(count + 2, 2**63 - 1)
    snapshot["steps"] = 2**63
    with pytest.raises(ValueError, match=r"state_dict\['steps'\]: got"):
        again.load_state_dict(snapshot)


def test_a_header_beyond_what_readers_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastopt._engine.files.LARGEST", 1000)
    with pytest.raises(ValueError, match=r"got 12 arrays, whose names take \d+ bytes, expected at most 1000"):
        stepped("Adam").save(tmp_path / "a")
    assert os.listdir(tmp_path) == []
