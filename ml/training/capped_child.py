"""``python -m ml.training.capped_child WORK FOLDER CANDIDATE FITS``: work within limits that it sets for itself."""

from __future__ import annotations

import os
import resource
import sys
from importlib import import_module
from pathlib import Path

from threadpoolctl import threadpool_limits

from ml.errors import PerennialError
from ml.training.capped import REFUSAL, read_handed
from ml.use_case.training_options import Caps


def main(work: str, folder: Path, name: str, fits: int) -> int:
    """Do the work, which leaves its result in the folder; a candidate that fails is a refusal, told in a file."""
    module, function = work.split(":")
    do = getattr(import_module(module), function)
    caps = read_handed(folder)[2].training.caps
    limit_myself(caps, fits)
    try:
        with threadpool_limits(caps.threads):
            do(folder, name)
    except MemoryError:
        return _refuse(folder, f"asked for more than {caps.memory_mb} MiB (training.caps.memory_mb)")
    except PerennialError as error:
        out_of_memory = "MemoryError" in str(error)
        cap = f" (training.caps.memory_mb is {caps.memory_mb})" if out_of_memory else ""
        return _refuse(folder, f"{error}{cap}")
    return 0


def limit_myself(caps: Caps, fits: int) -> None:
    """Processors, processor time and data of this process, as ``training.caps`` has them."""
    usable = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, usable[: caps.threads])
    _lower(resource.RLIMIT_CPU, int(fits * caps.seconds * caps.threads) + 2)
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
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
