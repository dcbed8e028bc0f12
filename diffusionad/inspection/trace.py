"""What a verdict rests on, as hashes: so that it can be shown again, or be seen why not."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffusionad.files import replacing

if TYPE_CHECKING:
    from diffusionad.pipeline import DiffusionADPipeline


def weights_sha256(pipeline: "DiffusionADPipeline") -> str:
    """Return a SHA-256 over weights and configs of what runs, wherever it was loaded from.

    Args:
        pipeline: a pipeline, or an export, whose graphs were hashed when it was loaded.
    """
    exported = getattr(pipeline, "about", None)
    if exported is not None:
        return _digest({"graphs": exported["graphs"], "features": exported["features"]})
    total = hashlib.sha256()
    for name, part in sorted(pipeline.components.items()):
        config = {k: v for k, v in getattr(part, "config", {}).items() if not k.startswith("_")}
        total.update(f"{name} {_digest(config)}\n".encode())
        for key, tensor in sorted(part.state_dict().items()) if hasattr(part, "state_dict") else ():
            content = tensor.detach().cpu().contiguous().flatten()
            total.update(f"{name}.{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            total.update(content.view(content.new_empty(0).byte().dtype).numpy().data)
    return total.hexdigest()


def settings_sha256(pipeline: "DiffusionADPipeline") -> str:
    """Return a SHA-256 over all settings, threshold and calibration among them."""
    return _digest(pipeline.settings())


def write_head(head: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Keep the head of results for lines of JSON, and return what each line says of it.

    Args:
        head: as `header` returns it.
        folder: gets `heads/NAME.json`.
    """
    place = head_of(head, folder)
    place.parent.mkdir(exist_ok=True)
    with replacing(place) as partial:
        partial.write_text(json.dumps(head, indent=1), encoding="utf-8")
    return {name: head[name] for name in ("model", "weights_sha256", "settings_sha256", "versions")}


def head_of(line: dict[str, Any], folder: Path) -> Path:
    """Return where the head of a line of JSON is kept."""
    return folder / "heads" / f"{line['weights_sha256'][:16]}-{line['settings_sha256'][:16]}.json"


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()
