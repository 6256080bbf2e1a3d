"""``python -m ml.stack.carry_out``: carries out the open orders of repairs, one after the other."""

from __future__ import annotations

import sys

from ml.errors import PerennialError
from ml.runbooks.orders import carry_out_open
from ml.settings import settings
from ml.stack.repair import open_world


def main() -> int:
    """Exit code: 0 unless the control database does not answer; what is open then is taken up by the next one."""
    try:
        for run in carry_out_open(open_world(settings())):
            print(f"{run.began:%Y-%m-%d %H:%M:%S} {run.tell()}", flush=True)
    except PerennialError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
