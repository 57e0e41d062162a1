"""Where the figures of a run go beside its events: TensorBoard files always, Weights & Biases and MLflow when asked. No torch."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from assistant.core.errors import UsageError
from assistant.core.paths import Paths
from assistant.engine import base as engines

# What may be asked for, with the packages of which one has to be installed.
TRACKERS = {"wandb": ("wandb",), "mlflow": ("mlflow", "mlflow-skinny")}


class Board(Protocol):
    """Takes a figure of a step."""

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Note one figure."""

    def close(self) -> None:
        """Write what is left."""


def check(report_to: Sequence[str]) -> tuple[str, ...]:
    """What was asked for, once each; an unknown name or a missing package is a UsageError with the command that installs it."""
    unknown = [name for name in report_to if name not in (*TRACKERS, "tensorboard")]
    if unknown:
        raise UsageError(
            f"Nothing called '{unknown[0]}' takes figures.", "Use --report_to wandb, mlflow, or both; TensorBoard files are always written."
        )
    asked = tuple(dict.fromkeys(name for name in report_to if name in TRACKERS))
    missing = [TRACKERS[name][-1] for name in asked if not any(engines.installed(package) for package in TRACKERS[name])]
    if missing:
        raise UsageError(
            f"--report_to needs the package {' and '.join(missing)}, which is not installed.",
            f"Install it: `.venv/bin/python -m pip install {' '.join(missing)}` (Windows: `.venv\\Scripts\\python`).",
        )
    return asked


def board(paths: Paths, folder: Path, run: str, report_to: Sequence[str], config: Mapping[str, Any]) -> Board:
    """Everything that takes the figures of a run, as one."""
    from torch.utils.tensorboard import SummaryWriter

    boards: list[Board] = [SummaryWriter(str(folder))]
    if "wandb" in report_to:
        boards.append(_Wandb(folder, run, config))
    if "mlflow" in report_to:
        boards.append(_Mlflow(paths, run, config))
    return _All(boards)


class _All:
    def __init__(self, boards: list[Board]) -> None:
        self._boards = boards

    def add_scalar(self, name: str, value: float, step: int) -> None:
        for item in self._boards:
            item.add_scalar(name, value, step)

    def close(self) -> None:
        for item in self._boards:
            item.close()


class _Wandb:
    """Weights & Biases in offline mode: files under the run's folder, which `wandb sync` sends when the user wants it."""

    def __init__(self, folder: Path, run: str, config: Mapping[str, Any]) -> None:
        os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true", WANDB_CONSOLE="off")
        import wandb

        self._run = wandb.init(project="pz2", name=run, dir=str(folder), config=dict(config), mode="offline")

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self._run.log({name: value}, step=step)

    def close(self) -> None:
        self._run.finish()


class _Mlflow:
    """MLflow: a server when MLFLOW_TRACKING_URI names one, else files under `logs/mlflow`."""

    def __init__(self, paths: Paths, run: str, config: Mapping[str, Any]) -> None:
        # Its file form is in maintenance and asks for this word.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow import MlflowClient

        self._client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or (paths.logs / "mlflow").absolute().as_uri())
        known = self._client.get_experiment_by_name("pz2")
        experiment = known.experiment_id if known else self._client.create_experiment("pz2")
        self._id = self._client.create_run(experiment, run_name=run).info.run_id
        for name, value in config.items():
            self._client.log_param(self._id, name, value)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self._client.log_metric(self._id, name.replace("/", "."), value, step=step)

    def close(self) -> None:
        self._client.set_terminated(self._id)
