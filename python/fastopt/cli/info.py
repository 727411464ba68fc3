"""`fastopt info`: how fastopt runs here and which optional packages it finds; needs NumPy alone."""

from __future__ import annotations

import argparse
import importlib.util
from datetime import datetime, timezone
from importlib import metadata
from typing import Any

from ..config import show_config

__all__ = ["describe", "installed", "run"]

EXTRAS = {"rich": "rich", "matplotlib": "matplotlib", "sklearn": "scikit-learn", "torch": "torch"}
"""Module -> the package that it comes in."""


def installed() -> dict[str, str | None]:
    """The version of each optional package, None where it is missing; nothing is imported (torch takes seconds)."""
    versions: dict[str, str | None] = {}
    for module, package in EXTRAS.items():
        versions[package] = None
        if importlib.util.find_spec(module) is not None:
            try:
                versions[package] = metadata.version(package)
            except metadata.PackageNotFoundError:
                versions[package] = "unknown version"
    return versions


def describe() -> dict[str, Any]:
    """What a report says of the run that made it: configuration, versions of the optional packages, date (UTC, ISO 8601)."""
    return {
        "config": show_config(mode="dicts"),
        "versions": installed(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def run(args: argparse.Namespace) -> int:
    show_config()
    print("extras:")
    for package, version in installed().items():
        print(f"  {package}: {version or 'not installed'}")
    return 0
