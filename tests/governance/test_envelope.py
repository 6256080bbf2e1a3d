"""The change envelope: inside only where every number is known and within its bound, under a signature that holds."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from ml.errors import InputError
from ml.governance.envelope import Change, apply_verdict, describe_change, judge_envelope
from ml.governance.signing import count_by_itself, find_signature, load_private_key, sign_envelope
from ml.records.decision import GateDecision, RuleResult
from ml.records.governance import AliasMove
from ml.records.measure import Verdict
from ml.registry.page import describe_gate
from ml.store.ledger import BrokenLedgerError
from ml.use_case.approval_options import Envelope
from tests.governance.conftest import NAME, NOW, WEATHER

BOUNDS = Envelope(
    loss=(0.1, 0.2),
    loss_change=(-0.05, 0.0),
    slice_worse_by=0.01,
    candidates=("forest",),
    data_age=timedelta(days=14),
    churn=0.1,
    drift_threshold=0.5,
    in_a_row=3,
)
SMALL = Change(
    champion_version=4,
    candidate="forest",
    loss=0.15,
    champion_loss=0.16,
    churn=0.1,
    features=frozenset({"Humidity", "Pressure"}),
    champion_features=frozenset({"Humidity", "Pressure"}),
    data_age=timedelta(days=14),
    threshold=3.0,
    champion_threshold=2.0,
    in_a_row=2,
    slices={"Station=JFK": 0.01, "Station=LGA": -0.02},
)


def enveloped(bounds=BOUNDS, **changed):
    """The use case in mode envelope."""
    keys = {"mode": "envelope", "envelope": bounds} | changed
    return WEATHER.model_copy(update={"retraining": WEATHER.retraining.model_copy(update=keys)})


def judge(change, bounds=BOUNDS, *, fault=""):
    """Names of the rules that ask for a person."""
    verdict = judge_envelope(change, enveloped(bounds), signed_by="" if fault else "ana", signature_fault=fault)
    assert verdict.inside == (not verdict.outside)
    return [rule.name for rule in verdict.outside]


def test_at_every_bound_a_change_is_inside():
    """Bounds are part of what is allowed."""
    assert judge(SMALL) == []


@pytest.mark.parametrize(
    ("changed", "rules"),
    [
        ({"loss": 0.201}, ["loss", "loss_change"]),
        ({"loss": 0.11, "champion_loss": 0.161}, ["loss_change"]),
        ({"loss": 0.099, "champion_loss": 0.1}, ["loss"]),
        ({"loss": None}, ["loss", "loss_change"]),
        ({"champion_loss": None}, ["loss_change"]),
        ({"slices": {"Station=JFK": 0.0101}}, ["slice Station=JFK"]),
        ({"slices": {"Station=JFK": None}}, ["slice Station=JFK"]),
        ({"slices": {}}, ["slices"]),
        ({"features": frozenset({"Humidity"})}, ["features"]),
        ({"features": frozenset({"Humidity", "Pressure", "Wind"})}, ["features"]),
        ({"candidate": "boosting"}, ["candidate"]),
        ({"data_age": timedelta(days=14, seconds=1)}, ["data_age"]),
        ({"data_age": timedelta(seconds=-1)}, ["data_age"]),
        ({"churn": 0.1001}, ["churn"]),
        ({"churn": None}, ["churn"]),
        ({"threshold": 3.01}, ["drift_threshold"]),
        ({"threshold": 0.99}, ["drift_threshold"]),
        ({"threshold": None}, ["drift_threshold"]),
        ({"champion_threshold": None}, ["drift_threshold"]),
        ({"in_a_row": 3}, ["in_a_row"]),
        ({"champion_version": None, "champion_features": None, "churn": None}, ["champion"]),
        ({"champion_features": None}, ["features"]),
    ],
)
def test_beyond_a_bound_or_unknown_is_outside_by_that_rule(changed, rules):
    """One step beyond each bound, and each number not known."""
    assert judge(replace(SMALL, **changed)) == rules


def test_a_bound_that_is_not_there_allows_anything_but_needs_a_champion():
    """Null switches a bound off."""
    free = Envelope(same_features=False, churn=None, drift_threshold=None)
    wild = replace(SMALL, loss=9.0, churn=1.0, features=frozenset(), threshold=None, slices={}, candidate="any")

    assert judge(wild, free) == []
    assert judge(replace(wild, champion_version=None), free) == ["champion"]


def test_without_a_signature_everything_is_outside():
    """Whatever the numbers say."""
    assert judge(SMALL, fault="nobody has signed it") == ["signature"]
    unsigned = judge_envelope(SMALL, enveloped(), signed_by="", signature_fault="")
    assert [rule.detail for rule in unsigned.outside] == ["nobody has signed it"]


GATE = GateDecision.model_validate(
    {
        "use_case": NAME,
        "decision": "promote",
        "state": "compared",
        "challenger_version": 5,
        "champion_version": 4,
        "holdout": {"start": "2013-03-01", "end": "2013-03-08"},
        "rules": (
            RuleResult(name="slice Station=JFK", value=0.02, n=90, verdict=Verdict.PASS, detail="no harm proven"),
            RuleResult(name="small_slices", value=1.0, n=90, verdict=Verdict.PASS, detail="one"),
        ),
        "reasons": ("it won",),
        "losses": {"challenger": 0.15, "champion": 0.16},
        "churn": 0.04,
    }
)


def test_outside_asks_a_person_with_the_reasons_and_inside_stays_a_promotion():
    """Never a reject: the gate has already been passed."""
    outside = judge_envelope(replace(SMALL, churn=0.3), enveloped(), signed_by="ana", signature_fault="")
    asked = apply_verdict(GATE, outside)
    assert asked.decision == "review"
    assert asked.reasons[0] == (
        "Outside the change envelope: churn: 0.3 of the decisions differ from the champion's, at most 0.1 allowed."
    )
    assert "| churn | 0.3 of the decisions differ" in describe_gate("", asked)
    assert "Inside: signature (holds); champion (4, there is one); loss (0.15, 0.1 to 0.2);" in describe_gate("", asked)

    inside = judge_envelope(SMALL, enveloped(), signed_by="ana", signature_fault="")
    assert apply_verdict(GATE, inside).decision == "promote"
    assert apply_verdict(GATE, inside).reasons[-1] == "Within the change envelope that ana has signed."


def test_a_judged_version_is_described_by_the_gates_record_and_both_packages(registry, make, tmp_path):
    """Losses, churn and slices of the gate; columns of the packages; thresholds of the references."""
    from ml.records.release import Package

    make(registry)
    package = Package.read(registry.fetch(registry.version(NAME, 1), tmp_path / "fetched") / "package.json")
    reference = registry.reference(registry.version(NAME, 1))
    change = describe_change(
        GATE,
        package=package,
        champion=package.model_copy(update={"numbers": (*package.numbers, "Dew_point")}),
        references=(reference, reference),
        candidate="forest",
        data_age=timedelta(days=3),
        in_a_row=1,
    )

    assert (change.loss, change.champion_loss, change.churn) == (0.15, 0.16, 0.04)
    assert change.slices == {"Station=JFK": 0.02}
    assert change.champion_features - change.features == {"Dew_point"}


# ---------------------------------------------------------------- signatures


def sign(control, use_case=None, *, now=NOW, key=None, actor="ana"):
    """Sign as ana."""
    return sign_envelope(use_case or enveloped(), control=control, actor=actor, reason="agreed", now=now, key=key)


def test_a_signature_holds_for_its_file_and_its_time(control):
    """By the ledger's key, from the moment of signing, for as long as the file says."""
    use_case = enveloped()
    assert find_signature(use_case, control, now=NOW)[1].startswith("nobody has signed it")

    sign(control)

    assert find_signature(use_case, control, now=NOW) == ("ana", "")
    assert find_signature(use_case, control, now=NOW + timedelta(days=90, seconds=-1)) == ("ana", "")
    assert "holds from 2026-01-05" in find_signature(use_case, control, now=NOW + timedelta(days=90))[1]
    assert "holds from" in find_signature(use_case, control, now=NOW - timedelta(seconds=1))[1]


@pytest.mark.parametrize(
    "edited",
    [
        enveloped(BOUNDS.model_copy(update={"churn": 0.9})),
        enveloped(four_eyes=True),
        enveloped().model_copy(update={"gate": WEATHER.gate.model_copy(update={"level": 0.4})}),
    ],
    ids=["its bounds", "retraining", "the gate"],
)
def test_a_file_that_was_changed_is_unsigned(control, edited):
    """Bounds, and what they build on."""
    sign(control)

    assert find_signature(edited, control, now=NOW) == ("", "the use case file was changed since ana signed it")


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        ("payload = replace(payload, '2026-04-05', '2099-04-05')", "was edited"),
        ("payload = replace(payload, 'ana', 'eve')", "was edited"),
        ('payload = replace(payload, \'"signature":"\', \'"signature":"00\')', "was edited"),
        ("payload = 'nothing'", "is unreadable"),
    ],
)
def test_a_signature_that_was_edited_in_the_database_does_not_hold(control, tmp_path, edit, told):
    """Its end, its name, itself."""
    sign(control)
    with sqlite3.connect(tmp_path / "control.db") as connection:
        connection.execute(f"UPDATE records SET {edit} WHERE kind = 'envelope'")  # noqa: S608 - of this test
    connection.close()

    who, fault = find_signature(enveloped(), control, now=NOW)

    assert (who, told in fault) == ("", True)


def public(key: Ed25519PrivateKey) -> str:
    """As a use case file names it."""
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def test_where_the_file_names_signers_only_their_own_keys_count(control, tmp_path):
    """Neither the ledger's key nor another person's; the key comes from a PEM file that stays with the person."""
    hers, another = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    use_case = enveloped(BOUNDS.model_copy(update={"signers": {"ana": public(hers)}}))
    for key, actor in ((None, "ana"), (another, "ana"), (hers, "bo")):
        with pytest.raises(InputError, match="not a key that may sign the envelope"):
            sign(control, use_case, key=key, actor=actor)
    pem = tmp_path / "ana.pem"
    pem.write_bytes(hers.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    sign(control, use_case, key=load_private_key(pem))

    assert find_signature(use_case, control, now=NOW) == ("ana", "")


def test_keys_and_people_that_may_not_sign_are_named(control, tmp_path):
    """Bad input: another mode, no reviewer, no key, a broken ledger."""
    (tmp_path / "no.pem").write_text("no key", encoding="ascii")
    with pytest.raises(InputError, match=r"no private key; where: .*no\.pem"):
        load_private_key(tmp_path / "no.pem")
    with pytest.raises(InputError, match=r"no envelope to sign.*got: automatic; allowed: envelope"):
        sign(control, WEATHER)
    with pytest.raises(InputError, match="not a reviewer"):
        sign(control, enveloped(reviewers=("bo",)))
    sign(control)
    with sqlite3.connect(tmp_path / "control.db") as connection:
        connection.execute("UPDATE ledger SET actor = 'eve'")
    connection.close()
    with pytest.raises(BrokenLedgerError):
        sign(control, now=NOW + timedelta(hours=1))


def test_promotions_by_itself_are_counted_since_a_persons_last_word(control):
    """A release that was taken back is nobody's word."""

    def move(by, number):
        record = AliasMove(use_case=NAME, version=number, previous=None, by=by, reason="because")
        control.record("alias", f"{NAME}/{number}", record, use_case=NAME, as_of=NOW, now=NOW)
        return count_by_itself(control, NAME)

    counts = [move(by, n) for n, by in enumerate(("gate", "envelope", "roll_back", "envelope", "review", "gate"))]
    assert counts == [1, 2, 2, 3, 0, 1]
    sign(control)
    assert (count_by_itself(control, NAME), move("envelope", 9)) == (0, 1)
