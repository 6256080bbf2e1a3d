"""Where the aliases point, asked of a real MLflow server without its client."""

from __future__ import annotations

import subprocess
import sys

import httpx
import pytest

from ml.errors import ServiceAway
from ml.registry import mlflow_aliases
from ml.registry.mlflow_aliases import read_champions
from ml.registry.mlflow_registry import MlflowRegistry


@pytest.mark.slow
def test_every_champion_is_found(mlflow_server, use_case, register, monkeypatch):
    """Also where the server's answer has several pages; a model without the alias is left out."""
    registry = MlflowRegistry(mlflow_server)
    register(registry), register(registry, weight=2.0, as_of="2013-04-26")
    with httpx.Client(base_url=mlflow_server) as http:
        without = read_champions(http)
        registry.set_champion(use_case.name, 2)
        monkeypatch.setattr(mlflow_aliases, "_PAGE", 1)
        found = read_champions(http)

    assert use_case.name not in without
    assert found == without | {use_case.name: 2}


def test_a_server_that_is_away_is_named():
    """Nothing listens on the port of discard."""
    with httpx.Client(base_url="http://127.0.0.1:9") as http, pytest.raises(ServiceAway, match=r"127\.0\.0\.1:9"):
        read_champions(http)


def test_the_watch_needs_no_heavy_library():
    """It runs all the time beside everything else: no pandas, scikit-learn, MLflow or onnxruntime."""
    heavy = "{'pandas', 'sklearn', 'mlflow', 'onnxruntime', 'numpy'}"
    code = f"import sys, ml.stack.alias_watch; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []
