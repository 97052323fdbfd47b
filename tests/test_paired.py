"""Two models on the same inputs: the test, the interval and the correction, against independent references."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merge_engine.answers import Predicted
from merge_engine.metrics.accuracy import bootstrap_difference, wilson
from merge_engine.paired import Paired, holm, in_common, mcnemar, mean_difference, newcombe, paired

COUNTS = st.builds(Paired, *[st.integers(0, 60)] * 4)
SOME = COUNTS.filter(lambda counts: counts.n > 0)


def binomial_two_sided(first: int, second: int) -> Fraction:
    """The probability of every outcome that is no likelier than the one seen, over fair coins, as a fraction."""
    n = first + second
    likely = [Fraction(math.comb(n, k), 2**n) for k in range(n + 1)]
    return sum((one for one in likely if one <= likely[first]), Fraction(0))


def naive_newcombe(a: int, b: int, c: int, d: int) -> tuple[float, float]:
    """Newcombe 1998, method 10, written for first minus second as printed there."""
    n = a + b + c + d
    p1, p2 = (a + b) / n, (a + c) / n
    (l1, u1), (l2, u2) = wilson(a + b, n), wilson(a + c, n)
    bottom = (a + b) * (c + d) * (a + c) * (b + d)
    top = a * d - b * c
    if top > n / 2:
        top -= n / 2
    elif top >= 0:
        top = 0
    phi = top / math.sqrt(bottom) if bottom else 0.0
    low = math.sqrt(max(0, (p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2))
    high = math.sqrt(max(0, (p2 - l2) ** 2 - 2 * phi * (p2 - l2) * (u1 - p1) + (u1 - p1) ** 2))
    return p1 - p2 - low, p1 - p2 + high


def answers(index, guess, label, picked=None) -> Predicted:
    given = (np.asarray(x) for x in (index, label, guess, np.ones(len(index))))
    return Predicted("t", *given, None if picked is None else np.asarray(picked), None)


@given(st.integers(0, 80), st.integers(0, 80))
def test_the_exact_test_sums_all_outcomes_as_unlikely(first, second):
    assert mcnemar(first, second) == pytest.approx(float(binomial_two_sided(first, second)), rel=1e-14)
    assert mcnemar(first, second) == mcnemar(second, first)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (3, 3), (1, 8), (120, 195), (900, 1020), (2000, 2600)])
def test_the_exact_test_agrees_with_scipy(first, second):
    stats = pytest.importorskip("scipy.stats")
    if first + second == 0:
        assert mcnemar(first, second) == 1.0
        return
    assert mcnemar(first, second) == pytest.approx(stats.binomtest(first, first + second).pvalue, rel=1e-9)


def test_a_p_value_too_small_for_a_float_is_zero():
    assert mcnemar(0, 3000) == 0.0
    assert mcnemar(0, 1000) == 2.0**-999


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [((36, 12, 2, 0), 0.0569, 0.3404), ((36, 14, 0, 0), 0.1528, 0.4167)],  # first minus second, as printed
)
def test_newcombes_own_examples(table, low, high):
    a, b, c, d = table
    found = newcombe(Paired(a, c, b, d))
    assert found == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@given(SOME)
def test_the_interval_is_the_printed_formula_with_the_runs_exchanged(counts):
    low, high = naive_newcombe(counts.both, counts.second, counts.first, counts.neither)
    assert counts.interval == (pytest.approx(max(-1, low), abs=1e-12), pytest.approx(min(1, high), abs=1e-12))


@given(SOME)
def test_exchanging_the_runs_turns_the_interval_round(counts):
    other = Paired(counts.both, counts.second, counts.first, counts.neither)
    assert other.difference == -counts.difference
    assert other.interval == (pytest.approx(-counts.interval[1]), pytest.approx(-counts.interval[0]))
    assert counts.interval[0] <= counts.difference <= counts.interval[1]
    assert -1 <= counts.interval[0] <= counts.interval[1] <= 1


def test_nothing_in_common_is_not_a_number():
    assert math.isnan(Paired().difference)
    assert all(map(math.isnan, Paired().interval))
    assert Paired().p == 1.0
    assert all(map(math.isnan, mean_difference([])))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=50))
def test_counts_are_those_of_a_loop(pairs):
    first, second = np.array([a for a, _ in pairs], bool), np.array([b for _, b in pairs], bool)
    expected = [sum(pair == cell for pair in pairs) for cell in ((True, True), (True, False), (False, True))]
    found = paired(first, second)
    assert [found.both, found.first, found.second] == expected
    assert found.n == len(pairs)


def test_a_wrong_head_is_wrong_whatever_its_class():
    said = answers([4, 2, 9], [1, 1, 0], [1, 1, 1], [0, 1, 0])
    assert said.right(["t", "u"]).tolist() == [True, False, False]
    assert said.right(["u", "t"]).tolist() == [False, True, False]
    assert said.right(["u"]).tolist() == [True, True, False], "a task without expert is given its head"
    assert answers([4, 2], [1, 0], [1, 1]).right(["t"]).tolist() == [True, False]


def test_only_common_inputs_are_paired_wherever_they_stand():
    first, second = answers([5, 3, 8, 1], [0] * 4, [0] * 4), answers([1, 7, 5], [0] * 3, [0] * 3)
    rows, others = in_common(first, second)
    assert first.index[rows].tolist() == second.index[others].tolist() == [5, 1]
    assert [len(part) for part in in_common(first, answers([], [], []))] == [0, 0]


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values):
    corrected = holm(p_values)
    for level in (0.01, 0.05, 0.3):
        rejected, order = set(), sorted(range(len(p_values)), key=lambda i: (p_values[i], i))
        for step, i in enumerate(order):
            if p_values[i] * (len(p_values) - step) > level:
                break
            rejected.add(i)
        assert {i for i, p in enumerate(corrected) if p <= level} == rejected
    assert all(after >= before for before, after in zip(p_values, corrected, strict=True))


def test_the_mean_of_one_task_is_the_task():
    counts = Paired(200, 20, 45, 35)
    assert mean_difference([counts]) == pytest.approx((counts.difference, *counts.interval))


def test_the_interval_of_the_mean_is_about_that_of_a_bootstrap():
    random = np.random.default_rng(5)
    first = [random.random(400) < 0.7 for _ in range(6)]
    second = [np.where(random.random(400) < 0.8, one, random.random(400) < 0.75) for one in first]
    found = mean_difference([paired(a, b) for a, b in zip(first, second, strict=True)])
    drawn = bootstrap_difference(first, second, resamples=4000)
    assert found[0] == pytest.approx(drawn[0])
    assert found == pytest.approx(drawn, abs=0.0025)


def test_the_interval_covers_as_often_as_it_says():
    """4000 tables of 150 inputs around a true difference of 0.05: about 95 in 100 intervals hold it."""
    random = np.random.default_rng(7)
    tables = random.multinomial(150, [0.6, 0.1, 0.15, 0.15], size=4000)
    held = [low <= 0.05 <= high for low, high in (Paired(*map(int, table)).interval for table in tables)]
    assert 0.935 <= np.mean(held) <= 0.975
