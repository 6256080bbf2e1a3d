"""Bodies of the DAGs that measure the pipeline itself, and tell of it each week."""

from __future__ import annotations

from typing import Any

from ml.settings import settings
from plugins.perennial.telemetry import note_gauge


def audit_logs(**context: Any) -> int:
    """Count the errors of all logs since the last look by their signatures; returns how many lines they are."""
    from ml.stack.pipeline_health import audit_installation

    done = audit_installation(settings(), now=context["dag_run"].run_after)
    print(f"{done.files} logs have something new, {done.errors} error lines")
    for problem in done.unreadable:
        print(f"could not be read: {problem}")
    return done.errors


def measure(**context: Any) -> list[str]:
    """Measure the time until this run was due, and keep it; returns the measures that miss their targets."""
    from ml.pipeline.wording import say_measure
    from ml.stack.pipeline_health import keep_health, measure_health

    found = measure_health(settings(), now=context["dag_run"].run_after)
    keep_health(settings(), found)
    for one in found.measures:
        print("; ".join(word for word in say_measure(one) if word))
        if one.value is not None:
            note_gauge("pipeline_measure", one.value, source="pipeline_health", use_case=None, label=one.name)
    return [one.name for one in found.missed]


def tell(**context: Any) -> str:
    """Hand the digest of the last whole week to the channels of all members, once; returns its first line."""
    from ml.stack.weekly_digest import send_digest

    notice = send_digest(settings(), now=context["dag_run"].run_after)
    print(notice.text)
    print(f"goes to: {', '.join(notice.actions) or 'nobody, digest in the alert rules is empty'}")
    return notice.subject
