"""Tables as samples: pandas reads them; here are what is refused, with the cure, and the features that columns make."""

from __future__ import annotations

import lzma
import warnings
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from .samples import DataError, Samples, listed

if TYPE_CHECKING:
    import pandas

__all__ = ["CATEGORIES", "read_table"]

CATEGORIES = 100
"""Different texts of a column, at most, that are read as categories; more of them are names, dates or free text."""

NUMBER = r"(?i:[-+]?[$€£]?\s*(?:\d[\d,. ]*|\.\d+)(?:e[-+]?\d+)?\s*%?)"
"""What was meant as a number, though pandas may not read it as one: 17%, 1,100, $5."""

SEPARATORS = (",", ";", "\t", "|")

DECIMAL_COMMA = r"[-+]?\d+,\d+"

DATE = r"(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})(?:[T ].*)?"


def read_table(path: Path, target: str | None) -> Samples:
    """The samples of a table with a line of names: one column of labels, the others features.

    Numbers stay as they are, truth values become 0 and 1, each of a column's different texts becomes a feature that is 0 or 1.  In a
    column of texts, words such as "None" and "NA" are texts, and only what is empty is missing.
    """
    import pandas as pd

    frame = read_frame(path)
    if target is None:
        target = str(frame.columns[-1])
    if target not in frame.columns:
        raise DataError(f"--target: got {target!r}, expected a column of {path}: {listed(list(frame.columns))}")
    for name, count in frame.isna().sum().items():
        if count:
            what = "value" if count == 1 else "values"
            raise DataError(f"{path}: column {name!r} has {count} missing {what} (empty, NA, ...): fill or remove them first")
    labels = frame.pop(target)
    numeric = pd.api.types.is_numeric_dtype(labels)
    if not numeric and labels.nunique() > CATEGORIES:  # amounts in other words
        check_texts(path, target, labels.astype(str).str.strip())
    features = pd.concat([numbers(path, str(name), column) for name, column in frame.items()], axis=1)
    return Samples(
        path.name,
        features.to_numpy(np.float64),
        labels.to_numpy() if numeric else np.array([str(label) for label in labels], dtype=np.str_),
        features=list(features.columns),
        target=target,
    )


def read_frame(path: Path) -> pandas.DataFrame:
    """The table as pandas reads it, with a name of its own for each column; DataError if it is none."""
    import pandas as pd

    try:
        with warnings.catch_warnings():
            # Lines longer than the first one would lose their ends, or their beginnings to an index.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            names, separator = first_line(path)
            frame = read_values(path, separator)
    except UnicodeError as error:
        raise DataError(f"{path}: cannot be read as a table: expected text in UTF-8") from error
    except pd.errors.ParserWarning as error:
        problem = "its lines have more values than the first line has names"
        raise DataError(f"{path}: cannot be read as a table: {problem}") from error
    # pandas' other errors are ValueErrors; the last ones come from damaged archives.
    except (ValueError, OSError, OverflowError, MemoryError, EOFError, zlib.error, lzma.LZMAError, BadZipFile) as error:
        raise DataError(f"{path}: cannot be read as a table: {error or type(error).__name__}") from error
    check_names(path, names, [str(name) for name in frame.columns])
    if not len(frame):
        raise DataError(f"{path}: got the line of names alone, expected samples below it")
    return frame


def first_line(path: Path) -> tuple[list[str], str]:
    """The names as they stand in the file, since pandas adds ".1" to a repeated one, and what separates them: whatever gives most."""
    import pandas as pd

    options: dict[str, Any] = {"header": None, "nrows": 1, "dtype": str, "keep_default_na": False, "encoding": "utf-8"}
    lines = {}
    usual = "\t" if ".tsv" in path.name.lower() else ","
    for separator in (usual, *(each for each in SEPARATORS if each != usual)):
        lines[separator] = pd.read_csv(path, sep=separator, skipinitialspace=True, **options).iloc[0]
    separator = max(lines, key=lambda separator: len(lines[separator]))  # the first of equals
    return [str(name).strip() for name in lines[separator]], separator


def read_values(path: Path, separator: str) -> pandas.DataFrame:
    """The table with numbers as numbers, texts without the spaces around them, and what is missing as NaN."""
    import pandas as pd

    options: dict[str, Any] = {"sep": separator, "skipinitialspace": True, "low_memory": False, "encoding": "utf-8"}
    frame = pd.read_csv(path, index_col=False, keep_default_na=False, na_values=[""], **options)
    if separator == ";" and any(decimal_commas(frame[name]) for name in texts_of(frame)):
        options["decimal"] = ","
        frame = pd.read_csv(path, index_col=False, keep_default_na=False, na_values=[""], **options)
    texts = texts_of(frame)
    if texts:
        # A column that is of numbers but for "NA", "null" and the like has missing values.
        places = [frame.columns.get_loc(name) for name in texts]
        read = pd.read_csv(path, index_col=False, usecols=places, **options)
        for name, (_, column) in zip(texts, read.items(), strict=True):
            if pd.api.types.is_numeric_dtype(column) and not column.isna().all():
                frame[name] = column
    return frame.rename(columns=lambda name: str(name).strip())


def texts_of(frame: pandas.DataFrame) -> list[str]:
    """The columns that are neither numbers nor truth values."""
    import pandas as pd

    return [name for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name])]


def decimal_commas(column: pandas.Series[Any]) -> bool:
    """Whether most values of a column of texts are numbers such as 1,5."""
    return bool(2 * column.astype(str).str.strip().str.fullmatch(DECIMAL_COMMA).sum() > len(column))


def check_names(path: Path, names: Sequence[str], columns: Sequence[str]) -> None:
    """Refuses a first line that holds data, and columns without a name or with another's; `columns`: pandas' names."""
    if len(columns) < 2:
        raise DataError(f"{path}: got {len(columns)} column, expected features and a target, separated by one of , ; | or tabs")
    for i, name in enumerate(columns):
        if name.startswith("Unnamed: "):
            raise DataError(f"{path}: column {i + 1} has no name: name it, or remove it where it only counts the lines")
    for name, times in Counter(names).items():
        # Whole numbers may count the columns, as in a file that pandas wrote; but then each stands there once.
        if is_number(name) and (times > 1 or not name.isdecimal()):
            raise DataError(f"{path}: the first line has the number {name!r}, expected a line with the columns' names")
        if times > 1:
            raise DataError(f"{path}: {times} columns have the name {name!r}, expected a name of its own for each")


def numbers(path: Path, name: str, column: pandas.Series[Any]) -> pandas.DataFrame:
    """The features that a column makes."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        return column.to_frame(name)
    texts = column.astype(str).str.strip()
    check_texts(path, name, texts)
    return pd.get_dummies(texts, prefix=name, prefix_sep="=", dtype=np.float64)


def check_texts(path: Path, name: str, texts: pandas.Series[Any]) -> None:
    """Refuses texts that are no categories: numbers in other words, dates, and what names each sample."""
    plain = texts.map(is_number)
    numeric = texts[plain | texts.str.fullmatch(NUMBER)]
    if 2 * len(numeric) > len(texts):
        odd = texts[~plain]
        which = f"texts such as {shortened(odd.iloc[0])}" if len(odd) else "numbers too large, such as "
        which += "" if len(odd) else shortened(max(numeric, key=len))
        raise DataError(f"{path}: column {name!r} is of numbers, but has {which}: write numbers alone, or remove it")
    dates = texts[texts.str.fullmatch(DATE)]
    if 2 * len(dates) > len(texts):
        example = shortened(dates.iloc[0])
        raise DataError(f"{path}: column {name!r} is of dates such as {example}: write them as numbers, or remove it")
    count = texts.nunique()
    if count > CATEGORIES or 2 * count > len(texts):
        raise DataError(
            f"{path}: column {name!r} has {count} different texts among {len(texts)} samples, expected numbers, or categories "
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
