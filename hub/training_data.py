"""Data sets that models are trained on, and the licence that weights take over from them."""

import re
from dataclasses import dataclass
from pathlib import PurePath


@dataclass(frozen=True)
class DataSet:
    """A data set as the card names it.

    Attributes:
        slug: its name in the front matter.
        name: its name in sentences.
        license: the Hub's identifier of its licence, which holds for the weights, too.
        url: its page, if it has one.
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

# Folder names that the archives of known data sets unpack to; their successors have other names.
FOLDERS = {
    "mvtec-ad": r"mvtec[-_ ]?(ad|anomaly[-_ ]?detection)?",
    "visa": r"visa(_pytorch)?|visa_20220922",
    "kolektor-sdd": r"kolektor[-_ ]?(sdd)?",
}


def data_set_of(path: str, name: str | None, license: str | None) -> DataSet:
    """Return the data set that the user names, or that the folder of the training data is named after.

    Args:
        path: `data.path` of the run.
        name: `--dataset`: a known slug, or any name.
        license: `--license`, the Hub's identifier; needed for data that is not known.

    Raises:
        ValueError: it is not known and no licence is given, or the licence given is not its own.
    """
    if name is None:
        name = _recognize(path)
    if name is None:
        raise ValueError(
            f"`--dataset`: the training data are not known by their folder (`data.path` is {path!r}), and "
            f"the licence of the weights follows from them; give one of {', '.join(KNOWN)}, or any name with "
            "`--license ID`, such as `--dataset 'Our bolts' --license cc-by-4.0`."
        )
    known = KNOWN.get(name)
    if known is None:
        if license is None:
            raise ValueError(
                f"`--license` is missing: the licence of {name!r} is not known here; give the Hub's "
                "identifier of it, such as cc-by-4.0 or other."
            )
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
