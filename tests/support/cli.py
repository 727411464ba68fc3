"""Shared by the tests of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastopt.cli import main
from fastopt.cli.rows import ROWS

LABELS = [row.label for row in ROWS]


def is_png(path: Path) -> bool:
    """Whether a file is a PNG of at least 400 x 300 pixels with more than one colour."""
    from matplotlib.image import imread

    if path.read_bytes()[:8] != b"\x89PNG\r\n\x1a\n":
        return False
    pixels = imread(path)
    return bool(pixels.shape[0] >= 300 and pixels.shape[1] >= 400 and pixels.std() > 0.01)


def status(argv: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of the command."""
    result = main(argv)
    out, err = capsys.readouterr()
    return result, out, err
