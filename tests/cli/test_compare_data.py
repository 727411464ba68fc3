"""The data of `fastopt compare`: classes, splits and scales, what is refused and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fastopt.cli.compare import data as data_module
from fastopt.cli.compare.data import hold_out, load, prepare
from fastopt.cli.compare.labels import FEWEST
from fastopt.cli.compare.samples import DataError, Samples
from tests.support.cli import status
from tests.support.compare_runs import TINY, npz, samples


class TestDigits:
    def test_are_split_by_class_and_standardised(self) -> None:
        data = load(seed=3)
        assert (data.train_inputs.shape, data.test_inputs.shape) == ((1347, 64), (450, 64))
        assert data.train_inputs.dtype == data.test_inputs.dtype == np.float32
        assert data.train_labels.dtype == np.int64
        assert data.classes == tuple("0123456789")
        shares = [np.bincount(labels) / len(labels) for labels in (data.train_labels, data.test_labels)]
        assert np.abs(shares[0] - shares[1]).max() < 0.003
        assert np.abs(data.train_inputs.mean(axis=0)).max() < 1e-5
        deviation = data.train_inputs.std(axis=0)
        nearly_blank = deviation < 0.1  # not blown up to a deviation of 1
        assert (np.abs(deviation[~nearly_blank] - 1) < 1e-4).all()
        assert (deviation[nearly_blank] > 0).any()

    def test_the_seed_gives_the_split(self) -> None:
        first, again, other = load(seed=0), load(seed=0), load(seed=1)
        assert np.array_equal(first.test_inputs, again.test_inputs)
        assert not np.array_equal(first.test_labels, other.test_labels)

    def test_the_held_out_samples_are_some_of_the_training_samples(self) -> None:
        data = load()
        part = hold_out(data, 0)
        assert (len(part.train_labels), len(part.test_labels)) == (1010, 337)
        inputs = np.concatenate((part.train_inputs, part.test_inputs))
        labels = np.concatenate((part.train_labels, part.test_labels))
        for array, whole in ((inputs, data.train_inputs), (labels[:, None], data.train_labels[:, None])):
            assert np.array_equal(array[np.lexsort(inputs.T)], whole[np.lexsort(data.train_inputs.T)])


class TestLabels:
    @pytest.mark.parametrize(
        ("labels", "said"),
        [
            (np.arange(60) % 2 + np.nan, "NaN or infinite"),
            (np.zeros(60, int), "all samples are of the class '0'"),
            (
                np.arange(60) % 2 * (np.arange(60) > 46),
                "the class '1' has 7 samples, expected 8 or more of each class; --task regression",
            ),
            (np.r_[np.zeros(59, int), 3], "the class '3' has 1 sample,"),
            (np.eye(2)[np.arange(60) % 2], "shape (60, 2)"),
            (np.arange(59) % 2, "shape (59,) for 60 samples"),
            (np.array(0), "shape ()"),
            ((np.arange(60) % 2).astype("datetime64[D]"), "dtype datetime64[D]"),
        ],
    )
    def test_refused(self, labels: Any, said: str, rng: np.random.Generator) -> None:
        with pytest.raises(DataError) as caught:
            prepare(Samples("a.npz", rng.standard_normal((60, 2)), labels), 0)
        assert said in str(caught.value)

    @pytest.mark.parametrize("classes", [2, 3, 7, 40])
    @pytest.mark.parametrize("more", [0, 1, 3])
    def test_the_fewest_samples_can_be_split_twice(self, classes: int, more: int, rng: np.random.Generator) -> None:
        labels = np.r_[np.arange(classes * FEWEST) % classes, np.zeros(more, int)]
        data = prepare(Samples("a", rng.standard_normal((len(labels), 3)), labels), 0)
        for part in (data, hold_out(data, 0)):
            assert set(part.train_labels) == set(part.test_labels) == set(range(classes))

    @pytest.mark.parametrize("classes", [2, 3, 7, 40])
    def test_with_a_test_part_half_as_many_do(self, classes: int, rng: np.random.Generator) -> None:
        labels = np.arange(classes * FEWEST // 2) % classes
        inputs = rng.standard_normal((len(labels), 3))
        data = hold_out(prepare(Samples("a", inputs, labels, inputs, labels), 0), 0)
        assert set(data.train_labels) == set(data.test_labels) == set(range(classes))

    @pytest.mark.parametrize(
        ("inputs", "labels", "said"),
        [
            (np.ones((10, 3)), np.zeros(10, int), "has 3 features, expected 2"),
            (np.ones((10, 2)), np.full(10, 9), "the class '9', which no training sample has"),
            (np.ones((10, 2)), np.zeros(9, int), "shape (9,) for 10 samples"),
            (np.full((10, 2), np.nan), np.zeros(10, int), "test inputs: feature 0"),
            (np.ones((0, 2)), np.zeros(0, int), "shape (0, 2)"),
        ],
    )
    def test_a_test_part_that_does_not_fit(self, inputs: Any, labels: Any, said: str, rng: np.random.Generator) -> None:
        with pytest.raises(DataError) as caught:
            prepare(Samples("a", rng.standard_normal((60, 2)), np.arange(60) % 2, inputs, labels), 0)
        assert said in str(caught.value)


class TestScale:
    def test_a_feature_that_does_not_vary_tells_nothing(self, rng: np.random.Generator) -> None:
        inputs = np.c_[rng.standard_normal(60), np.full(60, 0.1), 1e9 + rng.standard_normal(60)]
        test = np.c_[np.zeros(60), np.full(60, 7.0), np.full(60, 1e9)]
        data = prepare(Samples("a", inputs, np.arange(60) % 2, test, np.arange(60) % 2), 0)
        assert not data.train_inputs[:, 1].any()
        assert not data.test_inputs[:, 1].any()
        assert np.allclose(data.train_inputs[:, [0, 2]].std(axis=0), 1, atol=1e-5)

    @pytest.mark.parametrize("scale", [1e200, 1e-200, 4e307, 1e-307, 3.0, -1e150])
    @pytest.mark.parametrize("offset", [0.0, 1.0, -1e5])
    def test_whatever_the_unit(self, scale: float, offset: float, rng: np.random.Generator) -> None:
        plain = np.clip(rng.standard_normal((80, 3)), -3, 3)
        moved = (plain + offset) / max(1.0, abs(offset)) * scale
        labels = np.arange(80) % 2
        expected, got = (prepare(Samples("a", inputs, labels), 0) for inputs in (plain, moved))
        for part in ("train_inputs", "test_inputs"):
            signed = np.sign(scale) * getattr(got, part)
            assert np.allclose(getattr(expected, part), signed, atol=1e-4)

    @pytest.mark.parametrize(
        "values", [np.arange(60) * 5e-324, 1e13 + np.arange(60) / 64, np.where(np.arange(60) % 3, -1e308, 1e308)]
    )
    def test_what_varies_counts(self, values: Any) -> None:
        data = prepare(Samples("a", np.c_[values, np.arange(60)], np.arange(60) % 2), 0)
        assert np.allclose(data.train_inputs.std(axis=0), 1, atol=1e-4)
        assert np.isfinite(data.test_inputs).all()

    def test_what_float64_cannot_tell_apart_is_refused_by_name(self) -> None:
        inputs = np.c_[np.arange(60), 2**60 + np.arange(60) % 7]
        with pytest.raises(DataError, match="feature 'b' varies less than float64 can tell"):
            prepare(Samples("a", inputs, np.arange(60) % 2, features=["a", "b"]), 0)

    @pytest.mark.skipif(np.finfo(np.longdouble).max <= np.finfo(np.float64).max, reason="long double is float64 here")
    def test_what_is_too_large_for_float64_is_refused(self) -> None:
        inputs = np.arange(120, dtype=np.longdouble).reshape(60, 2) * np.longdouble(10) ** 400
        with pytest.raises(DataError, match="too large"):
            prepare(Samples("a", inputs, np.arange(60) % 2), 0)

    @pytest.mark.parametrize("inputs", [np.ones(60), np.ones((60, 0)), np.ones((0, 3)), np.array(1.0)])
    def test_shapes(self, inputs: Any) -> None:
        with pytest.raises(DataError, match="shape"):
            prepare(Samples("a", inputs, np.arange(60) % 2), 0)

    def test_what_was_read_is_left_alone(self, rng: np.random.Generator) -> None:
        inputs, labels = samples(rng)
        before = inputs.copy(), labels.copy()
        prepare(Samples("a", inputs, labels, inputs, labels, images=True), 0)
        assert np.array_equal(inputs, before[0])
        assert np.array_equal(labels, before[1])


class TestCommand:
    def test_a_file_of_ones_own(self, tmp_path: Path, capsys: pytest.CaptureFixture[str], rng: np.random.Generator) -> None:
        inputs, labels = samples(rng, 80, 2)
        pd.DataFrame(inputs, columns=list("abcd")).assign(**{"[red]kind": np.array(["cat", "dog"])[labels]}).to_csv(
            tmp_path / "[bold]pets.csv", index=False
        )
        code, out, _ = status(["compare", str(tmp_path / "[bold]pets.csv"), *TINY], capsys)
        assert code == 0
        assert "[bold]pets.csv: 80 samples, 4 features, 2 classes of '[red]kind'" in out
        assert "[bold]pets.csv: 1 epoch of 60 samples, tested on 20 others" in out

    def test_bad_data_is_one_line_with_status_2_before_any_training(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(data_module, "split", None)
        path = npz(tmp_path / "a.npz", X=np.ones((30, 2)), y=np.zeros(30))
        output = tmp_path / "out.json"
        code, out, err = status(["compare", str(path), *TINY, "--json", str(output)], capsys)
        assert (code, out) == (2, "")
        assert err == "fastopt: a.npz: labels: all samples are of the class '0', expected two classes or more\n"
        assert not output.exists()

    @pytest.mark.parametrize("name", ["iris", "a.txt", "missing.csv", "missing.npz", "folder.csv"])
    def test_no_such_data(
        self, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "folder.csv").mkdir()
        code, out, err = status(["compare", name], capsys)
        assert (code, out) == (2, "")
        assert repr(name) in err
