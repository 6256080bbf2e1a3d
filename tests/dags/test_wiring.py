"""The DAG files are the diagram: exact edges, readable texts, nothing heavy at parse."""

import subprocess
import sys
from pathlib import Path

import pytest

from ml.stack.local import DAG_FILES, INSTALLATION_DAGS

ROOT = Path(__file__).parents[2]

MONITOR = {
    "ingest": {"profile"},
    "profile": {"detect_drift"},
    "detect_drift": {"decide"},
    "decide": {"alert", "retrain", "wait"},
    "alert": set(),
    "retrain": set(),
    "wait": set(),
}
RETRAIN = {
    "claim": {"assemble", "give_back"},
    "assemble": {"check_data"},
    "check_data": {"train", "choose", "package"},
    "train": {"choose"},
    "choose": {"package"},
    "package": {"evaluate", "ask", "answer", "promote", "reject", "leave_open"},
    "evaluate": {"promote", "reject", "ask"},
    "ask": {"review"},
    "review": {"answer"},
    "answer": {"promote", "reject", "leave_open"},
    "promote": {"give_back"},
    "leave_open": {"give_back"},
    "reject": {"give_back"},
    "give_back": set(),
}
RELEASE = {
    "stage": {"verify", "shadow", "canary", "switch", "confirm", "served", "roll_back"},
    "verify": {"shadow", "canary", "switch", "roll_back"},
    "shadow": {"canary", "switch", "roll_back"},
    "canary": {"switch", "roll_back"},
    "switch": {"confirm"},
    "confirm": {"served", "roll_back"},
    "served": set(),
    "roll_back": set(),
}
PROVE_GATE = {"prove": {"conclude", "alert"}, "conclude": {"proved", "alert"}, "proved": set(), "alert": set()}
REVIEW_MODELS = {
    "hold_league": {"publish"},
    "publish": {"conclude", "alert"},
    "conclude": {"settled", "alert"},
    "settled": set(),
    "alert": set(),
}
EDGES = {
    "monitor": MONITOR,
    "retrain": RETRAIN,
    "release": RELEASE,
    "prove_gate": PROVE_GATE,
    "review_models": REVIEW_MODELS,
}


def test_every_dag_file_parses(dagbag):
    """No import errors, five DAGs per use case, and those of the installation."""
    assert dagbag.import_errors == {}
    names = {
        *("harbour_weather", "harbour_review", "harbour_backwards", "harbour_temperature"),
        *("harbour_capped", "harbour_outgrown", "harbour_certain", "harbour_hasty", "harbour_envelope"),
        "harbour_canary",
        "harbour_reported",
    }
    assert set(dagbag.dags) == {
        "perennial.alerting",
        "perennial.governance",
        "perennial.health",
        "perennial.retention",
        "perennial.pipeline_health",
        "perennial.weekly_digest",
        *(f"{name}.{file}" for name in names for file in EDGES),
    }
    assert {f"{name}.{file}" for name in names for file in DAG_FILES} | set(INSTALLATION_DAGS) == set(dagbag.dags)


def test_the_alert_dag_is_one_task_each_minute(dagbag):
    """Never two runs at once, nothing caught up with, no second try: the next minute's run is one."""
    dag = dagbag.dags["perennial.alerting"]

    assert [(task.task_id, task.retries, bool(task.doc_md)) for task in dag.tasks] == [("look_around", 0, True)]
    assert (dag.catchup, dag.max_active_runs, dag.timetable.expression) == (False, 1, "* * * * *")
    assert set(dag.tags) == {"perennial", "alerting"}


def test_the_health_dag_is_one_task(dagbag):
    """Never two walks at once, nothing caught up with."""
    dag = dagbag.dags["perennial.health"]

    assert [(task.task_id, task.retries, bool(task.doc_md)) for task in dag.tasks] == [("walk_resources", 0, True)]
    assert (dag.catchup, dag.max_active_runs, dag.timetable.expression) == (False, 1, "*/2 * * * *")


def test_the_retention_dag_is_one_task_each_night(dagbag):
    """Never two prunings at once, nothing caught up with."""
    dag = dagbag.dags["perennial.retention"]

    assert [(task.task_id, task.retries, bool(task.doc_md)) for task in dag.tasks] == [("prune_expired", 0, True)]
    assert (dag.catchup, dag.max_active_runs, dag.timetable.expression) == (False, 1, "17 3 * * *")


def test_the_pipeline_is_measured_each_morning(dagbag):
    """First the logs, so that their findings are in the measurement; nothing is caught up with."""
    dag = dagbag.dags["perennial.pipeline_health"]

    edges = {task.task_id: set(task.downstream_task_ids) for task in dag.tasks}
    assert edges == {"audit_logs": {"measure"}, "measure": set()}
    assert all(task.doc_md and task.retries == 3 for task in dag.tasks)
    assert (dag.catchup, dag.max_active_runs, dag.timetable.expression) == (False, 1, "30 5 * * *")


def test_the_digest_is_one_task_on_mondays(dagbag):
    """Never two at once, nothing caught up with; tried again, since the next one is a week away."""
    dag = dagbag.dags["perennial.weekly_digest"]

    assert [(task.task_id, task.retries, bool(task.doc_md)) for task in dag.tasks] == [("tell", 3, True)]
    assert (dag.catchup, dag.max_active_runs, dag.timetable.expression) == (False, 1, "0 7 * * 1")


def test_reports_are_written_each_monday(dagbag):
    """One mapped task for each report; a service that is away is asked again; nothing is caught up with."""
    dag = dagbag.dags["perennial.governance"]

    edges = {task.task_id: set(task.downstream_task_ids) for task in dag.tasks}
    assert edges == {"list_reports": {"write_report"}, "write_report": set()}
    assert dag.get_task("write_report").is_mapped
    assert all(task.doc_md and task.retries == 2 for task in dag.tasks)
    assert (dag.catchup, dag.max_active_runs, dag.timetable.expression) == (False, 1, "0 6 * * 1")


@pytest.mark.parametrize("file", EDGES)
def test_edges_are_exactly_the_design(dagbag, file):
    """A task more, a task less or an edge elsewhere is a change of the design."""
    dag = dagbag.dags[f"harbour_weather.{file}"]

    found = {task.task_id: set(task.downstream_task_ids) for task in dag.tasks}

    assert found == EDGES[file]


@pytest.mark.parametrize("file", EDGES)
def test_a_person_can_read_every_dag(dagbag, file):
    """Texts on the DAG and on every task, tags to filter by, the owner's name."""
    dag = dagbag.dags[f"harbour_weather.{file}"]

    assert set(dag.tags) == {"perennial", "harbour_weather", file}
    assert "harbour_weather" in dag.doc_md
    assert dag.catchup is False
    undocumented = [task.task_id for task in dag.tasks if not task.doc_md]
    assert undocumented == []
    assert {task.owner for task in dag.tasks} == {"harbour operations"}


def test_every_asset_has_a_producer_and_a_consumer(dagbag):
    """The DAGs of a use case are linked by assets, none of which leads nowhere."""
    dags = [dag for dag_id, dag in dagbag.dags.items() if dag_id.startswith("harbour_weather.")]
    produced = {asset.name for dag in dags for task in dag.tasks for asset in task.outlets}
    conditions = [condition for dag in dags if (condition := dag.timetable.asset_condition) is not None]
    consumed = {asset.name for condition in conditions for asset in condition.objects}

    assert produced == consumed == {"harbour_weather.retraining_due", "harbour_weather.champion"}


def test_the_retrain_form_asks_for_reason_window_and_force(dagbag):
    """The form of a manual retraining, and a value that it refuses."""
    params = dagbag.dags["harbour_weather.retrain"].params

    assert set(params) == {"reason", "as_of", "since", "force"}
    with pytest.raises(Exception, match="Invalid input for param reason"):
        params["reason"] = "x"


def test_parsing_imports_nothing_heavy():
    """A DAG file may cost an import of Airflow and of the use case files, not of the stages' libraries."""
    code = (
        "import runpy, sys\n"
        f"[runpy.run_path(f'{ROOT}/dags/{{name}}.py') for name in {(*EDGES, 'alerting', 'health')}]\n"
        "heavy = {'pandas', 'numpy', 'sklearn', 'mlflow', 'onnxruntime', 'skl2onnx', 'deltalake', 'scipy', 'pyarrow'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)

    assert done.stdout.strip().splitlines()[-1] == "[]"
