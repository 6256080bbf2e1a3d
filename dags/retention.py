"""The `perennial.retention` DAG, one for the installation: what is kept longer than declared is removed."""

from airflow.sdk import DAG, task

from plugins.perennial import retention_tasks as stage
from plugins.perennial.dag_options import installation_options, never_at_once

TEXT = """Runs the runbook `prune` for each use case whose file declares `retention` and of which something is expired.

Rows that checks and retraining still need stay, and so do training versions. What went is on record in the ledger. By
hand: `perennial runbook run prune USE_CASE`."""

EACH_NIGHT = never_at_once("17 3 * * *")

with DAG(**installation_options("retention", schedule=EACH_NIGHT, text=TEXT, params={})) as dag:
    task(stage.prune_expired)()
