"""Bodies of the monitor DAG's tasks: what was captured becomes a decision."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from airflow.sdk.exceptions import AirflowSkipException

from plugins.perennial import assets
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
    return asdict(bench.lake.ingest(bench.settings.outbox))


def profile(name: str, ingested: dict[str, Any], **context: Any) -> int:
    """Keep the live window's profile, made in one pass on the champion's bins; returns the champion's version."""
    from ml.drift.profile import build_profile

    bench = open_workbench(name)
    champion = bench.registry.champion(name)
    if champion is None:
        raise AirflowSkipException(f"{name} has no champion yet: trigger its retrain DAG first")
    window, edges = live_window(bench, as_of(context)), bench.registry.reference(champion).whole
    found = build_profile(bench.lake.answered(window), bench.use_case, window=window, edges=edges)
    print(bench.lake.save_profile(found, model_version=champion.version))
    return champion.version


def detect_drift(name: str, version: int, **context: Any) -> str:
    """Compare the live profile with the reference of the model that it was made for; returns the check as JSON."""
    from ml.drift.detect import check_drift

    bench = open_workbench(name)
    window = live_window(bench, as_of(context))
    check = check_drift(
        bench.registry.reference(bench.registry.version(name, version)),
        bench.lake.read_profile(window, model_version=version),
        use_case=bench.use_case,
        window=window,
        model_version=version,
    )
    return check.model_dump_json()


def decide(name: str, check: str, **context: Any) -> str:
    """Wait, alert a person or retrain: decided once per window, recorded with its reasons."""
    from ml.policy.decide import decide as decide_policy
    from ml.policy.live import realised_loss
    from ml.records.decision import DriftCheck, MonitorDecision
    from ml.records.measure import Window

    bench, now = open_workbench(name), as_of(context)
    window = live_window(bench, now)
    champion = bench.registry.champion(name)
    labelled = bench.lake.labelled(Window(start=champion.watermark, end=now), as_of=now)
    decision = decide_policy(
        DriftCheck.model_validate_json(check),
        use_case=bench.use_case,
        as_of=now,
        labelled=len(labelled),
        live_loss=realised_loss(labelled[labelled["event_time"] >= window.start], bench.use_case),
        last_retraining=_last_retraining(bench),
    )
    stored = bench.control.record("monitor", decision.key, decision, use_case=name, as_of=now, now=wall_clock())
    decision = MonitorDecision.model_validate_json(stored.payload)
    print(decision.model_dump_json(indent=1))
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


def alert(name: str, **context: Any) -> str:
    """Tell the owner about drift that the policy may not answer by itself; returns the mailbox file."""
    from ml.alerts.mailbox import post_alert
    from ml.records.alert import Alert

    bench, decision = open_workbench(name), _recorded_decision(name, context)
    message = Alert(
        key=f"monitor/{decision.key}",
        use_case=name,
        time=decision.as_of,
        severity="warning",
        subject=f"{name}: drift that needs a person",
        text="\n".join(decision.reasons),
    )
    return str(post_alert(message, bench.settings.var / "mailbox"))


def live_window(bench: Workbench, end: datetime) -> Any:
    """Window of live data that ends at the virtual now."""
    from ml.records.measure import Window

    return Window(start=end - bench.use_case.monitoring.window, end=end)


def _recorded_decision(name: str, context: dict[str, Any]) -> Any:
    from ml.policy.decide import decision_key
    from ml.records.decision import MonitorDecision

    bench = open_workbench(name)
    return MonitorDecision.model_validate_json(
        bench.control.find("monitor", decision_key(name, as_of(context))).payload
    )


def _last_retraining(bench: Workbench) -> datetime | None:
    stored = bench.control.latest("retrain", bench.use_case.name)
    return stored.as_of if stored else None
