"""Recognise good pictures, defects, masks and splits by the names of folders and files.

Every reader of folders asks here, so that a name means the same wherever it stands. A name that sounds
defective never counts as good, whatever else it says.
"""

import functools
import re
from enum import Enum


class Role(Enum):
    """Meaning of a folder's name."""

    GOOD = "good"
    DEFECT = "defect"
    MASK = "mask"
    DEPTH = "depth"  # heights or points beside the photographs, as in MVTec 3D-AD
    UNKNOWN = "unknown"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


GOOD_WORDS = _words("good ok okay io normal nominal healthy clean pass passed gut 正常 良品 合格")
DEFECT_WORDS = _words(
    "abnormal abnormality abnormalities anomaly anomalies anomalous bad ng nok nio ko nogood notgood notok "
    "def defect defects defective fault faults faulty fail failed failure failures reject rejected rejects "
    "scrap damage damaged damages broken contamination contaminated scratch scratches scratched crack cracks "
    "cracked dent dents dented stain stains stained rust rusty wear dirty "
    "schlecht defekt defekte fehler fehlerhaft ausschuss 异常 異常 不良 不良品 不合格 缺陷 瑕疵"
)
NEGATIONS = _words("no not non without free")
MASK_WORDS = _words("mask masks gt groundtruth groundtruths segmentation segmentations maske masken")
LABEL_WORDS = _words("label labels annotation annotations")  # a folder of masks if nothing else
DEPTH_WORDS = _words("xyz depth normals")
PLAIN_WORDS = _words(
    "dir dirs folder folders image images img imgs picture pictures pic pics photo photos data dataset set "
    "sample samples file files part parts rgb cam camera"
)
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
}
SPLIT_SUFFIXES = _words("public private mixed")  # MVTec AD 2

_MASK_AFFIX = r"(?:masks?|gt|ground[ _.-]?truth|labels?|seg(?:mentation)?)"
_MASK_SUFFIX = re.compile(rf"(?:^|[ _.-]+|(?<=\d)){_MASK_AFFIX}$")
_MASK_PREFIX = re.compile(rf"^{_MASK_AFFIX}(?:[ _.-]+|(?=\d))")
_DATE = re.compile(r"(?:19|20)\d\d\D?[01]\d(\D?[0-3]\d)?|[0-3]?\d\D[01]?\d\D(\d{2}|\d{4})")


@functools.lru_cache(maxsize=10_000)  # a folder's name is asked for once a picture
def words_of(name: str) -> tuple[str, ...]:
    """Split a name into words and numbers in lower case: "NotGood_012" is "not", "good", "12"."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    parted = re.sub(r"ground[ _.-]truth", "groundtruth", parted)
    words = re.findall(r"[^\W\d_]+|\d+", parted)
    return tuple(str(int(word)) if word.isdecimal() else word for word in words)


def role_of(name: str) -> Role:
    """Return the meaning of a folder's name."""
    words = set(words_of(name))
    told = {word for word in words - PLAIN_WORDS if not word.isdecimal()}
    if words & MASK_WORDS or (told and told <= LABEL_WORDS):
        return Role.MASK
    words.add(re.sub(r"[\W_]", "", name.lower()))  # "i.O.", "not_ok"
    if words & DEFECT_WORDS:
        is_denied = (
            words & NEGATIONS and told <= DEFECT_WORDS | NEGATIONS
        )  # "defect_free", but not "bad_no_ink"
        return Role.GOOD if is_denied else Role.DEFECT
    if words & GOOD_WORDS:
        return Role.DEFECT if words & NEGATIONS else Role.GOOD
    return Role.DEPTH if words & DEPTH_WORDS else Role.UNKNOWN


def sounds_defective(stem: str) -> bool:
    """Return whether a file's name says that it shows a defect; "bad" and "def" also occur in hexadecimal."""
    words = [word for word in words_of(stem) if not re.fullmatch("[a-f]+", word)]
    return role_of(" ".join(words)) is Role.DEFECT


def split_of(name: str) -> str:
    """Return "train", "test" or "validation" for the folder of a split, else an empty string."""
    words = [word for word in words_of(name) if word not in PLAIN_WORDS]
    return SPLITS.get(words[0], "") if words and SPLIT_SUFFIXES.issuperset(words[1:]) else ""


def is_plain(name: str) -> bool:
    """Return whether a folder's name says nothing about its pictures: `images`, or a date."""
    return bool(_DATE.fullmatch(name)) or PLAIN_WORDS.issuperset(words_of(name))


def bare(name: str) -> str:
    """Return a name without the words for pictures and masks: "mask3" and "image_03" are both "3"."""
    ignored = PLAIN_WORDS | MASK_WORDS | LABEL_WORDS
    return "_".join(word for word in words_of(name) if word not in ignored)


def pictured_stems(stem: str) -> list[str]:
    """List the stems that the picture of a mask may have, the likeliest first: of "000_mask" it is "000"."""
    stem = stem.lower()
    shorter = (_MASK_SUFFIX.sub("", stem), _MASK_PREFIX.sub("", stem))
    return [*(name for name in shorter if name != stem), stem]


def is_mask_name(stem: str, others: set[str]) -> bool:
    """Return whether a file is named like a mask.

    Labels and masks may be the pictured parts themselves: `label_01` counts only beside the picture `01`.

    Args:
        stem: name of the file without its extension.
        others: stems of the pictures around it, in lower case.
    """
    *pictured, own = pictured_stems(stem)
    ends_like_mask = bool(_MASK_SUFFIX.search(own)) and not own.endswith(("label", "labels"))
    return ends_like_mask or any(name in others for name in pictured)
