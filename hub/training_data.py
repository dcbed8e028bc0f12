"""Which pictures a model was trained on, and the licence that its weights take over from them."""

import re
from dataclasses import dataclass
from pathlib import PurePath


@dataclass(frozen=True)
class DataSet:
    """A data set as the card names it.

    Attributes:
        slug: in the front matter.
        name: in sentences.
        license: the Hub's identifier of its licence, which is the weights', too.
        url: its page, where there is one.
    """

    slug: str
    name: str
    license: str
    url: str | None = None


KNOWN = {
    data.slug: data
    for data in (
        DataSet(
            "mvtec-ad",
            "MVTec-AD",
            "cc-by-nc-sa-4.0",
            "https://www.mvtec.com/company/research/datasets/mvtec-ad",
        ),
        DataSet("visa", "VisA", "cc-by-4.0", "https://github.com/amazon-science/spot-diff"),
        DataSet(
            "kolektor-sdd", "KolektorSDD", "cc-by-nc-sa-4.0", "https://www.vicos.si/resources/kolektorsdd/"
        ),
        DataSet("diffusionad-demo", "pictures rendered by this project", "mit"),
    )
}

# Names of folders that the archives of the known ones unpack to; their successors have other names.
FOLDERS = {
    "mvtec-ad": r"mvtec[-_ ]?(ad|anomaly[-_ ]?detection)?",
    "visa": r"visa(_pytorch)?|visa_20220922",
    "kolektor-sdd": r"kolektor[-_ ]?(sdd)?",
}


def data_set_of(path: str, name: str | None, license: str | None) -> DataSet:
    """The data set that the user names, or that the folder it was trained from is called after.

    Args:
        path: `data.path` of the run.
        name: `--dataset`: a known slug, or any name.
        license: `--license`, the Hub's identifier; needed for data that is not known.

    Raises:
        ValueError: it is not known and no licence is given, or another licence is given than its own.
    """
    if name is None:
        name = _recognize(path)
    if name is None:
        raise ValueError(
            f"`--dataset`: what the model was trained on is not known (`data.path` is {path!r}), and the "
            f"licence of its weights follows from it; give one of {', '.join(KNOWN)}, or any name with "
            "`--license ID`, such as `--dataset 'Our bolts' --license cc-by-4.0`."
        )
    known = KNOWN.get(name)
    if known is None and license is None:
        raise ValueError(
            f"`--license` is missing: the licence of {name!r} is not known here; give the Hub's identifier "
            "of it, such as cc-by-4.0 or other."
        )
    if known is None:
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        return DataSet(slug, name, license)
    if license not in (None, known.license):
        raise ValueError(
            f"`--license` is {license!r}, but weights trained on {known.name} are under {known.license}, as "
            "the pictures are."
        )
    return known


def _recognize(path: str) -> str | None:
    for part in reversed(PurePath(path.replace("\\", "/")).parts[-3:]):
        for slug, pattern in FOLDERS.items():
            if re.fullmatch(pattern, part, re.IGNORECASE):
                return slug
    return None
