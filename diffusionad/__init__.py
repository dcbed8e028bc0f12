"""DiffusionAD: anomaly detection that shows what the part should have looked like (arXiv 2303.08730).

Public names are resolved on first use (PEP 562): `import diffusionad` alone loads neither torch nor
diffusers. `ModelMixin` is among them because diffusers' loader looks it up in any package that a
model_index.json names.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

_MODULE_OF = {
    "AnomalySegmenter": "diffusionad.models.segmenter",
    "Calibration": "diffusionad.postprocessing.calibration",
    "DiffusionADOutput": "diffusionad.pipeline_output",
    "DiffusionADPipeline": "diffusionad.pipeline",
    "ExportedPipeline": "diffusionad.deploy.exported",
    "FeatureMemory": "diffusionad.models.feature_memory",
    "MarkMemory": "diffusionad.models.mark_memory",
    "PictureResult": "diffusionad.picture_result",
    "ModelMixin": "diffusers",
    "OfficialUNet": "diffusionad.models.official_unet",
    "calibrate": "diffusionad.postprocessing.calibration",
    "demo_model": "diffusionad.loading.bundled",
    "demo_models": "diffusionad.loading.bundled",
    "guide": "diffusionad.guidance",
    "learn_features": "diffusionad.inspection.feature_learning",
    "learn_marks": "diffusionad.inspection.mark_learning",
    "norm_guided_one_step": "diffusionad.guidance",
    "predict_x_0": "diffusionad.guidance",
    "read_image": "diffusionad.images.image_io",
}

__all__ = sorted(_MODULE_OF)

if TYPE_CHECKING:
    from diffusers import ModelMixin

    from diffusionad.deploy.exported import ExportedPipeline
    from diffusionad.guidance import guide, norm_guided_one_step, predict_x_0
    from diffusionad.images.image_io import read_image
    from diffusionad.inspection.feature_learning import learn_features
    from diffusionad.inspection.mark_learning import learn_marks
    from diffusionad.loading.bundled import demo_model, demo_models
    from diffusionad.models.feature_memory import FeatureMemory
    from diffusionad.models.mark_memory import MarkMemory
    from diffusionad.models.official_unet import OfficialUNet
    from diffusionad.models.segmenter import AnomalySegmenter
    from diffusionad.picture_result import PictureResult
    from diffusionad.pipeline import DiffusionADPipeline
    from diffusionad.pipeline_output import DiffusionADOutput
    from diffusionad.postprocessing.calibration import Calibration, calibrate


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'diffusionad' has no attribute '{name}'")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
