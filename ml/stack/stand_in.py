"""``python -m ml.stack.stand_in``: a round of alerting, runbooks included, in place of the DAG that has stopped."""

from __future__ import annotations

import sys

from ml.alerts.dead_man import main
from ml.settings import settings
from ml.stack.repair import LocalRepairs

if __name__ == "__main__":
    sys.exit(main(LocalRepairs(settings())))
