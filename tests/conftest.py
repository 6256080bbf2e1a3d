"""The same commit gives the same verdict: property tests draw the same examples in every run.

`pytest --hypothesis-profile default` draws new ones; what it finds becomes an `@example` of its test.
"""

import contextlib
import errno
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("steady", derandomize=True)
settings.load_profile("steady")


@dataclass(frozen=True)
class SmallDisk:
    """A file system of a few megabytes that can be full in earnest: no call is faked."""

    path: Path

    def fill(self) -> None:
        """Write until there is no room for another page."""
        ballast = os.open(self.path / "ballast", os.O_WRONLY | os.O_CREAT)
        try:
            for size in (65_536, 4_096, 512):
                with contextlib.suppress(OSError):
                    while os.write(ballast, bytes(size)):
                        pass
            with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
                os.write(ballast, bytes(4_096))
        finally:
            os.close(ballast)

    def make_room(self) -> None:
        """Take the ballast away."""
        (self.path / "ballast").unlink()


@pytest.fixture
def small_disk(tmp_path):
    """Make a disk of so many megabytes in a folder; skipped where this user may not mount one."""
    mounted: list[Path] = []

    def mount(path: Path, *, megabytes: int) -> SmallDisk:
        path.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("there is no mount here")
        if done.returncode:
            pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
        mounted.append(path)
        return SmallDisk(path)

    yield mount
    for path in mounted:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
