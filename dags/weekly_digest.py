"""The `perennial.weekly_digest` DAG, one for the installation: what everybody who works with the models should know."""

from airflow.sdk import DAG, task

from plugins.perennial import pipeline_tasks as stage
from plugins.perennial.dag_options import installation_options, never_at_once

TEXT = """Tells all members of the last whole week: pipeline health with its trend, what changed, open alerts, red DAGs.

Runs on Monday mornings; goes to the channels that `digest` of `alerts.yaml` names, each of them, by the alerting DAG.
A week is told once, however often this runs. To look without sending: `perennial digest --html week.html`."""

ON_MONDAYS = never_at_once("0 7 * * 1")  # after reviews and reports

with DAG(**installation_options("weekly_digest", schedule=ON_MONDAYS, text=TEXT, params={}, retries=3)) as dag:
    task(stage.tell)()
