"""The `perennial.pipeline_health` DAG, one for the installation: the pipeline is the product, and measured as such."""

from airflow.sdk import DAG, task

from plugins.perennial import pipeline_tasks as stage
from plugins.perennial.dag_options import installation_options, never_at_once

TEXT = """Measures the pipeline itself against `pipeline.yaml`: runs, releases, alerts, labels, processor time, logs.

Runs each morning over the last week; a target that is missed is no failure of the run. What it found is in the log of
**measure**, in the control database and in the weekly digest. By hand: `perennial pipeline-health`."""

EACH_MORNING = never_at_once("30 5 * * *")

with DAG(**installation_options("pipeline_health", schedule=EACH_MORNING, text=TEXT, params={}, retries=3)) as dag:
    task(stage.audit_logs)() >> task(stage.measure)()
