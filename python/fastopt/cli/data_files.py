"""Where the samples of `fastopt compare` come from: scikit-learn's digits, MNIST from OpenML, and the user's .npz or CSV files."""

from __future__ import annotations

import csv
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, is_zipfile

import numpy as np

from .words import printable

if TYPE_CHECKING:
    import pandas

__all__ = ["NAMED", "SUFFIXES", "DataError", "Samples", "read"]

Array = np.ndarray[Any, Any]

NAMED = ("digits", "mnist")
"""Data sets that need no file."""

SUFFIXES = (".npz", ".csv")

CATEGORIES = 100
"""Different texts in a column of a CSV file, at most, that are read as categories; more of them are names, dates or free text."""

NUMBER = re.compile(r"[-+]?[$€£]?\s*(\d[\d,. ]*|\.\d+)(e[-+]?\d+)?\s*%?", re.IGNORECASE)
"""What was meant as a number, though Python may not read it as one: 17%, 1,100, $5."""

DATE = re.compile(r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})([T ].*)?")

LAYOUTS: tuple[tuple[str, ...], ...] = (("x", "y"), ("data", "target"), ("x_train", "y_train", "x_test", "y_test"))
"""Names of the arrays of an .npz file, in either case: inputs and labels, or those of both parts as Keras' mnist.npz has them."""

UNREADABLE = (ValueError, OSError, EOFError, BadZipFile, zlib.error, MemoryError, RuntimeError, SyntaxError, KeyError)
"""What NumPy and zipfile raise for files that are damaged, encrypted, or not what their names say."""


class DataError(ValueError):
    """What is wrong with the data that the user named, in one line; raised before any training."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(" ".join(message.split())))


@dataclass(frozen=True)
class Samples:
    """What was read, neither split nor scaled; the test part is None where the source has none of its own."""

    name: str
    inputs: Array
    """Numbers; shape (samples, ...)."""
    labels: Array
    """Any type; shape (samples,) or (samples, 1)."""
    test_inputs: Array | None = None
    test_labels: Array | None = None
    features: Sequence[str] | None = None
    """The features' names, where they have names."""
    target: str | None = None
    """The name of what is to be predicted, where it has one."""
    images: bool = False
    """Whether all features are in the same unit, as pixels are."""


def read(source: str, target: str | None = None) -> Samples:
    """The samples of "digits", of "mnist", or of a file; `target` names the column of a CSV file that holds the labels.

    Raises DataError where they cannot be had.
    """
    path = Path(source)
    if target is not None and path.suffix.lower() != ".csv":
        raise DataError(f"--target: got {target!r} for {source}, expected it with a CSV file alone")
    if source == "digits":
        return read_digits()
    if source == "mnist":
        return read_mnist()
    return read_csv(path, target) if path.suffix.lower() == ".csv" else read_npz(path)


def read_digits() -> Samples:
    """scikit-learn's 1,797 handwritten digits of 8x8 pixels, 0 to 16."""
    from sklearn.datasets import load_digits

    inputs, labels = load_digits(return_X_y=True)
    return Samples("digits", inputs, labels, images=True)


def read_mnist() -> Samples:
    """MNIST's 70,000 handwritten digits of 28x28 pixels, of which the last 10,000 are its test part."""
    from sklearn.datasets import fetch_openml

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of each attempt that fails
            inputs, labels = fetch_openml("mnist_784", version=1, as_frame=False, return_X_y=True, n_retries=2)
    except (OSError, ValueError) as error:  # urllib's errors are OSErrors, OpenML's and those of its cache ValueErrors
        raise DataError(f"mnist: cannot be fetched from openml.org: {error or type(error).__name__}") from error
    if len(inputs) < 7 or len(inputs) != len(labels):
        raise DataError(f"mnist: openml.org gave {len(inputs)} images and {len(labels)} labels, expected 70000 of each")
    train = len(inputs) * 6 // 7
    labels = labels.astype(np.int64)  # they come as texts
    return Samples("mnist", inputs[:train], labels[:train], inputs[train:], labels[train:], images=True)


def read_npz(path: Path) -> Samples:
    """The arrays of an .npz file in one of `LAYOUTS`; arrays with Python objects are never unpickled."""
    with path.open("rb") as file:  # np.load itself leaves a damaged file open
        zipped = is_zipfile(file)
        file.seek(0)
        try:
            archive = np.load(file, allow_pickle=False)
        except UNREADABLE as error:
            if not zipped:
                raise DataError(
                    f"{path}: cannot be read as .npz: it is no zip archive of arrays, as numpy.savez writes"
                ) from error
            raise DataError(f"{path}: cannot be read as .npz: {error or type(error).__name__}") from error
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataError(f"{path}: got a single array, expected an .npz file with inputs and labels")
        names = choose_layout(path, archive.files)
        inputs, labels, *test = [read_array(path, archive, name) for name in names]
    test_inputs, test_labels = test or (None, None)
    return Samples(path.name, inputs, labels, test_inputs, test_labels, target=names[1], images=inputs.ndim > 2)


def choose_layout(path: Path, found: Sequence[str]) -> list[str]:
    """The names of the file's arrays that make up the one layout it has."""
    known = {name.lower(): name for name in found}
    matches = [layout for layout in LAYOUTS if all(name in known for name in layout)]
    if len(matches) != 1 or len(known) != len(found):
        expected = "; ".join(", ".join(layout) for layout in LAYOUTS)
        problem = "no layout of inputs and labels" if not matches else "more than one choice of inputs and labels"
        raise DataError(f"{path}: {problem} among its arrays {listed(found)}; expected one of: {expected}")
    return [known[name] for name in matches[0]]


def read_array(path: Path, archive: Mapping[str, Array], name: str) -> Array:
    try:
        return archive[name]
    except UNREADABLE as error:
        if "Object arrays" in str(error):
            raise DataError(f"{path}: array {name!r} holds Python objects, which are never unpickled") from error
        raise DataError(f"{path}: array {name!r} cannot be read: {error or type(error).__name__}") from error


def read_csv(path: Path, target: str | None) -> Samples:
    """A CSV file with a line of names: one column of labels, the others features.

    Numbers are taken as they are, truth values as 0 and 1, each of a column's different texts becomes a feature that is 0 or 1.
    """
    import pandas as pd

    try:
        names = first_line(path)
        with warnings.catch_warnings():
            # Lines longer than the first one would lose their ends, or their beginnings to an index.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(path, index_col=False, low_memory=False, encoding="utf-8")
    except UnicodeError as error:
        raise DataError(f"{path}: cannot be read as CSV: expected text in UTF-8") from error
    except pd.errors.ParserWarning as error:
        problem = "its lines have more values than the first line has names"
        raise DataError(f"{path}: cannot be read as CSV: {problem}{separator(names)}") from error
    except (ValueError, OSError) as error:  # pandas' other errors are ValueErrors
        raise DataError(f"{path}: cannot be read as CSV: {error}{separator(names)}") from error
    except (csv.Error, OverflowError, MemoryError) as error:
        raise DataError(f"{path}: cannot be read as CSV: {error or type(error).__name__}") from error
    check_names(path, names, [str(name) for name in frame.columns])
    if not len(frame):
        raise DataError(f"{path}: got the line of names alone, expected samples below it")
    if target is None:
        target = str(frame.columns[-1])
    if target not in frame.columns:
        raise DataError(f"--target: got {target!r}, expected a column of {path}: {listed(list(frame.columns))}")
    for name, count in frame.isna().sum().items():
        if count:
            what = "value" if count == 1 else "values"
            raise DataError(f"{path}: column {name!r} has {count} missing {what} (empty, NA, ...): fill or remove them first")
    columns: list[Array] = []
    features: list[str] = []
    for name, column in frame.items():
        if name != target:
            for feature, values in numbers(path, str(name), column).items():
                features.append(feature)
                columns.append(values)
    if not columns:
        raise DataError(f"{path}: got the target {target!r} alone, expected columns of features beside it")
    labels = frame[target]
    return Samples(
        path.name,
        np.stack(columns, axis=1),
        labels.to_numpy() if pd.api.types.is_numeric_dtype(labels) else np.array([str(label) for label in labels], dtype=np.str_),
        features=features,
        target=target,
    )


def first_line(path: Path) -> list[str]:
    """The names as they stand there, as pandas adds ".1" to a repeated one."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return next((names for names in csv.reader(file) if names), [])


def separator(names: Sequence[str]) -> str:
    """What an error adds where the names are separated by something else than commas."""
    text = ",".join(names)
    found = next((other for other in (";", "\t", "|") if text.count(other) > text.count(",")), None)
    return "" if found is None else f"; the first line has values separated by {found!r}, expected commas"


def check_names(path: Path, names: Sequence[str], columns: Sequence[str]) -> None:
    """Refuses a first line that holds data, and columns without a name or with that of another; `columns`: pandas' names."""
    if len(columns) < 2:
        raise DataError(
            f"{path}: got {len(columns)} column, expected features and a target, separated by commas{separator(names)}"
        )
    for i, name in enumerate(columns):
        if name.startswith("Unnamed: "):
            raise DataError(f"{path}: column {i + 1} has no name: name it, or remove it where it only counts the lines")
    for name, times in Counter(names).items():
        # Whole numbers may count the columns, as in a file that pandas wrote; but then each stands there once.
        if is_number(name) and (times > 1 or not name.isdecimal()):
            raise DataError(f"{path}: the first line has the number {name!r}, expected a line with the columns' names")
        if times > 1:
            raise DataError(f"{path}: {times} columns have the name {name!r}, expected a name of its own for each")


def numbers(path: Path, name: str, column: pandas.Series[Any]) -> dict[str, Array]:
    """The features that a column makes, by name."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_complex_dtype(column):
        return {name: column.to_numpy(np.float64)}
    texts = column.astype(str).str.strip()
    check_texts(path, name, list(texts))
    categories = sorted(texts.unique())
    return {f"{name}={category}": (texts == category).to_numpy(np.float64) for category in categories}


def check_texts(path: Path, name: str, texts: Sequence[str]) -> None:
    """Refuses texts that are no categories: numbers in other words, dates, and what names each sample."""
    found = Counter(texts)
    numeric = {text for text in found if is_number(text) or NUMBER.fullmatch(text)}
    if 2 * sum(found[text] for text in numeric) > len(texts):
        odd = next((text for text in found if not is_number(text)), None)
        which = (
            f"numbers too large, such as {shortened(max(numeric, key=len))}" if odd is None else f"texts such as {shortened(odd)}"
        )
        raise DataError(f"{path}: column {name!r} is of numbers, but has {which}: write numbers alone, or remove it")
    dates = [text for text in found if DATE.fullmatch(text)]
    if 2 * sum(found[text] for text in dates) > len(texts):
        raise DataError(f"{path}: column {name!r} is of dates such as {shortened(dates[0])}: write them as numbers, or remove it")
    if len(found) > CATEGORIES or 2 * len(found) > len(texts):
        raise DataError(
            f"{path}: column {name!r} has {len(found)} different texts among {len(texts)} samples, expected numbers, or categories "
            f"(at most {CATEGORIES}, each for two samples or more on average): remove it, or write it as numbers"
        )


def shortened(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:37]}...")


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def listed(names: Sequence[Any], most: int = 10) -> str:
    """Names for an error, the first of them where they are many."""
    shown = ", ".join(repr(name) for name in names[:most])
    return (shown or "(none)") + (f" and {len(names) - most} more" if len(names) > most else "")
