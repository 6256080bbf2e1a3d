"""The description agrees with what is taken and refused."""

import re

import msgspec
import pytest

from ml.serving.openapi import describe_api, show_api
from ml.serving.pages import Pages
from ml.serving.rows import read_row
from ml.serving.watch import Releases


@pytest.fixture
def row_schema(quay) -> dict:
    """Schema of one row of the quay."""
    content = describe_api({"quay": quay})["paths"]["/score/quay"]["post"]["requestBody"]["content"]
    return content["application/json"]["schema"]["properties"]["rows"]["items"]


def test_every_route_is_described(installation):
    """Every page that is served, and per use case our own routes, MLflow's and V2's."""
    paths = set(describe_api(installation.use_cases)["paths"])

    releases = Releases(installation.settings.releases, installation.use_cases)
    pages = set(Pages("replica-0", releases, None, None)._pages)
    routes = {"/score/{}", "/labels/{}", "/invocations/{}", "/v2/models/{}", "/v2/models/{}/infer"}
    routes |= {"/v2/models/{}/ready", "/v2/models/{}/config", "/v2/models/{}/stats"}
    assert paths == pages | {route.format(name) for route in routes for name in installation.use_cases}


def test_a_reply_in_part_is_described_where_there_is_one(installation):
    """Our own protocol answers some rows and refuses others with 207; the other protocols have no place for that."""
    paths = describe_api(installation.use_cases)["paths"]

    assert "207" in paths["/score/quay"]["post"]["responses"]
    assert "207" not in paths["/invocations/quay"]["post"]["responses"]


def test_every_field_of_a_row_is_required_and_no_other_is_known(row_schema, quay, row_of):
    """As rows are read: an absent field is refused, and so is an unknown one."""
    assert row_schema["required"] == list(quay.features)
    assert row_schema["additionalProperties"] is False
    for name in quay.features:
        assert isinstance(read_row({k: v for k, v in row_of(quay).items() if k != name}, quay), tuple)


def test_bounds_and_categories_are_the_ones_that_refuse(row_schema, quay, row_of):
    """Extremes and listed texts are taken, null exactly where the type says so."""
    depth, sea = row_schema["properties"]["depth"], row_schema["properties"]["sea"]
    for value in (depth["minimum"], depth["maximum"]):
        assert isinstance(read_row(row_of(quay) | {"depth": value}, quay), list)
    assert sea["enum"] == ["dry", "wet", None]
    for value in sea["enum"]:
        assert isinstance(read_row(row_of(quay) | {"sea": value}, quay), list)
    for name, schema in row_schema["properties"].items():
        taken = isinstance(read_row(row_of(quay) | {name: None}, quay), list)
        assert taken == ("null" in schema["type"])


def test_page_for_people_fetches_nothing(installation):
    """Every feature and code is on it, and no address but our own."""
    page = show_api(installation.use_cases)

    assert all(name in page for use_case in installation.use_cases.values() for name in use_case.features)
    assert "601" in page
    assert re.findall(r'(?:src|href)="?([^"> ]+)', page) == ["openapi.json"]
    assert msgspec.json.encode(describe_api(installation.use_cases))
