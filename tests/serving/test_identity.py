"""Ids that are made ahead are given to nobody twice."""

from __future__ import annotations

import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor

from ml.serving.identity import new_id

FORKED = """
import os
from ml.serving.identity import new_id
new_id()
if os.fork() == 0:
    print(*[new_id() for _ in range(600)], flush=True)
    os._exit(0)
os.wait()
print(*[new_id() for _ in range(600)], flush=True)
"""


def test_threads_at_once_get_different_ids_of_the_form_of_a_uuid():
    """Large requests make theirs in threads."""
    with ThreadPoolExecutor(8) as pool:
        found = [one for part in pool.map(lambda _: [new_id() for _ in range(2_000)], range(16)) for one in part]

    assert len(set(found)) == len(found) == 32_000
    assert all(str(uuid.UUID(one)) == one and uuid.UUID(one).version == 4 for one in found[:500])


def test_a_forked_process_does_not_give_its_parents_ids():
    """What was made ahead stays with the parent."""
    command = [sys.executable, "-c", FORKED]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    assert len(set(found)) == len(found) == 1_200
