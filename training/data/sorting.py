"""Sort the pictures of a category into good, tested and left out; nothing is left out without a sentence."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from .names import Role, role_of, sounds_defective
from .places import CLEAN, Matches, Place

DEFECTIVE = "their folders sound defective, and training is on good pictures: to test, move them into `test`"
NAMED_DEFECTIVE = "their names sound defective: move them into `test/<kind of defect>`, or rename them"
BESIDE_GOOD = "they lie beside the folder of good pictures: move them into it, if they are good"
BESIDE_TRAIN = "they lie outside `train` and `test`: move them into `train/good` or `test/<kind of defect>`"
NO_KIND = "no folder names their kind: move them into `test/good` or `test/<kind of defect>`"
DEPTH = "they are heights or points, not photographs"
NO_TWIN = "`test` has no picture of their kind and name, from after the damage"
OF_GOOD = "they are masks, but of good pictures"
OF_NOBODY = "they are masks, but of no picture: give a mask the name of its picture, or that and `_mask`"


@dataclass
class Sorted:
    """Pictures of a category by their use.

    Attributes:
        trained: good pictures to train with, by their folders or for lack of another sign.
        assumed: those of them that no folder calls good.
        tested_good: good pictures of the test split.
        defective: defective pictures, all of which are tested.
        left_out: unused files by the reason.
    """

    trained: list[Place] = field(default_factory=list)
    assumed: list[Place] = field(default_factory=list)
    tested_good: list[Place] = field(default_factory=list)
    defective: list[Place] = field(default_factory=list)
    left_out: dict[str, list[Place]] = field(default_factory=dict)

    def leave_out(self, reason: str, places: Iterable[Place]) -> None:
        """Add unused files; `reason` ends the sentence about them."""
        for place in places:
            self.left_out.setdefault(reason, []).append(place)


def sort_out(shown: list[Place]) -> Sorted:
    """Tell good, tested and unused pictures apart by their folders.

    Where a folder says good, only its pictures are good; the folders beside it are kinds of defect. Else all
    pictures are good but the ones that sound defective.

    Args:
        shown: pictures without the masks among them.
    """
    found = Sorted()
    has_train = any(place.split == "train" for place in shown)
    # The outermost folders that say good: `good`, or `line1/good` and `line2/good`.
    depths: dict[str, int] = {}
    for place in shown:
        if place.good_at is not None:
            depths[place.split] = min(place.good_at, depths.get(place.split, place.good_at))
    for place in shown:
        depth = depths.get(place.split)
        if place.split == CLEAN:
            continue
        if place.is_depth:
            found.leave_out(DEPTH, [place])
        elif place.split == "test":
            is_good = role_of(place.kind) is Role.GOOD and not place.is_defective
            if not place.kind:
                found.leave_out(NO_KIND, [place])
            else:
                (found.tested_good if is_good else found.defective).append(place)
        elif has_train and not place.split:
            found.leave_out(BESIDE_TRAIN, [place])
        elif depth is not None and place.good_at == depth:
            found.trained.append(place)
        elif place.is_defective or (depth is not None and place.kind):
            if place.split:
                found.leave_out(DEFECTIVE if place.is_defective else BESIDE_GOOD, [place])
            else:
                found.defective.append(place)
        elif depth is not None:
            found.leave_out(BESIDE_GOOD, [place])
        elif sounds_defective(place.path.stem):
            found.leave_out(NAMED_DEFECTIVE, [place])
        else:
            found.trained.append(place)
            found.assumed.append(place)
    return found


def notes_on(found: Sorted, matches: Matches, folder: Path) -> tuple[str, ...]:
    """Return a sentence for everything that was decided by a name, or left out.

    Args:
        found: pictures by their use.
        matches: masks of the defective pictures.
        folder: folder of the category; files are named as they lie in it.
    """
    notes = []
    if validation := [place for place in found.trained if place.split == "validation"]:
        notes.append(f"{len(validation)} good pictures of `validation` are used as those of `train` are")
    if assumed := [place for place in found.assumed if place.kind]:
        kinds = _listed(f"`{kind}`" for kind in dict.fromkeys(place.kind for place in assumed))
        notes.append(
            f"{len(assumed)} pictures in {kinds} count as good: move defective ones into "
            "`test/<kind of defect>`"
        )
    good_folders = {"/".join(p.folders[: p.good_at + 1]) for p in found.trained if p.good_at is not None}
    if len(good_folders) > 1:
        notes.append(f"good pictures come from {_listed(f'`{name}`' for name in sorted(good_folders))}")
    if folders := sum(mask.is_dir() for mask in matches.masks.values()):
        notes.append(f"{folders} pictures have a folder of masks each, which are joined")
    if matches.by_number:
        image, mask = matches.by_number[0]
        notes.append(
            f"{len(matches.by_number)} masks belong to their pictures by number alone, such as "
            f"`{mask.relative_to(folder)}` to `{image.relative_to(folder)}`"
        )
    for reason, places in found.left_out.items():
        files = _listed(f"`{place.path.relative_to(folder).as_posix()}`" for place in places)
        notes.append(f"{len(places)} pictures are left out ({files}): {reason}")
    return tuple(notes)


def _listed(names: Iterable[str]) -> str:
    first, *others = names
    shown = [first, *others[:2]]
    return ", ".join(shown) if len(others) <= 2 else f"{', '.join(shown)}, {len(others) - 2} more"
