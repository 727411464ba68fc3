"""The sources of `fastopt compare`: scikit-learn's digits, MNIST from OpenML, and the user's .npz files or tables."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from zipfile import BadZipFile, is_zipfile

import numpy as np

from ..arguments import is_table
from .samples import Array, DataError, Samples, listed
from .tables import read_table

__all__ = ["read"]

LAYOUTS: tuple[tuple[str, ...], ...] = (("x", "y"), ("data", "target"), ("x_train", "y_train", "x_test", "y_test"))
"""Names of the arrays of an .npz file, in either case: inputs and labels, or those of both parts as Keras' mnist.npz has them."""

UNREADABLE = (ValueError, OSError, EOFError, BadZipFile, zlib.error, MemoryError, RuntimeError, SyntaxError, KeyError)
"""What NumPy and zipfile raise for files that are damaged, encrypted, or not what their names say."""


def read(source: str, target: str | None = None) -> Samples:
    """The samples of "digits", of "mnist", or of a file; `target` names the column of a table that holds the labels.

    Raises DataError if they cannot be read.
    """
    path = Path(source)
    if target is not None and not is_table(source):
        raise DataError(f"--target: got {target!r} for {source}, expected it with a table alone, such as a .csv file")
    if source == "digits":
        return read_digits()
    if source == "mnist":
        return read_mnist()
    return read_table(path, target) if is_table(source) else read_npz(path)


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
    """The names of the arrays that make up the file's one layout."""
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
