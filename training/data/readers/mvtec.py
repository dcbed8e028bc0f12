"""MVTec-AD's layout, which MPDD, BTAD, MVTec LOCO and the prepared VisA share, and what people make of it.

    <category>/train/good, validation/good, test/good, test/<defect>, ground_truth/<defect>/<name>_mask.png

BTAD says "ok" for good and "ko" for defective; its masks lack "_mask", as VisA's do. MVTec LOCO has a folder
of masks for each picture. A rendered data set may have `clean/<defect>/`, the same pictures without the
defect. Every folder may hold further folders, such as one a day. `names` knows what a folder's name means.
"""

import dataclasses
from pathlib import Path

from ..names import Role, is_plain, role_of, split_of
from ..places import CLEAN, Place, match_masks, survey
from ..records import GOOD, Catalog, Record, natural_order, pictures, subfolders
from ..sorting import NO_TWIN, OF_GOOD, OF_NOBODY, notes_on, sort_out

NAME = "MVTec-AD"


def categories(root: Path) -> list[str]:
    """List the folders with a `train` folder: the folder itself, or those in it."""
    if _has_train(root):
        return [root.resolve().name]
    found = [folder.name for folder in subfolders(root) if _has_train(folder)]
    # `OK/train` beside `NG/train`, or `images/train` beside `masks/test`, is one category.
    are_products = all(role_of(name) is Role.UNKNOWN for name in found) and not all(map(is_plain, found))
    return found if are_products else []


def _has_train(folder: Path) -> bool:
    return any(split_of(child.name) == "train" for child in subfolders(folder))


def read(root: Path, category: str) -> Catalog:
    """Read one category; `train` is empty where there are no good pictures.

    Raises:
        ValueError: there are masks among the good pictures.
    """
    if _has_train(root):
        return read_folders(root, category, NAME)
    catalog = read_folders(root / category, category, NAME)
    others = [
        folder for folder in subfolders(root) if not _has_train(folder) and pictures(folder, recursive=True)
    ]
    notes = tuple(f"`{folder.name}` beside it is not read: it has no folder `train`" for folder in others)
    return dataclasses.replace(catalog, notes=catalog.notes + notes)


def read_folders(folder: Path, category: str, layout: str) -> Catalog:
    """Read one category by the names of its folders; a note names every picture that is not used.

    Raises:
        ValueError: there are masks among the good pictures.
    """
    places = survey(folder)
    shown = [place for place in places if not place.is_mask]
    found = sort_out(shown)
    matches = match_masks(found.defective, [place for place in places if place.is_mask])
    _refuse_masks(folder, match_masks(found.assumed, matches.left, are_good=True).taken)
    of_good = match_masks(found.trained + found.tested_good, matches.left, are_good=True)
    unused = [place for group in found.left_out.values() for place in group]
    found.leave_out(OF_NOBODY, match_masks(unused, of_good.left).left)
    found.leave_out(OF_GOOD, of_good.taken)

    twins = {(place.kind.lower(), place.path.name): place for place in shown if place.split == CLEAN}
    test = [
        (place.kind, Record(place.path, "test", 0, GOOD, category=category)) for place in found.tested_good
    ]
    for place in found.defective:
        twin, mask = twins.pop((place.kind.lower(), place.path.name), None), matches.masks.get(place.path)
        clean = twin.path if twin else None
        test.append((place.kind, Record(place.path, "test", 1, place.kind, mask, clean, category)))
    found.leave_out(NO_TWIN, twins.values())
    test.sort(key=lambda named: (natural_order(named[0]), named[1].image))
    train = [Record(place.path, "train", 0, GOOD, category=category) for place in found.trained]
    notes = notes_on(found, matches, folder)
    return Catalog(category, train, [record for _, record in test], layout, notes)


def _refuse_masks(folder: Path, masks: list[Place]) -> None:
    """Raise a ValueError for masks of pictures that no folder calls good: these may be defective."""
    if masks:
        listed = "\n  ".join(str(mask.path.relative_to(folder)) for mask in masks)
        raise ValueError(
            f"`{folder}` has {len(masks)} files among its good pictures that look like their masks; move "
            f"them elsewhere, and defective pictures into `test/<kind of defect>`:\n  {listed}"
        )
