"""The demo data: deterministic pictures, honest masks, disjoint splits, and a folder that can be resumed."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.demo.contact_sheet import contact_sheet
from training.demo.difficulty import aurocs, blur_residual_scores, per_pixel_gaussian_scores
from training.demo.difficulty import main as difficulty_main
from training.demo.render import main, write_category
from training.demo.sample import CATEGORIES, DEFECTS, SPLITS, render

EVERY_DEFECT = [(category, defect) for category in CATEGORIES for defect in DEFECTS[category]]
SMALL = {"size": 64, "train": 3, "normal": 2, "verify": 1, "good": 2, "defective": 7}


def _sha256(picture: np.ndarray) -> str:
    return hashlib.sha256(picture.tobytes()).hexdigest()


# The published data set is named by its seed: a change of these values is a new data set.
PINNED = {
    ("washer", "train", None, 256): "e8cb8d407f3134e562f48ee7fa9d20b300ecf96de1e99b4000b6f330c642b57b",
    ("washer", "test", "chip", 128): "77805f5c825d042d7a700a76ec849c118a520e5c4ed0bd213f6f4b8a2c498195",
    (
        "washer",
        "test",
        "double_print",
        64,
    ): "bb4f87b2ad867286c34cf29b9c3f30b4a5ba5484c43ba4d270b740eaf9c32c91",
    ("fabric", "train", None, 256): "d1cb02b4694e0fda8f240ba8e98363a1b7fcbd4bf540ab92f9161b9ba347c385",
    ("fabric", "test", "hole", 128): "5ce3c232642ad4d93687f37825bc8f5c736206ad5be959623b0775dcc0998731",
    (
        "fabric",
        "test",
        "thick_thread",
        64,
    ): "58df5d2fa470dc084755ec27d69d5016871dda9f5ca6cd566c9f7325730daec0",
}


@pytest.mark.parametrize(("category", "split", "defect", "size"), PINNED)
def test_pictures_are_the_same_on_every_machine(category, split, defect, size):
    sample = render(category, split, 3, seed=0, size=size, defect=defect)
    pixels = np.concatenate([sample.image.ravel(), sample.mask.ravel()])
    assert _sha256(pixels) == PINNED[category, split, defect, size]


@pytest.mark.parametrize(("category", "defect"), EVERY_DEFECT)
def test_the_clean_twin_differs_only_inside_the_mask(category, defect):
    for index in range(3):
        sample = render(category, "test", index, seed=5, size=128, defect=defect)
        assert sample.label == 1 and sample.defect == defect
        assert set(np.unique(sample.mask)) == {0, 255}
        inside = sample.mask == 255
        change = np.abs(sample.image.astype(int) - sample.clean.astype(int)).max(axis=-1)
        assert not change[~inside].any()
        assert change[inside].mean() > 8
        assert 0.0005 < inside.mean() < 0.25


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_good_picture_is_its_own_twin(category):
    sample = render(category, "normal", 0, seed=1, size=64)
    assert sample.image.shape == (64, 64, 3) and sample.image.dtype == np.uint8
    assert np.array_equal(sample.image, sample.clean)
    assert sample.label == 0 and sample.defect is None and not sample.mask.any()


@pytest.mark.parametrize("category", CATEGORIES)
def test_no_two_pictures_share_their_seed(category):
    keys = [(split, index, seed, 64, None) for split in SPLITS for index in (0, 1) for seed in (0, 1)]
    keys += [("test", 0, 0, 64, defect) for defect in DEFECTS[category]]
    assert len({_sha256(render(category, *key).clean) for key in keys}) == len(keys)


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_same_scene_is_seen_at_every_size(category):
    small = render(category, "train", 0, seed=2, size=128).image.astype(float)
    large = render(category, "train", 0, seed=2, size=256).image.astype(float)
    reduced = large.reshape(128, 2, 128, 2, 3).mean(axis=(1, 3))
    assert np.abs(reduced - small).mean() < 4


@pytest.mark.parametrize(("category", "defect"), [("washer", "double_print"), ("fabric", "hole")])
def test_the_same_defect_is_seen_at_every_size(category, defect):
    small = render(category, "test", 0, seed=2, size=128, defect=defect).mask > 0
    large = render(category, "test", 0, seed=2, size=256, defect=defect).mask > 0
    reduced = large.reshape(128, 2, 128, 2).any(axis=(1, 3))
    assert (small & reduced).sum() > 0.7 * (small | reduced).sum()


@pytest.mark.parametrize("category", CATEGORIES)
def test_grain_leaves_room_for_a_good_reconstruction(category):
    x = render(category, "train", 0, seed=3).image.astype(float)
    around = (x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:]) / 4
    assert 1.5 < np.median(np.abs(x[1:-1, 1:-1] - around)) < 10


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"category": "bottle"}, "`category` is 'bottle', must be one of washer, fabric"),
        ({"split": "val"}, "`split` is 'val', must be one of train, test, normal, verify"),
        ({"index": -1}, "`index` is -1"),
        ({"seed": -1}, "`seed` is -1"),
        ({"size": 8}, "`size` is 8"),
        ({"defect": "hole"}, "`defect` is 'hole', must be None or, for washer, one of scratch"),
        ({"defect": "dent", "split": "train"}, "only 'test' has defects"),
    ],
)
def test_bad_arguments_are_named(changed, message):
    arguments = {"category": "washer", "split": "test", "index": 0, "seed": 0, "size": 64} | changed
    with pytest.raises(ValueError, match=message):
        render(**arguments)


def _modified(folder: Path) -> dict[str, int]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in files}


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_command_line_writes_the_layout_once(category, tmp_path, capsys):
    flags = [word for name, value in SMALL.items() for word in (f"--{name}", str(value))]
    command = ["--category", category, "--output", str(tmp_path), "--seed", "4", *flags]
    assert main(command) == 0
    folder = tmp_path / category
    first, last = DEFECTS[category][0], DEFECTS[category][-1]
    found = _modified(folder)
    assert len(found) == 1 + 3 + 2 + 1 + 2 + 3 * 7
    for name in (
        "demo_data.json",
        "train/good/002.png",
        "test/good/001.png",
        "normal/001.png",
        "verify/000.png",
        f"test/{first}/001.png",
        f"clean/{first}/001.png",
        f"ground_truth/{first}/001_mask.png",
        f"test/{last}/000.png",
    ):
        assert name in found
    sample = render(category, "test", 1, seed=4, size=64, defect=first)
    for path, picture in (
        (f"test/{first}/001.png", sample.image),
        (f"clean/{first}/001.png", sample.clean),
        (f"ground_truth/{first}/001_mask.png", sample.mask),
    ):
        assert np.array_equal(np.asarray(Image.open(folder / path)), picture)

    (folder / "normal" / "001.png").unlink()
    main(command)
    again = _modified(folder)
    assert again.keys() == found.keys()
    assert [name for name in found if again[name] != found[name]] == ["normal/001.png"]


def test_two_data_sets_never_mix(tmp_path):
    write_category(tmp_path, "fabric", seed=0, **SMALL)
    with pytest.raises(ValueError, match="choose another folder"):
        write_category(tmp_path, "fabric", seed=1, **SMALL)


def test_processes_write_what_one_process_writes(tmp_path):
    one = write_category(tmp_path / "one", "washer", seed=0, **SMALL)
    two = write_category(tmp_path / "two", "washer", seed=0, workers=2, **SMALL)
    for path in sorted(one.rglob("*.png")):
        assert path.read_bytes() == (two / path.relative_to(one)).read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seed", "0"], "--category and --output are needed"),
        (["--category", "washer", "--output", "data", "--seed", "-1"], "`seed` is -1"),
        (["--category", "washer", "--output", "data"], "--seed"),
    ],
)
def test_the_command_line_names_the_missing_or_wrong_option(words, message, capsys):
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_the_contact_sheet_outlines_without_touching_the_defect():
    good = render("washer", "test", 0, seed=0, size=64)
    bad = render("washer", "test", 0, seed=0, size=64, defect="chip")
    sheet = np.asarray(contact_sheet({"washer": [good]}, {"washer": [bad]}))
    inside = bad.mask > 0
    shown, outlined = sheet[112 : 112 + 64, 6:70], sheet[200 : 200 + 64, 6:70]
    assert np.array_equal(shown, bad.image)
    assert np.array_equal(outlined[inside], bad.image[inside])
    assert (outlined != shown).any()


def test_baselines_find_a_defect_that_is_easy():
    rng = np.random.default_rng(0)
    train, test = rng.normal(0.5, 0.01, (20, 16, 16, 3)), rng.normal(0.5, 0.01, (6, 16, 16, 3))
    test[3:, 4:6, 4:6] = 1.0
    for scores in (per_pixel_gaussian_scores(train, test), blur_residual_scores(test)):
        for name, values in scores.items():
            assert values.shape == (6,)
            if "max" in name:
                assert values[:3].max() < values[3:].min()


def test_baselines_run_on_a_rendered_folder(tmp_path):
    folder = write_category(tmp_path, "washer", seed=0, **SMALL)
    results = aurocs(folder)
    assert set(results) == {"per-pixel Gaussian", "blur residual"}
    assert all(0 <= value <= 1 for variants in results.values() for value in variants.values())


def test_baselines_name_an_empty_folder(tmp_path, capsys):
    with pytest.raises(ValueError, match="`folder` is"):
        aurocs(tmp_path)
    assert difficulty_main(["--data", str(tmp_path)]) == 2
    assert "`folder` is" in capsys.readouterr().err
