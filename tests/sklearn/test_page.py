"""The page on the estimators runs, and `import fastopt.sklearn` says what it needs."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

import fastopt.sklearn

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    known: dict[str, Any] = {}
    page = (ROOT / "docs" / "sklearn.md").read_text()
    blocks = [part.split("```")[0] for part in page.split("```python\n")[1:]]
    assert len(blocks) == 5
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        for block in blocks:
            exec(block, known)
    linear, plain, network, *_ = capsys.readouterr().out.splitlines()
    assert float(linear) > 0.94
    assert float(plain) > 0.96
    assert float(network) > 0.95
    assert np.isfinite(known["rules"].cv_results_["mean_test_score"]).all()
    assert known["accuracy"] > 0.95


@pytest.mark.parametrize("name", fastopt.sklearn.__all__)
def test_every_parameter_is_documented(name: str) -> None:
    cls = getattr(fastopt.sklearn, name)
    for parameter in cls().get_params():
        assert parameter in cls.__doc__, parameter


@pytest.mark.parametrize("missing", ["sklearn", "sklearn.utils.validation"])
def test_scikit_learn_is_named_where_it_is_missing(missing: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None\nimport fastopt\nimport fastopt.sklearn"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1] == (
        'ImportError: fastopt.sklearn needs scikit-learn 1.6 or later: pip install ".[sklearn]" in the folder of fastopt\'s clone'
    )


def test_fastopt_does_not_import_scikit_learn() -> None:
    program = "import sys, fastopt; assert not [name for name in sys.modules if name.split('.')[0] in ('sklearn', 'scipy')]"
    subprocess.run([sys.executable, "-c", program], check=True)
