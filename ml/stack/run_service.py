"""``python -m ml.stack.run_service NAME``: ends what an earlier start of the service left, then becomes it.

A service that dies may leave children that hold its port (MLflow's web server) or go on working (Airflow's tasks);
its next start would fail, or two attempts of one task would run at once.
"""

from __future__ import annotations

import os
import sys

from ml.settings import settings
from ml.stack.processes import SERVICE, end_processes
from ml.stack.services import services


def main(name: str) -> None:
    """Replace this process by the service; its environment is the one that the supervisor was given.

    Raises
    ------
    KeyError
        There is no such service.
    """
    current = settings()
    command = {service.name: service.command for service in services(current)}[name]
    end_processes(current.var, service=name, grace=2.0)
    os.execve(command[0], command, current.child_environment({SERVICE: name}))  # noqa: S606 - a fixed list, no shell


if __name__ == "__main__":
    main(sys.argv[1])
