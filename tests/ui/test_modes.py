import pytest

from assistant.core.errors import UsageError
from assistant.ui.modes import words_of


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", None),
        ("ft status", None),
        ("--mode interactive --model base", "--model base"),
        ("--mode=interactive", ""),
        ("--mode train", "ft train unified"),
        ("--mode train --preset fast --epochs 1 --batch_size 2", "ft train unified --preset fast --epochs 1 --batch_size 2"),
        ("--mode train --dataset_path a.csv --categories A B --preset fast", "ft learn a.csv --categories A B --preset fast"),
        ("--preset fast --dataset-path=a.csv --mode train", "ft learn a.csv --preset fast"),
        ("--mode test", "ft test"),
        ("--categories law --mode test --limit 2", "ft test --categories law --limit 2"),
        ("--ask --mode", None),
    ],
)
def test_a_mode_stands_for_the_words_of_the_first_way_in(line, words):
    assert words_of(line.split()) == (words if words is None else words.split())


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("--mode", "needs a value"),
        ("--mode --preset fast", "needs a value"),
        ("--mode dream", "no mode 'dream'"),
        ("--mode train --dataset_path", "needs a value"),
        ("--mode train --categories A B", "chooses rows of a file"),
    ],
)
def test_a_wrong_mode_is_wrong_usage(line, part):
    with pytest.raises(UsageError, match=part):
        words_of(line.split())
