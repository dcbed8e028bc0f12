"""Joint training of both networks on good pictures; DiffusionAD, training.

    python -m training.train --data FOLDER --preset tiny --output runs/bottle
    accelerate launch --num_processes 4 -m training.train --data FOLDER --preset paper --output runs/bottle

The run folder holds config.toml, splits.json, log.jsonl, curves.png, checkpoint-N/, pipeline/ (the published
weights), metrics.json, scores.csv and samples/. A run that was interrupted goes on with --resume.
"""

import contextlib
import dataclasses
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler
from torch import Tensor, nn
from torch.utils.data import DataLoader

from diffusionad import DiffusionADPipeline, calibrate, norm_guided_one_step
from diffusionad.guidance import alpha_bar_at

from .cli import run_training, say
from .config.schema import OptimConfig, TrainConfig, to_toml, with_optim
from .data.catalog import Catalog
from .data.selection import check_each, find_pictures, split_each
from .evaluation.evaluator import evaluate, headline, write_results
from .evaluation.figures import write_samples
from .evaluation.provenance import provenance
from .run_folder import (
    check_pictures,
    check_same_pictures,
    check_writable,
    checkpoints,
    drop_checkpoints_after,
    load_checkpoint,
    prepare_folder,
    save_checkpoint,
    save_pipeline,
)
from .synthesis.dataset import SampleStream, SyntheticAnomalies
from .trainer.distributed import (
    any_process,
    from_main,
    share_statistics,
    start_accelerator,
    with_native_precision,
)
from .trainer.divergence import DivergenceWatch, TrainingError
from .trainer.interrupts import StopRequest, ignore_interrupts
from .trainer.logger import Journal, check_available
from .trainer.losses import noise_loss, segmentation_loss
from .trainer.networks import build_networks, build_pipeline, moving_average
from .trainer.reconstruction_buffer import ReconstructionBank
from .trainer.sanity_check import rehearse, too_large
from .trainer.schedule import learning_rates, portions, spoken, steps_of_epochs
from .trainer.validation import Validation, is_published

# Of a batch, as norm_guided_one_step takes them.
DENOISED = ("x_0", "noise_fine", "noise_coarse", "t_fine", "t_coarse")
CALIBRATION_BATCH = 8  # pictures a call: large ones would not fit into memory all at once
MARKS_SHARE = 0.1  # of the minutes of a training, at most
MARKS_DRAWS = 2  # of noise: half the time of four, and twice the pictures are worth more
TIMED_STEPS = 20
TIMED_PICTURES = 4
UNTIMED_STEPS = 5  # the first steps are slower: kernels are chosen, the texture bank is made


def second_phase(optim: OptimConfig) -> str:
    """How long the segmenter learns alone, in words."""
    if optim.max_steps:
        return f"{optim.max_steps - optim.unet_steps} steps of the segmenter"
    return f"{spoken(60 * (1 - optim.unet_share) * optim.max_minutes)} of the segmenter"


def denoises(batch: dict[str, Tensor], config: TrainConfig) -> Tensor:
    """Which samples have a noise loss, bool [N]: the normal ones, or all where the UNet learns to repair."""
    return (batch["label"] == 0) | config.optim.repair


def noise_target(batch: dict[str, Tensor], scheduler: DDPMScheduler) -> Tensor:
    """The noise that the UNet is to see, [2N,C,S,S], fine scale first.

    It is the one that was added; where the batch holds `clean`, the picture before its defect, it is the one
    that leads from there to x_t, so that x_0 follows as `clean` (DDPM eq. 15).
    """
    noises = []
    for scale in ("fine", "coarse"):
        noise = batch[f"noise_{scale}"]
        if "clean" in batch:
            alpha_bar = alpha_bar_at(scheduler.alphas_cumprod, batch[f"t_{scale}"], noise)
            noise = noise + (alpha_bar / (1 - alpha_bar)).sqrt() * (batch["x_0"] - batch["clean"])
        noises.append(noise)
    return torch.cat(noises)


def training_step(
    batch: dict[str, Tensor],
    unet: nn.Module,
    segmenter: nn.Module,
    scheduler: DDPMScheduler,
    config: TrainConfig,
    noise_count: Tensor | None = None,
) -> dict[str, Tensor]:
    """Losses of one batch: "noise" of normal samples (of all, with `optim.repair`), "segmentation" of all.

    `noise_count` divides the noise loss where this is a part of a larger batch; default: its samples that
    have one.
    """
    x_0, mask, has_noise_loss = batch["x_0"], batch["mask"], denoises(batch, config)
    target = noise_target(batch, scheduler)

    def denoise(chosen: Tensor) -> Any:
        parts = (batch[k][chosen] for k in DENOISED)
        return norm_guided_one_step(unet, scheduler, *parts, config.diffusion.guidance_weight)

    if config.optim.detach_reconstruction:
        # Only samples with a noise loss need a graph. Where there is none, one sample takes part with a loss
        # of 0, since the other processes wait for gradients from all.
        first = torch.arange(len(x_0), device=x_0.device) == 0
        learns = has_noise_loss if has_noise_loss.any() else first
        x_0_hat = torch.empty_like(x_0)
        step = denoise(learns)
        loss_noise = noise_loss(step.eps_pred, target[learns.repeat(2)], has_noise_loss[learns], noise_count)
        x_0_hat[learns] = step.x_0_hat.detach()
        if not learns.all():
            with torch.no_grad():
                x_0_hat[~learns] = denoise(~learns).x_0_hat
    else:
        step = denoise(torch.ones_like(has_noise_loss))
        loss_noise = noise_loss(step.eps_pred, target, has_noise_loss, noise_count)
        x_0_hat = step.x_0_hat
    logits = segmenter(x_0, x_0_hat)
    optim = config.optim
    return {
        "noise": loss_noise,
        "segmentation": segmentation_loss(logits, mask, optim.segmentation_loss, optim.positive_weight),
    }


def unet_step(
    batch: dict[str, Tensor],
    unet: nn.Module,
    segmenter: nn.Module,
    scheduler: DDPMScheduler,
    config: TrainConfig,
    noise_count: Tensor | None = None,
) -> dict[str, Tensor]:
    """First phase of two: the noise loss alone."""
    parts = (batch[k] for k in DENOISED)
    step = norm_guided_one_step(unet, scheduler, *parts, config.diffusion.guidance_weight)
    target = noise_target(batch, scheduler)
    return {"noise": noise_loss(step.eps_pred, target, denoises(batch, config), noise_count)}


def segmenter_step(
    batch: dict[str, Tensor],
    unet: nn.Module,
    segmenter: nn.Module,
    scheduler: DDPMScheduler,
    config: TrainConfig,
    noise_count: Tensor | None = None,
) -> dict[str, Tensor]:
    """Second phase of two: the segmentation loss on crops whose reconstructions are in the bank."""
    logits = segmenter(batch["x_0"], batch["x_0_hat"])
    optim = config.optim
    loss = segmentation_loss(logits, batch["mask"], optim.segmentation_loss, optim.positive_weight)
    return {"segmentation": loss}


def backward(
    accelerator: Accelerator,
    micro_batches: list[dict[str, Tensor]],
    unet: nn.Module,
    segmenter: nn.Module,
    scheduler: DDPMScheduler,
    config: TrainConfig,
    losses_of: Callable[..., dict[str, Tensor]] = training_step,
) -> dict[str, float]:
    """Gradients and losses of one step, as if all micro-batches of all processes were one batch."""
    n = len(micro_batches)
    counted = torch.stack([denoises(batch, config).sum() for batch in micro_batches]).sum().float()
    # Gradients are averaged over micro-batches and processes: their mean number of samples with a noise loss
    # divides each noise loss, so that the number of all divides the sum.
    noise_count = accelerator.reduce(counted, "mean") / n
    summed: dict[str, Tensor] = {}
    for i, batch in enumerate(micro_batches):
        with contextlib.ExitStack() as alone:
            if i < n - 1:  # the processes meet once a step
                for net in (unet, segmenter):
                    alone.enter_context(accelerator.no_sync(net))
            losses = losses_of(batch, unet, segmenter, scheduler, config, noise_count)
            accelerator.backward(sum(losses.values()) / n)
        summed = {name: summed.get(name, 0) + value.detach() / n for name, value in losses.items()}
    means = accelerator.reduce(torch.stack(list(summed.values())), "mean")
    return dict(zip(summed, means.tolist(), strict=True))


def train(config: TrainConfig, output: Path, resume: bool = False) -> Path:
    """Train, choose by validation, calibrate, test once.

    Args:
        config: resolved settings; `data.path` must be set.
        output: run folder.
        resume: go on from the last checkpoint in `output`.

    Returns:
        The run folder.

    Raises:
        ValueError: data or settings that cannot work.
        FileNotFoundError: no such data.
        TrainingError: the loss became NaN or left for good.
        KeyboardInterrupt: stopped by Ctrl-C or SIGTERM; the state is saved.
    """
    # 0. Everything that can be wrong is found before the first step.
    config = with_native_precision(config)
    catalog = find_pictures(config.data)
    for sentence in check_each(catalog):
        say(f"note: {sentence}")
    sets = split_each(catalog, config)
    check_pictures(sets["calibration"])  # which may lie elsewhere
    if config.optim.max_steps == 0 and config.optim.max_minutes == 0:
        config = with_optim(config, max_steps=steps_of_epochs(config.optim, len(sets["train"])))
    two_phases = config.optim.unet_share > 0
    if two_phases and config.optim.max_steps and not config.optim.unet_steps:
        config = with_optim(config, unet_steps=round(config.optim.unet_share * config.optim.max_steps))
    torch.manual_seed(config.optim.seed)
    unet, scheduler, segmenter = build_networks(config)
    build_pipeline(config, catalog.category, unet, scheduler, segmenter)  # sizes and settings fit together
    check_available(config.log)
    check_writable(output)
    accelerator = start_accelerator(config)
    portion = portions(config.optim, accelerator.num_processes)
    if config.optim.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    for net in (unet, segmenter):
        net.to(accelerator.device, memory_format=torch.channels_last)
    dataset = SyntheticAnomalies(sets["train"], config, seed=config.optim.seed)
    unet_samples = dataset  # what the UNet learns from
    if two_phases and not config.optim.repair:
        unet_samples = SyntheticAnomalies(sets["train"], config, seed=config.optim.seed, probability=0.0)
    validation = Validation(sets["validation"], config)
    harmless = [*sets["train"], *sets["validation"]] if config.model.known_marks else []
    if resume:
        check_same_pictures(output, sets)
    else:
        networks = (unet, scheduler, segmenter)
        rehearse(
            training_step, config, accelerator, dataset, validation, networks, portion.micro_batch, output
        )
        if accelerator.is_main_process:
            prepare_folder(output, config, sets)

    # 1. Networks, their averages, the optimiser.
    ema_unet, ema_segmenter = (moving_average(net, config.optim.ema_decay) for net in (unet, segmenter))
    optimizer = torch.optim.AdamW(
        [{"params": unet.parameters()}, {"params": segmenter.parameters()}],
        weight_decay=config.optim.weight_decay,
    )
    watch = DivergenceWatch()
    parts = {
        "unet": unet,
        "segmenter": segmenter,
        "ema_unet": ema_unet,
        "ema_segmenter": ema_segmenter,
        "optimizer": optimizer,
        "watch": watch,
    }
    if accelerator.scaler is not None:
        parts["scaler"] = accelerator.scaler
    step, best, seconds = 0, -math.inf, 0.0
    marked = None  # number of pictures whose marks are learnt in the end; not known yet
    if resume:
        state = load_checkpoint(output)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        step, best, seconds = state["step"], state["best"], state["seconds"]
        marked = state.get("marked")
    segmenter = share_statistics(segmenter, accelerator)
    if config.optim.compile:
        for net in (unet, segmenter):
            net.compile()
    unet, segmenter, optimizer = accelerator.prepare(unet, segmenter, optimizer)
    weights = [*unet.parameters(), *segmenter.parameters()]

    # 2. Samples; where the stream starts depends on the step alone.
    rank, world = accelerator.process_index, accelerator.num_processes
    workers = config.data.num_workers

    def batches_of(samples: SyntheticAnomalies, size: int, micro_batch: int, start: int) -> Iterator:
        """Micro-batches of this process from step `start` on, with `size` samples a step over all."""
        return iter(
            DataLoader(
                samples,
                micro_batch,
                sampler=SampleStream(len(samples), config.optim.seed, start * size, rank=rank, world=world),
                num_workers=workers,
                prefetch_factor=4 if workers else None,
                worker_init_fn=ignore_interrupts,
                pin_memory=accelerator.device.type == "cuda",
            )
        )

    def reconstruct(batch: dict[str, Tensor]) -> Tensor:
        """By the averaged UNet: the one that will be published."""
        on_device = (batch[name].to(accelerator.device) for name in DENOISED)
        with torch.no_grad(), accelerator.autocast():
            weight = config.diffusion.guidance_weight
            return norm_guided_one_step(ema_unet.module, scheduler, *on_device, weight).x_0_hat

    def save() -> None:
        if accelerator.is_main_process:
            so_far = seconds + time.perf_counter() - started
            counts = {"step": step, "best": best, "seconds": so_far, "marked": marked}
            states = {name: part.state_dict() for name, part in parts.items()}
            save_checkpoint(output, step, {**states, **counts}, config.log.keep_checkpoints)

    # 3. The loop.
    max_steps = config.optim.max_steps or math.inf
    unet_steps = (config.optim.unet_steps or math.inf) if two_phases else 0  # of the first phase
    journal = None
    if accelerator.is_main_process:
        journal = Journal(output, config.log, step, config.optim.max_steps, config.optim.batch_size)
    device = accelerator.device
    started = timed_from = time.perf_counter()
    first_step, timed_step, validated = step, step, -math.inf
    if not resume:
        save()
    bank = stream = None
    marks_seconds = None  # that learning the marks takes; not known yet
    try:
        with StopRequest() as stop:
            while step < max_steps:
                # A step of both networks, or of the UNet alone, or of the segmenter alone.
                unet_learns, segmenter_learns = not two_phases or step < unet_steps, step >= unet_steps
                if unet_learns:
                    if stream is None:
                        stream = batches_of(unet_samples, config.optim.batch_size, portion.micro_batch, step)
                    batches = [next(stream) for _ in range(portion.count)]
                else:
                    if bank is None:
                        at, first_step = step - unet_steps, step
                        stream = batches_of(dataset, world, 1, at // config.optim.bank_steps)
                        bank = ReconstructionBank(stream, reconstruct, config, at, rank)
                        if at == 0:
                            watch.start_over()
                    batches = [bank.draw()]
                losses_of = training_step if not two_phases else unet_step if unet_learns else segmenter_step
                batches = [{k: v.to(device, non_blocking=True) for k, v in b.items()} for b in batches]
                rates = learning_rates(step, config.optim)
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate
                optimizer.zero_grad(set_to_none=True)
                losses = backward(accelerator, batches, unet, segmenter, scheduler, config, losses_of)
                norm = accelerator.clip_grad_norm_(weights, config.optim.gradient_norm_max or math.inf).item()
                # In fp16 gradients overflow now and then: the scaler leaves that step out by itself.
                watch.check(step, losses, norm if accelerator.scaler is None else 0.0)
                optimizer.step()
                if not accelerator.optimizer_step_was_skipped:
                    if unet_learns:
                        ema_unet.update_parameters(parts["unet"])
                    if segmenter_learns:
                        ema_segmenter.update_parameters(parts["segmenter"])
                step += 1

                # 4. Say how it goes.
                stopping = any_process(accelerator, stop.requested)
                last = max_steps if segmenter_learns else unet_steps  # of this phase
                in_phase = step - (unet_steps if segmenter_learns else 0)
                length = last - (unet_steps if segmenter_learns else 0)
                every = max(1, int(min(length, 10**9)) // config.log.validations)
                apart = step - validated > every // 2  # a new pace moves the multiples
                validates = last < math.inf and ((in_phase % every == 0 and apart) or step == last)
                validated = step if validates else validated
                if journal:
                    found = None
                    figures = {**losses, "gradient_norm": norm, "unet_lr": rates[0], "segmenter_lr": rates[1]}
                    journal.add(figures)
                    if validates:
                        pipeline = build_pipeline(
                            config, catalog.category, ema_unet.module, scheduler, ema_segmenter.module
                        )
                        found = validation.run(pipeline)
                        if not segmenter_learns:  # there is nothing to choose yet
                            found = {"psnr_normal_db": found["psnr_normal_db"]}
                        journal.show(step, lambda pipeline=pipeline: validation.panels(pipeline))
                        if segmenter_learns and is_published(found["criterion"], best):
                            best = max(best, found["criterion"])
                            save_pipeline(pipeline, output / "pipeline")
                    if validates or step % config.log.loss_steps == 0:
                        minutes = (seconds + time.perf_counter() - started) / 60
                        journal.write(step, minutes, found)

                # 5. The pace, after a few steps and at every validation but the last: minutes become steps.
                now = time.perf_counter()
                if step - first_step == UNTIMED_STEPS:
                    timed_step, timed_from = step, now
                due = validates or step - first_step == UNTIMED_STEPS + TIMED_STEPS
                if due and step < last and step - timed_step >= TIMED_STEPS:
                    pace = (now - timed_from) / (step - timed_step)
                    timed_step, timed_from = step, now
                    if config.optim.max_minutes > 0:
                        left = config.optim.max_minutes * 60
                        if not segmenter_learns:
                            left *= config.optim.unet_share
                        elif config.model.known_marks and accelerator.is_main_process:
                            if marks_seconds is None:
                                pipeline = build_pipeline(
                                    config, catalog.category, ema_unet.module, scheduler, ema_segmenter.module
                                )
                                with accelerator.autocast():
                                    a_picture = seconds_per_picture(pipeline.to(device), harmless)
                                if marked is None:
                                    fit = MARKS_SHARE * left / max(a_picture, 1e-9)
                                    marked = max(1, min(int(fit), len(harmless)))
                                marks_seconds = a_picture * marked
                                timed_from = time.perf_counter()
                            left -= marks_seconds
                        left -= seconds + time.perf_counter() - started
                        last = from_main(accelerator, step + max(1, int(left / pace)))
                        if segmenter_learns:
                            max_steps = last
                            config = with_optim(config, max_steps=last)
                        else:
                            unet_steps = last
                            config = with_optim(config, unet_steps=last)
                        if journal:
                            (output / "config.toml").write_text(to_toml(config), encoding="utf-8")
                    if journal:
                        afterwards = "" if segmenter_learns else f", then {second_phase(config.optim)}"
                        journal.announce(step, last, pace, afterwards)

                # 6. Keep what must not be lost.
                if step % config.log.checkpoint_steps == 0 or step == last or stopping:
                    save()
                if stopping:
                    raise KeyboardInterrupt
    except torch.OutOfMemoryError as error:
        raise ValueError(too_large(config, portion.micro_batch, accelerator.device)) from error
    except TrainingError as error:
        if accelerator.is_main_process:
            drop_checkpoints_after(output, watch.good_until)
        raise TrainingError(f"{error}. {what_is_left(output)}") from error
    finally:
        if journal:
            journal.close()
    seconds += time.perf_counter() - started

    # 7. The weights that validation chose: calibrate on pictures that chose nothing, then test once.
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        finish(
            output,
            catalog,
            sets["calibration"],
            evenly(harmless, marked),
            accelerator,
            extra={
                "steps": step,
                "train_minutes": seconds / 60,
                "train_images_per_second": step * config.optim.batch_size / max(seconds, 1e-9),
                "processes": world,
                "train_config": dataclasses.asdict(config),
            },
        )
    return output


def what_is_left(output: Path) -> str:
    """After a run has stopped by itself: its last good checkpoint, its weights, and what to change."""
    kept = checkpoints(output)
    last = kept[-1].name if kept else "none, all were saved too late"
    weights = ", its best weights so far `pipeline/`" if (output / "pipeline").is_dir() else ""
    return (
        f"The last good state in `{output}` is {last}{weights}. Start another run with lower optim.unet_lr "
        "and optim.segmenter_lr, a lower optim.gradient_norm_max, or optim.precision=no"
    )


def evenly(items: list[Path], count: int | None) -> list[Path]:
    """So many of them, from all over the list; None is all."""
    count = len(items) if count is None else min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def draws_for_marks(pipeline: DiffusionADPipeline) -> int:
    """Of noise, while it learns marks."""
    return min(MARKS_DRAWS, pipeline.config.num_noise_samples)


def seconds_per_picture(pipeline: DiffusionADPipeline, pictures: list[Path]) -> float:
    """How long the pipeline takes to learn the marks of one."""
    pipeline.set_progress_bar_config(disable=True)
    draws = draws_for_marks(pipeline)
    pipeline(pictures[0], num_noise_samples=draws)  # the first call chooses kernels
    some = evenly(pictures, TIMED_PICTURES)
    started = time.perf_counter()
    for picture in some:
        pipeline(picture, num_noise_samples=draws)
    return (time.perf_counter() - started) / len(some)


def finish(
    output: Path,
    catalog: Catalog,
    calibration: list[Path],
    marked: list[Path],
    accelerator: Accelerator,
    extra: dict[str, Any],
) -> None:
    """Learn marks with the chosen weights, calibrate, test once, write figures and samples."""
    pipeline = DiffusionADPipeline.from_pretrained(output / "pipeline").to(accelerator.device)
    pipeline.set_progress_bar_config(disable=True)
    if marked and not pipeline.segmenter.config.known_marks:  # an interrupted run may have got so far
        started = time.perf_counter()
        with accelerator.autocast():  # as it was trained: half the time
            added = pipeline.learn_marks(marked, num_noise_samples=draws_for_marks(pipeline))
        minutes = (time.perf_counter() - started) / 60
        extra |= {"train_minutes": extra["train_minutes"] + minutes, "marks_from_pictures": len(marked)}
        say(f"{added} marks of {len(marked)} good pictures learnt in {minutes:.1f} min")
    scores, peaks = [], []
    for i in range(0, len(calibration), CALIBRATION_BATCH):
        normal = pipeline(calibration[i : i + CALIBRATION_BATCH])
        scores += normal.score.tolist()
        peaks += [anomaly_map.max() for anomaly_map in normal.anomaly_map]
    pipeline.configure(calibration=calibrate(scores, peaks=peaks))
    save_pipeline(pipeline, output / "pipeline")
    metrics, rows = evaluate(pipeline, catalog.test)
    names = sorted({record.category for record in catalog.test})
    if len(names) > 1:
        of_each = {name: [r for r in catalog.test if r.category == name] for name in names}
        metrics["per_category"] = {name: evaluate(pipeline, of_each[name], name)[0] for name in names}
    metrics |= extra | provenance(pipeline, output / "pipeline")
    write_results(output, metrics, rows)
    write_samples(pipeline, catalog.test, output / "samples", extra["train_config"]["log"]["samples"])
    print(headline(metrics))
    print(f"Done. Use it: DiffusionADPipeline.from_pretrained({str(output / 'pipeline')!r})")


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    return run_training(train, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
