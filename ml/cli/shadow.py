"""``perennial shadow``: how a version that scored copies compares with the champion, by all truth that is known now."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from ml.cli.options import Json, UseCaseName
from ml.cli.output import print_json, stdout

#: Shadows that are looked through for a version's.
_MANY = 10_000


def shadow(
    name: UseCaseName,
    version: Annotated[int | None, typer.Option(min=1, help="Of which version; the newest shadow.")] = None,
    as_json: Json = False,
) -> None:
    """Show what a shadow has found: agreement, differences, failures, time, and the paired loss on labels so far.

    Example: perennial shadow harbour_weather --version 3
    """
    from ml.evaluation.shadow import describe

    found = _compare(name, version)
    if as_json:
        print_json(found | {"comparison": found["comparison"].model_dump(mode="json")})
        return
    verb = "accepted" if found["accepted"] else "refused"
    heading = f"{name}: version {found['version']} beside {found['beside']}, {found['began'][:16]}, {verb}"
    stdout.print(heading, describe(found["comparison"]), sep="\n", markup=False, soft_wrap=True)


def _compare(name: str, version: int | None) -> dict[str, Any]:
    from ml.errors import InputError
    from ml.evaluation.shadow import compare_shadow
    from ml.records.shadow import ShadowVerdict
    from ml.settings import settings
    from ml.store.control import ControlStore
    from ml.store.lake import Lake
    from ml.store.shadowed import ShadowedAnswers
    from ml.use_case import load

    current = settings()
    use_case = load(current.use_cases / f"{name}.yaml")
    control = ControlStore(current.control_url, current.ledger)
    verdicts = (ShadowVerdict.model_validate_json(one.payload) for one in control.history(name, "shadow", limit=_MANY))
    verdict = next((one for one in verdicts if version in (None, one.version)), None)
    if verdict is None:
        allowed = "a version that was released with serving.shadow"
        got = "no shadow at all" if version is None else f"no shadow of version {version}"
        raise InputError("there is no such shadow", where=name, got=got, allowed=allowed)
    Lake(current.lake, use_case).ingest(current.outbox)  # labels that have come meanwhile
    answers = ShadowedAnswers(current.lake, use_case)
    labelled = answers.labelled(verdict.run, as_of=datetime.now(UTC))
    return {
        "use_case": name,
        "version": verdict.version,
        "beside": verdict.beside,
        "began": verdict.run.rsplit("/", 1)[1],
        "accepted": verdict.accepted,
        "reason": verdict.reason,
        "comparison": compare_shadow(answers.answers(verdict.run), labelled, use_case),
    }
