"""Settings of a training run: frozen dataclasses, one per concern, units in the names.

Defaults are the paper's where the paper states a value. A preset names what differs from them. The module
`loader` reads, checks and writes settings as TOML; this one imports neither torch nor NumPy.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

PRETRAINED_FEATURES = ("none", "efficientnet_lite0")
KINDS = ("auto", "object", "texture")
FAMILIES = ("perlin", "scratch", "shading", "dots", "chip", "patch", "poisson")


@dataclass(frozen=True)
class DataConfig:
    """Pictures, their size, and how they are divided."""

    path: str = ""
    category: str = ""  # one category of a data set, or "a,b,c" in one model; empty: `path` holds only one
    image_size: int = 256
    antialias: bool = True
    resize_mode: str = (
        "stretch"  # or "tile": training sees crops of image_size, the pipeline cuts tiles of it
    )
    shorter_side: int = 0  # with "tile": pixels to which pictures are scaled; 0: their own scale
    bit_depth: int = 0  # of the camera, for 16-bit pictures; 0: the fewest bits that hold all good pictures
    foreground: str = "classical"  # how an object is found; or "none", "rembg", a folder of masks
    texture_folder: str = ""  # DTD or any folder of pictures; empty: the built-in textures
    validation_fraction: float = 0.1
    calibration_fraction: float = 0.1
    calibration_min: int = 20
    calibration_folder: str = ""  # further normal pictures that replace the calibration fraction
    num_workers: int = 1

    def __post_init__(self) -> None:
        if self.bit_depth != 0 and not 8 <= self.bit_depth <= 16:
            raise ValueError(
                f"`data.bit_depth` is {self.bit_depth}; give the camera's, 8 to 16, or 0 to have it found"
            )


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
    segmenter_prior: float = 0.5  # probability that a fresh segmenter gives every pixel; 0.5: bias as drawn
    # Features in which the finished model remembers patches of good parts, beside what both networks learn
    # from scratch; or "none".
    pretrained_features: str = "none"

    def __post_init__(self) -> None:
        if self.pretrained_features not in PRETRAINED_FEATURES:
            raise ValueError(
                f"`model.pretrained_features` is {self.pretrained_features!r}; use one of "
                f"{', '.join(PRETRAINED_FEATURES)}"
            )


@dataclass(frozen=True)
class DiffusionConfig:
    """Noise levels; those of training are half-open ranges."""

    num_train_timesteps: int = 1000
    train_t_fine: tuple[int, int] = (0, 300)
    train_t_coarse: tuple[int, int] = (300, 1000)
    t_fine: int = 200
    t_coarse: int = 400
    guidance_weight: float = 1.0
    num_noise_samples: int = 1  # draws that the finished pipeline averages, each at the same cost
    top_fraction: float = 50 / 256**2


@dataclass(frozen=True)
class SynthesisConfig:
    """Synthetic defects.

    `kind` says what the paper's family pastes, and where. On an "object": a foreign texture or its own
    shuffled tiles, within the foreground, or anywhere when the foreground is not known. On a "texture":
    foreign textures only, in a random part of the picture; all families ignore a foreground. "auto": an
    "object" where a foreground is given, else a "texture".
    """

    probability: float = 0.5  # fraction of samples with a defect
    kind: str = "auto"
    families: tuple[str, ...] = ("perlin",)  # each defect is of one of them, drawn uniformly
    opacity_min: float = 0.2  # beta: fraction of the original that shows through the paste
    opacity_max: float = 0.8
    perlin_scale_log2_max: int = 5
    perlin_threshold: float = 0.5  # of noise in [-1, 1]
    self_shuffle_probability: float = 0.5  # of objects
    # The families beyond the paper change the picture by at most this many of 255 grey levels, drawn
    # log-uniformly.
    contrast_min_levels: float = 8.0
    contrast_max_levels: float = 128.0
    # Above 0: larger changes on coarse grain, up to this many of its standard deviations, drawn uniformly.
    contrast_max_grains: float = 0.0
    dark_probability: float = 0.5  # that a change darkens, in the families beyond the paper
    # Remove pixels from the paper's mask that the paste changed by less than 2 of 255 levels.
    visible_only: bool = False
    # Above 0: remove parts of a defect that stand out from the texture around them by less.
    visible_sigma: float = 0.0
    # Above 0: plain defects first. The limit starts here and falls to `visible_sigma` over `easy_samples`.
    visible_sigma_start: float = 0.0
    easy_samples: int = 0
    # Turn foreign textures grey on grey pictures; otherwise colour alone gives every defect away.
    grey_follows_picture: bool = False

    def __post_init__(self) -> None:
        self._check_what_is_pasted()
        self._check_how_visible_it_is()

    def _check_what_is_pasted(self) -> None:
        for name in ("probability", "self_shuffle_probability", "dark_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`{name}` is {getattr(self, name)}; it must lie between 0 and 1")
        if self.kind not in KINDS:
            raise ValueError(f"`kind` is {self.kind!r}; it must be one of {', '.join(KINDS)}")
        if isinstance(self.families, str) or not self.families or not set(self.families) <= set(FAMILIES):
            raise ValueError(f"`families` is {self.families!r}; list one or more of {', '.join(FAMILIES)}")
        if not 0 <= self.opacity_min <= self.opacity_max < 1:
            raise ValueError(
                f"`opacity_min` ({self.opacity_min}) and `opacity_max` ({self.opacity_max}) must be ordered, "
                "from 0 (only the paste is seen) to less than 1 (nothing of it would be)"
            )
        if not 0 <= self.perlin_scale_log2_max <= 8:
            raise ValueError(
                f"`perlin_scale_log2_max` is {self.perlin_scale_log2_max}; it must lie between 0 and 8"
            )
        if not -1 < self.perlin_threshold < 1:
            raise ValueError(f"`perlin_threshold` is {self.perlin_threshold}; it must lie between -1 and 1")

    def _check_how_visible_it_is(self) -> None:
        for name in ("visible_sigma", "visible_sigma_start", "contrast_max_grains"):
            if not 0 <= getattr(self, name) <= 100:
                raise ValueError(f"`{name}` is {getattr(self, name)}; it must lie between 0 and 100")
        if 0 < self.visible_sigma_start < self.visible_sigma or self.easy_samples < 0:
            raise ValueError(
                f"`visible_sigma_start` ({self.visible_sigma_start}) must be 0 or at least `visible_sigma` "
                f"({self.visible_sigma}), `easy_samples` ({self.easy_samples}) at least 0: defects become "
                "harder to see, not easier"
            )
        if not 2 <= self.contrast_min_levels <= self.contrast_max_levels <= 255:
            raise ValueError(
                f"`contrast_min_levels` ({self.contrast_min_levels}) and `contrast_max_levels` "
                f"({self.contrast_max_levels}) must be ordered, between 2 and 255 grey levels"
            )

    def after(self, samples: int) -> "SynthesisConfig":
        """Return the settings that hold once `samples` samples were seen: easy defects come first."""
        if self.visible_sigma_start == 0 or samples >= self.easy_samples:
            return self
        left = 1 - samples / self.easy_samples
        sigma = self.visible_sigma + left * (self.visible_sigma_start - self.visible_sigma)
        return dataclasses.replace(self, visible_sigma=sigma, visible_sigma_start=0.0)


@dataclass(frozen=True)
class OptimConfig:
    """Length of training, learning rates and losses."""

    seed: int = 0
    batch_size: int = 16  # samples of one optimiser step, over all processes
    micro_batch_size: int = 0  # samples that a process takes at a time; 0: all of its samples
    max_steps: int = 100_000  # 0: not known yet, max_epochs or max_minutes sets it
    max_epochs: int = 0  # above 0: sets max_steps once, before the first step
    max_minutes: float = 0.0  # above 0: sets max_steps from the measured pace; wins over max_epochs
    unet_lr: float = 1e-4
    segmenter_lr: float = 1e-5
    weight_decay: float = 0.0
    warmup_steps: int = 0
    final_lr_fraction: float = 1.0  # below 1: cosine from lr to lr * final_lr_fraction
    segmenter_cosine_steps: int = (
        0  # above 0: the segmenter's lr falls to 0 and rises again, this many steps each
    )
    gradient_norm_max: float = 1.0  # 0: gradients are not clipped
    ema_decay: float = 0.999
    precision: str = "no"  # "no" (fp32), "bf16", "fp16", or "auto": bf16 where the machine computes in it
    gradient_checkpointing: bool = False  # of the UNet: a third more work, a fraction of the memory
    compile: bool = False  # torch.compile: minutes at the start, faster steps on a GPU
    segmentation_loss: str = "paper"  # "paper" (5 focal + smooth L1) or "bce_dice"
    positive_weight: float = 1.0  # of anomalous pixels in bce_dice
    # True: the UNet learns to repair. Damaged samples have a noise loss, too, whose target is the picture
    # before the synthetic defect. The paper has normal samples only.
    repair: bool = False
    # True: the segmentation loss does not reach the UNet, and anomalous pictures pass it without gradients.
    detach_reconstruction: bool = False
    # Above 0: two phases replace joint training. This fraction of the budget trains the UNet alone, on normal
    # samples; then the UNet is frozen, and the segmenter learns from crops of its reconstructions.
    unet_share: float = 0.0
    unet_steps: int = 0  # steps of the first phase; 0: not known yet, unet_share sets it
    segmenter_batch_size: int = 8  # crops that a process takes in a step of the second phase
    segmenter_crop: int = 128  # side in pixels; 0: the whole picture
    buffer_size: int = 512  # reconstructions in the replay buffer: 0.3 GB at 256 pixels
    buffer_steps: int = 2  # steps after which a new reconstruction replaces the oldest one


@dataclass(frozen=True)
class DistillationConfig:
    """A student that learns from a finished pipeline what it says, to say it in one pass."""

    teacher: str = ""  # folder of the pipeline; empty: training from pictures alone
    teacher_sha256: str = ""  # of its weights and settings; `--resume` goes on with no other one
    num_noise_samples: int = 0  # draws that the teacher averages; 0: as saved
    map_weight: float = 1.0  # of the cross entropy to the teacher's map, beside the loss to the masks


@dataclass(frozen=True)
class LogConfig:
    """What a run writes, and how often."""

    loss_steps: int = 50  # a row in log.jsonl, with the mean over these steps
    checkpoint_steps: int = 500
    validations: int = 10  # spread over the run
    keep_checkpoints: int = 2
    samples: int = 8  # panels of test pictures
    certificate_minutes: float = 1.0  # for measuring what the model misses, after the training; 0 is off
    tensorboard: bool = False  # write curves and pictures into tensorboard/, too


@dataclass(frozen=True)
class TrainConfig:
    """All settings of a run."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    synthesis: SynthesisConfig = field(default_factory=SynthesisConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    log: LogConfig = field(default_factory=LogConfig)


def with_optim(config: TrainConfig, **values: Any) -> TrainConfig:
    """Return the same config with other values in `optim`."""
    return dataclasses.replace(config, optim=dataclasses.replace(config.optim, **values))
