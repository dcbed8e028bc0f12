"""Results that are run again: which pictures give another verdict now, and why."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffusionad.files import file_sha256
from diffusionad.inspection.results import Result, header
from diffusionad.inspection.trace import head_of
from diffusionad.postprocessing.roi import decode_roi

if TYPE_CHECKING:
    from diffusionad.pipeline import DiffusionADPipeline

# Of a verdict. Boxes follow from the map, and would differ with it.
COMPARED = ("verdict", "score", "threshold", "p_value", "is_known", "familiarity_p_value")


@dataclass(frozen=True)
class Recorded:
    """Results of one model with one set of settings.

    Attributes:
        head: as `header` wrote it.
        rows: verdicts, as `Result.to_dict` has them, with the hash of the picture; errors are left out.
        folder: that relative paths start from.
    """

    head: dict[str, Any]
    rows: list[dict[str, Any]]
    folder: Path


@dataclass(frozen=True)
class Verified:
    """One picture, run again.

    Attributes:
        file: the picture.
        difference: what is another now, such as `score 0.4 -> 0.5`; None when nothing is.
        reasons: for the difference.
    """

    file: Path
    difference: str | None = None
    reasons: tuple[str, ...] = ()


def read_recorded(path: Path) -> list[Recorded]:
    """Read results.json, or lines of JSON with the folder `heads` beside them.

    Raises:
        ValueError: neither, damaged, or written before results carried hashes.
        OSError: a file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        if path.suffix == ".jsonl":
            recorded = _by_head([json.loads(line) for line in text.splitlines() if line], path.parent)
        else:
            head = json.loads(text)
            recorded = [Recorded(head, _verdicts(head.pop("results")), path.parent)]
        for part in recorded:
            if "weights_sha256" not in part.head or not all(row.get("picture_sha256") for row in part.rows):
                raise ValueError("it was written without hashes")
        return recorded
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = error if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise ValueError(
            f"`{path}` cannot be verified ({reason}); give a results.json or watched.jsonl with hashes."
        ) from error


def _by_head(lines: list[dict[str, Any]], folder: Path) -> list[Recorded]:
    groups: dict[Path, list[dict[str, Any]]] = {}
    for line in _verdicts(lines):
        groups.setdefault(head_of(line, folder), []).append(line)
    return [Recorded(json.loads(head.read_text()), rows, folder) for head, rows in groups.items()]


def _verdicts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["error"] is None]


def restore_settings(pipeline: "DiffusionADPipeline", head: dict[str, Any]) -> None:
    """Give a pipeline the settings of recorded results, where they are not its own.

    Raises:
        ValueError: a setting that it does not have, or out of range.
    """
    own = pipeline.settings()
    changed = {k: v for k, v in head["settings"].items() if k not in own or own[k] != v}
    if changed.get("roi") is not None:
        changed["roi"] = decode_roi(changed["roi"])
    if head["calibration"] is None and own["calibration"] is not None:
        changed["calibration"] = None
    if changed:
        pipeline.configure(**changed)


def reasons_of(head: dict[str, Any], now: dict[str, Any]) -> tuple[str, ...]:
    """Return what changed between two heads, each as a few words."""
    reasons = []
    if head["weights_sha256"] != now["weights_sha256"]:
        reasons.append("the weights changed")
    if head["settings_sha256"] != now["settings_sha256"]:
        own, recorded = ({**part["settings"], "calibration": part["calibration"]} for part in (now, head))
        names = [name for name in sorted(own | recorded) if own.get(name) != recorded.get(name)]
        reasons.append(f"the settings changed ({', '.join(names) or 'scores of the calibration'})")
    versions = [
        f"{name} {head['versions'].get(name)} -> {now['versions'].get(name)}"
        for name in sorted(head["versions"] | now["versions"])
        if head["versions"].get(name) != now["versions"].get(name)
    ]
    if versions:
        reasons.append(f"other versions ({', '.join(versions)})")
    for name in ("device", "dtype"):
        if head[name] != now[name]:
            reasons.append(f"another {name} ({head[name]} -> {now[name]})")
    return tuple(reasons)


def verify(recorded: Recorded, pipeline: "DiffusionADPipeline") -> Iterator[Verified]:
    """Run recorded results again.

    Args:
        recorded: results of one model.
        pipeline: that model as it is now; its settings are changed to the recorded ones.

    Yields:
        What came out, picture by picture; a picture whose file changed is not run.
    """
    restore_settings(pipeline, recorded.head)
    reasons = reasons_of(recorded.head, header(pipeline, recorded.head["model"]))
    same: list[tuple[Path, dict[str, Any]]] = []
    for row in recorded.rows:
        file = recorded.folder / row["file"]
        try:
            changed = None if file_sha256(file) == row["picture_sha256"] else "the picture changed"
        except OSError as error:
            changed = f"the picture cannot be read ({error.strerror})"
        if changed is None:
            same.append((file, row))
        else:
            yield Verified(file, "not run", (changed,))
    streamed = pipeline.stream(file for file, _ in same)
    for (file, row), one in zip(same, streamed, strict=True):
        verdict = None if one.result is None else one.result.verdict
        now = Result(file, verdict, error=one.error).to_dict()
        differing = [name for name in COMPARED if now[name] != row[name]]
        if not differing:
            yield Verified(file)
            continue
        difference = ", ".join(f"{name} {row[name]} -> {now[name]}" for name in differing)
        other_bits = "other bits: picture, weights, settings and versions are the same"
        yield Verified(file, one.error or difference, reasons or (other_bits,))
