from hypothesis import given
from hypothesis import strategies as st

from finetuning.training.order import batches, width

LENGTHS = st.lists(st.integers(1, 200), min_size=1, max_size=300)


@given(LENGTHS, st.integers(1, 9), st.integers(1, 3), st.integers(0, 5))
def test_every_pass_trains_every_row_once(lengths, size, epochs, seed):
    order = batches(lengths, size, epochs, seed)
    per_epoch = -(-len(lengths) // size)
    for epoch in range(epochs):
        rows = [row for batch in order[epoch * per_epoch : (epoch + 1) * per_epoch] for row in batch]
        assert sorted(rows) == list(range(len(lengths)))


@given(LENGTHS, st.integers(1, 9), st.integers(1, 40), st.integers(0, 5))
def test_a_shorter_run_is_the_beginning_of_a_longer_one(lengths, size, count, seed):
    assert batches(lengths, size, 1, seed, count) == batches(lengths, size, 1, seed, count + 7)[:count]


def test_batches_come_in_few_widths_of_little_padding():
    widths = {shared + own: width(shared + own, shared) for shared in (0, 31) for own in range(1, 400)}
    assert all(longest <= wide <= longest + 31 for longest, wide in widths.items())
    assert len({width(own) for own in range(1, 257)}) == 16
    assert width(31 + 20, 31) == 31 + 24


def test_another_seed_or_pass_gives_another_order():
    lengths = list(range(64))
    order = batches(lengths, 8, 2, 1)
    assert order[:8] != order[8:]
    assert order != batches(lengths, 8, 2, 2)


def test_of_a_fractional_pass_only_that_share_is_trained():
    assert len(batches([10] * 80, 8, 0.5, 1)) == 5
    assert len(batches([10] * 4, 8, 0.5, 1)) == 1


def test_rows_of_like_length_come_together_and_hardly_any_padding_is_left():
    lengths = [20 + (row * 37) % 130 for row in range(800)]
    padded = sum(max(lengths[row] for row in batch) * len(batch) for batch in batches(lengths, 8, 1, 0))
    assert padded / sum(lengths) < 1.04
