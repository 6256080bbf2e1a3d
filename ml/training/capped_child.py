"""``python -m ml.training.capped_child FOLDER CANDIDATE``: one trial, within limits that it sets for itself."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

from threadpoolctl import threadpool_limits

from ml.errors import PerennialError
from ml.training.capped import REFUSAL, RESULT, read_handed
from ml.use_case import UseCase


def main(folder: Path, name: str) -> int:
    """Run the trial and write its result; a candidate that cannot be fitted is a refusal, told in a file."""
    from ml.training.trial import fit_candidate

    frame, training_set, use_case = read_handed(folder)
    limit_myself(use_case)
    try:
        with threadpool_limits(use_case.training.caps.threads):
            result = fit_candidate(name, frame, training_set, use_case)
    except MemoryError:
        return _refuse(folder, f"asked for more than {use_case.training.caps.memory_mb} MiB (training.caps.memory_mb)")
    except PerennialError as error:
        out_of_memory = "MemoryError" in str(error)
        cap = f" (training.caps.memory_mb is {use_case.training.caps.memory_mb})" if out_of_memory else ""
        return _refuse(folder, f"{error}{cap}")
    result.write(folder / RESULT)
    return 0


def limit_myself(use_case: UseCase) -> None:
    """Processors, processor time and data of this process, as ``training.caps`` has them."""
    caps = use_case.training.caps
    usable = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, usable[: caps.threads])
    _lower(resource.RLIMIT_CPU, int(caps.seconds * caps.threads) + 2)
    # Beside what the libraries have reserved by now, most of which is never used; the parent watches what is used.
    _lower(resource.RLIMIT_DATA, _reserved() + caps.memory_mb * 2**20)


def _reserved() -> int:
    """Bytes of data that this process has asked for so far, used or not."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0  # pragma: no cover - Linux tells


def _lower(kind: int, limit: int) -> None:
    """Lower a limit, never raise it: an operator's own may be stricter."""
    soft, hard = resource.getrlimit(kind)
    known = [bound for bound in (limit, soft, hard) if bound != resource.RLIM_INFINITY]
    resource.setrlimit(kind, (min(known), hard))


def _refuse(folder: Path, reason: str) -> int:
    (folder / REFUSAL).write_text(reason, encoding="utf-8")
    return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
