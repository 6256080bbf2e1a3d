"""The poison bench on one moment: what it promises holds there, and its numbers are what they say."""

from datetime import UTC, datetime

import numpy as np
import pytest

from benchmarks.poison import Scene, harbour, temperature

pytestmark = pytest.mark.slow


MOMENTS = (datetime(2013, 2, 22, tzinfo=UTC), datetime(2013, 4, 5, tzinfo=UTC))


@pytest.fixture(scope="module")
def scene():
    """Winter is trusted, six weeks of spring are new."""
    return Scene(harbour(), *MOMENTS)


@pytest.fixture(scope="module")
def degrees():
    """The same weeks, where the temperature in an hour is to be told."""
    return Scene(temperature(), *MOMENTS)


def test_drifted_clean_data_loses_no_block(scene):
    """Forty-two honest days of another season."""
    assert (scene.clean_blocks, scene.clean_aside) == (42, set())


def test_behind_the_screen_a_model_is_as_good_as_on_clean_data(scene):
    """With a tenth of a day's labels flipped: within 2 % of the loss of training on clean data, mean of three days."""
    rng = np.random.default_rng(1)

    rises = [scene.rises("10 % flipped", 1, rng)[0] for _ in range(3)]

    assert np.mean(rises) < 0.02


@pytest.mark.parametrize("attack", ["20 % flipped", "all flipped", "backdoor"])
def test_every_stronger_attack_is_caught(scene, attack):
    """Five days each; no other day is put aside with them."""
    rng = np.random.default_rng(2)

    for _ in range(5):
        rows, attacked = scene.attacked(attack, 1, rng)
        assert scene.screened(rows)[1] == attacked


@pytest.mark.parametrize("attack", ["20 % replaced", "all replaced", "shifted by 8 °C"])
def test_lies_about_a_number_are_caught(degrees, attack):
    """At least four of five days each; honest days of another season pass, and at most one goes with them."""
    assert (degrees.clean_blocks, degrees.clean_aside) == (42, set())
    rng = np.random.default_rng(2)
    caught = innocent = 0

    for _ in range(5):
        rows, attacked = degrees.attacked(attack, 1, rng)
        found = degrees.screened(rows)[1]
        caught, innocent = caught + len(found & attacked), innocent + len(found - attacked)

    assert caught >= 4
    assert innocent <= 1


def test_an_attack_hits_what_it_says(scene):
    """A tenth of one new day's labels, and nothing else."""
    rows, (day,) = scene.attacked("10 % flipped", 1, np.random.default_rng(1))
    changed = (rows["label"] != scene.rows["label"]).to_numpy()

    assert set(scene.days()[changed]) == {day}
    assert changed.sum() == round(0.1 * (scene.days() == day).sum())


def test_a_week_of_lies_costs_dearly_without_the_screen(scene):
    """The harness can tell harm from none."""
    behind, without, caught = scene.rises("all flipped", 7, np.random.default_rng(1))

    assert without > 0.05
    assert behind < without / 2
    assert caught == 7
