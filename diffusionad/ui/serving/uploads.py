"""Many files at once: uploads and the contents of ZIP archives, as pictures in one folder."""

import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from diffusionad.images.image_io import IMAGE_SUFFIXES, is_hidden
from diffusionad.ui.serving.files import Upload, upload_path

FILE_TYPES = [*sorted(IMAGE_SUFFIXES), ".zip"]
MAX_PICTURES = 500
MAX_FILE_MB = 20
MAX_UNPACKED = 1_000_000_000  # bytes of one archive; a few kilobytes can claim to unpack to terabytes
MAX_NAME = 60  # characters of one part of a path; file systems take 255 bytes
MAX_DEPTH = 6  # parts of a path

TOO_MANY = f"At most {MAX_PICTURES} pictures at once, please: send them in several parts."
BROKEN_ARCHIVE = "is no ZIP archive that can be opened; pack it again."


@dataclass(frozen=True)
class UploadedPicture:
    """One picture of a batch.

    Attributes:
        name: as the user calls it, with the folders inside an archive.
        path: on the server; None when there is nothing to read.
        relative_path: `path` relative to the folder of the batch, unique in it.
        error: why there is nothing to read.
    """

    name: str
    path: Path | None = None
    relative_path: Path | None = None
    error: str | None = None


def collect_pictures(uploads: list[Upload] | None, folder: Path) -> list[UploadedPicture]:
    """Copy uploads and the pictures of uploaded archives into a folder, under names that are safe there.

    Archives hold pictures in any folders; other files in them are ignored. An archive or a member that cannot
    be unpacked becomes an entry with its error.

    Args:
        uploads: as Gradio passes them on.
        folder: exists, and is empty.

    Returns:
        The pictures in the order of the uploads.

    Raises:
        ValueError: no picture, or too many of them.
    """
    if not uploads:
        raise ValueError("Choose pictures first: drop several files, or a ZIP archive of them.")
    found: list[UploadedPicture] = []
    for upload in uploads:
        path = Path(upload_path(upload) or "")
        name = upload.get("orig_name") or path.name
        if path.suffix.lower() == ".zip":
            found += _unpack(path, name, folder, name[:-4] if len(uploads) > 1 else "")
        else:
            copy = shutil.copyfile(path, _free_path(folder, name))
            found.append(UploadedPicture(name, copy, copy.relative_to(folder)))
        if len(found) > MAX_PICTURES:
            raise ValueError(TOO_MANY)
    return found


def _unpack(path: Path, name: str, folder: Path, prefix: str) -> list[UploadedPicture]:
    """Unpack the pictures of an archive; their names start with `prefix`."""
    try:
        archive = zipfile.ZipFile(path)
    except Exception:
        # Like picture decoders, `zipfile` raises nearly any exception on damaged files.
        return [UploadedPicture(name, error=f"`{name}` {BROKEN_ARCHIVE}")]
    with archive:
        members = [member for member in archive.infolist() if _is_wanted(member)]
        if not members:
            return [UploadedPicture(name, error=f"`{name}` holds no picture ({', '.join(FILE_TYPES[:-1])}).")]
        if len(members) > MAX_PICTURES:
            raise ValueError(TOO_MANY)
        # `zipfile` never unpacks more than a member claims, so the claims can be trusted.
        claimed = sum(member.file_size for member in members)
        if claimed > MAX_UNPACKED:
            limit = f"the limit is {MAX_UNPACKED / 1e9:g} GB"
            return [UploadedPicture(name, error=f"`{name}` unpacks to {claimed / 1e9:.1f} GB; {limit}.")]
        return [_unpack_one(archive, member, folder, prefix) for member in members]


def _is_wanted(member: zipfile.ZipInfo) -> bool:
    """Return whether a member is a picture, or an archive, which gets an error; skip macOS's metadata."""
    path = PurePosixPath(member.filename.replace("\\", "/"))
    is_known = path.suffix.lower() in FILE_TYPES
    return is_known and not (member.is_dir() or is_hidden(path))


def _unpack_one(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, prefix: str
) -> UploadedPicture:
    name = f"{prefix}/{member.filename}" if prefix else member.filename
    if name.lower().endswith(".zip"):
        return UploadedPicture(name, error="An archive inside an archive is not opened; unpack it first.")
    if member.flag_bits & 0x1:
        return UploadedPicture(name, error="It is encrypted; pack it again without a password.")
    path = _free_path(folder, name)
    try:
        with archive.open(member) as packed, path.open("wb") as target:
            shutil.copyfileobj(packed, target)
    except Exception:
        return UploadedPicture(name, error="It is damaged inside the archive; pack it again.")
    return UploadedPicture(name, path, path.relative_to(folder))


def _free_path(folder: Path, name: str) -> Path:
    """Return a path for a file of this name, always below `folder`, and of no existing file."""
    parts = [_safe_part(part) for part in name.replace("\\", "/").split("/")[-MAX_DEPTH:]]
    parts = [part for part in parts if part] or ["picture"]
    path = folder.joinpath(*parts)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError:  # another file has the name of this one's folder
        path = folder / "_".join(parts)
    stem, number = path.stem, 1
    while path.exists():
        number += 1
        path = path.with_stem(f"{stem}-{number}")
    return path


def _safe_part(part: str) -> str:
    """Clean one part of a path: no `..`, no control characters, at most `MAX_NAME` long; maybe empty."""
    part = "".join(c for c in part if c.isprintable() and c not in '<>:"|?*').strip(" .")
    return part if len(part) <= MAX_NAME else part[: MAX_NAME // 2] + part[-MAX_NAME // 2 :]
