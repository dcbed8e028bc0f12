"""The settings of a training run: frozen dataclasses, one per concern, read from and written to TOML.

A preset names every value of its section that differs from the defaults, which are the paper's where the
paper states one; `extends = "paper"` starts from another preset. The resolved settings are written into
the run as config.toml.
"""

import dataclasses
import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..synthesis.anomalies import SynthesisConfig

PRESETS = Path(__file__).parents[1] / "presets"


@dataclass(frozen=True)
class DataConfig:
    """Which pictures."""

    path: str = ""
    category: str = ""  # of a data set: one, or "a,b,c" in one model; empty: `path` holds one only
    image_size: int = 256
    antialias: bool = True
    resize_mode: str = "stretch"  # or "tile": training sees crops of image_size, the pipeline tiles of it
    shorter_side: int = 0  # with "tile": pixels to which pictures are scaled; 0: their own scale
    foreground: str = "classical"  # where it finds an object; or "none", "rembg", a folder of masks
    texture_folder: str = ""  # DTD or any folder of pictures; empty: the built-in textures
    validation_fraction: float = 0.1
    calibration_fraction: float = 0.1
    calibration_min: int = 20
    calibration_folder: str = ""  # further normal pictures to calibrate with, in place of the fraction
    num_workers: int = 1


@dataclass(frozen=True)
class ModelConfig:
    """Both networks."""

    patch_size: int = 1
    unet_channels: tuple[int, ...] = (128, 128, 256, 256, 512, 512)
    unet_layers: int = 2
    prediction_type: str = "epsilon"  # or "sample": the UNet predicts x_0, and eps follows from it
    unet_attention_sizes: tuple[int, ...] = (32, 16, 8)  # feature sizes with attention
    segmenter_channels: tuple[int, ...] = (64, 128, 256, 512, 512, 512)
    segmenter_norm: str = "batch"
    segmenter_stem_patch: int = 1
    segmenter_with_difference: bool = False
    # What a fresh segmenter says everywhere, as a probability; 0.5: its bias stays as it is drawn.
    segmenter_prior: float = 0.5
    # True: once it is trained, the segmenter looks at the pictures of training and validation, and peaks of
    # later maps that look like those it finds there are taken off. Of max_minutes that takes a tenth at most,
    # with as many pictures as fit into it.
    known_marks: bool = False


@dataclass(frozen=True)
class DiffusionConfig:
    """Noise levels, in training as half-open ranges."""

    num_train_timesteps: int = 1000
    train_t_fine: tuple[int, int] = (0, 300)
    train_t_coarse: tuple[int, int] = (300, 1000)
    t_fine: int = 200
    t_coarse: int = 400
    guidance_weight: float = 1.0
    num_noise_samples: int = 1  # of the finished pipeline: draws that are averaged, each at the same cost
    top_fraction: float = 50 / 256**2


@dataclass(frozen=True)
class OptimConfig:
    """How the weights move."""

    seed: int = 0
    batch_size: int = 16  # samples of one optimiser step, over all processes
    micro_batch_size: int = 0  # samples that a process takes at a time; 0: all that are its own
    max_steps: int = 100_000  # 0: not known yet, one of the next two sets it
    max_epochs: int = 0  # above 0: sets max_steps, once, before the first step
    max_minutes: float = 0.0  # above 0: sets max_steps, by the pace of the steps; wins over max_epochs
    unet_lr: float = 1e-4
    segmenter_lr: float = 1e-5
    weight_decay: float = 0.0
    warmup_steps: int = 0
    final_lr_fraction: float = 1.0  # below 1: cosine from lr to lr * this
    segmenter_cosine_steps: int = (
        0  # above 0: the segmenter's lr falls to 0 and rises again every so many steps
    )
    gradient_norm_max: float = 1.0  # 0: gradients are not clipped
    ema_decay: float = 0.999
    precision: str = "no"  # "no" (fp32), "bf16", "fp16", or "auto": bf16 where the machine computes in it
    gradient_checkpointing: bool = False  # of the UNet: a third more work, a fraction of the memory
    compile: bool = False  # torch.compile: minutes at the start, faster steps on a GPU
    segmentation_loss: str = "paper"  # "paper" (5 focal + smooth L1) or "bce_dice"
    positive_weight: float = 1.0  # of anomalous pixels in bce_dice
    # True: the UNet learns to repair. Its noise loss counts damaged samples, too, and asks for the picture as
    # it was before the synthetic defect. The paper has normal samples only.
    repair: bool = False
    # True: the segmentation loss does not reach the UNet, and anomalous pictures go through it without
    # gradients.
    detach_reconstruction: bool = False
    # Above 0: two phases in place of joint training. For so large a share of the minutes (of the steps, where
    # those are given) the UNet learns alone, from normal samples; then it is frozen, and the segmenter learns
    # from crops of its reconstructions.
    unet_share: float = 0.0
    unet_steps: int = 0  # of the first phase; 0: not known yet, unet_share sets it
    segmenter_batch_size: int = 8  # crops of a process a step, in the second phase
    segmenter_crop: int = 128  # side in pixels; 0: the whole picture
    bank_size: int = 512  # reconstructions that crops are drawn from: 0.3 GB at 256 pixels
    bank_steps: int = 2  # steps after which a new one takes the oldest one's place


@dataclass(frozen=True)
class LogConfig:
    """What is written how often."""

    loss_steps: int = 50  # a row in log.jsonl, with the mean over these steps
    checkpoint_steps: int = 500
    validations: int = 10  # spread over the run
    keep_checkpoints: int = 2
    samples: int = 8  # panels of test pictures
    tensorboard: bool = False  # curves and pictures in tensorboard/, too


@dataclass(frozen=True)
class TrainConfig:
    """All of a run."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    synthesis: SynthesisConfig = field(default_factory=SynthesisConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    log: LogConfig = field(default_factory=LogConfig)


def with_optim(config: TrainConfig, **values: Any) -> TrainConfig:
    """The same config with other values in `optim`."""
    return dataclasses.replace(config, optim=dataclasses.replace(config.optim, **values))


def preset_names() -> list[str]:
    """Names that `--preset` takes."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def load_config(preset_or_path: str, overrides: list[str] | None = None) -> TrainConfig:
    """A preset by name or a TOML file, with `section.key=value` overrides.

    Raises:
        ValueError: no such preset, unknown section or key, value of the wrong type; the message lists what
            exists.
    """
    path = PRESETS / f"{preset_or_path}.toml"
    if not path.is_file():
        path = Path(preset_or_path)
    if not path.is_file():
        raise ValueError(
            f"`--preset` is {preset_or_path!r}; use {', '.join(preset_names())} or the path of a TOML file."
        )
    values = _read(path)
    for override in overrides or []:
        key, equals, text = override.partition("=")
        section, dot, name = key.partition(".")
        if not (equals and dot):
            raise ValueError(f"`--set` is {override!r}; write section.key=value, such as optim.seed=1.")
        values.setdefault(section, {})[name] = _parse_value(text)
    return from_dict(values)


def _read(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"`{path}` is not valid TOML: {error}.") from error
    base = values.pop("extends", None)
    if base is None:
        return values
    if base not in preset_names():
        raise ValueError(f"`extends` in `{path}` is {base!r}; use one of {', '.join(preset_names())}.")
    inherited = _read(PRESETS / f"{base}.toml")
    return {k: {**inherited.get(k, {}), **values.get(k, {})} for k in [*inherited, *values]}


def from_dict(values: dict[str, Any]) -> TrainConfig:
    """Nested plain values to a config; unknown names and wrong types are errors."""
    sections = {f.name: f.default_factory for f in dataclasses.fields(TrainConfig)}
    unknown = sorted(set(values) - set(sections))
    if unknown:
        raise ValueError(f"`{unknown[0]}` is no section of a config; use one of {', '.join(sections)}.")
    parts = {}
    for section, factory in sections.items():
        default = factory()
        names = {f.name for f in dataclasses.fields(default)}
        given = values.get(section, {})
        unknown = sorted(set(given) - names)
        if unknown:
            raise ValueError(f"`{section}.{unknown[0]}` is unknown; use one of {', '.join(sorted(names))}.")
        typed = {k: _as_type(v, getattr(default, k), f"{section}.{k}") for k, v in given.items()}
        parts[section] = dataclasses.replace(default, **typed)
    return TrainConfig(**parts)


def to_toml(config: TrainConfig) -> str:
    """The inverse of `load_config`; JSON's strings, numbers, booleans and lists are TOML's."""
    lines = []
    for section, values in dataclasses.asdict(config).items():
        lines += [f"[{section}]", *(f"{k} = {json.dumps(v)}" for k, v in values.items()), ""]
    return "\n".join(lines)


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _as_type(value: Any, default: Any, name: str) -> Any:
    kind = type(default)
    if kind is tuple and isinstance(value, list | tuple):
        return tuple(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise ValueError(f"`{name}` is {value!r}; a {kind.__name__} such as {default!r} is needed.")
    return value
