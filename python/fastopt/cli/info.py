"""`fastopt info`: how fastopt runs here, which optional packages it finds, the compiled kernels; needs NumPy alone."""

from __future__ import annotations

import argparse
import importlib.util
from contextlib import suppress
from datetime import datetime, timezone
from importlib import metadata
from typing import Any

from .._cuda import compiler
from ..config import show_config

__all__ = ["describe", "installed", "run"]

EXTRAS: dict[str, tuple[str, ...]] = {
    "rich": ("rich",),
    "matplotlib": ("matplotlib",),
    "scikit-learn": ("scikit-learn",),
    "scipy": ("scipy",),
    "pandas": ("pandas",),
    "ml_dtypes": ("ml_dtypes",),
    "safetensors": ("safetensors",),
    "torch": ("torch",),
    "jax": ("jax",),
    "optax": ("optax",),
    "keras": ("keras",),
    "cupy": ("cupy-cuda13x", "cupy-cuda12x", "cupy"),
    "nvrtc": ("nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12"),
}
"""What a report calls a package -> the names that it is distributed under."""

MODULES = {"scikit-learn": "sklearn", "nvrtc": None}
"""The modules of packages that have another name; NVRTC is a library, and has none."""

LISTED = 20
"""Kernels of the cache that are listed, unless all are asked for."""


def installed() -> dict[str, str | None]:
    """The version of each optional package, None if it is missing; nothing is imported (torch takes seconds)."""
    versions: dict[str, str | None] = {}
    for name, packages in EXTRAS.items():
        module = MODULES.get(name, name)
        version = version_of(packages)
        if module is None:
            versions[name] = version
        else:
            versions[name] = version or "unknown version" if importlib.util.find_spec(module) else None
    return versions


def version_of(packages: tuple[str, ...]) -> str | None:
    """The version of the first one that is installed."""
    for package in packages:
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(package)
    return None


def describe() -> dict[str, Any]:
    """The run that makes a report: configuration, versions of the optional packages, date (UTC, ISO 8601)."""
    return {
        "config": show_config(mode="dicts"),
        "versions": installed(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def show_cache(listed: int | None) -> None:
    """Prints the kernels that were compiled for GPUs, at most `listed` of them by name."""
    sizes = {cubin: cubin.path.stat().st_size for cubin in compiler.cached()}
    print(f"kernels for CUDA: {len(sizes)}, {sum(sizes.values()):,} bytes in {compiler.cache_folder()}")
    for cubin, size in list(sizes.items())[:listed]:
        print(f"  {cubin.kernel} {cubin.arch} {size:,} bytes")
    if listed is not None and len(sizes) > listed:
        print(f"  ... and {len(sizes) - listed} more (fastopt info --cache)")


def run(args: argparse.Namespace) -> int:
    show_config()
    print("extras:")
    for package, version in installed().items():
        print(f"  {package}: {version or 'not installed'}")
    show_cache(None if args.cache else LISTED)
    return 0
