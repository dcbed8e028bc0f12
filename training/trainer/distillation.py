"""Distillation: a student learns what a finished pipeline says, and says it in one pass.

As latent-consistency models (Luo et al., 2023) learn in one step what many give: the student's UNet sees one
noise scale and predicts the mean of the teacher's guided reconstructions; its segmenter learns the teacher's
map and the masks of synthetic defects. Both learn at once, each sample many times from a replay buffer, since
the teacher takes longer to say something than the student to learn it.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffusionad import DiffusionADPipeline
from diffusionad.files import file_sha256
from diffusionad.guidance import distilled_one_step, draw_noise

from ..config.schema import TrainConfig
from ..evaluation.evaluator import evaluate, segmenter_sees_the_picture_twice
from ..evaluation.metrics import METRICS
from ..evaluation.provenance import provenance
from .budget import Phase
from .loop import TrainingLoop
from .losses import segmentation_loss
from .setup import Setup
from .steps import Batch, Losses

# Where the teacher looked is for its whole pictures; its memories are learnt for the student anew.
LOOKS_EVERYWHERE = {"roi": None, "ignore_border": 0, "calibration": None}


def load_teacher(config: TrainConfig) -> DiffusionADPipeline:
    """Load the networks of a teacher, to be asked about squares that are cut out of pictures.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it cannot be loaded, or is a student itself.
    """
    folder, draws = Path(config.distillation.teacher), config.distillation.num_noise_samples
    pipeline = DiffusionADPipeline.from_pretrained(folder, feature_memory=None, mark_memory=None)
    if pipeline.config.denoising == "distilled":
        raise ValueError(f"`{folder}` is distilled itself; name the model that it learnt from.")
    settings: dict[str, Any] = {**LOOKS_EVERYWHERE, "num_inference_steps": 1, "contrast": 1.0}
    if pipeline.config.resize_mode == "tile":
        settings["shorter_side"] = None  # a crop has the scale of its picture already
    if draws:
        settings["num_noise_samples"] = draws
    pipeline.configure(**settings)
    pipeline.takes_blank = True
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def check_calibration(teacher: Path, calibration: list[Path]) -> None:
    """Check that a teacher has not been trained on the pictures that its student is calibrated with.

    Raises:
        ValueError: it has; their scores say nothing about other good parts.
    """
    splits = teacher.parent / "splits.json"
    if not splits.is_file():
        return
    trained = {entry["sha256"] for entry in json.loads(splits.read_text(encoding="utf-8"))["train"]}
    for path in calibration:
        if file_sha256(path) in trained:
            raise ValueError(
                f"`{path}` would calibrate the student, but the teacher `{teacher}` was trained on it; take "
                "the pictures and the seed of the teacher's run."
            )


def distillation_step(
    batch: Batch, unet: nn.Module, segmenter: nn.Module, scheduler: Any, noise: Tensor, config: TrainConfig
) -> Losses:
    """Compute the losses of a student.

    Args:
        batch: x_0 and the teacher's x_0_hat [N,3,S,S] in [-1, 1], its map and the mask [N,1,S,S].
        unet: student's.
        segmenter: student's, (x_0, x_0_hat) to logits.
        scheduler: noise schedule.
        noise: [1,3,S,S], that of the finished pipeline.
        config: settings of the run.

    Returns:
        "reconstruction", mean |x_0_hat - the teacher's|; "segmentation", of the masks; "map", the cross
        entropy to the teacher's.
    """
    x_0_hat = distilled_one_step(unet, scheduler, batch["x_0"], noise, config.diffusion.t_fine).x_0_hat
    compared = x_0_hat.detach() if config.optim.detach_reconstruction else x_0_hat
    logits = segmenter(batch["x_0"], compared).float()
    kind, weight = config.optim.segmentation_loss, config.optim.positive_weight
    cross_entropy = F.binary_cross_entropy_with_logits(logits, batch["map"])
    return {
        "reconstruction": (x_0_hat - batch["x_0_hat"]).abs().mean(),
        "segmentation": segmentation_loss(logits, batch["mask"], kind, weight),
        "map": config.distillation.map_weight * cross_entropy,
    }


class DistillationLoop(TrainingLoop):
    """A training whose samples come with what the teacher says of them.

    Args:
        setup: parts of the run; its networks are the student's.
        resume: go on from the last checkpoint in the run folder.
    """

    def __init__(self, setup: Setup, resume: bool):
        self.teacher = load_teacher(setup.config).to(setup.accelerator.device)
        check_calibration(Path(setup.config.distillation.teacher), setup.sets["calibration"])
        for network in (self.teacher.unet, self.teacher.segmenter):
            network.to(memory_format=torch.channels_last)
        side, device = setup.config.data.image_size, setup.accelerator.device
        generator = torch.Generator().manual_seed(0)  # the `seed` that the student is saved with
        self.noise = draw_noise((1, 3, side, side), generator, device).fine
        super().__init__(setup, resume)

    def _losses_of(self, phase: Phase) -> Any:
        unet, segmenter, scheduler = self.unet, self.segmenter, self.scheduler
        return lambda batch, count: distillation_step(
            batch, unet, segmenter, scheduler, self.noise, self.config
        )

    def _reconstruct(self, batch: Batch) -> Batch:
        """Ask the teacher: its mean reconstruction and its map, by name."""
        picture = (batch["x_0"][0].permute(1, 2, 0).numpy() + 1) / 2  # [S,S,3] in [0, 1]
        with self.accelerator.autocast():
            said = self.teacher(np.clip(picture, 0, 1), output_type="np")
        reconstruction = torch.from_numpy(np.asarray(said.reconstruction[0])).permute(2, 0, 1)[None]
        return {"x_0_hat": reconstruction * 2 - 1, "map": torch.from_numpy(said.anomaly_map[0])[None, None]}

    def further_figures(self, pipeline: DiffusionADPipeline, metrics: dict[str, Any]) -> dict[str, Any]:
        """Compare the student with its teacher on the test pictures, as "distillation" of metrics.json."""
        folder = Path(self.config.distillation.teacher)
        teacher = DiffusionADPipeline.from_pretrained(folder).to(self.accelerator.device)
        of_teacher, _ = evaluate(teacher, self.setup.catalog.test, "teacher", replicates=0)
        return {
            "distillation": {
                "teacher_sha256": provenance(teacher, folder)["pipeline_sha256"],
                "teacher": self._figures(teacher, of_teacher, "teacher"),
                "student": self._figures(pipeline, metrics, "student"),
            }
        }

    def _figures(self, pipeline: DiffusionADPipeline, metrics: dict[str, Any], name: str) -> dict[str, Any]:
        records = self.setup.catalog.test
        with segmenter_sees_the_picture_twice(pipeline):
            twice, _ = evaluate(pipeline, records, f"{name}, the picture twice", replicates=0)
        return {
            **{name: metrics[name]["value"] for name in METRICS if name in metrics},
            **metrics["reconstruction"],
            "cpu_ms_per_picture": metrics.get("cpu_ms_per_picture"),
            "without_reconstruction": {name: twice[name]["value"] for name in METRICS if name in twice},
        }
