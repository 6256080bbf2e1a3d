"""One `{use_case}.review_models` DAG per use case: every registered version meets the champion on the newest rows."""

from airflow.sdk import DAG, Label, task

from ml.settings import settings
from ml.use_case import UseCase, load_all
from plugins.perennial import review_tasks as stage
from plugins.perennial.dag_options import dag_options, never_at_once, review_params

TEXT = """Compares every registered version with the champion on the newest labelled rows that neither was trained on.

Runs on Monday mornings, or by hand; it promotes nothing. Numbers are on each version's run in MLflow, table and plot on
a run *league*; when a version is better than the champion beyond doubt, the event `version_ahead` and a message
say so."""


def review_models(use_case: UseCase) -> DAG:
    """The review DAG of one use case."""
    name = use_case.name
    schedule = never_at_once("0 4 * * 1")
    options = dag_options(use_case, "review_models", schedule=schedule, text=TEXT, params=review_params())
    with DAG(**options) as dag:
        key = task(stage.publish)(name, task(stage.hold_league)(name))
        verdict = task.branch(stage.conclude)(name, key)
        verdict >> Label("no version is ahead") >> task(stage.settled)(name)
        verdict >> Label("a version is ahead, beyond doubt") >> task(stage.alert)(name, key)
    return dag


for found in load_all(settings().use_cases).values():
    globals()[f"{found.name}_review_models"] = review_models(found)
