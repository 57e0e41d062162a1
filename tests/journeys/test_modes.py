import pytest

from tests.journeys.conftest import PROJECT

LAW = PROJECT / "examples" / "korean_law.csv"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--mode", "train", "--dataset_path", "nothing.csv"), "does not exist"),
        (("--mode", "train", "--dataset_path", str(LAW), "--categories", "Z"), "filters leave no row"),
        (("--mode", "train", "--preset", "turbo"), "turbo"),
        (("--mode", "train", "--dataset_path", str(LAW), "--epochs", "many"), "epochs"),
        (("--mode", "train", "--categories", "A"), "chooses rows of a file"),
        (("--mode", "test"), "no test cases yet"),
        (("--mode", "test", "--categories", "law"), "no test cases of law"),
        (("--mode", "dream"), "no mode 'dream'"),
        (("--mode", "train", "--ask", "hello"), "does not go with"),
    ],
    ids=lambda value: " ".join(value[:4]) if isinstance(value, tuple) else "",
)
def test_a_mode_that_cannot_begin_is_status_2_with_what_to_do(call, words, part):
    result = call(*words)
    assert result.status == 2, result.out + result.err
    assert part in result.err and len(result.err.splitlines()) == 2 and "Traceback" not in result.err


def test_the_interactive_mode_is_the_chat(call):
    result = call("--mode", "interactive", typed="help:\nquit:\n")
    assert result.status == 0 and "fine-tuning" in result.out


def test_the_menu_imports_by_its_number_and_its_flags(call, paths):
    result = call("ft", typed=f"4 '{LAW}' --name law\nvalidate law\n0\n")
    assert result.status == 0, result.err
    assert "60 of 60 answers hold sure ones" in result.out and "Valid, 0 warnings in 60 rows" in result.out
    assert (paths.datasets / "law" / "test_cases.jsonl").is_file()
