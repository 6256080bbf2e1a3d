"""One `{use_case}.retrain` DAG per use case: a request becomes a challenger, and evidence decides about it."""

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import DAG, Label, TriggerRule, task

from ml.settings import settings
from ml.use_case import UseCase, load_all
from plugins.perennial import approval_tasks as approval
from plugins.perennial import assets
from plugins.perennial import gate_tasks as gate
from plugins.perennial import retrain_tasks as stage
from plugins.perennial.dag_options import dag_options, question, retrain_params

TEXT = """Trains candidates on earlier and labelled live data and lets the best one meet the champion on evidence.

Runs when the monitor DAG asks for it, or by hand: *Trigger* opens a form with reason, data window and force.
Two triggers at once give one retraining. A rejected challenger is a successful run; its reasons are in the log of
**evaluate**, in the registry's version and in the control database. Where a person decides, **review** waits for
them."""

EITHER_WAY = TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS  # the gate or a reviewer may lead here


def retrain(use_case: UseCase) -> DAG:
    """The retrain DAG of one use case."""
    name, candidates = use_case.name, list(use_case.training.candidates)
    options = dag_options(
        use_case, "retrain", schedule=[assets.retraining_due(name)], text=TEXT, params=retrain_params()
    )
    with DAG(**options) as dag:
        request = task(stage.claim)(name).as_setup()
        training_set = task(stage.check_data)(name, task(stage.assemble)(name, request))
        results = (
            task(stage.train, map_index_template="{{ candidate }}", doc_md=stage.train.__doc__)
            .partial(name=name, training_set=training_set)
            .expand(candidate=candidates)
        )
        choice = task(stage.choose)(name, training_set, results)
        challenger = task(stage.package)(name, training_set, choice)
        verdict = task.branch(gate.evaluate)(name, challenger)
        asked = task(approval.ask)(name, challenger)
        review = HITLOperator(task_id="review", **question(use_case))
        answer = task.branch(approval.answer)(name, challenger, review.output)
        promote = task(gate.promote, trigger_rule=EITHER_WAY, outlets=[assets.champion(name)])(name, challenger)
        reject = task(gate.reject, trigger_rule=EITHER_WAY)(name, challenger)
        leave_open = task(gate.leave_open)(name, challenger)
        verdict >> Label("better, on evidence") >> promote
        verdict >> Label("a person decides") >> asked >> review
        verdict >> Label("not better") >> reject
        answer >> Label("approved") >> promote
        answer >> Label("rejected, too late") >> reject
        answer >> Label("does not count") >> leave_open
        [promote, reject, leave_open] >> task(stage.give_back)(name).as_teardown(setups=request)
    return dag


for found in load_all(settings().use_cases).values():
    globals()[f"{found.name}_retrain"] = retrain(found)
