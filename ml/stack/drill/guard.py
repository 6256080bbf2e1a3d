"""Whether a stack may be drilled: it runs here, and everything of it is on this machine."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from ml.errors import InputError, StackError
from ml.settings import Settings
from ml.stack.drill.scene import Scene
from ml.stack.supervision import Supervisor
from ml.use_case import load_all


def check_local(settings: Settings) -> None:
    """Return when the stack is a local one that runs.

    Raises
    ------
    StackError
        An address leads elsewhere, or the stack does not run.
    """
    addresses = {"PERENNIAL_HOST": settings.host}
    for name in ("scoring_url", "mlflow_url", "airflow_url"):
        addresses[f"PERENNIAL_{name.upper()}"] = urlsplit(getattr(settings, name)).hostname or ""
    for name, host in addresses.items():
        if not _is_loopback(host):
            raise StackError("a drill is for a local stack", where=name, got=host, allowed="loopback")
    if not Supervisor(settings).is_running():
        raise StackError("the stack does not run", where=str(settings.var), allowed="perennial up")


def choose_scene(settings: Settings, use_case: str | None) -> Scene:
    """Scene of a use case; of the first one that has a champion where none is named.

    Raises
    ------
    InputError
        There is no such use case.
    StackError
        None, or not this one, has a champion.
    """
    known = load_all(settings.use_cases)
    if use_case is not None and use_case not in known:
        raise InputError("no such use case", where="--use-case", got=use_case, allowed=", ".join(known))
    names = list(known) if use_case is None else [use_case]
    for name in names:
        scene = Scene(settings, known[name])
        if scene.manifest_file.exists():
            return scene
    raise StackError(
        "no champion serves", where=", ".join(names), allowed="perennial demo --weeks 1, or perennial retrain"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
