"""MLflow's exceptions as ours: away, refused, absent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from ml.errors import PerennialError, ServiceAway

T = TypeVar("T")


@contextmanager
def asking(url: str) -> Iterator[None]:
    """Turn what MLflow's client raises inside the block into our errors.

    Raises
    ------
    ServiceAway
        No connection, no answer in time, or an answer that the server is out of order.
    PerennialError
        The server refused.
    """
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    try:
        yield
    except (MlflowException, RequestException) as error:
        if _is_away(error):
            raise ServiceAway(
                "MLflow does not answer", where=url, got=_short(error), allowed="a running MLflow server"
            ) from error
        raise PerennialError("MLflow refused", where=url, got=_short(error)) from error


def write_once(write: Callable[[], object]) -> None:
    """Write what another task may be writing at the same moment; what it wrote first counts.

    MLflow looks for the row, then inserts it: who comes second in between is refused by the database, once.
    """
    from mlflow.exceptions import MlflowException

    try:
        write()
    except MlflowException as error:
        if "IntegrityError" not in str(error) and "UniqueViolation" not in str(error):
            raise
        write()


def with_the_twin_that_stays(work: Callable[[], T]) -> T:
    """Work with a run; again when it was a twin that its maker has deleted meanwhile for an older one.

    Runs have no unique key, and their order is that of their makers' clocks: one that was found a moment ago may have
    to give way to one that began earlier and was written later.
    """
    from mlflow.exceptions import MlflowException

    try:
        return work()
    except MlflowException as error:
        if "Current state is deleted" not in str(error):
            raise
        return work()


def is_absent(error: Exception) -> bool:
    """Whether MLflow says that what was asked for does not exist."""
    return getattr(error, "error_code", "") in {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"} or _status(error) == 404


def is_taken(error: Exception) -> bool:
    """Whether MLflow says that the name exists already."""
    return getattr(error, "error_code", "") == "RESOURCE_ALREADY_EXISTS"


def is_unset_alias(error: Exception) -> bool:
    """Whether MLflow says that nobody set the alias; to MLflow that is an invalid parameter."""
    return getattr(error, "error_code", "") == "INVALID_PARAMETER_VALUE" and "alias" in str(error)


def _is_away(error: BaseException | None) -> bool:
    """Whether a request found no server, or one out of order, anywhere in the chain of causes.

    MLflow raises its own exception while it handles the one of ``requests``, with one code for every cause.
    """
    from requests.exceptions import RequestException

    while error is not None:
        status = _status(error)
        if isinstance(error, RequestException) and (status is None or status >= 500):
            return True
        error = error.__cause__ or error.__context__
    return False


def _status(error: BaseException) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
