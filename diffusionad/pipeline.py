"""The pipeline: pictures in; anomaly map, score, verdict and the anomaly-free reconstruction out.

DiffusionAD, inference: noise at two scales, one UNet call, norm guidance, segmentation, mean of the top
pixels.
"""

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler, DiffusionPipeline, UNet2DModel
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor

from diffusionad.guidance import iterative_denoising, norm_guided_one_step, patch_size_of, prediction_type_of
from diffusionad.images.image_io import ImageError, ImageSource, read_image, resize
from diffusionad.images.tiling import TiledPicture, Tiling, model_size
from diffusionad.loading.pretrained import COMPONENTS, find_folder, load_component, read_index
from diffusionad.models.official_unet import OfficialUNet
from diffusionad.models.segmenter import AnomalySegmenter
from diffusionad.postprocessing.calibration import Calibration
from diffusionad.postprocessing.known_marks import (
    ITSELF,
    LEARNT_MIN,
    MARKS_MAX,
    PEAK_MIN,
    KnownMark,
    fade,
    find_peaks,
    rests,
    signatures,
)
from diffusionad.postprocessing.scoring import (
    Region,
    border_mask,
    decode_roi,
    encode_roi,
    find_regions,
    top_mean,
)
from diffusionad.settings import SCORE_SETTINGS, check_settings, to_plain

logger = logging.getLogger(__name__)

ImageInput = ImageSource | Tensor

OUTPUT_TYPES = ("pil", "np", "pt")

# A setting that is left alone, where None means "remove it".
UNCHANGED: Any = object()


@dataclass
class DiffusionADOutput(BaseOutput):
    """What the pipeline found in N pictures.

    The networks see a picture at the model's size H'_i x W'_i: S x S when it is stretched, its own shape when
    it is cut into S x S tiles.

    Attributes:
        anomaly_map: list of N float32 [H_i,W_i] in [0, 1], at each picture's own size.
        score: float64 [N] in [0, 1], mean of the largest pixels of the map at the model's size; as many of
            them for a picture of many tiles as for one.
        is_anomalous: bool [N], score above the threshold (and a region left, when `min_region_area` is set).
        p_value: float64 [N] in (0, 1], probability that a normal picture scores this high; None without a
            calibration that fits the settings of this call.
        mask: list of N bool [H_i,W_i], map above `pixel_threshold`, regions that are too small left out.
        reconstruction: the anomaly-free pictures at the model's size, by `output_type`: "pil" a list of N RGB
            images, "np" float32 [N,S,S,3] in [0, 1], "pt" float32 [N,3,S,S] in [0, 1]; in tiles, where sizes
            differ, "np" a list of N [H'_i,W'_i,3] and "pt" a list of N [3,H'_i,W'_i].
        regions: for each picture its connected anomalous regions, highest peak first, in its own pixels.
        known_marks: for each picture what looked like a mark of a good part, and was taken off the map.
        threshold: the threshold that was applied to scores, in [0, 1].
        pixel_threshold: the one that was applied to maps, in [0, 1]: the calibration's own at its threshold,
            else the same as `threshold`.
        timings: seconds of the whole call by stage: "preprocess", "denoise", "segment", "score", "total".
    """

    anomaly_map: list[np.ndarray]
    score: np.ndarray
    is_anomalous: np.ndarray
    p_value: np.ndarray | None
    mask: list[np.ndarray]
    reconstruction: list[Image.Image] | list[np.ndarray] | list[Tensor] | np.ndarray | Tensor
    regions: list[list[Region]]
    known_marks: list[list[KnownMark]]
    threshold: float
    pixel_threshold: float
    timings: dict[str, float]


class DiffusionADPipeline(DiffusionPipeline):
    """Norm-guided one-step denoising with a segmentation network (arXiv 2303.08730).

    Both networks are put into evaluation mode. The settings below are saved with the weights.

    Args:
        unet: predicts the noise, or x_0; sees pictures as pixel blocks when its `in_channels` is 3 p p. An
            `OfficialUNet` comes from a checkpoint of the authors' released code.
        scheduler: its alpha_bar and T are used; says whether `unet` predicts "epsilon" or "sample" (x_0).
        segmenter: compares picture and reconstruction.
        image_size: side S of the square that the networks see, pixels.
        patch_size: p of the UNet; None reads it off the UNet.
        resize_mode: "stretch" squeezes the whole picture into S x S; "tile" keeps its shape, and the networks
            see it in overlapping S x S tiles whose maps and reconstructions are blended.
        shorter_side: pixels to which pictures are scaled before they are cut into tiles, at least S; None
            keeps their own scale. What is smaller than S is enlarged to it. Always None with "stretch".
        antialias: average when shrinking; False resizes as OpenCV's INTER_LINEAR does.
        input_range: what 0..1 is mapped to before the networks; the authors' own checkpoints use (0, 1).
        t_fine: timestep of the little noise.
        t_coarse: timestep of the lot of noise, above `t_fine`.
        guidance_weight: w of the norm guidance.
        num_inference_steps: 1 is the method; more is classical iterative denoising, for comparison.
        num_noise_samples: independent noise draws whose maps and reconstructions are averaged.
        top_fraction: share of S x S pixels, so many of the map's largest have their mean as the score
            (paper: 50 of 256 x 256).
        seed: of the noise; it belongs to the position in S x S, so all pictures and tiles get the same.
        category: what the model was trained on, free text.
        threshold: scores and map pixels above are anomalous, in [0, 1].
        calibration: `Calibration.to_dict()`, where the threshold comes from; None if it was set by hand.
        roi: where to look, as `scoring.encode_roi` run lengths; None is everywhere.
        min_region_area: smaller regions, in pixels of the inspected picture, are no anomaly.
        ignore_border: width of the border that is not looked at, in pixels at the model's size.
        mark_similarity: correlation in [0, 1] from which a peak is one of the marks that the segmenter knows
            from good parts, and is taken off the map (from 0.1 below it is lowered); 1 leaves all on it. It
            makes no difference where the segmenter knows none.

    Raises:
        ValueError: when the sizes, timesteps or settings do not fit together.
    """

    model_cpu_offload_seq = "unet->segmenter"

    def __init__(
        self,
        unet: UNet2DModel | OfficialUNet,
        scheduler: DDPMScheduler,
        segmenter: AnomalySegmenter,
        image_size: int = 256,
        patch_size: int | None = None,
        resize_mode: str = "stretch",
        shorter_side: int | None = None,
        antialias: bool = True,
        input_range: tuple[float, ...] | list[float] = (-1.0, 1.0),
        t_fine: int = 200,
        t_coarse: int = 400,
        guidance_weight: float = 1.0,
        num_inference_steps: int = 1,
        num_noise_samples: int = 1,
        top_fraction: float = 50 / 256**2,
        seed: int = 0,
        category: str | None = None,
        threshold: float = 0.5,
        calibration: dict | None = None,
        roi: dict | None = None,
        min_region_area: int = 0,
        ignore_border: int = 0,
        mark_similarity: float = 0.85,
    ):
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler, segmenter=segmenter)
        if prediction_type_of(scheduler) not in ("epsilon", "sample"):
            raise ValueError(
                f"`scheduler` predicts {prediction_type_of(scheduler)!r}; use 'epsilon' or 'sample' (x_0)."
            )
        settings = {
            "image_size": image_size,
            "patch_size": patch_size_of(unet, 3) if patch_size is None else patch_size,
            "resize_mode": resize_mode,
            "shorter_side": shorter_side,
            "antialias": antialias,
            "input_range": input_range,
            "t_fine": t_fine,
            "t_coarse": t_coarse,
            "guidance_weight": guidance_weight,
            "num_inference_steps": num_inference_steps,
            "num_noise_samples": num_noise_samples,
            "top_fraction": top_fraction,
            "seed": seed,
            "category": category,
            "threshold": threshold,
            "calibration": calibration,
            "roi": roi,
            "min_region_area": min_region_area,
            "ignore_border": ignore_border,
            "mark_similarity": mark_similarity,
        }
        settings = {name: to_plain(value) for name, value in settings.items()}
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
        mark_similarity: float | None = None,
        generator: torch.Generator | None = None,
        batch_size: int = 8,
        output_type: str = "pil",
    ) -> DiffusionADOutput:
        """Inspect pictures. Every setting left at None is the one saved with the model.

        On a CPU the same picture gives the same bits alone, in any batch and in any order (one machine, dtype
        and number of threads); on a GPU scores agree to rounding.

        Args:
            image: one or many of: path; PIL image; NumPy [H,W], [H,W,C] or [N,H,W,C], uint8 0..255 or float
                0..1; tensor [C,H,W] or [N,C,H,W], float 0..1. Sizes and modes may be mixed in a list.
            t_fine: timestep of the little noise, in [0, t_coarse).
            t_coarse: timestep of the lot of noise, in (t_fine, T).
            guidance_weight: w >= 0; 0 uses the fine scale alone.
            threshold: in [0, 1], for scores and map pixels.
            num_inference_steps: 1 is norm-guided one-step denoising. More, up to t_coarse: classical
                ancestral DDPM from t_coarse, WITHOUT norm guidance, the segmenter unchanged: the paper's
                comparison, slower.
            num_noise_samples: noise draws to average.
            roi: where to look, for all pictures: non-zero pixels of a mask of any size (it is stretched).
            min_region_area: pixels of the inspected picture; smaller regions are no anomaly.
            ignore_border: pixels at the model's size.
            mark_similarity: in [0, 1], from which a known mark is taken off the map; 1 leaves all on it.
            generator: source of the noise in place of the saved seed; advanced by the call.
            batch_size: pictures, or tiles of one, per network call on a GPU; changes speed and memory.
            output_type: form of `reconstruction`: "pil", "np" or "pt".

        Returns:
            `DiffusionADOutput`.

        Raises:
            ValueError: an argument out of range or a picture that cannot be used; the message says which and
                why.
            FileNotFoundError: no such picture.
            RuntimeError: the networks produced NaN, as float16 can.
        """
        # 0. Check everything that can be known before the first picture is read.
        sources = _as_list(image)
        overrides = {
            "t_fine": t_fine,
            "t_coarse": t_coarse,
            "guidance_weight": guidance_weight,
            "threshold": threshold,
            "num_inference_steps": num_inference_steps,
            "num_noise_samples": num_noise_samples,
            "roi": None if roi is None else encode_roi(_read_roi(roi)),
            "min_region_area": min_region_area,
            "ignore_border": ignore_border,
            "mark_similarity": mark_similarity,
        }
        settings = {**self.config, **{name: value for name, value in overrides.items() if value is not None}}
        self.check_inputs(sources, settings, generator, batch_size, output_type)
        pixel_threshold = self._pixel_threshold(settings)
        noises = self._draw_noise(settings, generator)

        started = time.perf_counter()
        timings = dict.fromkeys(("preprocess", "denoise", "segment", "score"), 0.0)
        maps, scores, masks, regions, reconstructions, known_marks = [], [], [], [], [], []
        inside = np.ones((0, 0), dtype=bool)  # made for the first picture, and again where the size changes
        # On a CPU the networks see one tile at a time: the kernels chosen for another batch size round
        # differently, the same picture must get the same bits in any batch, and in fp32 batching does not pay
        # there anyway.
        device = self._execution_device
        tiles_per_call = 1 if device.type == "cpu" else batch_size
        # Stretched pictures are one tile each. One cut into tiles fills calls by itself, and may be huge.
        step = tiles_per_call if self.config.resize_mode == "stretch" else 1
        batches = [sources[i : i + step] for i in range(0, len(sources), step)]
        if len(sources) > batch_size:
            batches = self.progress_bar(batches)
        for batch in batches:
            # 1. Pictures of any size and kind come to the model's size; there they are one tile or several.
            tick = time.perf_counter()
            pictures, sizes = self._preprocess(batch, first=len(scores))
            tiles = [(picture, i) for picture in pictures for i in range(len(picture))]
            for k in range(0, len(tiles), tiles_per_call):
                seen = tiles[k : k + tiles_per_call]
                x_0 = self._to_input_range([picture.tile(i) for picture, i in seen])  # [M,3,S,S]
                tick = _lap(timings, "preprocess", tick, device)

                # 2.-4. Noise at two scales, denoise in one step, guide; averaged over the noise draws.
                x_0_hat, tile_maps = torch.zeros_like(x_0), torch.zeros_like(x_0[:, :1])
                for noise_fine, noise_coarse, state in noises:
                    x_0_hat_k = self._reconstruct(x_0, noise_fine, noise_coarse, state, settings)  # [M,3,S,S]
                    tick = _lap(timings, "denoise", tick, device)

                    # 5. The segmenter compares; fp32 from here on, so that a half-precision network moves no
                    # ranking.
                    dtype = self.segmenter.dtype
                    logits = self.segmenter(x_0.to(dtype), x_0_hat_k.to(dtype)).float()  # [M,1,S,S]
                    tile_maps += torch.sigmoid(logits) / len(noises)
                    x_0_hat += x_0_hat_k / len(noises)
                    tick = _lap(timings, "segment", tick, device)
                found = tile_maps[:, 0].cpu().numpy()  # [M,S,S] in [0,1]
                if not np.isfinite(found).all():
                    raise RuntimeError(
                        f"The networks produced NaN in {self.dtype}; load them with dtype=torch.float32."
                    )
                repaired = self._to_unit_range(x_0_hat).permute(0, 2, 3, 1).cpu().numpy()  # [M,S,S,3]
                for (picture, i), tile_map, tile in zip(seen, found, repaired, strict=True):
                    picture.add(i, tile_map, tile)
                tick = _lap(timings, "score", tick, device)

            # 6. Take known marks off the model's map and score it (camera resolution must not matter); mask
            # and regions at each picture's size.
            for picture, size in zip(pictures, sizes, strict=True):
                if inside.shape != picture.anomaly_map.shape:
                    inside = self._inside(settings, picture.anomaly_map.shape)
                looked_at = np.where(inside, picture.anomaly_map, np.float32(0))  # [H',W'] in [0,1]
                model_map, known = self._fade_known_marks(looked_at, picture, size, settings)
                area = self.config.image_size**2
                scores.append(top_mean(model_map, settings["top_fraction"], inside, area))
                full = resize(model_map, size).clip(0, 1)
                mask, found_regions = find_regions(full, full > pixel_threshold, settings["min_region_area"])
                maps.append(full)
                masks.append(mask)
                regions.append(found_regions)
                known_marks.append(known)
                reconstructions.append(_to_output_type(picture.reconstruction, output_type))
            _lap(timings, "score", tick, device)

        # 7. Verdicts and the form of the pictures that the caller asked for.
        score = np.array(scores, dtype=np.float64)  # [N]
        is_anomalous = score > settings["threshold"]
        if settings["min_region_area"]:
            is_anomalous &= np.array([len(found) > 0 for found in regions])
        if self.config.resize_mode == "stretch" and output_type != "pil":  # all of one size
            reconstructions = (np if output_type == "np" else torch).stack(reconstructions)
        timings["total"] = time.perf_counter() - started
        return DiffusionADOutput(
            anomaly_map=maps,
            score=score,
            is_anomalous=is_anomalous,
            p_value=self._p_values(score, settings),
            mask=masks,
            reconstruction=reconstructions,
            regions=regions,
            known_marks=known_marks,
            threshold=float(settings["threshold"]),
            pixel_threshold=float(pixel_threshold),
            timings=timings,
        )

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
        if roi is not UNCHANGED:
            settings["roi"] = None if roi is None else encode_roi(_read_roi(roi))
        changed = [k for k in self._score_settings() if k in settings and settings[k] != self.config[k]]
        if calibration is not UNCHANGED and calibration is not None:
            settings = {"threshold": calibration.threshold, **settings, "calibration": calibration.to_dict()}
        elif calibration is None or (changed and self.config.calibration is not None):
            settings["calibration"] = None
        self._check_settings({**self.config, **settings})
        if changed and self.config.calibration is not None and settings["calibration"] is None:
            logger.warning("%s changed: the stored calibration no longer applies; calibrate again.", changed)
        self.register_to_config(**settings)
        return self

    def learn_marks(
        self, image: ImageInput | Sequence[ImageInput], num_noise_samples: int | None = None
    ) -> int:
        """Teach the segmenter what good parts carry, so that it is taken off the map where it comes back.

        All that stands out in these pictures is taken for harmless: show it good parts only. The stored
        calibration no longer applies afterwards; calibrate with other pictures than these. Save the pipeline
        into a new folder: weights of another precision in the old one would lack the marks.

        Args:
            image: one or many, as the call takes them.
            num_noise_samples: noise draws to average, as in the call; fewer take less time.

        Returns:
            How many marks were added; what is known already is not added again, and no more than 20,000 in
            all are kept.

        Raises:
            ValueError: a picture that cannot be used.
            FileNotFoundError: no such picture.
        """
        sources = _as_list(image)
        self.check_inputs(sources, self.settings(), None, 1, "np")
        size, before = self.config.image_size, self.segmenter.config.known_marks
        settings = {"mark_similarity": 1, "num_noise_samples": num_noise_samples, "output_type": "np"}
        try:
            for i, source in enumerate(sources):
                [tiled], _ = self._preprocess([source], first=i)
                # At the model's size already, so that the map is the one that is looked at for marks.
                output = self(tiled.picture, **settings)
                deviation = _deviation(tiled.picture, output.reconstruction[0])
                peaks, similarities = self._look_for_marks(output.anomaly_map[0], deviation, LEARNT_MIN)
                # Others of the same mark are worth keeping: each is found where the first is not quite.
                peaks = [p for p, known in zip(peaks, similarities >= ITSELF, strict=True) if not known]
                looks = signatures(deviation, peaks, size)[:, 0]
                looks = looks[np.linalg.norm(looks, axis=1) > ITSELF]
                room = MARKS_MAX - self.segmenter.config.known_marks
                if len(looks) and room:
                    self.segmenter.learn_marks(torch.from_numpy(looks[:room]))
        finally:
            added = self.segmenter.config.known_marks - before
            if added:
                self.configure(calibration=None)
        return added

    def settings(self) -> dict[str, Any]:
        """The saved settings by name, without the components."""
        return {k: v for k, v in self.config.items() if k not in self.components and not k.startswith("_")}

    def count_tiles(self, size: tuple[int, int]) -> int:
        """How many times the networks look at a picture of this size, (H, W): once, or once a tile."""
        return len(Tiling(self._model_size(size, "the picture"), self.config.image_size))

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
        if not sources:
            raise ValueError("`image` is empty; give at least one picture.")
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"`batch_size` is {batch_size!r}; give an integer of at least 1.")
        if output_type not in OUTPUT_TYPES:
            raise ValueError(f"`output_type` is {output_type!r}; use one of {', '.join(OUTPUT_TYPES)}.")
        if generator is not None and not isinstance(generator, torch.Generator):
            raise ValueError(
                f"`generator` is a {type(generator).__name__}; give one torch.Generator or None."
            )
        for i, source in enumerate(sources):
            if isinstance(source, Tensor):
                _check_tensor(source, _name_of(i))

    def _check_settings(self, settings: dict[str, Any]) -> None:
        patch_size = patch_size_of(self.unet, 3)
        multiples = {
            "unet": patch_size * 2 ** (len(self.unet.config.block_out_channels) - 1),
            "segmenter": self.segmenter.size_multiple,
        }
        check_settings(settings, self.scheduler.config.num_train_timesteps, patch_size, multiples)

    def _preprocess(
        self, batch: list[ImageInput], first: int
    ) -> tuple[list[TiledPicture], list[tuple[int, int]]]:
        """Pictures at the model's size, and their own sizes (H, W)."""
        pictures, sizes = [], []
        for i, source in enumerate(batch):
            if isinstance(source, Tensor):
                array = source.detach().float().cpu().permute(1, 2, 0).numpy()  # [C,H,W] -> [H,W,C]
            else:
                array = source
            array = read_image(array, _name_of(first + i))  # [H,W,3] in [0,1]
            name = f"`{source}`" if isinstance(source, str | os.PathLike) else _name_of(first + i)
            size = self._model_size(array.shape[:2], name)
            sizes.append(array.shape[:2])
            picture = resize(array, size, self.config.antialias)  # [H',W',3] in [0,1]
            pictures.append(TiledPicture(picture, self.config.image_size))
        return pictures, sizes

    def _model_size(self, size: tuple[int, int], name: str) -> tuple[int, int]:
        config = self.config
        return model_size(size, config.image_size, config.resize_mode, config.shorter_side, name)

    def _draw_noise(self, settings: dict[str, Any], generator: torch.Generator | None) -> list[tuple]:
        """For each draw: noise of both scales, [1,3,S,S], alike for all tiles, and the state for more."""
        generator = generator or torch.Generator().manual_seed(settings["seed"])
        shape = (1, 3, self.config.image_size, self.config.image_size)
        noises = []
        for _ in range(settings["num_noise_samples"]):
            noise = [
                torch.randn(shape, generator=generator, device=generator.device).to(self._execution_device)
                for _scale in ("fine", "coarse")
            ]
            noises.append((*noise, generator.clone_state()))
        return noises

    def _reconstruct(
        self,
        x_0: Tensor,
        noise_fine: Tensor,
        noise_coarse: Tensor,
        state: torch.Generator,
        settings: dict[str, Any],
    ) -> Tensor:
        if settings["num_inference_steps"] > 1:
            return iterative_denoising(
                self.unet,
                self.scheduler,
                x_0,
                noise_coarse,
                settings["t_coarse"],
                settings["num_inference_steps"],
                [state.clone_state() for _ in range(len(x_0))],
            )
        return norm_guided_one_step(
            self.unet,
            self.scheduler,
            x_0,
            noise_fine,
            noise_coarse,
            settings["t_fine"],
            settings["t_coarse"],
            settings["guidance_weight"],
        ).x_0_hat

    def _to_input_range(self, tiles: list[np.ndarray]) -> Tensor:
        x_0 = torch.from_numpy(np.stack(tiles)).permute(0, 3, 1, 2).contiguous()  # [M,3,S,S] in [0,1]
        low, high = self.config.input_range
        return (low + (high - low) * x_0).to(self._execution_device)

    def _to_unit_range(self, x: Tensor) -> Tensor:
        low, high = self.config.input_range
        return ((x.float() - low) / (high - low)).clamp(0, 1)

    def _fade_known_marks(
        self, anomaly_map: np.ndarray, tiled: TiledPicture, size: tuple[int, int], settings: dict[str, Any]
    ) -> tuple[np.ndarray, list[KnownMark]]:
        """The map [H',W'] without what the segmenter knows from good parts, and what that was, in a picture
        of `size` (H, W)."""
        if not self.segmenter.config.known_marks or settings["mark_similarity"] == 1:
            return anomaly_map, []
        deviation = _deviation(tiled.picture, tiled.reconstruction)
        peaks, similarities = self._look_for_marks(anomaly_map, deviation, PEAK_MIN)
        rest = rests(similarities, settings["mark_similarity"])
        known = [
            KnownMark(
                (column * size[1] // anomaly_map.shape[1], row * size[0] // anomaly_map.shape[0]),
                float(anomaly_map[row, column]),
                float(left),
                float(similarity),
            )
            for (row, column), left, similarity in zip(peaks, rest, similarities, strict=True)
            if left < 1
        ]
        return fade(anomaly_map, peaks, rest, self.config.image_size), known

    def _look_for_marks(
        self, anomaly_map: np.ndarray, deviation: np.ndarray, minimum: float
    ) -> tuple[list[tuple[int, int]], np.ndarray]:
        """Peaks of a map above a value, and how similar each is to a known mark, [P]; to none, -1."""
        peaks = find_peaks(anomaly_map, self.config.image_size, minimum)
        if not (peaks and self.segmenter.config.known_marks):
            return peaks, np.full(len(peaks), -1.0)
        seen = signatures(deviation, peaks, self.config.image_size, shifted=True)  # [P,25,225]
        return peaks, self.segmenter.similarity(torch.from_numpy(seen)).cpu().numpy()

    def _inside(self, settings: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
        """[H',W'] bool for a model's size of (H', W'): where the map counts."""
        height, width = size
        inside = border_mask(size, settings["ignore_border"])
        if settings["roi"] is not None:
            roi = Image.fromarray(decode_roi(settings["roi"]))
            # Where it shrinks, any part of a pixel inside the region keeps the pixel.
            is_smaller = roi.width < width and roi.height < height
            method = Image.Resampling.NEAREST if is_smaller else Image.Resampling.BOX
            inside &= np.asarray(roi.convert("L").resize((width, height), method)) > 0
        if not inside.any():
            raise ValueError("`roi` leaves no pixel to look at; mark with non-zero pixels where to look.")
        return inside

    def _calibration(self, settings: dict[str, Any]) -> Calibration | None:
        """The stored one, if it holds for these settings."""
        calibrated_alike = all(settings[name] == self.config[name] for name in self._score_settings())
        if self.config.calibration is None or not calibrated_alike:
            return None
        return Calibration.from_dict(self.config.calibration)

    def _score_settings(self) -> list[str]:
        """Those that change scores of this pipeline."""
        has_marks = self.segmenter.config.known_marks > 0
        return [name for name in SCORE_SETTINGS if name != "mark_similarity" or has_marks]

    def _p_values(self, score: np.ndarray, settings: dict[str, Any]) -> np.ndarray | None:
        calibration = self._calibration(settings)
        return None if calibration is None else calibration.p_values(score)

    def _pixel_threshold(self, settings: dict[str, Any]) -> float:
        calibration, threshold = self._calibration(settings), settings["threshold"]
        return threshold if calibration is None else calibration.pixel_threshold_at(threshold)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        *,
        dtype: torch.dtype = torch.float32,
        variant: str | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike | None = None,
        local_files_only: bool = False,
        **settings: Any,
    ) -> "DiffusionADPipeline":
        """Load a saved pipeline; only JSON and safetensors are read, no code is run.

        Args:
            pretrained_model_name_or_path: a folder, or the id of a repository on the Hub ("org/name").
            dtype: of both networks.
            variant: "fp16" loads `diffusion_pytorch_model.fp16.safetensors`.
            revision: branch, tag or commit on the Hub.
            token: for private repositories; None uses the one that is logged in.
            cache_dir: where downloads are kept.
            local_files_only: use what is in the cache and never the network.
            settings: saved settings to override, such as `threshold=0.4`.

        Returns:
            The pipeline on the CPU.

        Raises:
            FileNotFoundError: no such repository or revision, or a file is missing; the message says which.
            PermissionError: the repository is gated.
            OSError: the Hub did not deliver.
            ValueError: another kind of model, damaged files or an unknown setting.
        """
        folder = find_folder(
            pretrained_model_name_or_path, variant, revision, token, cache_dir, local_files_only
        )
        index = read_index(folder, cls.__name__)
        parts = {name: load_component(folder, name, index.get(name), dtype, variant) for name in COMPONENTS}
        saved = {k: v for k, v in index.items() if k not in COMPONENTS and not k.startswith("_")}
        unknown = sorted(set(saved) - set(cls._get_init_keys(cls)))
        if unknown:
            raise ValueError(
                f"`{folder}/model_index.json` has {unknown}, unknown to this version; upgrade diffusionad."
            )
        pipeline = cls(**parts, **saved)
        return pipeline.configure(**settings) if settings else pipeline


def _deviation(picture: np.ndarray, reconstruction: np.ndarray) -> np.ndarray:
    """[H,W] in [-1, 1] in grey, from two of [H,W,3] in [0, 1]."""
    return (picture - reconstruction).mean(axis=2)


def _as_list(image: ImageInput | Sequence[ImageInput]) -> list[ImageInput]:
    if isinstance(image, np.ndarray | Tensor) and image.ndim == 4:
        return list(image)
    if isinstance(image, list | tuple):
        return list(image)
    return [image]


def _name_of(index: int) -> str:
    return f"`image[{index}]`"


def _check_tensor(tensor: Tensor, name: str) -> None:
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3, 4):
        raise ImageError(
            f"{name} is a tensor of shape {tuple(tensor.shape)}; give [C,H,W] with C = 1, 3 or 4."
        )
    if not tensor.is_floating_point():
        low, high = (int(tensor.min()), int(tensor.max())) if tensor.numel() else (0, 0)
        raise ImageError(
            f"{name} is a tensor of {tensor.dtype} with values {low}..{high}; give floats in 0..1."
        )


def _read_roi(roi: ImageSource) -> np.ndarray:
    """[H,W] bool from any mask: non-zero is inside, or opaque where some of it is transparent."""
    if isinstance(roi, np.ndarray) and roi.dtype.kind in "bi":
        roi = (roi != 0).astype(np.uint8)
    elif isinstance(roi, Tensor):
        roi = (roi.squeeze() != 0).cpu().numpy().astype(np.uint8)
    if not isinstance(roi, Image.Image | np.ndarray):
        read_image(roi)  # for its errors
        roi = Image.open(roi)
    if isinstance(roi, Image.Image) and roi.has_transparency_data:
        alpha = np.asarray(roi.convert("RGBA"))[:, :, 3]
        if alpha.min() < 255:  # what drawing programs save
            roi = alpha
    return read_image(roi, "`roi`").max(axis=2) > 0


def _to_output_type(reconstruction: np.ndarray, output_type: str) -> Image.Image | np.ndarray | Tensor:
    if output_type == "pt":
        return torch.from_numpy(reconstruction).permute(2, 0, 1).contiguous()  # [3,H',W']
    if output_type == "np":
        return reconstruction  # [H',W',3]
    return Image.fromarray((reconstruction * 255).round().astype(np.uint8))


def _lap(timings: dict[str, float], stage: str, since: float, device: torch.device) -> float:
    if device.type != "cpu":  # it is given work ahead: the stage that gave it shall wait, not the next one
        torch.accelerator.synchronize(device)
    now = time.perf_counter()
    timings[stage] += now - since
    return now
