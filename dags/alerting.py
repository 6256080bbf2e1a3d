"""The `perennial.alerting` DAG, one for the installation: what has happened becomes alerts, and people are told."""

from airflow.sdk import DAG, task

from plugins.perennial import alert_tasks as stage
from plugins.perennial.dag_options import alert_params, each_minute, installation_options

TEXT = """Takes in what replicas have told, probes the scoring service, judges the rules that are due, and delivers.

Runs each minute and looks twice, half a minute apart, by `alerts.yaml`. When it stops itself, the scoring service
notices, says so by the same channels and looks in its place. States and history: `perennial alerts list`."""

with DAG(**installation_options("alerting", schedule=each_minute(), text=TEXT, params=alert_params())) as dag:
    task(stage.look_around)()
