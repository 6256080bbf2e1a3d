"""One `{use_case}.prove_gate` DAG per use case: faults are seeded into the real stages, and each must be stopped."""

from airflow.sdk import DAG, Label, task

from ml.settings import settings
from ml.use_case import UseCase, load_all
from plugins.perennial import proof_tasks as stage
from plugins.perennial.dag_options import dag_options, never_at_once, proof_params

TEXT = """Proves that the gate can fail: models with seeded faults go through the real stages on the use case's history.

Runs once a month, or by hand; nothing is registered or released. What survived, or which good model was stopped, is in
the log of **prove**, in the control database and in the mailbox."""


def prove_gate(use_case: UseCase) -> DAG:
    """The prover DAG of one use case."""
    name = use_case.name
    options = dag_options(use_case, "prove_gate", schedule=never_at_once("0 3 1 * *"), text=TEXT, params=proof_params())
    with DAG(**options) as dag:
        proof = task(stage.prove)(name)
        verdict = task.branch(stage.conclude)(name, proof)
        verdict >> Label("every fault was stopped") >> task(stage.proved)(name)
        verdict >> Label("a fault survived, or a good model did not") >> task(stage.alert)(name, proof)
    return dag


for found in load_all(settings().use_cases).values():
    globals()[f"{found.name}_prove_gate"] = prove_gate(found)
