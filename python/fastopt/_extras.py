"""How to install the optional packages: one spelling, which works from the clone."""

from __future__ import annotations

__all__ = ["install", "install_cuda"]


def install(extra: str) -> str:
    """The command for an extra of `pyproject.toml`, and where to type it."""
    return f'pip install ".[{extra}]" in the folder of fastopt\'s clone'


def install_cuda() -> str:
    """The command for CuPy and NVRTC; the extra goes by the driver."""
    return f'{install("cuda13")}, or ".[cuda12]" for a CUDA 12 driver'
