"""What made a version, as the ledger keeps it."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

from threadpoolctl import threadpool_info

from ml.records.decision import Choice, TrainingSet
from ml.records.governance import VersionMade
from ml.records.release import Package
from ml.registry.port import ModelVersion
from ml.settings import PROJECT


def describe_version(version: ModelVersion, package: Package, choice: Choice, training_set: TrainingSet) -> VersionMade:
    """Everything that is needed to make the version again, and to tell it from another one."""
    return VersionMade(
        use_case=version.name,
        version=version.version,
        digest=version.digest,
        package_digest=version.package_digest,
        candidate=choice.chosen,
        data_version=training_set.data_version,
        fingerprint=training_set.fingerprint,
        watermark=training_set.watermark,
        champion_version=training_set.champion_version,
        request_key=training_set.request.key,
        use_case_hash=package.use_case_hash,
        code_commit=code_commit(PROJECT),
        libraries=package.libraries | {"python": platform.python_version()},
        processor=name_processor(),
    )


def code_commit(home: Path) -> str:
    """Commit of the sources in a folder, ``-dirty`` behind it where files differ; empty without Git or a repository."""
    command = ["git", "-C", str(home), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


def name_processor() -> str:
    """Kind of this processor and of the kernels that linear algebra runs on it: other ones may round otherwise.

    Examples
    --------
    >>> name_processor().split(", ")[0] in {"x86_64", "aarch64", "arm64"}
    True
    """
    kernels = {str(found["architecture"]) for found in threadpool_info() if "architecture" in found}
    return ", ".join([platform.machine(), *sorted(kernels)])
