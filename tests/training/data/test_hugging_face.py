"""Data sets of the library `datasets`, from files on disk: the Hub's are the same once they are loaded."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data.catalog import categories, scan
from training.data.masks import read_mask

datasets = pytest.importorskip("datasets", reason="the package datasets is not installed")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setattr(datasets.config, "HF_CACHE_HOME", folder)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "datasets")
    monkeypatch.setattr(datasets.config, "HF_MODULES_CACHE", folder / "modules")
    datasets.disable_progress_bars()
    return folder


def encoded(seed: int, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def mask() -> bytes:
    buffer = io.BytesIO()
    pixels = np.zeros((16, 16), np.uint8)
    pixels[2, 3:6] = 1
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def parquet(path: Path, rows: list[tuple[str, str, int]]) -> None:
    """Rows of (category, kind of defect, seed) as a split."""
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "mask": datasets.Image(),
            "defect": datasets.ClassLabel(names=["dent", "Good", "no ink"]),
            "category": datasets.Value("string"),
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {
        "image": [{"bytes": encoded(seed), "path": None} for _, _, seed in rows],
        "mask": [None if kind == "Good" else {"bytes": mask(), "path": None} for _, kind, _ in rows],
        "defect": [kind for _, kind, _ in rows],
        "category": [category for category, _, _ in rows],
    }
    datasets.Dataset.from_dict(columns, features=features).to_parquet(path)


def test_a_published_data_set_becomes_records_with_its_bytes_unchanged(tmp_path: Path) -> None:
    train = [("cup", "Good", 1), ("cup", "dent", 2), ("lid", "Good", 3)]
    parquet(tmp_path / "cups/data/train-00000-of-00001.parquet", train)
    test = [("cup", "Good", 4), ("cup", "no ink", 5), ("lid", "dent", 6)]
    parquet(tmp_path / "cups/data/test-00000-of-00001.parquet", test)
    source = f"hf:{tmp_path / 'cups'}"
    assert categories(source) == ["cup", "lid"]
    catalog = scan(source, "cup")
    assert [record.image.read_bytes() for record in catalog.train] == [encoded(1)]
    assert [(r.defect, r.image.read_bytes()) for r in catalog.test] == [
        ("good", encoded(4)),
        ("no_ink", encoded(5)),
    ]
    assert read_mask(catalog.test[1].mask).sum() == 3
    assert catalog.train[0].image.suffix == ".jpeg" and catalog.layout == "Hugging Face datasets"
    written = catalog.train[0].image.stat().st_mtime_ns
    assert scan(source, "cup") == catalog and catalog.train[0].image.stat().st_mtime_ns == written


def test_an_imagefolder_with_labels_and_masks_in_its_metadata_is_read(tmp_path: Path) -> None:
    root = tmp_path / "plates"
    for half, kind in (("train", "ok"), ("test", "ok"), ("test", "rust")):
        (root / half / kind).mkdir(parents=True)
        (root / half / kind / "a.png").write_bytes(encoded(len(half + kind), "PNG"))
    catalog = scan(f"hf:{root}")
    assert catalog.category == "plates" and len(catalog.train) == 1
    assert [record.defect for record in catalog.test] == ["good", "rust"]

    for half, kinds in (("train", ["ok"]), ("test", ["ok", "rust"])):
        lines = ["file_name,mask_file_name,label"]
        for kind in kinds:
            (root / half / kind / "a_mask.png").write_bytes(mask())
            lines.append(f"{kind}/a.png,{kind}/a_mask.png,{kind}")
        (root / half / "metadata.csv").write_text("\n".join(lines) + "\n")
    catalog = scan(f"hf:{root}")
    assert [record.mask is not None for record in catalog.test] == [False, True]


def test_without_a_test_split_the_defective_pictures_are_tested(tmp_path: Path) -> None:
    rows = [("cup", "Good", 1), ("cup", "dent", 2)]
    parquet(tmp_path / "cups/data/train-00000-of-00001.parquet", rows)
    catalog = scan(f"hf:{tmp_path / 'cups'}")
    assert len(catalog.train) == 1 and [record.defect for record in catalog.test] == ["dent"]


def test_columns_that_are_not_understood_are_listed(tmp_path: Path) -> None:
    table = datasets.Dataset.from_dict({"text": ["a"], "label": [0]})
    (tmp_path / "words").mkdir()
    table.to_parquet(tmp_path / "words/train.parquet")
    with pytest.raises(ValueError, match="has the columns text, label; needed are a picture"):
        scan(f"hf:{tmp_path / 'words'}")


def test_what_is_no_data_set_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`hf:.*nowhere` cannot be read as a data set"):
        scan(f"hf:{tmp_path / 'nowhere'}")


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match="need the package datasets: pip install datasets"):
        scan("hf:org/name")
