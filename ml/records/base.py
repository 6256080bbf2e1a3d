"""What every record shares: frozen, unknown keys refused, JSON with a version, written atomically."""

from __future__ import annotations

import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from ml.errors import DataError


def as_utc(moment: datetime) -> datetime:
    """The same moment in UTC; a naive one is taken as UTC.

    Examples
    --------
    >>> as_utc(datetime(2013, 3, 1)).isoformat()
    '2013-03-01T00:00:00+00:00'
    """
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


UtcTime = Annotated[datetime, AfterValidator(as_utc)]


class Record(BaseModel):
    """A frozen result that travels between stages, to and from JSON.

    Attributes
    ----------
    format
        Version of the record's shape; a reader refuses a newer one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: int = 1

    def write(self, path: Path) -> Path:
        """Write as JSON so that a reader sees the old file or the new one, never half; returns the path."""
        write_atomically(path, self.model_dump_json(indent=1).encode() + b"\n")
        return path

    @classmethod
    def read(cls, path: Path) -> Self:
        """Record of a JSON file.

        Raises
        ------
        DataError
            The file is absent, cannot be read, or is not such a record.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            fact = "is absent" if isinstance(error, FileNotFoundError) else "cannot be read"
            raise DataError(f"{cls.__name__} {fact}", where=str(path), got=error.strerror or "") from error
        except ValidationError as error:
            told = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}".removeprefix(": ") for e in error.errors())
            raise DataError(f"not a {cls.__name__}", where=str(path), got=told) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file's content in one step that also survives a power cut.

    Raises
    ------
    OSError
        The folder cannot be written; the old content stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
