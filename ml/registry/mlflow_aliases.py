"""Where the aliases ``champion`` point, of all use cases by one question to MLflow, without MLflow's own client.

Its client takes seconds and 200 MiB to import; who asks each second has no need of it.
"""

from __future__ import annotations

from typing import Any

import httpx

from ml.errors import ServiceAway
from ml.records.governance import CHAMPION

_PATH = "/api/2.0/mlflow/registered-models/search"
_PAGE = 1000


def read_champions(http: httpx.Client) -> dict[str, int]:
    """Version with the alias ``champion``, by registered model; a model without one is left out.

    Parameters
    ----------
    http
        Client whose base URL is the MLflow server's.

    Raises
    ------
    ServiceAway
        The server does not answer, or answers something else.
    """
    found: dict[str, int] = {}
    query: dict[str, Any] = {"max_results": _PAGE}
    try:
        while True:
            page = http.get(_PATH, params=query).raise_for_status().json()
            for model in page.get("registered_models", ()):
                aliases = {one["alias"]: int(one["version"]) for one in model.get("aliases", ())}
                if CHAMPION in aliases:
                    found[model["name"]] = aliases[CHAMPION]
            query["page_token"] = page.get("next_page_token")
            if not query["page_token"]:
                return found
    except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ServiceAway("MLflow does not answer", where=str(http.base_url), got=str(error)[:300]) from error
