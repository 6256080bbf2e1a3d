"""A real local stack of a benchmark's own: its folder, its ports, and the shipped defaults for everything else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.fleet import free_port
from ml.settings import PROJECT, Settings


class OwnStack:
    """Settings of the stack, and its commands; ``start_stack`` and ``stop_stack`` take the settings."""

    def __init__(self, folder: Path) -> None:
        shutil.copytree(PROJECT / "use_cases", folder / "use_cases")
        ports = {f"{name}_port": free_port() for name in ("airflow", "mlflow", "scoring")}
        self.settings = Settings(var=folder / "var", use_cases=folder / "use_cases", **ports)

    def command(self, *arguments: str) -> dict[str, Any]:
        """Answer of a command."""
        done = subprocess.run(
            [sys.executable, "-m", "ml.cli.main", *arguments, "--json"],
            cwd=PROJECT,
            env=self.settings.child_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        return dict(json.loads(done.stdout))
