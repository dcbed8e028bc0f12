"""Log of a run while it trains: progress bar, log.jsonl, curves.png and, if asked for, TensorBoard."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from diffusionad.files import replacing

from ..config.schema import LogConfig
from ..run_folder import read_log
from .curves import write_curves
from .schedule import spoken


class TrainingLogger:
    """Logger of the main process.

    Args:
        output: run folder.
        config: what is written, and how often.
        step: step at which the run goes on; rows of later steps, left by an interrupted run, are dropped.
        max_steps: length of the run; 0 while it is not known.
        samples: samples of one step, for the rate on screen.
    """

    def __init__(self, output: Path, config: LogConfig, step: int, max_steps: int, samples: int):
        self.output, self.config, self.samples = output, config, samples
        self.rows = [row for row in read_log(output / "log.jsonl") if row["step"] <= step]
        self.board = _tensorboard(output / "tensorboard", step) if config.tensorboard else None
        with replacing(output / "log.jsonl") as partial:
            partial.write_text("".join(json.dumps(row) + "\n" for row in self.rows), encoding="utf-8")
        self.log = (output / "log.jsonl").open("a", encoding="utf-8")
        self.bar = tqdm(total=max_steps or None, initial=step, unit="step", disable=None)
        self.pending: list[dict[str, float]] = []
        self.smooth: dict[str, float] = {}

    def add(self, figures: dict[str, float]) -> None:
        """Show the figures of one step on the bar, and keep them for the next row."""
        self.pending.append(figures)
        for name in {"noise", "segmentation"} & set(figures):
            self.smooth[name] = 0.98 * self.smooth.get(name, figures[name]) + 0.02 * figures[name]
        self.bar.update()
        rate = self.samples * (self.bar.format_dict["rate"] or 0)
        shown = {name: f"{value:.4f}" for name, value in self.smooth.items()}
        self.bar.set_postfix({**shown, "images/s": f"{rate:.1f}"})

    def write(self, step: int, minutes: float, found: dict[str, float] | None = None) -> None:
        """Write a row: the mean of every figure since the last row, and the figures of a validation."""
        names = sorted({name for figures in self.pending for name in figures})
        means = {name: float(np.mean([f[name] for f in self.pending if name in f])) for name in names}
        self.pending = []
        row = {"step": step, "minutes": round(minutes, 2), **means, **(found or {})}
        self.rows.append(row)
        self.log.write(json.dumps(row) + "\n")
        self.log.flush()
        if self.board:
            for name, value in {**means, **(found or {})}.items():
                self.board.add_scalar(name, value, step)
        if found:
            write_curves(self.rows, self.output / "curves.png")
            self.say(json.dumps({k: round(v, 6) for k, v in row.items()}))

    def show(self, step: int, panels: Callable[[], np.ndarray]) -> None:
        """Show `Validation.panels` in TensorBoard, [N,S,3S,3] in [0, 1]; they are made only for that."""
        if self.board:
            rows = np.concatenate(panels())  # [N,S,3S,3] -> [NS,3S,3]
            self.board.add_image("picture, reconstruction, map", rows, step, dataformats="HWC")

    def announce(self, step: int, max_steps: int, seconds_per_step: float, afterwards: str = "") -> None:
        """Say how long the phase will take, and what comes afterwards."""
        self.bar.total = max_steps
        left = spoken((max_steps - step) * seconds_per_step)
        self.say(
            f"{seconds_per_step:.2f} s a step: {max_steps} steps, {left} to go{afterwards}, the test apart"
        )

    def say(self, sentence: str) -> None:
        """Print a line above the bar."""
        self.bar.write(sentence)

    def close(self) -> None:
        """Close all files."""
        self.bar.close()
        self.log.close()
        if self.board:
            self.board.close()


def check_available(config: LogConfig) -> None:
    """Check that TensorBoard is there where the settings ask for it.

    Raises:
        ValueError: TensorBoard is asked for and not installed.
    """
    if config.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise ValueError(
            "`log.tensorboard` is true, but TensorBoard is not installed; pip install tensorboard, or set it "
            "to false."
        )


def _tensorboard(folder: Path, step: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter  # an extra

    return SummaryWriter(folder, purge_step=step + 1)
