"""Data sets of the library `datasets`: `hf:org/name` of the Hub, or `hf:FOLDER` with parquet or pictures.

The pictures are written once, byte for byte, in MVTec-AD's layout under the library's cache, and read there.
Columns are found by type and name: an image column holds the pictures, an image column named like a mask the
masks; the label names the kind of defect, or says good. A folder of pictures may name both in `metadata.csv`.
"""

import hashlib
import io
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from PIL import Image

from diffusionad.files import replacing
from diffusionad.images.image_io import IMAGE_FORMATS

from ..names import Role, role_of
from ..records import GOOD, Catalog
from . import mvtec

NAME = "Hugging Face datasets"
PREFIX = "hf:"
MASK_NAMES = ("mask", "ground_truth", "segmentation")
LABEL_NAMES = ("defect_type", "defect", "label", "labels", "anomaly", "class")
CATEGORY_NAMES = ("category", "object")
NORMAL = ("0", "false")  # beside names that say good


def categories(name: str) -> list[str]:
    """List the configurations if there are several, else the column `category`, else the data set's name."""
    configurations = _configurations(name)
    return configurations if len(configurations) > 1 else mvtec.categories(_on_disk(name, None))


def read(name: str, category: str) -> Catalog:
    """Read one category; download it if necessary.

    Raises:
        ValueError: `datasets` is not installed, there is no such data set, or its columns are not understood.
    """
    folder = _on_disk(name, category if len(_configurations(name)) > 1 else None)
    catalog = mvtec.read(folder / category, category)
    return Catalog(category, catalog.train, catalog.test, NAME, catalog.notes)


def _library() -> ModuleType:
    try:
        import datasets
    except ImportError as error:
        raise ValueError(
            "`hf:` data sets need the package datasets: pip install datasets; or give a folder."
        ) from error
    return datasets


def _configurations(name: str) -> list[str]:
    return _loading(name, _library().get_dataset_config_names, name)


def _loading(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of the library; turn its errors into a ValueError."""
    try:
        return function(*arguments)
    except (OSError, ValueError, _library().exceptions.DatasetsError) as error:
        raise ValueError(f"`{PREFIX}{name}` cannot be read as a data set: {error}") from error


def _on_disk(name: str, configuration: str | None) -> Path:
    """Return the folder of all categories; write it where it is missing."""
    datasets = _library()
    halves = _loading(name, datasets.load_dataset, name, configuration)
    fingerprint = hashlib.sha256("".join(half._fingerprint for half in halves.values()).encode()).hexdigest()
    folder = Path(datasets.config.HF_CACHE_HOME) / "diffusionad" / f"{_safe(name)}-{fingerprint[:16]}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with replacing(folder) as partial:
            for half_name, half in halves.items():
                keeps_defects = half_name != "train" or len(halves) == 1
                _write(half, half_name, partial, configuration or Path(name).name, keeps_defects)
    return folder


def _write(half: Any, half_name: str, root: Path, category: str, keeps_defects: bool) -> None:
    """Write one split: good pictures of "train" to train with; its defective ones only if asked to."""
    image_column, mask_column, label_column, category_column = _columns(half)
    for column in filter(None, (image_column, mask_column)):
        half = half.cast_column(column, _library().Image(decode=False))
    for index, row in enumerate(half):
        kind = _kind(_text(half, label_column, row), half_name) if label_column else GOOD
        if kind != GOOD and not keeps_defects:
            continue
        side = "train" if half_name == "train" and kind == GOOD else "test"
        folder = root / _safe((category_column and _text(half, category_column, row)) or category)
        stem = f"{half_name}_{index:06d}"
        _save(row[image_column], folder / side / kind / stem)
        if kind != GOOD and mask_column and row[mask_column]:
            _save(row[mask_column], folder / "ground_truth" / kind / f"{stem}_mask")


def _columns(half: Any) -> tuple[str, str | None, str | None, str | None]:
    """Return the names of the columns of picture, mask, label and category.

    Raises:
        ValueError: there is no column of pictures, or a mask without a label.
    """
    images = [name for name, kind in half.features.items() if isinstance(kind, _library().Image)]
    masks = [name for name in images if any(part in name.lower() for part in MASK_NAMES)]
    photographs = [name for name in images if name not in masks]
    label, category = (
        next((name for name in names if name in half.features and name not in images), None)
        for names in (LABEL_NAMES, CATEGORY_NAMES)
    )
    if not photographs or (masks and label is None):
        raise ValueError(
            f"the data set has the columns {', '.join(half.features)}; needed are a picture, and beside a "
            f"mask a label ({', '.join(LABEL_NAMES)})."
        )
    return photographs[0], next(iter(masks), None), label, category


def _text(half: Any, column: str, row: dict[str, Any]) -> str | None:
    feature, value = half.features[column], row[column]
    is_number = isinstance(feature, _library().ClassLabel) and value is not None
    return feature.int2str(value) if is_number else value if value is None else str(value)


def _kind(label: str | None, half_name: str) -> str:
    """Return the kind of defect as a folder name; labels like 1 or true name no kind.

    The library leaves labels empty where all of "train" is of one kind.
    """
    if label is None and half_name != "train":
        raise ValueError(f"the split {half_name!r} has pictures without a label; label all, or none.")
    if label is None or label.lower() in NORMAL or role_of(label) is Role.GOOD:
        return GOOD
    return "defect" if label.lower() in ("1", "true") else _safe(label)


def _save(image: dict[str, Any], path: Path) -> None:
    """Write the encoded picture unchanged, with the extension of its format."""
    data = image["bytes"] or Path(image["path"]).read_bytes()
    with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as picture:
        assert picture.format is not None, "a picture that was opened has a format"
        extension = picture.format.lower()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(f"{path.name}.{extension}").write_bytes(data)


def _safe(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name).strip("._") or "unnamed"
