"""A disk that is full in earnest: a small file system, filled to the last byte, and given room again."""

import httpx
import pytest


def ask(client: httpx.Client, row: dict, n: int) -> list[httpx.Response]:
    """Rows one after the other."""
    return [client.post("/score/quay", json={"rows": [row]}) for _ in range(n)]


@pytest.mark.parametrize("policy", ["refuse", "answer"])
def test_a_full_disk_costs_no_record_of_an_answer(small_disk, installation, service, quay, row_of, policy):
    """Each answer is on record or counted as lost, a refusal has its code, and with room again it goes on by itself."""
    disk = small_disk(installation.settings.var, megabytes=8)
    path = installation.settings.use_cases / "quay.yaml"
    path.write_text(path.read_text() + f"serving: {{when_capture_fails: {policy}}}\n")
    installation.release("quay", version=1, weight=0.1)
    service.start()
    service.await_status(model_version=1)

    with service.client() as client:
        before = ask(client, row_of(quay), 5)
        disk.fill()
        during = ask(client, row_of(quay), 600)
        ready = client.get("/health/ready")
        metrics = client.get("/metrics").text
        disk.make_room()
        after = ask(client, row_of(quay), 5)

    assert {reply.status_code for reply in (*before, *after)} == {200}
    refused = [reply for reply in during if reply.status_code != 200]
    recorded = len(installation.captured())
    answered = sum(reply.status_code == 200 for reply in (*before, *during, *after))
    if policy == "refuse":
        assert {(reply.status_code, reply.json()["code"]) for reply in refused} == {(503, 501)}
        assert (ready.status_code, "cannot_record" in ready.json()) == (503, True)
        assert recorded == answered
    else:
        lost = int(metrics.split('perennial_capture_lost_rows_total{use_case="quay"} ')[1].split("\n")[0])
        assert (refused, lost > 0) == ([], True)
        assert recorded == answered - lost
