"""The sources of `fastopt compare`: MNIST with and without a network, every layout of .npz files, and what is refused."""

from __future__ import annotations

import io
import pickle
import urllib.error
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.datasets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastopt.cli.compare.data import Data, load
from fastopt.cli.compare.samples import DataError
from tests.support.cli import status
from tests.support.compare_runs import TINY, npz, refused, samples

FUZZ = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
"""Each example writes the same file anew."""


class TestMnist:
    def test_the_last_seventh_is_its_test_part(self, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
        images, digits = rng.integers(0, 256, (140, 784)), (np.arange(140) % 10).astype(str).astype(object)
        asked: list[Any] = []

        def fetch(name: str, **arguments: Any) -> Any:
            asked.append((name, arguments["version"], arguments["as_frame"]))
            return images, digits

        monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
        data = load("mnist")
        assert asked == [("mnist_784", 1, False)]
        assert (data.train_inputs.shape, data.test_inputs.shape) == ((120, 784), (20, 784))
        assert np.array_equal(data.test_labels, np.arange(120, 140) % 10)
        assert data.classes == tuple("0123456789")
        assert np.array_equal(load("mnist", seed=1).train_inputs, data.train_inputs)  # no split, so that none depends on the seed

    @pytest.mark.parametrize(
        "error",
        [urllib.error.URLError("no route"), TimeoutError("timed\nout"), ValueError("Dataset not found"), ConnectionResetError()],
    )
    def test_offline_it_is_one_line_with_status_2(
        self, error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def fetch(name: str, **arguments: Any) -> Any:
            warnings.warn("A network error occurred; retrying", stacklevel=1)
            raise error

        monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
        code, out, err = status(["compare", "mnist", *TINY], capsys)
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert "mnist: cannot be fetched from openml.org" in err

    def test_offline_by_scikit_learn_itself(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def urlopen(*args: Any, **kwargs: Any) -> Any:
            raise urllib.error.URLError("Name or service not known")

        monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
        monkeypatch.setattr("sklearn.datasets._openml.urlopen", urlopen)
        monkeypatch.setattr("sklearn.datasets._openml.time.sleep", lambda seconds: None)
        code, out, err = status(["compare", "mnist", *TINY], capsys)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "Name or service not known" in err


class TestNpz:
    @pytest.mark.parametrize("names", [("X", "y"), ("x", "y"), ("data", "target"), ("DATA", "Target")])
    @pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int8, np.uint8])
    def test_inputs_and_labels(self, names: tuple[str, str], dtype: Any, tmp_path: Path, rng: np.random.Generator) -> None:
        inputs, labels = samples(rng)
        path = npz(tmp_path / "a.npz", **{names[0]: (3 * inputs).astype(dtype), names[1]: labels, "more": np.ones(3)})
        data = load(str(path))
        assert (data.name, data.train_inputs.shape, data.test_inputs.shape) == ("a.npz", (45, 4), (15, 4))
        assert (data.classes, data.target) == (("0", "1", "2"), names[1])
        assert np.allclose(data.train_inputs.mean(axis=0), 0, atol=1e-5)
        assert np.allclose(data.train_inputs.std(axis=0), 1, atol=1e-3)

    def test_both_parts_as_keras_has_them(self, tmp_path: Path, rng: np.random.Generator) -> None:
        images = rng.integers(0, 256, (50, 5, 6, 3), dtype=np.uint8)
        images[:, 0] = 0  # blank
        labels = (np.arange(50) % 5).astype(np.uint8)
        parts = {"x_train": images[:40], "y_train": labels[:40], "x_test": images[40:], "y_test": labels[40:, None]}
        data = load(str(npz(tmp_path / "mnist.npz", **parts)))
        assert (data.train_inputs.shape, data.test_inputs.shape) == ((40, 90), (10, 90))
        assert np.array_equal(data.train_labels, labels[:40])
        assert np.array_equal(data.test_labels, labels[40:])
        wide = images[:40].reshape(40, -1).astype(np.float64)
        deviation = wide.std(axis=0)
        deviation[deviation == 0] = 255 / 16
        expected = (images[40:].reshape(10, -1) - wide.mean(axis=0)) / deviation  # by the training part alone
        assert np.allclose(data.test_inputs, expected, atol=1e-5)

    @pytest.mark.parametrize(
        ("labels", "classes"),
        [
            (np.array(["no", "yes"]), ("no", "yes")),
            (np.array([b"no", b"yes"]), ("no", "yes")),
            (np.array([False, True]), ("False", "True")),
            (np.array([-1, 1]), ("-1", "1")),
            (np.array([1.0, 2.0]), ("1", "2")),
            (np.array([7, 2**63], np.uint64), ("7", str(2**63))),
        ],
    )
    def test_labels_of_any_type(self, labels: Any, classes: tuple[str, str], tmp_path: Path, rng: np.random.Generator) -> None:
        inputs, codes = samples(rng, classes=2)
        data = load(str(npz(tmp_path / "a.npz", X=inputs, y=labels[codes])))
        assert data.classes == classes
        assert np.bincount(data.train_labels).tolist() == [22, 23] or np.bincount(data.train_labels).tolist() == [23, 22]

    def test_the_test_part_may_lack_a_class_and_have_labels_of_another_type(
        self, tmp_path: Path, rng: np.random.Generator
    ) -> None:
        inputs, labels = samples(rng, classes=12)
        parts = {"x_train": inputs, "y_train": labels.astype(np.int64), "x_test": inputs[:12], "y_test": np.full(12, "11")}
        data = load(str(npz(tmp_path / "a.npz", **parts)))
        assert data.classes == tuple(map(str, range(12)))
        assert data.test_labels.tolist() == [11] * 12

    def test_scikit_learns_own(self, tmp_path: Path) -> None:
        bunch = sklearn.datasets.load_iris()
        data = load(str(npz(tmp_path / "iris.npz", **{name: np.asarray(bunch[name]) for name in bunch})))  # frame is an object
        assert (data.train_inputs.shape, data.classes) == ((112, 4), ("0", "1", "2"))

    @pytest.mark.parametrize("inputs", [np.array([[{}] * 4] * 60), np.array([["a"] * 4] * 60), np.ones((60, 4), complex)])
    def test_what_is_no_number_is_refused(self, inputs: Any, tmp_path: Path) -> None:
        said = refused(npz(tmp_path / "a.npz", X=inputs, y=np.arange(60) % 2))
        assert "a.npz" in said
        assert "Python objects" in said if inputs.dtype == object else "expected numbers" in said

    def test_objects_are_never_unpickled(self, tmp_path: Path) -> None:
        class Evil:
            def __reduce__(self) -> Any:
                return (Path.touch, (tmp_path / "touched",))

        content = io.BytesIO()
        np.lib.format.write_array(content, np.array([Evil()] * 60), allow_pickle=True)
        path = tmp_path / "a.npz"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("X.npy", content.getvalue())
            archive.writestr("y.npy", content.getvalue())
        assert "'X' holds Python objects, which are never unpickled" in refused(path)
        path.write_bytes(pickle.dumps(Evil()))
        assert "no zip archive of arrays" in refused(path)
        assert not (tmp_path / "touched").exists()

    @pytest.mark.parametrize(
        ("names", "said"),
        [
            (["images", "labels"], "'images', 'labels'"),
            (["x_train", "y_train"], "'x_train', 'y_train'"),
            (["X"], "'X'"),
            ([], "(none)"),
            (["X", "y", "data", "target"], "more than one choice"),
            (["X", "x", "y"], "more than one choice"),
            ([f"a{i}" for i in range(12)], "and 2 more"),
        ],
    )
    def test_other_names_are_refused(self, names: list[str], said: str, tmp_path: Path, rng: np.random.Generator) -> None:
        found = refused(npz(tmp_path / "a.npz", **{name: np.arange(20) for name in names}))
        assert said in found
        assert "x_train, y_train, x_test, y_test" in found

    def test_a_single_array_is_refused(self, tmp_path: Path) -> None:
        with (tmp_path / "a.npz").open("wb") as file:
            np.save(file, np.ones(3))
        assert "single array" in refused(tmp_path / "a.npz")

    @FUZZ
    @given(
        damage=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6), cut=st.integers(0, 10**6)
    )
    def test_a_damaged_file_is_read_or_refused(self, damage: list[tuple[int, int]], cut: int, tmp_path: Path) -> None:
        path = tmp_path / "damaged.npz"
        np.savez_compressed(path, X=np.arange(120.0).reshape(60, 2), y=np.arange(60) % 2)
        content = bytearray(path.read_bytes())
        for place, value in damage:
            content[place % len(content)] = value
        path.write_bytes(content[: cut % len(content)] if cut % 3 == 0 else content)
        with suppress(DataError):
            assert isinstance(load(str(path)), Data)
