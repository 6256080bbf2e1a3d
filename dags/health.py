"""The `perennial.health` DAG, one for the installation: every resource by utilisation, saturation and errors."""

from airflow.sdk import DAG, task

from plugins.perennial import health_tasks as stage
from plugins.perennial.dag_options import installation_options, never_at_once

TEXT = """Looks at replicas, Airflow's parts, MLflow, control database, lake, disk, memory, processor and open files.

What it finds is kept as `resource_high`, `resource_unknown`, `resource_utilisation` and `resource_saturation`, which
rules of `alerts.yaml` judge. A resource that is not well is no failure of the run. By hand: `perennial health`."""

EVERY_TWO_MINUTES = never_at_once("*/2 * * * *")

with DAG(**installation_options("health", schedule=EVERY_TWO_MINUTES, text=TEXT, params={})) as dag:
    task(stage.walk_resources)()
