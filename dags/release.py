"""One `{use_case}.release` DAG per use case: the registry's wish becomes what the replicas serve, or is taken back."""

from airflow.sdk import DAG, Label, TriggerRule, task

from ml.settings import settings
from ml.use_case import UseCase, load_all
from plugins.perennial import assets
from plugins.perennial import release_tasks as stage
from plugins.perennial.dag_options import dag_options, release_params

TEXT = """Brings the version with the alias `champion` into service, proves that it serves, or rolls back.

Runs when the alias moves, or by hand: *Trigger* opens a form for a version to go (back) to. The ledger is asked whose
decision it is, and the artifact is checked by digest and by its golden rows, before any replica sees it; replicas load
the new model beside the old one and swap under traffic. Where the use case asks for it, a version that never served
scores a copy of the requests first (shadow), and then answers a share of them (canary)."""

EITHER_WAY = TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS  # verification, shadow, canary or confirmation may lead here


def release(use_case: UseCase) -> DAG:
    """The release DAG of one use case."""
    name = use_case.name
    schedule = [assets.champion(name)]
    with DAG(**dag_options(use_case, "release", schedule=schedule, text=TEXT, params=release_params())) as dag:
        staged = task(stage.stage)(name)
        verified = task.branch(stage.verify)(name, staged)
        shadowed = task.branch(stage.shadow)(name, staged)
        tried = task.branch(stage.canary, trigger_rule=EITHER_WAY)(name, staged)
        switched = task(stage.switch, trigger_rule=EITHER_WAY)(name, staged)
        confirmed = task.branch(stage.confirm)(name, staged, switched)
        roll_back = task(stage.roll_back, trigger_rule=EITHER_WAY)(name, staged)
        verified >> Label("sound, and to score copies") >> shadowed
        verified >> Label("sound, and to be tried") >> tried
        verified >> Label("sound") >> switched
        verified >> Label("refused") >> roll_back
        shadowed >> Label("sound, and to be tried") >> tried
        shadowed >> Label("sound") >> switched
        shadowed >> Label("worse") >> roll_back
        tried >> Label("no worse") >> switched
        tried >> Label("worse") >> roll_back
        confirmed >> Label("replicas serve it") >> task(stage.served)(name, staged)
        confirmed >> Label("replicas do not") >> roll_back
    return dag


for found in load_all(settings().use_cases).values():
    globals()[f"{found.name}_release"] = release(found)
