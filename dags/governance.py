"""The `perennial.governance` DAG, one for the installation: every report of every use case, page and data."""

from datetime import timedelta

from airflow.sdk import DAG, task

from plugins.perennial import report_tasks as stage
from plugins.perennial.dag_options import (
    RETRY_WHAT_MAY_PASS,
    governance_params,
    installation_options,
    never_at_once,
)

TEXT = """Writes the reports for people and auditors: data audit, model cards, and every other one that there is.

Runs on Monday mornings, after the weekly reviews, or by hand. They are in `var/reports` and in MLflow: on the run
*reports* of each use case, and on the run of each version. The same stores give the same bytes: where nothing has
happened, nothing changes. On the command line: `perennial report`."""

MONDAYS = never_at_once("0 6 * * 1")
AGAIN = {"retries": 2, "retry_delay": timedelta(seconds=5), "retry_policy": RETRY_WHAT_MAY_PASS}

with DAG(**installation_options("governance", schedule=MONDAYS, text=TEXT, params=governance_params())) as dag:
    jobs = task(**AGAIN)(stage.list_reports)()
    task(
        stage.write_report,
        map_index_template="{{ job.use_case }} {{ job.report }}",
        doc_md=stage.write_report.__doc__,
        **AGAIN,
    ).expand(job=jobs)
