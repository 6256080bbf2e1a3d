"""The `perennial.alerting` DAG, one for the installation: what has happened becomes alerts, and people are told."""

from airflow.sdk import DAG, task

from plugins.perennial import alert_tasks as stage
from plugins.perennial.dag_options import alert_params, installation_options, never_at_once

TEXT = """Takes in what replicas have told, probes the scoring service, judges the rules that are due, and delivers.

Runs each minute and looks twice, half a minute apart, by `alerts.yaml`. When it stops itself, the scoring service
notices, says so by the same channels and looks in its place. States and history: `perennial alerts list`."""

EACH_MINUTE = never_at_once("* * * * *")  # what was missed is not caught up with: a look goes back to the one before

with DAG(**installation_options("alerting", schedule=EACH_MINUTE, text=TEXT, params=alert_params())) as dag:
    task(stage.look_around)()
