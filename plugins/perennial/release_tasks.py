"""Bodies of the release DAG's tasks: the registry's wish becomes what the replicas serve, or is taken back."""

from __future__ import annotations

#: Long enough for a replica to load the largest model the budget allows; a replica polls five times a second.
CONFIRM_SECONDS = 30.0
