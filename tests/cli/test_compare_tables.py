"""Tables as data of `fastopt compare`: what pandas reads of them, texts and missing values, and what is refused."""

from __future__ import annotations

import bz2
import gzip
import lzma
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastopt.cli.compare.data import load
from fastopt.cli.compare.samples import DataError
from fastopt.cli.compare.sources import read
from fastopt.cli.compare.tables import CATEGORIES
from tests.support.cli import status
from tests.support.compare_runs import TINY, npz, refused, samples

FUZZ = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
"""Each example writes the same file anew."""


def csv(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


class TestTable:
    def test_numbers_truth_values_and_categories(self, tmp_path: Path) -> None:
        rows = [f"{i},{i % 2 == 0},{'red' if i % 4 == 0 else 'blue'},{'yes' if i < 30 else 'no'}" for i in range(60)]
        path = csv(tmp_path / "a.csv", "size,old,colour,answer\n" + "\n".join(rows) + "\n")
        found = read(str(path))
        assert found.features == ["size", "old", "colour=blue", "colour=red"]
        assert found.inputs.tolist() == [[i, i % 2 == 0, i % 4 != 0, i % 4 == 0] for i in range(60)]
        assert found.labels.tolist() == ["yes"] * 30 + ["no"] * 30
        data = load(str(path))
        assert (data.classes, data.target, data.train_inputs.shape) == (("no", "yes"), "answer", (45, 4))

    def test_without_pandas_it_is_one_line_with_status_2(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "pandas", None)  # importing it now fails
        code, out, err = status(["compare", str(csv(tmp_path / "a.csv", "a,b\n1,x\n")), *TINY], capsys)
        assert (code, out) == (2, "")
        assert err == 'fastopt: pandas is not installed: pip install ".[cli]" in the folder of fastopt\'s clone\n'

    def test_target(self, tmp_path: Path) -> None:
        rows = [f"{i % 2},{i},{i % 3}" for i in range(60)]
        path = csv(tmp_path / "a.csv", "first,second,third\n" + "\n".join(rows))
        assert load(str(path)).classes == ("0", "1", "2")
        data = load(str(path), target="first")
        assert (data.classes, data.target) == (("0", "1"), "first")
        said = refused(path, "fourth")
        assert "--target" in said
        assert "'first', 'second', 'third'" in said

    def test_target_is_for_csv_alone(self, tmp_path: Path, rng: np.random.Generator) -> None:
        assert "--target" in refused("digits", "y")
        inputs, labels = samples(rng)
        assert "--target" in refused(npz(tmp_path / "a.npz", X=inputs, y=labels), "y")

    def test_what_pandas_wrote(self, tmp_path: Path, rng: np.random.Generator) -> None:
        inputs, labels = samples(rng)
        frame = pd.DataFrame(inputs).assign(label=labels)  # columns 0, 1, 2, 3, label
        frame.to_csv(tmp_path / "a.CSV", index=False)
        assert load(str(tmp_path / "a.CSV")).train_inputs.shape == (45, 4)
        frame.to_csv(tmp_path / "b.csv")
        assert "column 1 has no name" in refused(tmp_path / "b.csv")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "cannot be read as a table"),
            ("a,b\n", "got the line of names alone"),
            ("a\n1\n2\n", "got 1 column"),
            ("5.1,3.5,setosa\n4.9,3.0,setosa\n", "the first line has the number '5.1'"),
            ("0,0,1\n1,0,0\n", "the first line has the number '0'"),
            ("-1,2,x\n1,0,y\n", "the first line has the number '-1'"),
            ("a,b\n1,x\n,y\n3,x\n", "column 'a' has 1 missing value (empty"),
            ("a,b\n1,x\n2,NA\n3,\n", "column 'b' has 1 missing value (empty"),
            ("a,b\n1,x\n2, \n3,y\n", "column 'b' has 1 missing value (empty"),
            ("a,b\n1,x\nNA,y\nnull,x\n", "column 'a' has 2 missing values"),
            ("a,b\n1,x\n2\n", "column 'b' has 1 missing value"),
            ("a,b\n1,x,3\n2,y,4\n", "cannot be read as a table"),
            ("a,b\n1,x\n2,y,4,5\n", "cannot be read as a table"),
            ('a,b\n1,"x\n', "cannot be read as a table"),
            ("a,b\n" + "\n".join(f"inf,{i % 2}" for i in range(60)), "feature 'a' has values that are NaN or infinite"),
            ("a,b\n" + "\n".join(f"1,{i % 2}" for i in range(60)), "no feature varies"),
            ("a,b\n" + "\n".join(f"person {i},{i % 2}" for i in range(CATEGORIES + 1)), "'a' has 101 different texts"),
        ],
    )
    def test_refused(self, text: str, said: str, tmp_path: Path) -> None:
        found = refused(csv(tmp_path / "a.csv", text))
        assert "a.csv" in found
        assert said in found

    @pytest.mark.parametrize(
        ("texts", "said"),
        [
            (["1", "2", "?", "4"], "is of numbers, but has texts such as '?'"),
            (["1%", "17%", "3%"], "texts such as '1%'"),
            (['"1,100"', "12", '"3,000,000"'], "texts such as '1,100'"),
            (["$5", "$7.50"], "texts such as '$5'"),
            ([str(10**30), str(10**31)], f"numbers too large, such as '{10**31}'"),
            (["9" * 60, "8" * 60], "..."),
            (["2024-01-01", "2024-01-02"], "is of dates such as '2024-01-01'"),
            (["1/2/99", "31.12.2024"], "is of dates"),
            (["2024-01-01 10:30", "2024-01-01T11:00"], "is of dates"),
            ([f"id-{i}" for i in range(60)], "60 different texts among 60 samples"),
            ([f"name {i}" for i in range(31)], "31 different texts among 60 samples"),
        ],
    )
    def test_texts_that_are_no_categories(self, texts: list[str], said: str, tmp_path: Path) -> None:
        rows = [f"{i % 5},{texts[i % len(texts)]},{i % 2}" for i in range(60)]
        found = refused(csv(tmp_path / "a.csv", "x,odd,y\n" + "\n".join(rows)))
        assert "column 'odd'" in found
        assert said in found

    def test_texts_with_some_digits_are_categories(self, tmp_path: Path) -> None:
        kinds = ["1st", "2nd", "size 3", "4", "A-1", "2-b"]
        rows = [f"{kinds[i % 6]},{i % 2}" for i in range(60)]
        assert len(read(str(csv(tmp_path / "a.csv", "kind,y\n" + "\n".join(rows)))).features or ()) == 6

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ("größe,b\n1,2\n".encode("latin-1"), "expected text in UTF-8"),
            ("a,b\n1,é\n".encode("latin-1"), "expected text in UTF-8"),
            ("a,b\n1,2\n".encode("utf-16"), "expected text in UTF-8"),
            (b"a,b,a\n1,2,x\n", "2 columns have the name 'a'"),
            (b"\n\na,b,b,b\n1,2,3,x\n", "3 columns have the name 'b'"),
        ],
    )
    def test_other_encodings_and_repeated_names_are_refused(self, content: bytes, said: str, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_bytes(content)
        assert said in refused(tmp_path / "a.csv")

    def test_names_as_pandas_would_make_them_are_taken(self, tmp_path: Path) -> None:
        rows = [f"{i},{i % 7},{i % 2}" for i in range(60)]
        found = read(str(csv(tmp_path / "a.csv", "\ufeffa,a.1,y\n" + "\n".join(rows))))
        assert found.features == ["a", "a.1"]

    def test_bytes_that_are_no_text(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_bytes(b"a,b\n\xff\xfe\x00,1\n")
        assert "cannot be read as a table" in refused(tmp_path / "a.csv")

    @FUZZ
    @given(content=st.text(alphabet='ab,"\n\r01.\t;-é\x00', max_size=60))
    def test_any_text_is_read_or_refused(self, content: str, tmp_path: Path) -> None:
        (tmp_path / "any.csv").write_text(content)
        with suppress(DataError):
            load(str(tmp_path / "any.csv"))


PLAIN = "a,kind\n" + "\n".join(f"{i}.5,{'xy'[i % 2]}" for i in range(60)) + "\n"


class TestForms:
    """Other separators, decimal commas and archives give the values of the plain file."""

    @pytest.mark.parametrize(
        ("name", "separator", "comma"),
        [
            ("a.csv", ";", False),
            ("a.csv", ";", True),
            ("a.tsv", "\t", False),
            ("a.TSV", "\t", False),
            ("a.csv", "\t", False),
            ("a.csv", "|", False),
        ],
    )
    def test_separators(self, name: str, separator: str, comma: bool, tmp_path: Path) -> None:
        text = PLAIN.replace(",", separator).replace(".", "," if comma else ".")
        found = read(str(csv(tmp_path / name, text)))
        assert found.features == ["a"]
        assert found.inputs[:, 0].tolist() == [i + 0.5 for i in range(60)]
        assert found.labels.tolist() == ["x", "y"] * 30

    def test_a_separator_in_quotes_is_none(self, tmp_path: Path) -> None:
        text = PLAIN.replace("a,", '"a;b;c;d",', 1)
        assert read(str(csv(tmp_path / "a.csv", text))).features == ["a;b;c;d"]

    def test_commas_in_the_names_of_a_tsv_are_no_separators(self, tmp_path: Path) -> None:
        text = PLAIN.replace(",", "\t").replace("a\t", "a, b\t", 1)
        assert read(str(csv(tmp_path / "a.tsv", text))).features == ["a, b"]

    @pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz", ".zip"])
    def test_archives(self, ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path, content = tmp_path / f"a.csv{ending}", PLAIN.encode()
        if ending == ".zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("a.csv", content)
        else:
            path.write_bytes({".gz": gzip, ".bz2": bz2, ".xz": lzma}[ending].compress(content))
        code, out, err = status(["compare", str(path), *TINY], capsys)
        assert (code, err) == (0, "")
        assert out.startswith(f"a.csv{ending}: 60 samples, 1 feature, 2 classes of 'kind'\n")
        for damaged in (path.read_bytes()[:-9], b"no archive", b""):
            path.write_bytes(damaged)
            assert "cannot be read as a table" in refused(path)

    def test_spaces_around_names_and_texts_are_none(self, tmp_path: Path) -> None:
        rows = [f"{i},{('yes', ' yes', 'yes ', 'no')[i % 4]}, {('left', 'right')[i % 2]}" for i in range(64)]
        found = load(str(csv(tmp_path / "a.csv", "x, answer, side\n" + "\n".join(rows))), target="answer")
        assert found.classes == ("no", "yes")
        assert found.train_inputs.shape[1] == 3

    @pytest.mark.parametrize("word", ["None", "NA", "null", "nan", "N/A"])
    def test_words_for_nothing_are_classes_and_categories(self, word: str, tmp_path: Path) -> None:
        rows = [f"{i},{(word, 'brick')[i % 2]},{(word, 'some', 'many')[i % 3]}" for i in range(60)]
        path = csv(tmp_path / "a.csv", "x,wall,y\n" + "\n".join(rows))
        assert load(str(path)).classes == tuple(sorted((word, "some", "many")))
        assert read(str(path)).features == ["x", *sorted((f"wall={word}", "wall=brick"))]

    def test_amounts_in_other_words_are_named(self, tmp_path: Path) -> None:
        rows = [f"{i % 7},$1,{100 + i}" for i in range(150)]
        path = csv(tmp_path / "a.tsv", "x\tprice\n" + "\n".join(row.replace(",", "\t", 1) for row in rows))
        assert "column 'price' is of numbers, but has texts such as '$1,100'" in refused(path)
