"""What a missing package says: what to install, in the one spelling that works from the clone."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CUPY = """
class Fake:
    __cuda_array_interface__ = {"shape": (3,), "typestr": "<f4", "data": (4096, False), "version": 3}
"""
CASES = {
    "torch": ("torch", "fastopt.torch", "torch"),
    "sklearn": ("sklearn", "fastopt.sklearn", "sklearn"),
    "a method of scipy": ("scipy", "fastopt.scipy.adam(lambda x: x @ x, [1.0])", "scipy"),
    "minimize": ("scipy", "fastopt.minimize(lambda x: x @ x, [1.0])", "scipy"),
    "progress": ("rich", "fastopt.minimize(lambda x: x @ x, [1.0], progress=True)", "cli"),
    "save": ("safetensors", "fastopt.SGD(np.ones(3)).save('opt.safetensors')", "checkpoints"),
    "load": ("safetensors", "fastopt.SGD(np.ones(3)).load('opt.safetensors')", "checkpoints"),
    "CUDA": ("cupy", f"exec('''{CUPY}'''); fastopt.SGD(Fake())", "cuda13"),
    "plot": ("matplotlib", "cli.main(['bench', '--plot', 'bench.png'])", "cli"),
}


def run(package: str, code: str) -> str:
    """The last line of what a program without the package says."""
    program = f"import sys; sys.modules[{package!r}] = None\nimport numpy as np, fastopt, fastopt.cli as cli\n{code}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("case", CASES)
def test_the_error_ends_in_the_command(case: str) -> None:
    package, code, extra = CASES[case]
    assert f'pip install ".[{extra}]" in the folder of fastopt\'s clone' in run(package, code)


def test_a_csv_file_without_pandas(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a,b\n1,x\n2,y\n")
    assert run("pandas", f"cli.main(['compare', {str(path)!r}])") == (
        'fastopt: pandas is not installed: pip install ".[cli]" in the folder of fastopt\'s clone'
    )


def test_every_extra_that_is_named_exists() -> None:
    extras = re.findall(
        r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text().partition("optional-dependencies]")[2], re.MULTILINE
    )
    assert {extra for _, _, extra in CASES.values()} | {"cuda12"} <= set(extras)


def test_no_other_spelling_is_left() -> None:
    for path in [
        *(ROOT / "python").rglob("*.py"),
        *(ROOT / "docs").glob("*.md"),
        ROOT / "README.md",
        *(ROOT / "examples").glob("*"),
    ]:
        text = path.read_text()
        assert not re.search(r"fastopt\[", text), path
        assert not re.search(r"pip install ['\"]?fastopt", text), path
        if path.suffix == ".py" and path.name != "_extras.py":
            assert 'pip install "' not in text, path


def test_a_missing_face_is_not_listed() -> None:
    code = "print(sorted(dir(fastopt)), file=sys.stderr)"
    assert "'torch'" not in run("torch", code)
    assert "'sklearn'" not in run("sklearn", code)
    assert "'scipy'" in run("torch", code)
