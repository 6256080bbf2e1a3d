"""Which moves of the alias the ledger does not know, and which are its own, on their way."""

from __future__ import annotations

from datetime import timedelta

from ml.governance.unknown_moves import IN_TRANSIT, UnknownMove, UnknownMoves
from ml.records.governance import AliasMove
from ml.registry.alias import ALIAS
from tests.governance.conftest import NAME, NOW


def record_move(control, version: int, *, previous: int, now=NOW) -> None:
    """A move that is in the ledger, and not yet in the registry."""
    move = AliasMove(use_case=NAME, version=version, previous=previous, by="command", reason="to see")
    control.record(ALIAS, f"{NAME}/{now.isoformat()}", move, use_case=NAME, as_of=now, now=now, actor="ana")


def test_what_was_promoted_is_known(registry, control, make):
    """As often as it is looked at."""
    make(registry), make(registry)
    moves = UnknownMoves(control)

    assert [moves.find({NAME: 2}, now=NOW) for _ in range(3)] == [(), (), ()]


def test_an_alias_that_was_moved_in_the_registry_is_unknown_until_the_ledger_knows_of_it(registry, control, make):
    """Seen at the first look, also after many in agreement, and again as another move the next time."""
    make(registry), make(registry)
    moves, later = UnknownMoves(control), NOW + timedelta(hours=1)
    moves.find({NAME: 2}, now=later)

    first = moves.find({NAME: 1}, now=later)
    record_move(control, 2, previous=1, now=later)  # it was taken back
    between = moves.find({NAME: 2}, now=later)
    again = moves.find({NAME: 1}, now=later + IN_TRANSIT)

    assert first == (UnknownMove(NAME, 1, after=10),)
    assert between == ()
    assert again == (UnknownMove(NAME, 1, after=11),)
    assert first[0].key == "alias__v1__after_10"


def test_a_move_that_is_on_its_way_to_the_registry_is_no_unknown_one(registry, control, make):
    """In the ledger first: the alias is still where it was; when it stays there, somebody has put it there."""
    make(registry), make(registry)
    moves = UnknownMoves(control)
    record_move(control, 1, previous=2)

    during = [moves.find({NAME: 2}, now=NOW + timedelta(seconds=seconds)) for seconds in (0, 1, 9.9)]
    after = moves.find({NAME: 2}, now=NOW + IN_TRANSIT)

    assert during == [(), (), ()]
    assert after == (UnknownMove(NAME, 2, after=11),)


def test_a_move_back_is_seen_at_once_when_ours_had_arrived(registry, control, make):
    """A second after it was seen at its new place, however young the ledger's newest move is."""
    make(registry), make(registry)
    moves = UnknownMoves(control)
    record_move(control, 1, previous=2)

    seconds = {0: 2, 1: 1, 2: 2, 3: 2}
    found = [moves.find({NAME: at}, now=NOW + timedelta(seconds=after)) for after, at in seconds.items()]

    assert found == [(), (), (UnknownMove(NAME, 2, after=11),), (UnknownMove(NAME, 2, after=11),)]


def test_an_alias_that_was_read_before_the_move_has_not_arrived(registry, control, make):
    """It was where ours sends it already, before a move of ours that took it away, and is on its way there."""
    make(registry), make(registry)
    moves = UnknownMoves(control)
    record_move(control, 1, previous=2)

    before = moves.find({NAME: 1}, now=NOW - timedelta(seconds=1))
    between = moves.find({NAME: 2}, now=NOW + timedelta(seconds=1))

    assert (before, between) == ((), ())


def test_a_move_elsewhere_than_back_is_seen_at_once(registry, control, make):
    """However young the ledger's newest move is."""
    make(registry), make(registry), make(registry)
    record_move(control, 3, previous=2)

    assert UnknownMoves(control).find({NAME: 1}, now=NOW) == (UnknownMove(NAME, 1, after=16),)


def test_the_first_alias_of_all_is_unknown_when_a_person_sets_it(registry, control, make):
    """The ledger has no move at all."""
    make(registry, promote=False)

    assert UnknownMoves(control).find({NAME: 1}, now=NOW) == (UnknownMove(NAME, 1, after=0),)


def test_use_cases_do_not_hide_each_other(registry, control, make):
    """One is moved while the other is in agreement, and the other way round."""
    make(registry), make(registry), make(registry, name="ferry")
    moves = UnknownMoves(control)
    late = NOW + timedelta(hours=1)

    assert moves.find({NAME: 2, "ferry": 1}, now=late) == ()
    assert [move.use_case for move in moves.find({NAME: 1, "ferry": 1}, now=late)] == [NAME]
    assert [move.use_case for move in moves.find({NAME: 1, "ferry": 2}, now=late)] == [NAME, "ferry"]
