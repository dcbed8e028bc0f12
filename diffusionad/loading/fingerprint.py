"""One hash over everything that decides a saved pipeline's scores.

Figures carry it, so that they cannot be quoted for other weights.
"""

import hashlib
import json
from pathlib import Path

from diffusionad.files import file_sha256
from diffusionad.loading.model_files import read_json
from diffusionad.settings import SCORE_SETTINGS

WEIGHTS = "diffusion_pytorch_model.safetensors"  # variants are copies of it in another precision


def pipeline_sha256(folder: Path) -> str:
    """SHA-256 over the weights and configs of the components and the settings that change scores.

    The threshold and the calibration do not count: they follow from the scores. Nor does the contrast, which
    leaves their order alone.

    Args:
        folder: a saved pipeline.

    Raises:
        FileNotFoundError: `folder` holds no saved pipeline.
        ValueError: a config is damaged, or a link out of the folder.
    """
    index = folder / "model_index.json"
    if not index.is_file():
        raise FileNotFoundError(f"`{index}` is missing; `{folder}` is not a saved pipeline.")
    saved = read_json(index, folder)
    settings = {name: saved.get(name) for name in (*SCORE_SETTINGS, "patch_size") if name != "contrast"}
    # Models from before there was such a setting keep their hash.
    for name, former in {"shorter_side": None, "bit_depth": None, "denoising": "guided"}.items():
        if settings[name] in (None, former):
            del settings[name]
    segmenter = folder / "segmenter/config.json"
    if segmenter.is_file() and read_json(segmenter, folder).get("known_marks"):
        settings["mark_similarity"] = saved.get("mark_similarity")  # marks of models before 0.2
    total = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in sorted([*folder.glob("*/*config.json"), *folder.glob(f"*/{WEIGHTS}")]):
        total.update(f"{path.parent.name}/{path.name} {file_sha256(path)}\n".encode())
    return total.hexdigest()
