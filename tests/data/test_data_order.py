"""Counter-based randomness."""

from collections import Counter

import pytest

from i2i.data.order import shuffled
from i2i.seeds import key


@pytest.mark.parametrize("count", [1, 2, 3, 5, 16, 17, 400, 1025])
def test_shuffled_is_a_permutation(count: int) -> None:
    assert sorted(shuffled(index, count, key(1, count)) for index in range(count)) == list(
        range(count)
    )


def test_every_order_of_four_is_about_equally_likely() -> None:
    orders = Counter(
        tuple(shuffled(index, 4, key(seed)) for index in range(4)) for seed in range(4800)
    )
    assert len(orders) == 24
    assert (
        sum((seen - 200) ** 2 / 200 for seen in orders.values()) < 50
    )  # chi-squared, 23 degrees: p = 0.001


def test_first_places_of_a_huge_epoch_are_spread_over_all_of_it() -> None:
    places = [shuffled(index, 10**8, 7) for index in range(400)]
    assert len(set(places)) == 400
    assert all(
        70
        < sum(quarter * 25_000_000 <= place < (quarter + 1) * 25_000_000 for place in places)
        < 130
        for quarter in range(4)
    )


def test_index_outside_the_range_is_refused() -> None:
    with pytest.raises(IndexError, match="index 5 is outside"):
        shuffled(5, 5, 0)


def test_key_depends_on_every_part_and_on_the_boundaries_between_them() -> None:
    assert (
        len({key(1, 2, 3), key(1, 2), key(1, 3, 2), key(12, 3), key(1, 23), key("1", "2/3x")}) == 6
    )


def test_key_is_the_same_on_every_machine() -> None:
    assert key(0, 1, 2) == 0x65A456DF0BA5BF10
