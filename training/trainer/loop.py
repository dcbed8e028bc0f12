"""The training loop: batches, gradients, averages; validation, log and checkpoints on the way."""

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from diffusionad import DiffusionADPipeline
from diffusionad.interrupts import StopRequest

from ..config.loader import write_config
from ..config.schema import with_optim
from ..run_folder import drop_checkpoints_after, load_checkpoint, save_checkpoint, save_pipeline, what_is_left
from .batches import BatchSource
from .budget import Pace, Phase, phase_at, second_phase, steps_that_fit
from .distributed import any_process, from_main, share_statistics
from .divergence import TrainingError
from .logger import TrainingLogger
from .networks import build_pipeline
from .sanity_check import too_large
from .schedule import learning_rates, validates
from .setup import Setup
from .state import TrainingState
from .steps import Batch, Losses, backward, denoise, segmenter_step, training_step, unet_step
from .validation import FIDELITY, is_published


class TrainingLoop:
    """All steps of a run, from its start or from its last checkpoint.

    Args:
        setup: what was found and built before the first step.
        resume: go on from the last checkpoint in the run folder.

    Attributes:
        config: settings of the run; `run` turns minutes into steps in them.
        state: networks and progress.
    """

    def __init__(self, setup: Setup, resume: bool):
        self.setup, self.config, self.output = setup, setup.config, setup.output
        accelerator, optim = setup.accelerator, setup.config.optim
        self.accelerator = accelerator
        self.is_main = accelerator.is_main_process
        unet, self.scheduler, segmenter = setup.networks
        self.state = TrainingState.fresh(unet, segmenter, optim, accelerator)
        if resume:
            self.state.load_state_dict(load_checkpoint(self.output))
        segmenter = share_statistics(segmenter, accelerator)
        if optim.compile:
            for network in (unet, segmenter):
                network.compile()
        self.unet, self.segmenter, self.optimizer = accelerator.prepare(unet, segmenter, self.state.optimizer)
        self.weights = [*self.unet.parameters(), *self.segmenter.parameters()]
        self.batches = BatchSource(
            setup.samples, setup.sets["train"], self.config, accelerator, self._reconstruct
        )
        self.logger: TrainingLogger | None = None
        if self.is_main:
            log, step = self.config.log, self.state.step
            self.logger = TrainingLogger(self.output, log, step, optim.max_steps, optim.batch_size)
        self.is_new = not resume
        self.seconds_before = self.state.seconds

    def run(self) -> None:
        """Train to the end.

        Raises:
            ValueError: a step does not fit into memory.
            TrainingError: the loss became NaN or diverged.
            KeyboardInterrupt: Ctrl-C or SIGTERM; the state is saved.
        """
        self.started = time.perf_counter()
        if self.is_new:
            self._save()
        try:
            with StopRequest() as stop:
                while self.state.step < (self.config.optim.max_steps or math.inf):
                    self._advance(stop)
        except torch.OutOfMemoryError as error:
            micro_batch = self.setup.portion.micro_batch
            raise ValueError(too_large(self.config, micro_batch, self.accelerator.device)) from error
        except TrainingError as error:
            if self.is_main:
                drop_checkpoints_after(self.output, self.state.watch.good_until)
            raise TrainingError(f"{error}. {what_is_left(self.output)}") from error
        finally:
            if self.logger:
                self.logger.close()
        self.state.seconds = self._seconds()

    def _advance(self, stop: StopRequest) -> None:
        """One step, and what is due after it."""
        # 1. A step of both networks, or of the UNet alone, or of the segmenter alone.
        phase = phase_at(self.state.step, self.config.optim)
        if not self.batches.is_in(phase):
            self._enter(phase)
        figures = self._learn(phase)
        self.state.step += 1

        # 2. Validate and write the log.
        stopping = any_process(self.accelerator, stop.requested)
        step, log = self.state.step, self.config.log
        is_validation = validates(step, phase.start, phase.end, log.validations, self.state.last_validation)
        if is_validation:
            self.state.last_validation = step
        if self.logger:
            self.logger.add(figures)
            found = self._validate(phase) if is_validation else None
            if is_validation or step % log.loss_steps == 0:
                self.logger.write(step, self._seconds() / 60, found)

        # 3. Turn minutes into steps, after a few steps and at every validation but the last.
        end = self._paced_end(phase, is_validation)

        # 4. Keep what must not be lost.
        if step % log.checkpoint_steps == 0 or step == end or stopping:
            self._save()
        if stopping:
            raise KeyboardInterrupt

    def _enter(self, phase: Phase) -> None:
        step = self.state.step
        self.batches.enter(phase, step)
        self.pace = Pace(step, time.perf_counter())
        if not phase.unet_learns and step == phase.start:
            self.state.watch.start_over()

    def _learn(self, phase: Phase) -> dict[str, float]:
        """Move the weights by one step; return losses, gradient norm and learning rates."""
        optim, state = self.config.optim, self.state
        batches = self.batches.draw()
        rates = learning_rates(state.step, optim)
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        networks = self.unet, self.segmenter
        losses = backward(self.accelerator, batches, networks, self.config, self._losses_of(phase))
        norm = self.accelerator.clip_grad_norm_(self.weights, optim.gradient_norm_max or math.inf).item()
        # In fp16 gradients overflow now and then: the scaler leaves that step out by itself.
        state.watch.check(state.step, losses, norm if self.accelerator.scaler is None else 0.0)
        self.optimizer.step()
        if not self.accelerator.optimizer_step_was_skipped:
            if phase.unet_learns:
                state.ema_unet.update_parameters(state.unet)
            if phase.segmenter_learns:
                state.ema_segmenter.update_parameters(state.segmenter)
        return {**losses, "gradient_norm": norm, "unet_lr": rates[0], "segmenter_lr": rates[1]}

    def _losses_of(self, phase: Phase) -> Callable[[Batch, Tensor], Losses]:
        unet, segmenter, scheduler, config = self.unet, self.segmenter, self.scheduler, self.config
        if phase.is_joint:
            return lambda batch, count: training_step(batch, unet, segmenter, scheduler, config, count)
        if phase.unet_learns:
            return lambda batch, count: unet_step(batch, unet, scheduler, config, count)
        return lambda batch, count: segmenter_step(batch, segmenter, config)

    def _validate(self, phase: Phase) -> dict[str, float]:
        """Measure the averaged weights; publish them where validation cannot tell them from the best."""
        state, pipeline, validation = self.state, self._pipeline(), self.setup.validation
        found = validation.run(pipeline)
        if not phase.segmenter_learns:  # there is nothing to choose yet
            found = {name: found[name] for name in FIDELITY}
        assert self.logger is not None
        self.logger.show(state.step, lambda: validation.panels(pipeline))
        if phase.segmenter_learns and is_published(found["criterion"], state.best):
            state.best = max(state.best, found["criterion"])
            save_pipeline(pipeline, self.output / "pipeline")
        return found

    def _paced_end(self, phase: Phase, is_validation: bool) -> float:
        """Measure the pace where it is due; return the step at which the phase ends."""
        step, optim = self.state.step, self.config.optim
        if step >= phase.end:
            return phase.end
        now = time.perf_counter()
        pace = self.pace.measure(step, now, is_validation)
        if pace is None:
            return phase.end
        end = phase.end
        if optim.max_minutes > 0:
            wanted = steps_that_fit(optim, phase, step, self._seconds(), pace)
            end = from_main(self.accelerator, wanted)
            self.config = with_optim(self.config, **{phase.setting: end})
            if self.is_main:
                write_config(self.config, self.output / "config.toml")
        if self.logger:
            afterwards = "" if phase.segmenter_learns else f", then {second_phase(self.config.optim)}"
            self.logger.announce(step, int(end), pace, afterwards)
        return end

    def _seconds(self) -> float:
        """Training time so far, that of earlier processes included."""
        return self.seconds_before + time.perf_counter() - self.started

    def _save(self) -> None:
        if self.is_main:
            self.state.seconds = self._seconds()
            save_checkpoint(
                self.output, self.state.step, self.state.state_dict(), self.config.log.keep_checkpoints
            )

    def further_figures(self, pipeline: DiffusionADPipeline, metrics: dict[str, Any]) -> dict[str, Any]:
        """Return figures that only this kind of training has, of the finished pipeline and its metrics."""
        return {}

    def _pipeline(self) -> DiffusionADPipeline:
        """The averaged networks, ready to be saved."""
        unet, segmenter = self.state.ema_unet.module, self.state.ema_segmenter.module
        return build_pipeline(self.config, self.setup.catalog.category, unet, self.scheduler, segmenter)

    def _reconstruct(self, batch: Batch) -> Batch:
        """Reconstruct by the averaged UNet, which is the published one, as "x_0_hat"."""
        batch = {name: value.to(self.accelerator.device) for name, value in batch.items()}
        with torch.no_grad(), self.accelerator.autocast():
            unet = self.state.ema_unet.module
            return {"x_0_hat": denoise(batch, unet, self.scheduler, self.config).x_0_hat}
