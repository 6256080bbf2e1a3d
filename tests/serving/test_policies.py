"""What a use case's policies make of rows that are not as declared: refused, clipped, imputed, flagged, abstained from.

Whatever is done, the record has what was sent, and the answer says what was made of it.
"""

import json

import pytest

from ml.registry.manifest import MODEL
from ml.serving.answers import refuse_failure
from ml.serving.decode import compile_layout, decode_batch
from ml.serving.http import reply_problem
from ml.serving.model import Model, load_model
from ml.serving.openapi import describe_api
from ml.serving.problem import RequestRefused
from ml.serving.score import score_batch
from ml.use_case import UseCase
from tests.serving.conftest import read


def with_policies(use_case: UseCase, **serving: object) -> UseCase:
    """The use case with other policies."""
    return use_case.model_validate(use_case.model_dump() | {"serving": serving})


@pytest.fixture
def model(installation, quay) -> Model:
    """The quay's model, whose training has seen depths of 5 to 60, loads of 1 to 9, and berths B1 and B2."""
    found = load_model(installation.settings.releases, installation.release("quay", version=1, weight=0.1), quay)
    seen = {"reference": {"depth": (5.0, 60.0), "load": (1.0, 9.0)}, "reference_values": {"berth": ("B1", "B2")}}
    return Model(found.manifest, found.session, package=found.package.model_copy(update=seen))


def ask(use_case: UseCase, model: Model, *rows: dict) -> tuple[int, list[dict], list[dict]]:
    """Status, entries of the answer (or the problem's errors) and records of rows."""
    layout = compile_layout(use_case)
    scored = score_batch(decode_batch(json.dumps({"rows": rows}).encode(), layout), model, layout, "r")
    reply = reply_problem(scored.reply, "r") if isinstance(scored.reply, RequestRefused) else scored.reply
    content = json.loads(reply.content)
    return reply.status, content.get("predictions", content.get("errors")), read(scored.record, scored.rows)


@pytest.mark.parametrize(
    ("policy", "value", "graph_sees", "says"),
    [
        ("clip", 140, 100, "clipped to 100; must be from 0 to 100, got 140"),
        ("clip", -3, 0, "clipped to 0"),
        ("clip", 1e30, 100, "clipped to 100"),
        ("flag", 140, 140, "must be from 0 to 100, got 140"),
        ("accept", 140, 140, None),
    ],
)
def test_numbers_out_of_range(quay, row_of, on_paper, model, policy, value, graph_sees, says):
    """The graph sees the nearest allowed number or the number itself; on record is the number that was sent."""
    use_case = with_policies(quay, out_of_range=policy, out_of_distribution="ignore")

    status, (answer,), (record,) = ask(use_case, model, row_of(quay) | {"depth": value})

    assert status == 200
    assert answer["probabilities"][1] == pytest.approx(
        on_paper(row_of(quay) | {"depth": graph_sees}, quay, 0.1), abs=1e-6
    )
    assert (record["code"], record["features"]["depth"]) == (0, value)
    if says is None:
        assert ("notes" in answer, record["detail"]) == (False, None)
    else:
        (note,) = answer["notes"]
        assert (note["code"], note["feature"]) == (202, "depth")
        assert says in note["detail"]
        assert record["detail"] == f"depth: {note['detail']}"


@pytest.mark.parametrize(("policy", "graph_sees"), [("impute", None), ("flag", "damp"), ("accept", "damp")])
def test_categories_that_are_not_known(quay, row_of, on_paper, model, policy, graph_sees):
    """As if missing, or as they are."""
    use_case = with_policies(quay, unknown_category=policy, out_of_distribution="ignore")

    status, (answer,), (record,) = ask(use_case, model, row_of(quay) | {"sea": "damp"})

    assert status == 200
    assert answer["probabilities"][1] == pytest.approx(
        on_paper(row_of(quay) | {"sea": graph_sees}, quay, 0.1), abs=1e-6
    )
    assert record["features"]["sea"] == "damp"
    assert ("notes" in answer) is (policy != "accept")


def test_a_category_is_not_imputed_where_nothing_may_be_missing(quay, row_of, model):
    """Refused with 203 as by default."""
    use_case = with_policies(quay, unknown_category="impute", missing="refuse")

    status, (error,), (record,) = ask(use_case, model, row_of(quay) | {"sea": "damp"})

    assert (status, error["code"], record["code"]) == (422, 203, 203)


@pytest.mark.parametrize("policy", ["clip", "flag"])
def test_what_no_float_holds_is_refused_whatever_the_policy(quay, row_of, model, policy):
    """There is nothing to be clipped to, and nothing that could be recorded."""
    status, (error,), _ = ask(with_policies(quay, out_of_range=policy), model, row_of(quay) | {"load": 1e39})

    assert (status, error["code"]) == (422, 202)


def test_the_description_says_what_policies_take(quay):
    """No enum and no bounds where nothing is refused."""

    def schema(**serving: str) -> dict:
        described = describe_api({"quay": with_policies(quay, **serving)})["paths"]["/score/quay"]["post"][
            "requestBody"
        ]
        return described["content"]["application/json"]["schema"]["properties"]["rows"]["items"]["properties"]

    strict, lenient = schema(), schema(out_of_range="clip", unknown_category="flag")
    assert (strict["depth"]["maximum"], "enum" in strict["sea"]) == (100, True)
    assert (lenient["depth"]["maximum"] > 1e30, "enum" in lenient["sea"]) == (True, False)


UNLIKE = {"depth": 61.0, "load": 0.5, "berth": "B9"}


@pytest.mark.parametrize(
    ("change", "unlike"),
    [
        ({}, False),
        ({"depth": 61.0}, False),
        ({"depth": 60.0, "load": 9.0}, False),
        ({"depth": None, "load": 10.0}, False),
        ({"depth": 61.0, "load": 0.5}, True),
        ({"depth": 4.0, "berth": "B9"}, True),
        (UNLIKE, True),
    ],
)
def test_rows_unlike_the_training_data_are_flagged(quay, row_of, model, change, unlike):
    """A quarter of five features is more than one; bounds belong to what was seen, missing values are no sign."""
    _, (answer,), (record,) = ask(quay, model, row_of(quay) | change)

    assert answer["out_of_distribution"] is unlike
    assert ("features lie beyond" in (record["detail"] or "")) is unlike
    assert record["code"] == 0


def test_a_use_case_may_abstain(quay, row_of, model):
    """Code 204 for that row and no other; its features are on record, an answer is not."""
    use_case = with_policies(quay, out_of_distribution="abstain")

    status, (good, bad), (answered, refused) = ask(use_case, model, row_of(quay), row_of(quay) | UNLIKE)

    assert status == 207
    assert good["out_of_distribution"] is False
    assert (bad["error"]["code"], "3 of 5 features" in bad["error"]["detail"]) == (204, True)
    assert (answered["code"], refused["code"], refused["class"]) == (0, 204, None)
    assert refused["features"]["berth"] == "B9"


def test_a_package_that_does_not_say_what_was_seen_flags_nothing(installation, quay, row_of):
    """As those made before; nobody may take silence for a no."""
    old = load_model(installation.settings.releases, installation.release("quay", version=1, weight=0.1), quay)

    assert "out_of_distribution" not in ask(quay, old, row_of(quay) | UNLIKE)[1][0]


def test_share_decides_and_ignore_ignores(quay, row_of, model):
    """One feature of five is a fifth."""

    def told(**serving: object) -> dict:
        return ask(with_policies(quay, **serving), model, row_of(quay) | {"depth": 61.0})[1][0]

    assert told(out_of_distribution_share=0.2)["out_of_distribution"] is True
    assert told(out_of_distribution_share=0.21)["out_of_distribution"] is False
    assert "out_of_distribution" not in told(out_of_distribution="ignore")


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("[ONNXRuntimeError] : 6 : Non-zero status code returned while running Cast node. Name:'prepare/Cast_3'", 301),
        ("[ONNXRuntimeError] : 6 : Non-zero status code returned while running Gemm node. Name:'Gemm_1'", 401),
        ("no memory", 401),
    ],
)
def test_the_stage_that_failed_gives_the_code(message, code):
    """ONNX Runtime names the node; nodes of the preprocessing are named so at packaging."""
    assert int(refuse_failure(RuntimeError(message)).code) == code


def test_model_and_package_are_what_the_manifest_names(installation, quay):
    """What training has seen comes with the verified package, not from elsewhere."""
    manifest = installation.release("quay", version=1, weight=0.1)
    assert (installation.artifact(manifest) / MODEL).is_file()
    assert load_model(installation.settings.releases, manifest, quay).package.digest == manifest.digest
