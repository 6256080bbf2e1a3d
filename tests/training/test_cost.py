"""What a package costs to ask is measured, not guessed."""

import numpy as np
import pytest

from ml.training.convert import convert_pipeline
from ml.training.cost import BATCH, SINGLE_ROUNDS, measure_cost
from ml.training.fit import fit_pipeline
from ml.training.graph import load_graph


class SlowGraph:
    """Takes 2 milliseconds a question and a hundredth of one for every row."""

    def __init__(self):
        self.asked = []

    def answer(self, rows):
        """Waits and remembers."""
        import time

        time.sleep(0.002 + 1e-5 * len(rows))
        self.asked.append(len(rows))
        return np.array([]), np.array([])


def test_milliseconds_are_those_of_the_graph(make_rows):
    """A graph that is known to be slow; one row at a time, then a batch made of the few rows that there are."""
    graph = SlowGraph()

    cost = measure_cost(graph, make_rows(30), size_bytes=7)

    assert cost.single_ms == pytest.approx(2.0, abs=1.0)
    assert cost.batch_ms == pytest.approx(12.0, abs=4.0)
    assert cost.single_p99_ms >= cost.single_ms
    assert (cost.size_bytes, cost.batch_rows, cost.n) == (7, BATCH, SINGLE_ROUNDS)
    assert set(graph.asked) == {1, BATCH}


def test_a_forest_costs_more_than_a_line(make_use_case, make_rows):
    """The order that everybody expects."""
    use_case, rows = make_use_case(), make_rows(300)
    costs = {}
    for name in ("random_forest", "logistic_regression"):
        content = convert_pipeline(fit_pipeline(use_case, name, rows)[0], use_case)
        graph = load_graph(content, numbers=use_case.numbers, categories=use_case.categories)
        costs[name] = measure_cost(graph, rows, size_bytes=len(content))

    assert costs["random_forest"].batch_ms > costs["logistic_regression"].batch_ms
    assert costs["random_forest"].size_bytes > costs["logistic_regression"].size_bytes
