"""One `{use_case}.monitor` DAG per use case: what was captured becomes a decision."""

from airflow.sdk import DAG, Label, task

from ml.settings import settings
from ml.use_case import UseCase, load_all
from plugins.perennial import assets
from plugins.perennial import monitor_tasks as stage
from plugins.perennial.dag_options import dag_options, monitor_params

TEXT = """Compares live data with the champion's training data and decides: wait, alert a person, or retrain.

A run covers the window that ends at its own time (or at *as of*), so history can be run again with the same
verdict. The decision, its numbers and its reasons are in the log of **decide** and in the control database;
**retrain** asks the retrain DAG through the asset `retraining_due`."""


def monitor(use_case: UseCase) -> DAG:
    """The monitor DAG of one use case."""
    name = use_case.name
    options = dag_options(
        use_case, "monitor", schedule=use_case.monitoring.schedule, text=TEXT, params=monitor_params()
    )
    with DAG(**options) as dag:
        ingested = task(stage.ingest)(name)
        version = task(stage.profile)(name, ingested)
        check = task(stage.detect_drift)(name, version)
        decision = task.branch(stage.decide)(name, check)
        decision >> Label("no drift") >> task(stage.wait)(name)
        decision >> Label("drift, not ours to answer") >> task(stage.alert)(name)
        retrain = task(stage.retrain, outlets=[assets.retraining_due(name)])(name)
        decision >> Label("drift above the threshold") >> retrain
    return dag


for found in load_all(settings().use_cases).values():
    globals()[f"{found.name}_monitor"] = monitor(found)
