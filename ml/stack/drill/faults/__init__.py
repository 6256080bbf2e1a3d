"""Every fault of the drill, by name, in the order in which they are injected."""

from __future__ import annotations

from ml.stack.drill.fault import Fault
from ml.stack.drill.faults.artifacts import ARTIFACTS
from ml.stack.drill.faults.channels import CHANNELS
from ml.stack.drill.faults.pipeline import PIPELINE
from ml.stack.drill.faults.processes import PROCESSES
from ml.stack.drill.faults.resources import RESOURCES
from ml.stack.drill.faults.rows import ROWS

ALL: tuple[Fault, ...] = (*ARTIFACTS, *ROWS, *PROCESSES, *RESOURCES, *CHANNELS, *PIPELINE)

FAULTS: dict[str, Fault] = {fault.name: fault for fault in ALL}
