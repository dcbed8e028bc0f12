"""The pipeline: pictures in; anomaly map, score, verdict and the anomaly-free reconstruction out.

DiffusionAD, inference: noise at two scales, one UNet call, norm guidance, segmentation, mean of the top
pixels.
"""

import logging
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import DDPMScheduler, DiffusionPipeline, UNet2DModel
from PIL import Image
from torch import Tensor

from diffusionad.guidance import (
    DistilledPrediction,
    NoiseDraw,
    OneStepPrediction,
    distilled_one_step,
    draw_noise,
    iterative_denoising,
    norm_guided_one_step,
    patch_size_of,
    prediction_type_of,
)
from diffusionad.images.image_io import ImageSource
from diffusionad.images.image_processor import (
    ImageInput,
    ImageProcessor,
    as_list,
    check_call,
    to_output_type,
)
from diffusionad.images.preparation import PreparedPicture, collect, tiles_of
from diffusionad.images.tiling import Tiling
from diffusionad.loading.pretrained_mixin import PretrainedMixin
from diffusionad.models.feature_memory import FeatureMemory
from diffusionad.models.mark_memory import MarkMemory
from diffusionad.models.official_unet import OfficialUNet
from diffusionad.models.segmenter import AnomalySegmenter
from diffusionad.pipeline_output import DenoisingSteps, DiffusionADOutput, StageTimer, build_output
from diffusionad.postprocessing.calibration import Calibration
from diffusionad.postprocessing.known_marks import KnownMark
from diffusionad.postprocessing.postprocessor import Finding, Postprocessor
from diffusionad.postprocessing.roi import encode_roi, read_roi, region_of_interest
from diffusionad.settings import SCORE_SETTINGS, check_overrides, check_settings, to_plain
from diffusionad.streaming import Streaming

logger = logging.getLogger(__name__)

# A setting that is left alone, where None means "remove it".
UNCHANGED: Any = object()


class DiffusionADPipeline(PretrainedMixin, Streaming, DiffusionPipeline):
    """Norm-guided one-step denoising with a segmentation network (arXiv 2303.08730).

    Both networks are put into evaluation mode. The settings below are saved with the weights.

    Args:
        unet: predicts the noise, or x_0; sees pictures as pixel blocks when its `in_channels` is 3 p p. An
            `OfficialUNet` comes from a checkpoint of the authors' released code.
        scheduler: its alpha_bar and T are used; says whether `unet` predicts "epsilon" or "sample" (x_0).
        segmenter: compares picture and reconstruction.
        feature_memory: patches of good parts in pretrained features; what is far from all of them raises the
            map. None, the default, leaves the map to the segmenter; `learn_features` makes one.
        mark_memory: marks that good parts carry, such as stamps of a fixture; what looks like one is faded
            from the map. None, the default, fades nothing; `learn_marks` makes one.
        image_size: side S of the square that the networks see, pixels.
        patch_size: p of the UNet; None reads it off the UNet.
        resize_mode: "stretch" squeezes the whole picture into S x S; "tile" keeps its shape, and the networks
            see it in overlapping S x S tiles whose maps and reconstructions are blended.
        shorter_side: pixels to which pictures are scaled before they are cut into tiles, at least S; None
            keeps their own scale. What is smaller than S is enlarged to it. Always None with "stretch".
        antialias: average when shrinking; False resizes as OpenCV's INTER_LINEAR does.
        input_range: what 0..1 is mapped to before the networks; the authors' own checkpoints use (0, 1).
        bit_depth: bits that the camera uses of 16-bit pictures, 8 to 16; None takes the full range of the
            file, and warns where a picture uses little of it.
        denoising: "guided", the paper's; or "distilled", one pass at `t_fine` by a UNet that was taught what
            the guidance gives: `t_coarse`, `guidance_weight` and more draws or steps then mean nothing.
        t_fine: timestep of the fine noise scale.
        t_coarse: timestep of the coarse noise scale, above `t_fine`.
        guidance_weight: w of the norm guidance.
        num_inference_steps: 1 is the method; more is classical iterative denoising, for comparison.
        num_noise_samples: independent noise draws whose maps and reconstructions are averaged.
        top_fraction: share of S x S pixels, so many of the map's largest have their mean as the score
            (paper: 50 of 256 x 256).
        contrast: exponent of the odds of maps and scores, which spreads them; the order stays. 1 leaves them.
        seed: of the noise; it belongs to the position in S x S, so all pictures and tiles get the same.
        category: what the model was trained on, free text.
        threshold: scores and map pixels above are anomalous, in [0, 1].
        calibration: `Calibration.to_dict()`, where the threshold comes from; None if it was set by hand.
        roi: where to look, as `scoring.encode_roi` run lengths; None is everywhere.
        min_region_area: smaller regions, in pixels of the inspected picture, are no anomaly.
        ignore_border: width of the border that is not looked at, in pixels at the model's size.

    Raises:
        ValueError: when the sizes, timesteps or settings do not fit together.
    """

    model_cpu_offload_seq = "unet->segmenter->feature_memory"
    # Blank pictures come from a dead camera, but a crop that training cuts out may well show nothing.
    takes_blank: bool = False
    _optional_components: ClassVar[list[str]] = ["feature_memory", "mark_memory"]

    def __init__(
        self,
        unet: UNet2DModel | OfficialUNet,
        scheduler: DDPMScheduler,
        segmenter: AnomalySegmenter,
        feature_memory: FeatureMemory | None = None,
        mark_memory: MarkMemory | None = None,
        image_size: int = 256,
        patch_size: int | None = None,
        resize_mode: str = "stretch",
        shorter_side: int | None = None,
        antialias: bool = True,
        input_range: tuple[float, ...] | list[float] = (-1.0, 1.0),
        bit_depth: int | None = None,
        denoising: str = "guided",
        t_fine: int = 200,
        t_coarse: int = 400,
        guidance_weight: float = 1.0,
        num_inference_steps: int = 1,
        num_noise_samples: int = 1,
        top_fraction: float = 50 / 256**2,
        contrast: float = 1.0,
        seed: int = 0,
        category: str | None = None,
        threshold: float = 0.5,
        calibration: dict | None = None,
        roi: dict | None = None,
        min_region_area: int = 0,
        ignore_border: int = 0,
    ):
        given = dict(locals())
        super().__init__()
        components = ("unet", "scheduler", "segmenter", *self._optional_components)
        self.register_modules(**{name: given[name] for name in components})
        if prediction_type_of(scheduler) not in ("epsilon", "sample"):
            raise ValueError(
                f"`scheduler` predicts {prediction_type_of(scheduler)!r}; use 'epsilon' or 'sample' (x_0)."
            )
        others = given.keys() - {"self", "__class__", *components}
        settings = {name: to_plain(value) for name, value in given.items() if name in others}
        if patch_size is None:
            settings["patch_size"] = patch_size_of(unet, 3)
        self._check_settings(settings)
        self.register_to_config(**settings)
        unet.eval()
        segmenter.eval()

    @torch.no_grad()
    def __call__(
        self,
        image: ImageInput | Sequence[ImageInput],
        *,
        t_fine: int | None = None,
        t_coarse: int | None = None,
        guidance_weight: float | None = None,
        threshold: float | None = None,
        num_inference_steps: int | None = None,
        num_noise_samples: int | None = None,
        roi: ImageSource | None = None,
        min_region_area: int | None = None,
        ignore_border: int | None = None,
        generator: torch.Generator | None = None,
        batch_size: int = 8,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> DiffusionADOutput | Any:  # Any: a tuple, on request
        """Inspect pictures. Every setting left at None is the one saved with the model.

        On a CPU the same picture gives the same bits alone, in any batch and in any order (one machine, dtype
        and number of threads); on a GPU scores agree to rounding.

        Args:
            image: one or many of: path; PIL image; NumPy [H,W], [H,W,C] or [N,H,W,C], uint8 0..255, uint16 of
                the saved `bit_depth` or float 0..1; tensor [C,H,W] or [N,C,H,W], float 0..1. Sizes and modes
                may be mixed in a list.
            t_fine: timestep of the fine noise scale, in [0, t_coarse).
            t_coarse: timestep of the coarse noise scale, in (t_fine, T).
            guidance_weight: w >= 0; 0 uses the fine scale alone.
            threshold: in [0, 1], for scores and map pixels.
            num_inference_steps: 1 is norm-guided one-step denoising. More, up to t_coarse: classical
                ancestral DDPM from t_coarse, WITHOUT norm guidance: the paper's comparison, slower.
            num_noise_samples: noise draws to average.
            roi: where to look, for all pictures: non-zero pixels of a mask of any size (it is stretched).
            min_region_area: pixels of the inspected picture; smaller regions are no anomaly.
            ignore_border: pixels at the model's size.
            generator: source of the noise in place of the saved seed; advanced by the call.
            batch_size: pictures, or tiles of one, per network call on a GPU; changes speed and memory.
            output_type: form of `reconstruction`: "pil", "np" or "pt".
            return_dict: False returns a plain tuple of the output's fields, those that are None left out.

        Returns:
            `DiffusionADOutput`, or a tuple.

        Raises:
            ValueError: an argument out of range or a picture that cannot be used; the message says which.
            FileNotFoundError: no such picture.
            RuntimeError: the networks produced NaN, as float16 can.
        """
        # 0. Check everything that can be known before the first picture is read.
        sources = as_list(image)
        settings = self._settings_of_call(
            t_fine=t_fine,
            t_coarse=t_coarse,
            guidance_weight=guidance_weight,
            threshold=threshold,
            num_inference_steps=num_inference_steps,
            num_noise_samples=num_noise_samples,
            roi=None if roi is None else encode_roi(read_roi(roi)),
            min_region_area=min_region_area,
            ignore_border=ignore_border,
        )
        self.check_inputs(sources, settings, generator, batch_size, output_type)
        processor = ImageProcessor.from_config(self.config, self.takes_blank)
        device = self._execution_device
        postprocess = Postprocessor(settings, self._calibration(settings))
        noises = self._draw_noise(settings, generator)
        view_size = None if self.feature_memory is None else self.feature_memory.size_of
        timer = StageTimer(device)
        results: list[tuple[Image.Image, Finding, list[KnownMark], Any]] = []
        for batch in self._batches(sources, batch_size):
            # 1. Preprocess: pictures of any size and kind come to the model's size, as one tile or several.
            pictures = [processor.prepare(s, len(results) + i, view_size) for i, s in enumerate(batch)]
            for tiles in tiles_of(pictures, self._tiles_per_call(batch_size)):
                x_0 = processor.to_tensor([picture.tiled.tile(i) for picture, i in tiles], device)
                timer.lap("preprocess")  # x_0 [M,3,S,S]
                x_0_hat, anomaly_map = torch.zeros_like(x_0), torch.zeros_like(x_0[:, :1])
                for noise in noises:
                    # 2.-4. Noise at two scales, denoise in one step, guide; averaged over the noise draws.
                    x_0_hat_k = self._reconstruct(x_0, noise, settings)  # [M,3,S,S]
                    timer.lap("denoise")
                    # 5. Segment: compare the picture with its reconstruction.
                    anomaly_map += self._segment(x_0, x_0_hat_k) / len(noises)  # [M,1,S,S] in [0,1]
                    x_0_hat += x_0_hat_k / len(noises)
                    timer.lap("segment")
                collect(tiles, anomaly_map[:, 0].cpu().numpy(), processor.to_array(x_0_hat))
                timer.lap("score")
            # 6. Score at the model's size, mask and regions at each picture's own.
            for picture in pictures:
                model_map, marks = postprocess.look_inside(self._join_distances(picture)), []  # [H',W']
                if self.mark_memory is not None:
                    model_map, marks = self.mark_memory.fade(model_map, picture.tiled, picture.size)
                reconstruction = to_output_type(picture.tiled.reconstruction, output_type)
                found = postprocess(model_map, picture.size, picture.tiled)
                results.append((picture.picture, found, marks, reconstruction))
            timer.lap("score")
        # 7. Output: verdicts, and pictures in the form that the caller asked for.
        self.maybe_free_model_hooks()
        is_one_size = self.config.resize_mode == "stretch"
        output = build_output(results, postprocess, timer.timings(), output_type, is_one_size)
        return output if return_dict else output.to_tuple()

    @torch.no_grad()
    def intermediates(
        self,
        image: ImageInput,
        position: tuple[float, float] = (0.5, 0.5),
        generator: torch.Generator | None = None,
        **settings: Any,
    ) -> DenoisingSteps:
        """Return each step of norm-guided one-step denoising, for one tile and the first noise draw.

        Args:
            image: one picture, as the call takes it.
            position: (y, x) as shares of height and width; the tile whose centre is nearest is shown.
            generator: source of the noise in place of the saved seed.
            settings: of the call, such as `t_fine`; None is the saved one.

        Raises:
            ValueError: a picture or a setting that cannot be used.
            FileNotFoundError: no such picture.
        """
        if settings.get("roi") is not None:
            settings["roi"] = encode_roi(read_roi(settings["roi"]))
        settings = self._settings_of_call(**settings)
        self.check_inputs([image], settings, generator, 1, "np")
        processor = ImageProcessor.from_config(self.config)
        tiled = processor.prepare(image).tiled
        tile = tiled.tile(tiled.tiling.nearest(*position))
        x_0 = processor.to_tensor([tile], self._execution_device)  # [1,3,S,S]
        noise = self._draw_noise(settings, generator)[0]
        step = self._denoise(x_0, noise, settings)
        anomaly_map = self._segment(x_0, step.x_0_hat)[0, 0].cpu().numpy()  # [S,S]
        self.maybe_free_model_hooks()
        arrays = {name: processor.to_array(x)[0] for name, x in step.pictures().items()}  # [S,S,3]
        return DenoisingSteps(tile=tile, tile_count=len(tiled), anomaly_map=anomaly_map, **arrays)

    def configure(
        self,
        *,
        calibration: Calibration | None = UNCHANGED,
        roi: ImageSource | None = UNCHANGED,
        **settings: Any,
    ) -> "DiffusionADPipeline":
        """Change saved settings; they apply to later calls and are written by `save_pretrained`.

        Args:
            calibration: sets the threshold, too; None removes it.
            roi: where to look, any mask that the call accepts; None is everywhere.
            settings: any other setting of the constructor, by name.

        Returns:
            The pipeline itself.

        Raises:
            ValueError: unknown setting or a value out of range; nothing is changed then.
        """
        unknown = sorted(set(settings) - set(self.settings()))
        if unknown:
            raise ValueError(
                f"`{unknown[0]}` is no setting of the pipeline; use one of {sorted(self.settings())}."
            )
        settings = {name: to_plain(value) for name, value in settings.items()}
        check_overrides(self.config, settings)
        if roi is not UNCHANGED:
            settings["roi"] = None if roi is None else encode_roi(read_roi(roi))
        changed = [k for k in SCORE_SETTINGS if k in settings and settings[k] != self.config[k]]
        if calibration is not UNCHANGED and calibration is not None:
            settings = {"threshold": calibration.threshold, **settings, "calibration": calibration.to_dict()}
        elif calibration is None or (changed and self.config.calibration is not None):
            settings["calibration"] = None
        self._check_settings({**self.config, **settings})
        if changed and self.config.calibration is not None and settings["calibration"] is None:
            logger.warning("%s changed: the stored calibration no longer applies; calibrate again.", changed)
        self.register_to_config(**settings)
        return self

    def settings(self) -> dict[str, Any]:
        """The saved settings by name, without the components."""
        return {k: v for k, v in self.config.items() if k not in self.components and not k.startswith("_")}

    def __repr__(self) -> str:
        config, side = self.config, self.config.image_size
        parts = ", ".join(name for name, part in self.components.items() if part is not None)
        return (
            f"DiffusionADPipeline(category={config.category!r}, {config.resize_mode} {side} x {side}, "
            f"threshold {config.threshold:.3f}{'' if config.calibration else ' (not calibrated)'}, "
            f"{parts}, {self.device})"
        )

    def count_tiles(self, size: tuple[int, int]) -> int:
        """How many times the networks look at a picture of this size, (H, W): once, or once a tile."""
        return len(Tiling(self.model_size(size), self.config.image_size))

    def model_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the size (H', W') at which the networks see a picture of `size` (H, W)."""
        return ImageProcessor.from_config(self.config).model_size(size)

    def region_of_interest(
        self, size: tuple[int, int], roi: ImageSource | None = None, ignore_border: int | None = None
    ) -> np.ndarray:
        """Return where the map counts, bool [H',W'], for a picture of `size` (H, W); None is as saved."""
        encoded = None if roi is None else encode_roi(read_roi(roi))
        settings = self._settings_of_call(roi=encoded, ignore_border=ignore_border)
        return region_of_interest(settings, self.model_size(size))

    def check_inputs(
        self,
        sources: list[ImageInput],
        settings: dict[str, Any],
        generator: torch.Generator | None,
        batch_size: int,
        output_type: str,
    ) -> None:
        """Raise a ValueError that names the argument, what it is and what it may be."""
        self._check_settings(settings)
        check_call(sources, batch_size, output_type)
        if generator is not None and not isinstance(generator, torch.Generator):
            raise ValueError(
                f"`generator` is a {type(generator).__name__}; give one torch.Generator or None: the noise "
                "belongs to the pixel, and all pictures of a call get the same."
            )

    def _settings_of_call(self, **overrides: Any) -> dict[str, Any]:
        """Return the saved settings with those that a call gives; None is not given."""
        given = {name: value for name, value in overrides.items() if value is not None}
        check_overrides(self.config, given)
        return {**self.config, **given}

    def _check_settings(self, settings: dict[str, Any]) -> None:
        patch_size = patch_size_of(self.unet, 3)
        multiples = {
            "unet": patch_size * 2 ** (len(self.unet.config.block_out_channels) - 1),
            "segmenter": self.segmenter.size_multiple,
        }
        check_settings(settings, self.scheduler.config.num_train_timesteps, patch_size, multiples)

    def _batches(self, sources: list[ImageInput], batch_size: int) -> Any:
        """Split pictures into batches: stretched ones are one tile each, others may be huge and go alone."""
        step = self._tiles_per_call(batch_size) if self.config.resize_mode == "stretch" else 1
        batches = [sources[i : i + step] for i in range(0, len(sources), step)]
        return self.progress_bar(batches) if len(sources) > batch_size else batches

    def _tiles_per_call(self, batch_size: int) -> int:
        # On a CPU the networks see one tile at a time: the kernels chosen for another batch size round
        # differently, the same picture must get the same bits in any batch, and in fp32 batching does not pay
        # there anyway.
        return 1 if self._execution_device.type == "cpu" else batch_size

    def _draw_noise(self, settings: dict[str, Any], generator: torch.Generator | None) -> list[NoiseDraw]:
        generator = generator or torch.Generator().manual_seed(settings["seed"])
        size, device = self.config.image_size, self._execution_device
        return [
            draw_noise((1, 3, size, size), generator, device) for _ in range(settings["num_noise_samples"])
        ]

    def _reconstruct(self, x_0: Tensor, noise: NoiseDraw, settings: dict[str, Any]) -> Tensor:
        """Return x_0_hat [M,3,S,S] for one noise draw."""
        if settings["num_inference_steps"] == 1:
            return self._denoise(x_0, noise, settings).x_0_hat
        generators = [noise.state.clone_state() for _ in range(len(x_0))]
        t, steps = settings["t_coarse"], settings["num_inference_steps"]
        return iterative_denoising(self.unet, self.scheduler, x_0, noise.coarse, t, steps, generators)

    def _denoise(
        self, x_0: Tensor, noise: NoiseDraw, settings: dict[str, Any]
    ) -> OneStepPrediction | DistilledPrediction:
        """Denoise in one step, guided or distilled."""
        networks = self.unet, self.scheduler
        if settings["denoising"] == "distilled":
            return distilled_one_step(*networks, x_0, noise.fine, settings["t_fine"])
        scales = (settings[name] for name in ("t_fine", "t_coarse", "guidance_weight"))
        return norm_guided_one_step(*networks, x_0, noise.fine, noise.coarse, *scales)

    def _segment(self, x_0: Tensor, x_0_hat: Tensor) -> Tensor:
        """Return the map [M,1,S,S] in [0, 1]; fp32, so that a half-precision network moves no ranking."""
        dtype = self.segmenter.dtype
        return torch.sigmoid(self.segmenter(x_0.to(dtype), x_0_hat.to(dtype)).float())

    def _join_distances(self, picture: PreparedPicture) -> np.ndarray:
        """Return the map [H',W'] in [0, 1], with the distances to good parts where there is a memory."""
        if self.feature_memory is None:
            return picture.tiled.anomaly_map
        return self.feature_memory.fuse(picture.tiled, picture.view)

    def _calibration(self, settings: dict[str, Any]) -> Calibration | None:
        """Return the stored calibration, if it holds for these settings."""
        calibrated_alike = all(settings[name] == self.config[name] for name in SCORE_SETTINGS)
        if self.config.calibration is None or not calibrated_alike:
            return None
        return Calibration.from_dict(self.config.calibration)
