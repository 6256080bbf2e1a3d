"""Bodies of the retrain DAG's tasks: a request becomes a challenger, and evidence decides about it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk.exceptions import AirflowSkipException

from plugins.perennial.monitor_tasks import as_of
from plugins.perennial.retrain_events import tell_outcome, tell_quarantine
from plugins.perennial.workbench import Workbench, open_workbench, wall_clock

#: A run that was killed gives its lease back by itself after this long.
LEASE = timedelta(minutes=30)


def claim(name: str, **context: Any) -> str:
    """Take the use case's retraining lease; a second trigger meanwhile is skipped. Returns the request as JSON."""
    bench, request = open_workbench(name), _request(name, context)
    bench.note_use_case()  # before the lease: a file that is refused must not keep it
    if not bench.control.acquire_lease(_lease(name), context["run_id"], now=wall_clock(), ttl=LEASE):
        raise AirflowSkipException(f"another retraining of {name} is running")
    if bench.control.find("retrain", request.key) is not None:
        bench.control.release_lease(_lease(name), context["run_id"])
        raise AirflowSkipException(f"request {request.key} was answered already")
    bench.record("request", request.key, request, as_of=request.as_of, actor=request.actor)
    return request.model_dump_json()


def assemble(name: str, request: str) -> str:
    """Earlier training data and labelled live data become one version, split by time; returns it as JSON."""
    from ml.records.decision import RetrainRequest
    from ml.training.assemble import InsufficientData
    from ml.training.assemble import assemble as assemble_rows
    from ml.training.block_quarantine import released_blocks

    bench, wanted = open_workbench(name), RetrainRequest.model_validate_json(request)
    bench.lake.ingest(bench.settings.outbox)  # a person does not wait for the next monitor run
    champion = bench.registry.champion(name)
    try:
        training_set = assemble_rows(
            bench.use_case,
            wanted,
            lake=bench.lake,
            home=bench.settings.home,
            champion_version=champion.version if champion else None,
            champion_watermark=champion.watermark if champion else None,
            champion_data_version=champion.data_version if champion else None,
            released=frozenset(released_blocks(bench.control, bench.use_case)),
        )
    except InsufficientData as answer:
        tell_quarantine(bench)
        conclude(
            bench,
            wanted,
            "insufficient_data",
            challenger=None,
            champion=champion.version if champion else None,
            reasons=(str(answer),),
        )
        raise AirflowSkipException(str(answer)) from answer
    tell_quarantine(bench)
    bench.record("training_set", wanted.key, training_set, as_of=wanted.as_of, actor=wanted.actor)
    return training_set.model_dump_json()


def check_data(name: str, training_set: str) -> str:
    """Every rule that data must keep before a fit; passes the set on, or ends the run as ``bad_data`` and says so."""
    from ml.training.check import BadData
    from ml.training.check import check_data as check_rows

    bench, assembled = open_workbench(name), _training_set(training_set)
    try:
        results = check_rows(bench.lake.read_training(assembled.data_version), bench.use_case)
    except BadData as answer:
        _print_rules(answer.results)
        _refuse_data(bench, assembled, tuple(f"{rule.name}: {rule.detail}" for rule in answer.failed))
        raise AirflowSkipException(str(answer)) from answer
    _print_rules(results)
    run = bench.registry.start_run(assembled, use_case=bench.use_case)
    print(f"MLflow run {run}")
    return training_set


def train(candidate: str, name: str, training_set: str, **context: Any) -> str:
    """Fit one candidate within its caps and score it on the validation rows; returns the result as JSON."""
    from ml.training.capped import fit_within_caps

    context["candidate"] = candidate  # names the mapped task in the UI
    bench, assembled = open_workbench(name), _training_set(training_set)
    frame = bench.lake.read_training(assembled.data_version)
    result = fit_within_caps(
        candidate,
        frame,
        assembled,
        bench.use_case,
        bench.run_folder(assembled.request.key) / f"trial-{candidate}",
        environment=bench.settings.child_environment(),
    )
    print(f"{candidate}: {result.loss.value}; {result.detail}")
    run = bench.registry.start_run(assembled, use_case=bench.use_case)
    own = bench.use_case.training.candidates[candidate].parameters
    bench.registry.log_candidate(run, result, own | (result.parameters or {}))
    return result.model_dump_json()


def choose(name: str, training_set: str, results: list[str]) -> str:
    """The candidate with the lowest validation loss; ends the run when none was fitted or nothing was learnt yet."""
    from ml.records.decision import CandidateResult
    from ml.training.assemble import InsufficientData
    from ml.training.fit import NoCandidate
    from ml.training.fit import choose as choose_candidate
    from ml.training.learnable import check_learnable
    from ml.training.parts import rows_of

    bench, assembled = open_workbench(name), _training_set(training_set)
    try:
        choice = choose_candidate(tuple(CandidateResult.model_validate_json(r) for r in results))
        if not assembled.request.force:
            frame = bench.lake.read_training(assembled.data_version)
            check_learnable(bench.use_case, choice, rows_of(frame, "fit"), rows_of(frame, "validation"))
    except (InsufficientData, NoCandidate) as answer:
        _end_untrained(bench, assembled, answer)
        raise AirflowSkipException(str(answer)) from answer
    return choice.model_dump_json()


def package(name: str, training_set: str, choice: str) -> str:
    """Refit the choice within its caps, export it, prove parity, register it; returns the challenger as JSON."""
    from ml.evaluation.prepare import prepare_within_caps
    from ml.governance.reconcile import VERSION
    from ml.governance.version import describe_version
    from ml.records.decision import Challenger, Choice, Parity
    from ml.records.release import Package
    from ml.training.cost import COST
    from ml.training.fit import NoCandidate
    from ml.training.graph import PACKAGE, PARITY

    bench, assembled = open_workbench(name), _training_set(training_set)
    folder = bench.run_folder(assembled.request.key) / "package"
    try:
        chosen = prepare_within_caps(
            Choice.model_validate_json(choice),
            bench.lake.read_training(assembled.data_version),
            assembled,
            bench.use_case,
            folder,
            environment=bench.settings.child_environment(),
        )
    except NoCandidate as answer:
        _end_untrained(bench, assembled, answer)
        raise AirflowSkipException(str(answer)) from answer
    packaged = Package.read(folder / PACKAGE)
    print((folder / COST).read_text(encoding="utf-8"))
    request = assembled.request
    bench.record("choice", request.key, chosen, as_of=request.as_of, actor=request.actor)
    run = bench.registry.start_run(assembled, use_case=bench.use_case)
    version = bench.registry.register(
        run,
        folder,
        package=packaged,
        parity=Parity.read(folder / PARITY),
        choice=chosen,
        training_set=assembled,
    )
    made = describe_version(version, packaged, chosen, assembled)
    bench.record(VERSION, f"{name}/{version.version}", made, as_of=request.as_of, actor=request.actor)
    return Challenger(version=version.version, training_set=assembled).model_dump_json()


def give_back(name: str, **context: Any) -> None:
    """Give the lease back, whatever happened."""
    open_workbench(name).control.release_lease(_lease(name), context["run_id"])


def _request(name: str, context: dict[str, Any]) -> Any:
    from ml.records.decision import RetrainRequest

    events = [event for found in context["triggering_asset_events"].values() for event in found]
    if events:
        return RetrainRequest.model_validate(events[-1].extra)
    params = context["params"]
    since = params.get("since")
    return RetrainRequest(
        key=f"{name}/{context['run_id']}",
        use_case=name,
        as_of=as_of(context),
        reason=params["reason"],
        actor=context["dag_run"].triggering_user_name or "airflow",
        since=datetime.fromisoformat(since) if since else None,
        force=params["force"],
    )


def _print_rules(results: Any) -> None:
    for rule in results:
        print(f"{rule.verdict:12} {rule.name}: {rule.detail}")


def _refuse_data(bench: Workbench, assembled: Any, reasons: tuple[str, ...]) -> None:
    """Nothing is trained on data that breaks a rule: the outcome says why, and so does an event."""
    request = assembled.request
    conclude(bench, request, "bad_data", challenger=None, champion=assembled.champion_version, reasons=reasons)


def _end_untrained(bench: Workbench, assembled: Any, answer: Exception) -> None:
    """Candidates were tried and none of them will do: the outcome says why; that none was fitted is a person's job."""
    from ml.training.fit import NoCandidate

    request, outcome = assembled.request, "no_candidate" if isinstance(answer, NoCandidate) else "insufficient_data"
    bench.registry.end_run(bench.registry.start_run(assembled, use_case=bench.use_case), outcome)
    champion = assembled.champion_version
    conclude(bench, request, outcome, challenger=None, champion=champion, reasons=(str(answer),))


def _training_set(text: str) -> Any:
    from ml.records.decision import TrainingSet

    return TrainingSet.model_validate_json(text)


def _lease(name: str) -> str:
    return f"retrain/{name}"


def conclude(
    bench: Workbench,
    request: Any,
    outcome: Any,
    *,
    challenger: int | None,
    champion: int | None,
    reasons: tuple[str, ...],
) -> None:
    """Record how a request ended."""
    from ml.records.decision import RetrainOutcome

    record = RetrainOutcome(
        request=request, outcome=outcome, challenger_version=challenger, champion_version=champion, reasons=reasons
    )
    bench.record("retrain", request.key, record, as_of=request.as_of, actor=request.actor)
    tell_outcome(bench, record)
