import json

import pytest

from assistant.core.errors import ModelError
from assistant.router import scope

# One unit that passes the first number on; above a half of it a question is within.
PLAIN = {"base": "b", "base_sha256": "x", "hidden": [[1.0, 0.0, 0.0]], "output": [10.0, -5.0], "threshold": 0.5}


def written(folder, **changes):
    (folder / scope.FILE).write_text(json.dumps({**PLAIN, **changes}), encoding="utf-8")
    return folder


def test_a_version_without_a_scope_has_none(tmp_path):
    assert scope.load(tmp_path, "b", "x") is None


def test_a_question_is_within_from_the_threshold_on(tmp_path):
    found = scope.load(written(tmp_path), "b", "x")
    assert found.covers("", [0.5, 9.0]) and found.share([0.5, 9.0]) == pytest.approx(0.5)
    assert not found.covers("", [0.4, 9.0])
    assert found.share([1.0, 0.0]) > 0.99 > 0.01 > found.share([-1.0, 0.0])
    assert scope.load(written(tmp_path, threshold=0.1), "b", "x").covers("", [0.4, 9.0])


def test_a_trained_question_is_within_whatever_its_state_says(tmp_path):
    marks = "".join(map(scope.mark, ["How is the weather today?", "Who are you?"]))
    found = scope.load(written(tmp_path, questions=marks), "b", "x")
    assert found.covers("how is the weather today", [0.0, 0.0]) and found.covers("Who are you?!", [0.0, 0.0])
    assert not found.covers("How is the weather in Rome?", [0.0, 0.0])


def test_a_state_far_out_of_the_ordinary_has_a_share_all_the_same(tmp_path):
    assert scope.load(written(tmp_path), "b", "x").share([1e9, 0.0]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "change", [{"hidden": []}, {"hidden": [[1.0], [1.0, 2.0]]}, {"output": [1.0]}, {"threshold": "?"}, {"hidden": None}]
)
def test_a_damaged_scope_says_which_file_and_what_to_do(tmp_path, change):
    with pytest.raises(ModelError) as error:
        scope.load(written(tmp_path, **change), "b", "x")
    assert str(tmp_path / scope.FILE) in error.value.what and "Train the version again" in error.value.fix


def test_one_that_was_fitted_before_folders_had_checksums_counts_by_the_name_of_its_base(tmp_path):
    assert scope.load(written(tmp_path, base_sha256=""), "b", "y") is not None
    assert scope.load(tmp_path, "c", "y") is None
    assert scope.load(written(tmp_path), "b", "y") is None
    assert scope.load(tmp_path, "b", "") is None
