"""Joint training of both networks on good pictures; DiffusionAD, training.

    python -m training.train --data FOLDER --preset tiny --output runs/bottle

The run folder holds config.toml, splits.json, log.jsonl, checkpoint-N/, pipeline/ (the published weights),
metrics.json, scores.csv and samples/. A run that was interrupted goes on with --resume.
"""

import argparse
import dataclasses
import json
import math
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from diffusionad import DiffusionADPipeline, calibrate, norm_guided_one_step
from training.catalog import Catalog, scan
from training.config import TrainConfig, from_dict, load_config, preset_names, to_toml
from training.evaluation import evaluate, headline, write_results
from training.figures import write_samples
from training.losses import noise_loss, segmentation_loss
from training.networks import build_networks, build_pipeline, moving_average
from training.provenance import provenance
from training.run_folder import (
    check_pictures,
    checkpoints,
    prepare_folder,
    resumable_config,
    save_checkpoint,
    save_pipeline,
    split,
)
from training.sampling import SampleStream, SyntheticAnomalies
from training.validation import Validation

TIMED_STEPS = 20
UNTIMED_STEPS = 5  # the first steps are slower: kernels are chosen, the texture bank is made


class TrainingError(RuntimeError):
    """Training cannot go on; the message says what happened and what is left."""


def learning_rate_factor(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then a cosine down to `final_lr_fraction` at `max_steps` (0: not known yet)."""
    optim = config.optim
    warmup = min(1.0, (step + 1) / optim.warmup_steps) if optim.warmup_steps else 1.0
    progress = min(1.0, step / optim.max_steps) if optim.max_steps else 0.0
    cosine = optim.final_lr_fraction + (1 - optim.final_lr_fraction) * (1 + math.cos(math.pi * progress)) / 2
    return warmup * cosine


class StopRequest:
    """Ctrl-C and SIGTERM ask for a stop after the current step, so that what is saved is whole."""

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> "StopRequest":
        self.before = {s: signal.signal(s, self._request) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exception: object) -> None:
        for s, handler in self.before.items():
            signal.signal(s, handler)

    def _request(self, number: int, frame: object) -> None:
        if self.requested:
            raise KeyboardInterrupt  # the second time: at once
        self.requested = True


def ignore_interrupts(worker: int) -> None:
    """The terminal sends Ctrl-C to the workers, too; the training process alone decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def training_step(
    batch: dict[str, Tensor],
    unet: nn.Module,
    segmenter: nn.Module,
    scheduler: DDPMScheduler,
    config: TrainConfig,
) -> dict[str, Tensor]:
    """Losses of one batch: "noise" of normal samples, "segmentation" of all."""
    x_0, mask, is_normal = batch["x_0"], batch["mask"], batch["label"] == 0

    def denoise(chosen: Tensor) -> Any:
        parts = (batch[k][chosen] for k in ("x_0", "noise_fine", "noise_coarse", "t_fine", "t_coarse"))
        return norm_guided_one_step(unet, scheduler, *parts, config.diffusion.guidance_weight)

    def noise(chosen: Tensor) -> Tensor:
        return torch.cat([batch["noise_fine"][chosen], batch["noise_coarse"][chosen]])

    if config.optim.detach_reconstruction:
        # Only normal samples have a noise loss: the others need no graph.
        x_0_hat = torch.empty_like(x_0)
        loss_noise = x_0.new_zeros(())
        if is_normal.any():
            step = denoise(is_normal)
            loss_noise = noise_loss(step.eps_pred, noise(is_normal), is_normal[is_normal])
            x_0_hat[is_normal] = step.x_0_hat.detach()
        if not is_normal.all():
            with torch.no_grad():
                x_0_hat[~is_normal] = denoise(~is_normal).x_0_hat
    else:
        everything = torch.ones_like(is_normal)
        step = denoise(everything)
        loss_noise = noise_loss(step.eps_pred, noise(everything), is_normal)
        x_0_hat = step.x_0_hat
    logits = segmenter(x_0, x_0_hat)
    optim = config.optim
    return {
        "noise": loss_noise,
        "segmentation": segmentation_loss(logits, mask, optim.segmentation_loss, optim.positive_weight),
    }


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
        TrainingError: the loss became NaN.
        KeyboardInterrupt: stopped by Ctrl-C or SIGTERM; the state is saved.
    """
    # 0. Everything that can be wrong is found before the first step.
    catalog = scan(config.data.path)
    sets = split([record.image for record in catalog.train], config)
    check_pictures(sets["train"] + sets["validation"] + sets["calibration"])
    accelerator = Accelerator(mixed_precision=config.optim.precision)
    torch.manual_seed(config.optim.seed)
    unet, scheduler, segmenter = build_networks(config)
    build_pipeline(config, catalog.category, unet, scheduler, segmenter)  # sizes and settings fit together
    if accelerator.is_main_process and not resume:
        prepare_folder(output, config, sets)

    # 1. Networks, their averages, the optimiser.
    for net in (unet, segmenter):
        net.to(accelerator.device, memory_format=torch.channels_last)
    ema_unet, ema_segmenter = (moving_average(net, config.optim.ema_decay) for net in (unet, segmenter))
    optimizer = torch.optim.AdamW(
        [
            {"params": unet.parameters(), "lr": config.optim.unet_lr, "base": config.optim.unet_lr},
            {
                "params": segmenter.parameters(),
                "lr": config.optim.segmenter_lr,
                "base": config.optim.segmenter_lr,
            },
        ],
        weight_decay=config.optim.weight_decay,
    )
    parts = {
        "unet": unet,
        "segmenter": segmenter,
        "ema_unet": ema_unet,
        "ema_segmenter": ema_segmenter,
        "optimizer": optimizer,
    }
    step, best, seconds = 0, -math.inf, 0.0
    if resume:
        last = checkpoints(output)[-1]
        state = torch.load(last / "state.pt", map_location=accelerator.device, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        step, best, seconds = state["step"], state["best"], state["seconds"]
    unet, segmenter, optimizer = accelerator.prepare(unet, segmenter, optimizer)

    # 2. Samples; where the stream starts depends on the step alone.
    dataset = SyntheticAnomalies(sets["train"], config, seed=config.optim.seed)
    validation = Validation(sets["validation"], config)
    rank, world = accelerator.process_index, accelerator.num_processes
    batch_size = config.optim.batch_size
    stream = SampleStream(len(dataset), config.optim.seed, step * batch_size * world, rank, world)
    workers = config.data.num_workers
    loader = DataLoader(
        dataset,
        batch_size,
        sampler=stream,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=ignore_interrupts,
    )

    def snapshot() -> dict[str, Any]:
        plain = {name: accelerator.unwrap_model(part) for name, part in parts.items() if name != "optimizer"}
        states = {name: part.state_dict() for name, part in plain.items()}
        counts = {"step": step, "best": best, "seconds": seconds + time.perf_counter() - started}
        return {**states, "optimizer": optimizer.state_dict(), **counts}

    # 3. The loop.
    running: dict[str, float] = {}
    timed_from = time.perf_counter()
    max_steps = config.optim.max_steps or math.inf
    bar = tqdm(total=None if max_steps == math.inf else max_steps, initial=step, unit="step", disable=None)
    log = (output / "log.jsonl").open("a", encoding="utf-8")
    started = time.perf_counter()
    with log, bar, StopRequest() as stop:
        for batch in loader:
            if step >= max_steps:
                break
            batch = {k: v.to(accelerator.device) for k, v in batch.items()}
            for group in optimizer.param_groups:
                group["lr"] = group["base"] * learning_rate_factor(step, config)
            losses = training_step(batch, unet, segmenter, scheduler, config)
            total = losses["noise"] + losses["segmentation"]
            if not torch.isfinite(total):
                raise TrainingError(
                    f"the loss became {total.item()} at step {step}; the last good state is "
                    f"{checkpoints(output)[-1].name if checkpoints(output) else 'none'}. "
                    "Lower optim.unet_lr and optim.segmenter_lr, or use optim.precision=no."
                )
            optimizer.zero_grad(set_to_none=True)
            accelerator.backward(total)
            accelerator.clip_grad_norm_(
                [*unet.parameters(), *segmenter.parameters()], config.optim.gradient_norm_max
            )
            optimizer.step()
            ema_unet.update_parameters(accelerator.unwrap_model(unet))
            ema_segmenter.update_parameters(accelerator.unwrap_model(segmenter))
            step += 1

            # 4. Minutes become steps once; from then on only steps count.
            if max_steps == math.inf and step == UNTIMED_STEPS:
                timed_from = time.perf_counter()
            if max_steps == math.inf and step == UNTIMED_STEPS + TIMED_STEPS:
                pace = (time.perf_counter() - timed_from) / TIMED_STEPS
                max_steps = max(step + 1, int(config.optim.max_minutes * 60 / pace))
                optim = dataclasses.replace(config.optim, max_steps=max_steps)
                config = dataclasses.replace(config, optim=optim)
                (output / "config.toml").write_text(to_toml(config), encoding="utf-8")
                bar.total = max_steps
                bar.write(f"{config.optim.max_minutes:g} minutes are {max_steps} steps of {pace:.2f} s")

            # 5. Say how it goes; keep what must not be lost.
            for name, value in losses.items():
                running[name] = 0.98 * running.get(name, value.item()) + 0.02 * value.item()
            bar.update()
            images_per_second = batch_size * world * (bar.format_dict["rate"] or 0)
            bar.set_postfix(
                {**{k: f"{v:.4f}" for k, v in running.items()}, "images/s": f"{images_per_second:.1f}"}
            )
            every = max(1, int(min(max_steps, 10**9)) // config.log.validations)
            if max_steps < math.inf and (step % every == 0 or step == max_steps):
                pipeline = build_pipeline(
                    config, catalog.category, ema_unet.module, scheduler, ema_segmenter.module
                )
                found = validation.run(pipeline)
                if found["criterion"] > best:
                    best = found["criterion"]
                    save_pipeline(pipeline, output / "pipeline")
                minutes = (seconds + time.perf_counter() - started) / 60
                row = {"step": step, "minutes": round(minutes, 2), **running, **found}
                log.write(json.dumps(row) + "\n")
                log.flush()
                bar.write(json.dumps({k: round(v, 4) for k, v in row.items()}))
            if step % config.log.checkpoint_steps == 0 or step == max_steps or stop.requested:
                save_checkpoint(output, step, snapshot(), config.log.keep_checkpoints)
            if stop.requested:
                raise KeyboardInterrupt
    seconds += time.perf_counter() - started

    # 6. The weights that validation chose: calibrate on pictures that chose nothing, then test once.
    finish(
        output,
        catalog,
        sets["calibration"],
        extra={
            "steps": step,
            "train_minutes": seconds / 60,
            "train_images_per_second": step * batch_size * world / max(seconds, 1e-9),
            "train_config": dataclasses.asdict(config),
        },
    )
    return output


def finish(output: Path, catalog: Catalog, calibration: list[Path], extra: dict[str, Any]) -> None:
    """Calibrate the chosen weights, test them once, write figures and samples."""
    pipeline = DiffusionADPipeline.from_pretrained(output / "pipeline")
    normal = pipeline(calibration)
    peaks = [anomaly_map.max() for anomaly_map in normal.anomaly_map]
    pipeline.configure(calibration=calibrate(normal.score, peaks=peaks))
    save_pipeline(pipeline, output / "pipeline")
    metrics, rows = evaluate(pipeline, catalog.test)
    metrics |= extra | provenance(pipeline, output / "pipeline")
    write_results(output, metrics, rows)
    write_samples(pipeline, catalog.test, output / "samples", extra["train_config"]["log"]["samples"])
    print(headline(metrics))
    print(f"Done. Use it: DiffusionADPipeline.from_pretrained({str(output / 'pipeline')!r})")


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", required=True, help="good pictures: a folder of them, or MVTec-AD layout")
    parser.add_argument("--preset", default="tiny", help=f"{', '.join(preset_names())}, or a TOML file")
    parser.add_argument(
        "--output", type=Path, help="run folder (default: $DIFFUSIONAD_RUNS/<name of the data>)"
    )
    parser.add_argument("--max-minutes", type=float, help="of training; turned into steps after 25 of them")
    parser.add_argument("--seed", type=int)
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="any other setting"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    args = parser.parse_args(arguments)
    try:
        config = load_config(args.preset, args.set)
        given = {"max_minutes": args.max_minutes, "seed": args.seed}
        optim = {k: v for k, v in given.items() if v is not None}
        if optim.get("max_minutes", config.optim.max_minutes) > 0:
            optim["max_steps"] = 0  # not known yet
        config = from_dict(
            {
                **{f.name: dataclasses.asdict(getattr(config, f.name)) for f in dataclasses.fields(config)},
                "data": {**dataclasses.asdict(config.data), "path": args.data},
                "optim": {**dataclasses.asdict(config.optim), **optim},
            }
        )
        runs = Path(os.environ.get("DIFFUSIONAD_RUNS", "runs"))
        output = args.output or runs / Path(args.data).resolve().name
        if args.resume:
            config = resumable_config(output, config)
        elif (output / "config.toml").exists():
            raise ValueError(
                f"`--output`: `{output}` holds a run already; add --resume, or choose another folder."
            )
        train(config, output, args.resume)
    except (ValueError, OSError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    except TrainingError as error:
        print(f"{parser.prog}: stopped: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            f"\nStopped. Go on with: {parser.prog} --data {args.data} --output {output} --resume",
            file=sys.stderr,
        )
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
