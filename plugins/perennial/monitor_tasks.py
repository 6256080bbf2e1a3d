"""Bodies of the monitor DAG's tasks: what was captured becomes a decision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from airflow.sdk.exceptions import AirflowSkipException

from plugins.perennial import assets
from plugins.perennial.telemetry import note_event
from plugins.perennial.workbench import Workbench, open_workbench, wall_clock


def as_of(context: dict[str, Any]) -> datetime:
    """Virtual now of a run: its ``as_of`` param, else the end of its data interval, else when it was due."""
    given = context["params"].get("as_of")
    if given:
        return datetime.fromisoformat(given)
    return context.get("data_interval_end") or context["dag_run"].run_after


def ingest(name: str) -> dict[str, Any]:
    """Take what the replicas captured into the lake, exactly once."""
    bench = open_workbench(name)
    bench.note_use_case()
    return asdict(bench.lake.ingest(bench.settings.outbox))


def profile(name: str, ingested: dict[str, Any], **context: Any) -> int:
    """Keep profiles of the live window's blocks, on the champion's bins; returns the champion's version."""
    from ml.drift.answers import with_answers
    from ml.drift.multivariate import live_pieces

    bench = open_workbench(name)
    champion = bench.registry.champion(name)
    if champion is None:
        raise AirflowSkipException(f"{name} has no champion yet: trigger its retrain DAG first")
    window, monitoring = live_window(bench, as_of(context)), bench.use_case.monitoring
    reference, rows = bench.registry.reference(champion), bench.lake.answered(window)
    if reference.roles:
        with _answers_of(bench, champion) as answer:
            rows = with_answers(rows, answer, bench.use_case, reference.whole)
    for piece in live_pieces(rows, reference, window=window, block=monitoring.block, context=monitoring.context):
        print(bench.lake.save_profile(piece, model_version=champion.version))
    return champion.version


def detect_drift(name: str, version: int, **context: Any) -> str:
    """Compare the live profile with the reference of the model that it was made for; returns the check as JSON."""
    from ml.drift.calibrate import rule_of
    from ml.drift.detect import matched_profile
    from ml.drift.multivariate import check_together
    from ml.drift.profile import merge_all
    from ml.drift.report import draw_report, print_check

    bench = open_workbench(name)
    window = live_window(bench, as_of(context))
    champion = bench.registry.version(name, version)
    reference = bench.registry.reference(champion)
    pieces = window.pieces(bench.use_case.monitoring.block)
    live = merge_all(bench.lake.read_profile(piece, model_version=version) for piece in pieces)
    earlier = [decision.check for decision in _decisions(bench, before=window.end)]
    rule = rule_of(bench.use_case)
    check = check_together(
        reference,
        live,
        rule,
        sides=_sides(bench, champion, window, reference),
        window=window,
        model_version=version,
        earlier=earlier,
    )
    print(print_check(check))
    page = draw_report(check, matched_profile(reference, live, rule), live)
    bench.registry.log_check(bench.use_case, check, page)
    return check.model_dump_json()


def decide(name: str, check: str, **context: Any) -> str:
    """Wait, alert a person or retrain: decided once per window, recorded with its reasons."""
    from ml.policy.decide import Past
    from ml.policy.decide import decide as decide_policy
    from ml.records.decision import DriftCheck, MonitorDecision

    bench, now = open_workbench(name), as_of(context)
    found = DriftCheck.model_validate_json(check)
    decision = decide_policy(
        found,
        _evidence(bench, found, now),
        Past.of(_outcomes(bench)),
        use_case=bench.use_case,
        as_of=now,
        batch_rows=context["params"].get("batch_rows"),
    )
    stored = bench.control.record(
        "monitor", decision.key, decision, use_case=name, as_of=now, now=wall_clock(), actor="monitor"
    )
    decision = MonitorDecision.model_validate_json(stored.payload)
    print("\n".join((decision.action, *decision.reasons)))
    _tell(decision, _decisions(bench, before=now))
    _note_overrides(bench, decision.key, now)
    return decision.action


def retrain(name: str, *, outlet_events: Any, **context: Any) -> None:
    """Ask for a retraining: the asset's event carries the request to the retrain DAG."""
    from ml.records.decision import RetrainRequest

    decision = _recorded_decision(name, context)
    request = RetrainRequest(
        key=decision.key, use_case=name, as_of=decision.as_of, reason=" ".join(decision.reasons), actor="monitor"
    )
    outlet_events[assets.retraining_due(name)].extra = request.model_dump(mode="json")


def wait(name: str) -> None:
    """Nothing to do: the live data looks like the training data, or there is too little of it to tell."""


def alert(name: str, **context: Any) -> None:
    """Tell of drift that the policy may not answer by itself; a rule makes an alert of it."""
    decision = _recorded_decision(name, context)
    note_event(
        "person_needed",
        source="monitor",
        use_case=name,
        severity="warning",
        message="\n".join(("Drift that needs a person.", *decision.reasons)),
        key=decision.key,
        model_version=decision.check.model_version,
    )


def live_window(bench: Workbench, end: datetime) -> Any:
    """Window of live data that ends at the virtual now."""
    from ml.records.measure import Window

    return Window(start=end - bench.use_case.monitoring.window, end=end)


def _note_overrides(bench: Workbench, key: str, now: datetime) -> None:
    """Record how often people decided otherwise than the model, and who was right; nothing where nobody has decided."""
    from ml.governance.overrides import OVERRIDES, review_overrides
    from ml.records.measure import Window

    window = Window(start=now - bench.use_case.retraining.evidence, end=now)
    found = review_overrides(bench.lake, bench.use_case, window, as_of=now)
    if found.decided:
        bench.record(OVERRIDES, key, found, as_of=now, actor="monitor")
        print(f"{found.overridden} of {found.answered} answers overridden; of {found.known} the truth is known")


def _sides(bench: Workbench, champion: Any, window: Any, reference: Any) -> Any:
    """Rows of the champion's training and of the window, for checks that need more than profiles."""
    from ml.drift.multivariate import frame_sides
    from ml.training.parts import rows_of

    return frame_sides(
        lambda: rows_of(bench.lake.read_training(champion.data_version), "fit", "validation"),
        lambda: bench.lake.answered(window),
        bench.use_case,
        reference.whole,
    )


def _evidence(bench: Workbench, check: Any, now: datetime) -> Any:
    """What is known of the answers of the model that was checked, now."""
    from ml.policy.live import gather_evidence
    from ml.records.measure import Window

    champion = bench.registry.version(bench.use_case.name, check.model_version)
    rejected = newest_rejected(bench, champion, now)
    window = live_window(bench, now)
    tick = timedelta(microseconds=1)
    oldest = min(max(champion.watermark + tick, now - bench.use_case.retraining.evidence), now - tick)
    labelled = bench.lake.labelled(Window(start=oldest, end=now), as_of=now)
    with ExitStack() as opened:
        answer = opened.enter_context(_answers_of(bench, champion))
        challenger = None if rejected is None else opened.enter_context(_answers_of(bench, rejected))
        return gather_evidence(
            labelled,
            bench.lake.answered(window),
            answer(labelled),
            use_case=bench.use_case,
            window=window,
            earlier=_decisions(bench, before=window.end),
            challenger=None if rejected is None or challenger is None else (rejected.watermark, challenger),
            errors=bench.registry.reference(champion).errors if bench.use_case.regression else None,
        )


def newest_rejected(bench: Workbench, champion: Any, now: datetime) -> Any:
    """Version that the last retraining before now made and the gate rejected; None when it made the champion."""
    from ml.records.decision import UNTRAINED

    outcomes = [o for o in _outcomes(bench) if o.request.as_of < now and o.outcome not in UNTRAINED]
    newest = max(outcomes, key=lambda o: o.request.as_of, default=None)
    if newest is None or newest.outcome != "rejected" or newest.challenger_version is None:
        return None
    version = bench.registry.version(bench.use_case.name, newest.challenger_version)
    return version if version.watermark > champion.watermark else None


def _tell(decision: Any, earlier: list[Any]) -> None:
    """Events of a decision, each once however often the window is looked at again."""
    from ml.policy.worse import is_estimated_worse

    found, told = decision.check, " ".join(decision.reasons)
    happened = {
        "monitor_done": "info",
        "drift_found": "warning" if found.verdict == "drift" else None,
        "performance_worse": "warning" if "performance" in decision.triggers else None,
        "estimate_worse": "warning" if is_estimated_worse(decision, earlier) else None,
        "challenger_ahead": "warning" if "challenger_ahead" in decision.triggers else None,
        "labels_late": "warning" if found.n_live and decision.live_loss.value is None else None,
    }
    for name, severity in happened.items():
        if severity is not None:
            note_event(
                name,
                source="monitor",
                use_case=decision.use_case,
                severity=severity,
                message=f"as of {decision.as_of:%Y-%m-%d %H:%M}, {decision.action}: {told}",
                key=decision.key,
                model_version=found.model_version,
            )


def _outcomes(bench: Workbench) -> list[Any]:
    """How earlier retrainings ended."""
    from ml.records.decision import RetrainOutcome

    stored = bench.control.history(bench.use_case.name, "retrain", limit=1000)
    return [RetrainOutcome.model_validate_json(found.payload) for found in stored]


@contextmanager
def _answers_of(bench: Workbench, version: Any) -> Iterator[Any]:
    """A version of the registry as a function from rows to probabilities."""
    from ml.evaluation.predict import predict

    with TemporaryDirectory() as scratch:
        folder = bench.registry.download(version, Path(scratch) / "model")
        yield lambda rows: predict(folder, rows, bench.use_case)


def _decisions(bench: Workbench, *, before: datetime) -> list[Any]:
    """Decisions about earlier windows, newest first."""
    from ml.records.decision import MonitorDecision

    stored = bench.control.history(bench.use_case.name, "monitor", limit=60, before=before)
    return [MonitorDecision.model_validate_json(found.payload) for found in stored]


def _recorded_decision(name: str, context: dict[str, Any]) -> Any:
    from ml.policy.decide import decision_key
    from ml.records.decision import MonitorDecision

    bench = open_workbench(name)
    return MonitorDecision.model_validate_json(
        bench.control.find("monitor", decision_key(name, as_of(context), context["params"].get("batch_rows"))).payload
    )
