"""Sort the pictures of one category by the folders in which they lie, and give masks to their pictures."""

import itertools
from dataclasses import dataclass, field
from pathlib import Path

from .names import Role, bare, is_mask_name, is_plain, pictured_stems, role_of, split_of
from .records import pictures

JPEG_SUFFIXES = (".jfif", ".jpe", ".jpeg", ".jpg")
CLEAN = "clean"  # folder with the same pictures before the defect, as rendered data sets have it


@dataclass(frozen=True)
class Place:
    """A picture file and what its folders say.

    Attributes:
        path: picture file.
        split: "train", "test", "validation", "clean", or empty outside such a folder.
        folders: names of the folders between the split and the file, without `images` and the like.
        roles: meanings of these folders.
        is_mask: whether the file is a mask, by its folders or by its name.
    """

    path: Path
    split: str
    folders: tuple[str, ...]
    roles: tuple[Role, ...]
    is_mask: bool

    @property
    def kind(self) -> str:
        """Name of the folder that names the kind of defect; empty where there is none."""
        named = [folder for folder in self.folders if not is_plain(folder)]
        defective = [f for f, role in zip(self.folders, self.roles, strict=True) if role is Role.DEFECT]
        return next(iter(named if self.split in ("test", CLEAN) else defective + named), "")

    @property
    def good_at(self) -> int | None:
        """Depth of the folder that says good; None without one, or where another says defective."""
        return self.roles.index(Role.GOOD) if Role.GOOD in self.roles and not self.is_defective else None

    @property
    def is_defective(self) -> bool:
        """Whether a folder says so."""
        return Role.DEFECT in self.roles

    @property
    def is_depth(self) -> bool:
        """Whether the file lies in a folder of heights within a folder of pictures."""
        return Role.DEPTH in self.roles[1:]

    @property
    def address(self) -> tuple[str, ...]:
        """Folders in the form that is the same for a picture and its mask."""
        return tuple(name for name in map(bare, self.folders) if name)


def survey(folder: Path) -> list[Place]:
    """List the pictures below a folder with the meaning of their folders, sorted by name."""
    files = pictures(folder, recursive=True)
    stems = {path.stem.lower() for path in files}
    photographs = {path.with_suffix("") for path in files if path.suffix.lower() in JPEG_SUFFIXES}
    places = []
    for path in files:
        folders = path.relative_to(folder).parts[:-1]
        split_at = next((i for i, name in enumerate(folders) if split_of(name)), None)
        split, named = "", folders
        if split_at is not None:
            # In `NG/train` the folder around the split matters, in `line1/train` it does not.
            around = tuple(name for name in folders[:split_at] if role_of(name) in (Role.GOOD, Role.DEFECT))
            split, named = split_of(folders[split_at]), around + folders[split_at + 1 :]
        elif len(folders) > 1 and folders[0].lower() == CLEAN:
            split, named = CLEAN, folders[1:]
        is_beside_photograph = path.suffix.lower() == ".png" and path.with_suffix("") in photographs
        is_mask = (
            is_beside_photograph
            or is_mask_name(path.stem, stems)
            or any(role_of(name) is Role.MASK for name in folders)
        )
        # `dent_masks` holds the masks of `dent`: keep what is left of the name.
        inner = tuple(bare(name) if role_of(name) is Role.MASK else name for name in named)
        inner = tuple(name for name in inner if name and bare(name))
        places.append(Place(path, split, inner, tuple(map(role_of, inner)), is_mask))
    return places


@dataclass
class Matches:
    """Masks by picture.

    Attributes:
        masks: file of the mask, or folder of several, by picture.
        by_number: pairs of picture and mask whose names agree only without the words for pictures and masks.
        taken: masks of one of the pictures.
        left: masks that belong to none of the pictures.
    """

    masks: dict[Path, Path] = field(default_factory=dict)
    by_number: list[tuple[Path, Path]] = field(default_factory=list)
    taken: list[Place] = field(default_factory=list)
    left: list[Place] = field(default_factory=list)


Key = tuple[tuple[str, ...], str]


def match_masks(shown: list[Place], masks: list[Place], are_good: bool = False) -> Matches:
    """Find the picture of every mask.

    A mask has the folders and the name of its picture, or lies in a folder with that name (MVTec LOCO). If
    there is none, the same kind and name will do, then the name alone, then the number in it; a name that
    several pictures have decides nothing.

    Args:
        shown: pictures that may have masks.
        masks: files that are masks.
        are_good: whether the pictures are good; a mask in a folder of some kind never fits by name alone.
    """
    # `000_mask` before `000`, where a picture has both.
    found = Matches(left=sorted(masks, key=lambda mask: len(pictured_stems(mask.path.stem)) == 1))
    kinds = {name for place in shown for name in place.address}
    for is_by_number, depth in itertools.product((False, True), (None, 1, 0)):
        if not found.left:
            break
        owners: dict[Key, list[Path]] = {}
        for place in shown:
            stem = bare(place.path.stem) if is_by_number else place.path.stem.lower()
            owners.setdefault((place.address[:depth], stem), []).append(place.path)
        unique = {key: paths[0] for key, paths in owners.items() if len(paths) == 1 and any(key)}
        left = []
        for mask in found.left:
            names_kind = bool(mask.address) if are_good else not kinds.isdisjoint(mask.address)
            if (depth == 0 and names_kind) or not _take(mask, depth, is_by_number, unique, found):
                left.append(mask)
            else:
                found.taken.append(mask)
        found.left = left
    found.left.sort(key=lambda mask: mask.path)
    return found


def _take(
    mask: Place, depth: int | None, is_by_number: bool, unique: dict[Key, Path], found: Matches
) -> bool:
    """Give a mask, or the folder of masks around it, to the picture of its name that has no other mask."""
    keys: list[tuple[Key, Path]] = []
    if mask.folders:
        keys.append(((mask.address[:-1][:depth], mask.folders[-1].lower()), mask.path.parent))
    for stem in [bare(mask.path.stem)] if is_by_number else pictured_stems(mask.path.stem):
        keys.append(((mask.address[:depth], stem), mask.path))
    for key, source in keys:
        owner = unique.get(key)
        if owner is not None and found.masks.setdefault(owner, source) == source:
            if is_by_number and source == mask.path:
                found.by_number.append((owner, source))
            return True
    return False
