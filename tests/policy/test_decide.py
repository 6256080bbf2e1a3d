"""What a check leads to, as a table, and the reasons in words and numbers."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.policy.decide import LiveEvidence, Past, decide, decision_key, weigh
from ml.records.decision import ColumnDrift, DriftCheck, MonitorDecision, RetrainOutcome, RetrainRequest
from ml.records.measure import Estimate, Window

NOW = datetime(2013, 4, 19, tzinfo=UTC)
LOSS = Estimate(value=0.1234567, n=480, low=0.1, high=0.15)
NO_LOSS = Estimate(value=None, n=0, detail="no labelled rows")

# 480 rows in 20 days are 672 in the horizon of 28 days; 0.05 of each is 33.6, above the cost of 20; 0.02 is 13.44.
SURE = Estimate(value=0.05, n=480, low=0.01, high=0.09)
SURE_BUT_SMALL = Estimate(value=0.02, n=480, low=0.01, high=0.03)
LIKELY = Estimate(value=0.05, n=480, low=-0.01, high=0.11)
SMALL = Estimate(value=0.02, n=480, low=-0.01, high=0.05)
NOTHING = Estimate(value=-0.001, n=480, low=-0.01, high=0.008)
UNKNOWN = Estimate(value=None, n=12, detail="1 blocks of labelled rows are too few, 5 are needed")

ONLY_DRIFT = {"triggers": {"performance": False}}
ONLY_LOSS = {"triggers": {"data_drift": False}}
NO_ANSWERS = {"triggers": {"performance": False, "prediction_drift": False}}


def column(role: str, effect: float | None) -> ColumnDrift:
    """A drifted column."""
    shares = {"missing_share_reference": 0.0, "missing_share_live": 0.0}
    return ColumnDrift(
        name=role,
        role=role,
        statistic="psi",
        value=0.4,
        drifted=True,
        n_reference=4000,
        n_live=504,
        effect=effect,
        **shares,
    )


def check(verdict: str, n_live: int = 504, effect: float | None = 0.2, role: str = "feature") -> DriftCheck:
    """A check with this verdict, by one column."""
    score = {"drift": 6.2, "no_drift": 1.3, "undecidable": None}[verdict]
    return DriftCheck(
        use_case="ferry",
        window=Window(start=NOW - timedelta(days=7), end=NOW),
        model_version=3,
        score=score,
        threshold=4.5,
        false_alarm_budget=0.01,
        n_reference=4000,
        n_live=n_live,
        columns=(column(role, effect),) if verdict == "drift" else (),
        effect=effect if verdict == "drift" else None,
        verdict=verdict,
        reasons=(f"The check says {verdict}: {score} against 4.5.",),
    )


def evidence(gain: Estimate, *, labelled: int = 480, live: Estimate = LOSS, **more) -> LiveEvidence:
    """Twenty days of labelled answers with so much avoidable loss."""
    return LiveEvidence(labelled=labelled, reducible=gain, span=timedelta(days=20), live_loss=live, **more)


def with_retraining(use_case, **changes):
    """The use case with other settings in its retraining section."""
    content = use_case.model_dump(mode="json")
    for key, value in changes.items():
        content["retraining"][key] = content["retraining"][key] | value if isinstance(value, dict) else value
    return type(use_case).model_validate(content)


def past(*retrainings: tuple[float, str, str]) -> Past:
    """Retrainings so many days ago, newest first, with outcome and actor."""
    return Past(tuple((NOW - timedelta(days=days), outcome, actor) for days, outcome, actor in retrainings))


def decided(use_case, verdict: str, gain: Estimate, earlier: Past | None = None, **changes) -> MonitorDecision:
    """Decision about a window whose check and evidence are these."""
    rows = {key: changes.pop(key) for key in ("n_live", "effect", "role") if key in changes}
    known = {key: changes.pop(key) for key in ("labelled", "live", "ahead") if key in changes}
    batch_rows = changes.pop("batch_rows", None)
    return decide(
        check(verdict, **rows),
        evidence(gain, **known),
        earlier or Past(),
        use_case=with_retraining(use_case, **changes),
        as_of=NOW,
        batch_rows=batch_rows,
    )


@pytest.mark.parametrize(
    ("verdict", "gain", "changes", "action", "triggers"),
    [
        # avoidable beyond doubt and worth its cost: the only reason that needs no other
        ("no_drift", SURE, {}, "retrain", ("performance",)),
        ("undecidable", SURE, {}, "retrain", ("performance",)),
        ("no_drift", SURE, ONLY_LOSS, "retrain", ("performance",)),
        ("no_drift", SURE, ONLY_DRIFT, "wait", ()),
        # proven, but a retraining costs more than it brings
        ("no_drift", SURE_BUT_SMALL, {}, "wait", ("performance",)),
        ("no_drift", SURE_BUT_SMALL, {"cost_of_retraining": 13}, "retrain", ("performance",)),
        ("no_drift", SURE, {"cost_of_retraining": 34}, "wait", ("performance",)),
        ("drift", SURE_BUT_SMALL, {}, "wait", ("performance", "data_drift")),
        # drift by itself
        ("drift", LIKELY, {}, "wait", ("data_drift",)),
        ("drift", NOTHING, {}, "wait", ("data_drift",)),
        ("drift", SURE, {}, "retrain", ("performance", "data_drift")),
        ("drift", LIKELY, ONLY_DRIFT, "retrain", ("data_drift",)),
        ("drift", SMALL, ONLY_DRIFT, "wait", ("data_drift",)),
        ("drift", NOTHING, ONLY_DRIFT, "wait", ("data_drift",)),
        ("drift", LIKELY, ONLY_LOSS, "wait", ()),
        # drift in columns that hardly change an answer
        ("drift", LIKELY, ONLY_DRIFT | {"effect": 0.009}, "wait", ()),
        ("drift", LIKELY, ONLY_DRIFT | {"effect": 0.01}, "retrain", ("data_drift",)),
        ("drift", LIKELY, ONLY_DRIFT | {"effect": None}, "retrain", ("data_drift",)),
        ("drift", SURE, {"effect": 0.0}, "retrain", ("performance",)),
        ("drift", UNKNOWN, {"effect": 0.0}, "wait", ()),
        # a drift of the answers is a drift, too; of where the model looks, as one of the features
        ("drift", LIKELY, {"role": "answer"}, "wait", ("prediction_drift",)),
        ("drift", LIKELY, ONLY_DRIFT | {"role": "answer"}, "retrain", ("prediction_drift",)),
        ("drift", LIKELY, ONLY_DRIFT | {"role": "answer", "effect": 0.009}, "wait", ()),
        ("drift", LIKELY, ONLY_DRIFT | {"role": "attribution"}, "retrain", ("data_drift",)),
        ("drift", LIKELY, NO_ANSWERS | {"role": "answer"}, "wait", ()),
        ("drift", UNKNOWN, {"role": "answer"}, "alert", ("prediction_drift",)),
        # a challenger that was rejected has been better since
        ("no_drift", NOTHING, {"ahead": SURE}, "retrain", ("challenger_ahead",)),
        ("no_drift", NOTHING, {"ahead": SURE, "triggers": {"challenger_ahead": False}}, "wait", ()),
        ("no_drift", NOTHING, {"ahead": SURE_BUT_SMALL}, "wait", ("challenger_ahead",)),
        ("no_drift", NOTHING, {"ahead": LIKELY}, "wait", ()),
        ("no_drift", NOTHING, {"ahead": UNKNOWN}, "wait", ()),
        ("no_drift", SURE_BUT_SMALL, {"ahead": SURE}, "retrain", ("performance", "challenger_ahead")),
        # a batch waits: 0.05 on each of 400 rows are 20, the cost
        ("no_drift", LIKELY, {"batch_rows": 400}, "retrain", ("before_batch",)),
        ("no_drift", LIKELY, {"batch_rows": 399}, "wait", ()),
        ("no_drift", NOTHING, {"batch_rows": 10**9}, "wait", ()),
        ("no_drift", UNKNOWN, {"batch_rows": 10**9}, "wait", ()),
        ("no_drift", LIKELY, {"batch_rows": 400, "triggers": {"before_batch": False}}, "wait", ()),
        # too few labels to weigh anything
        ("drift", UNKNOWN, {}, "alert", ("data_drift",)),
        ("drift", UNKNOWN, ONLY_DRIFT, "alert", ("data_drift",)),
        ("no_drift", UNKNOWN, {}, "wait", ()),
        # nothing can be told of the data
        ("undecidable", UNKNOWN, {}, "alert", ()),
        ("undecidable", UNKNOWN, {"n_live": 1}, "alert", ()),
        ("undecidable", UNKNOWN, {"n_live": 0}, "wait", ()),
        ("undecidable", NOTHING, {}, "wait", ()),
        ("no_drift", NOTHING, {}, "wait", ()),
    ],
)
def test_the_policy_is_this_table(use_case, verdict, gain, changes, action, triggers):
    """Each line is a rule or the edge of one; there was no retraining before, and 480 of 300 rows are labelled."""
    found = decided(use_case, verdict, gain, **changes)

    assert (found.action, found.triggers) == (action, triggers)


@pytest.mark.parametrize(
    ("days", "action"), [(27.9, "wait"), (28, "retrain"), (400, "retrain"), (None, "retrain"), (-7, "wait")]
)
def test_a_periodic_retraining_needs_no_proof(use_case, days, action):
    """Whatever the loss, at the latest so long after the last one; at once when there was none."""
    earlier = past() if days is None else past((days, "promoted", "monitor"))

    found = decided(use_case, "no_drift", NOTHING, earlier, triggers={"periodic": "28d"})

    assert found.action == action
    assert ("periodic" in found.triggers) == (action == "retrain")
    assert ("The periodic retraining is due: every 28d." in found.reasons) == (action == "retrain")


REJECTED = tuple((30.0 + i, "rejected", "monitor") for i in range(5))


@pytest.mark.parametrize(
    ("earlier", "changes", "action"),
    [
        (past(), {"labelled": 299}, "alert"),
        (past(), {"labelled": 300}, "retrain"),
        (past((13.99, "promoted", "monitor")), {}, "alert"),
        (past((13.99, "promoted", "anna")), {}, "alert"),
        (past((14, "rejected", "monitor")), {}, "retrain"),
        (past(*((30 * i, "promoted", "monitor") for i in (1, 2, 3))), {"budget": 3}, "alert"),
        (past(*((30 * i, "promoted", "monitor") for i in (1, 2, 3))), {"budget": 4}, "retrain"),
        (past(*((200 * i, "promoted", "monitor") for i in (1, 2, 3))), {"budget": 2}, "retrain"),
        (past((364.9, "promoted", "monitor")), {"budget": 1}, "alert"),
        (past((365, "promoted", "monitor")), {"budget": 1}, "retrain"),
        (past((30, "promoted", "anna")), {"budget": 1}, "retrain"),
        (past(*REJECTED[:3]), {}, "retrain"),
        (past(*REJECTED[:4]), {}, "alert"),
        (past(*REJECTED[:2]), {"breaker": 2}, "alert"),
        (past((20, "rejected", "anna"), *REJECTED), {}, "retrain"),
        (past((20, "promoted", "monitor"), *REJECTED), {}, "retrain"),
        (past((20, "sent_to_review", "monitor"), *REJECTED), {}, "retrain"),
        (past((20, "rejected", "monitor"), (25, "rejected", "anna"), *REJECTED), {}, "retrain"),
    ],
)
def test_what_stands_against_a_retraining_turns_it_into_an_alert(use_case, earlier, changes, action):
    """Labels, cool-down, budget of a year, and the breaker, which a person's retraining closes again."""
    assert decided(use_case, "no_drift", SURE, earlier, **changes).action == action


@pytest.mark.parametrize("verdict", ["drift", "no_drift", "undecidable"])
@given(
    days=st.floats(0.01, 1000),
    gain=st.sampled_from([SURE, SURE_BUT_SMALL, LIKELY, NOTHING, UNKNOWN]),
    periodic=st.sampled_from([None, "1d"]),
)
def test_an_old_window_never_retrains_after_a_newer_retraining(use_case, verdict, days, gain, periodic):
    """The newer one knew more than the window does."""
    newer = past((-days, "promoted", "monitor"))

    found = decided(use_case, verdict, gain, newer, triggers={"periodic": periodic})

    assert found.action != "retrain"


@given(
    verdict=st.sampled_from(["drift", "no_drift", "undecidable"]),
    value=st.floats(-1, 1),
    reach=st.floats(0, 1),
    labelled=st.integers(0, 1000),
    days=st.one_of(st.none(), st.floats(-100, 100)),
    performance=st.booleans(),
)
def test_a_retraining_pays_is_asked_for_and_more_gain_or_rest_never_takes_it_back(
    use_case, verdict, value, reach, labelled, days, performance
):
    """Whatever else is known."""

    def decision(shift: float, rows: int, later: float) -> MonitorDecision:
        gain = Estimate(value=value + shift, n=480, low=value + shift - reach, high=value + shift + reach)
        earlier = past() if days is None else past((days + later, "promoted", "monitor"))
        triggers = {"performance": performance}
        return decided(use_case, verdict, gain, earlier, labelled=rows, triggers=triggers)

    found = decision(0.0, labelled, 0.0)
    if found.action == "retrain":
        assert found.triggers
        assert found.worth is not None
        assert found.worth.pays
        assert found.worth.proven or not performance
        assert decision(0.1, labelled + 1, 1.0).action == "retrain"


@pytest.mark.parametrize(
    ("labelled", "earlier", "changes", "sentence"),
    [
        (412, past(), {}, "412 labelled live rows since the champion's data ends are enough: 300 are needed."),
        (12, past(), {}, "12 labelled live rows since the champion's data ends are too few: 300 are needed."),
        (300, past(), {}, "There was no retraining before, so no cool-down runs."),
        (
            300,
            past((21, "promoted", "monitor")),
            {},
            "The cool-down of 14d is over: the last retraining was 21d ago.",
        ),
        (
            300,
            past((3, "promoted", "monitor")),
            {},
            "The cool-down of 14d still runs: the last retraining was 3d ago.",
        ),
        (
            300,
            past((-7, "promoted", "monitor")),
            {},
            "The last retraining, as of 2013-04-26 00:00, knew newer data than this window.",
        ),
        (
            300,
            past((30, "promoted", "monitor"), (60, "promoted", "anna"), (90, "rejected", "monitor")),
            {"budget": 5},
            "2 of 5 automatic retrainings of the last 365 days are used.",
        ),
        (
            300,
            past(*REJECTED),
            {},
            "The last 5 automatic retrainings were rejected: the breaker is open until a person starts one.",
        ),
    ],
)
def test_conditions_of_a_retraining_are_told_with_their_numbers(use_case, labelled, earlier, changes, sentence):
    """Whether they hold or not."""
    assert sentence in decided(use_case, "no_drift", SURE, earlier, labelled=labelled, **changes).reasons


@pytest.mark.parametrize(
    ("verdict", "gain", "changes", "sentence"),
    [
        (
            "no_drift",
            SURE,
            {},
            (
                "Avoidable log_loss per row: 0.0500 (at least 0.0100) on 480 rows, 33.6 nats over 28d against a cost "
                "of 20: it pays."
            ),
        ),
        (
            "no_drift",
            SURE_BUT_SMALL,
            {},
            (
                "Avoidable log_loss per row: 0.0200 (at least 0.0100) on 480 rows, 13.4 nats over 28d against a cost "
                "of 20: it does not pay."
            ),
        ),
        (
            "drift",
            LIKELY,
            {},
            # 480 * (1.2 ** 2 - 1) = 211.2
            (
                "No log_loss is avoidable beyond doubt: 0.0500 (at least -0.0100) on 480 rows, 33.6 nats over 28d "
                "against a cost of 20; 212 more rows would decide."
            ),
        ),
        (
            "drift",
            NOTHING,
            {},
            (
                "No log_loss is avoidable beyond doubt: -0.0010 (at least -0.0100) on 480 rows, -0.672 nats over 28d "
                "against a cost of 20."
            ),
        ),
        (
            "drift",
            UNKNOWN,
            {},
            "How much log_loss is avoidable is unknown: 1 blocks of labelled rows are too few, 5 are needed.",
        ),
        (
            "drift",
            LIKELY,
            {"effect": 0.004},
            "The drifted columns change answers by 0.004 at most, below the floor 0.01.",
        ),
        (
            "drift",
            LIKELY,
            {"effect": 0.004, "role": "answer"},
            "The drifted answers change answers by 0.004 at most, below the floor 0.01.",
        ),
        (
            "no_drift",
            NOTHING,
            {"ahead": SURE},
            (
                "The newest rejected challenger is ahead of the champion: log_loss 0.0500 (at least 0.0100) on 480 "
                "rows, 33.6 nats over 28d."
            ),
        ),
        (
            "no_drift",
            NOTHING,
            {"ahead": LIKELY},
            (
                "The newest rejected challenger is not ahead beyond doubt of the champion: log_loss 0.0500 "
                "(at least -0.0100) on 480 rows, 33.6 nats over 28d."
            ),
        ),
        (
            "no_drift",
            NOTHING,
            {"ahead": UNKNOWN},
            "How the newest rejected challenger fares is unknown: 1 blocks of labelled rows are too few, 5 are needed.",
        ),
        (
            "no_drift",
            LIKELY,
            {"batch_rows": 400},
            (
                "The champion is not fresh enough for 400 rows: 20 nats are expected to be avoidable on them, a "
                "retraining costs 20."
            ),
        ),
        (
            "no_drift",
            LIKELY,
            {"batch_rows": 100},
            (
                "The champion is fresh enough for 100 rows: 5 nats are expected to be avoidable on them, a retraining "
                "costs 20."
            ),
        ),
        (
            "no_drift",
            UNKNOWN,
            {"batch_rows": 100},
            "Whether the champion is fresh enough for 100 rows is unknown: no loss can be told.",
        ),
        ("drift", SURE, {"triggers": {"data_drift": False}}, "Raised but switched off: data_drift."),
    ],
)
def test_what_a_retraining_is_worth_is_told_with_its_numbers(use_case, verdict, gain, changes, sentence):
    """In the unit of the use case file, for retraining or against it."""
    assert sentence in decided(use_case, verdict, gain, **changes).reasons


def test_the_worth_of_a_retraining_by_hand(use_case):
    """0.05 nats on each of 480 rows in 20 days, 3 euros each, for 56 days: 0.05 * 480 * 56 / 20 * 3 = 201.6."""
    dear = with_retraining(use_case, horizon="56d", cost_of_loss=3, cost_of_retraining=150, currency="euros")

    found = weigh(LIKELY, evidence(LIKELY), dear)

    assert found.rows == pytest.approx(1344)
    assert found.avoided == pytest.approx(201.6)
    assert (found.cost, found.currency, found.reducible) == (150, "euros", LIKELY)
    assert found.more_rows == 212
    assert (found.proven, found.pays) == (False, True)


def test_what_is_unknown_is_worth_nothing_that_could_pay(use_case):
    """Not even when a retraining is free; neither is no gain at all."""
    free = with_retraining(use_case, cost_of_retraining=0)

    unknown, nothing = weigh(UNKNOWN, evidence(UNKNOWN), free), weigh(NOTHING, evidence(NOTHING), free)

    assert (unknown.avoided, unknown.pays, unknown.proven, unknown.more_rows) == (None, False, False, None)
    assert (nothing.pays, nothing.proven, nothing.more_rows) == (False, False, None)
    no_rows = LiveEvidence(labelled=0, reducible=UNKNOWN, span=timedelta(0), live_loss=NO_LOSS)
    assert weigh(UNKNOWN, no_rows, use_case).rows == 0.0


@pytest.mark.parametrize("verdict", ["drift", "no_drift", "undecidable"])
def test_every_decision_begins_with_what_the_check_said_and_ends_with_the_loss(use_case, verdict):
    """A reader of the reasons alone understands the decision."""
    reasons = decided(use_case, verdict, SURE).reasons

    assert reasons[0].startswith(f"The check says {verdict}")
    assert reasons[-1] == "The realised log_loss of the window is 0.1235 (0.1 to 0.15) on 480 labelled rows."
    assert all(re.search(r"\.$", reason) for reason in reasons)


def test_an_unknown_loss_is_told_as_unknown(use_case):
    """Never as zero."""
    reasons = decided(use_case, "no_drift", UNKNOWN, live=NO_LOSS).reasons

    assert reasons[-1] == "The realised log_loss of the window is unknown: no labelled rows."


@pytest.mark.parametrize(
    ("trusted", "words"),
    [(True, "has been reliable"), (False, "is on probation: it has missed too often"), (None, "is not yet tried")],
)
def test_what_the_answers_expect_of_themselves_is_told_with_its_record(use_case, trusted, words):
    """An estimate without labels is worth what it was worth before."""
    expected = Estimate(value=0.2, n=504, low=0.18, high=0.22)
    known = evidence(UNKNOWN, estimated_loss=expected, estimate_trusted=trusted)

    found = decide(check("no_drift"), known, Past(), use_case=use_case, as_of=NOW)

    assert found.reasons[-1] == f"The answers expect 0.2 (0.18 to 0.22) of themselves; this estimate {words}."
    assert (found.estimated_loss, found.estimate_trusted) == (expected, trusted)


def test_the_decision_carries_its_evidence(use_case):
    """Whole, under a key that names the window."""
    found = decided(use_case, "drift", SURE)

    assert (found.key, found.as_of, found.labelled) == ("ferry/2013-04-19T00:00:00+00:00", NOW, 480)
    assert (found.check, found.live_loss) == (check("drift"), LOSS)
    assert found.worth == weigh(SURE, evidence(SURE), use_case)
    assert MonitorDecision.model_validate_json(found.model_dump_json()) == found


def test_the_key_is_the_same_in_every_time_zone():
    """One window, one decision."""
    tokyo = NOW.astimezone(timezone(timedelta(hours=9)))

    assert decision_key("ferry", NOW, 400) == "ferry/2013-04-19T00:00:00+00:00/before 400 rows"
    assert decision_key("ferry", tokyo) == decision_key("ferry", NOW) == decision_key("ferry", NOW.replace(tzinfo=None))


def test_the_past_is_what_was_trained_newest_first():
    """A request that met too little data trained nothing: no cool-down, no budget, no rejection comes of it."""

    def outcome(days: float, how: str, actor: str = "monitor") -> RetrainOutcome:
        request = RetrainRequest(
            key=f"{days}", use_case="ferry", as_of=NOW - timedelta(days=days), reason="", actor=actor
        )
        return RetrainOutcome(request=request, outcome=how, challenger_version=None, champion_version=1, reasons=())

    found = Past.of(
        [
            outcome(9, "rejected"),
            outcome(30, "promoted", "anna"),
            outcome(1, "insufficient_data"),
            outcome(3, "rejected"),
        ]
    )

    assert found == past((3, "rejected", "monitor"), (9, "rejected", "monitor"), (30, "promoted", "anna"))
    assert (found.last, found.rejected_in_a_row) == (NOW - timedelta(days=3), 2)
    assert (Past.of([]).last, Past.of([]).rejected_in_a_row) == (None, 0)
