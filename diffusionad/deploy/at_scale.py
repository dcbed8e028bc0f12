"""Very many pictures on many machines, with Ray: results as Parquet, continued where a run was stopped."""

import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from diffusionad.deploy.about import is_exported
from diffusionad.files import replacing
from diffusionad.inspection.results import Result, header

PART = 256  # pictures a file of results: what a killed worker does again at most
HEAD = "head.json"
Load = Callable[[], Any]  # returns a pipeline


class Worker:
    """One model in a process of its own; Ray starts as many as there is room for.

    Args:
        load: returns the pipeline, ready.
        output: folder for the files of results; must be seen by all machines.
        batch_size: pictures per network call on a GPU; fewer where they are large.
    """

    def __init__(self, load: Load, output: Path, batch_size: int):
        self._pipeline, self._output, self._batch_size = load(), output, batch_size

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Inspect the files of a batch and write their results; return how many there are by verdict."""
        results = []
        for one in self._pipeline.stream(batch["file"], self._batch_size):
            found = one.result
            results.append(
                Result(
                    Path(str(one.source)),
                    verdict=None if found is None else found.verdict,
                    regions=() if found is None else tuple(found.regions),
                    known_marks=() if found is None else tuple(found.known_marks),
                    seconds=one.seconds,
                    error=one.error,
                    picture_sha256=one.sha256,
                )
            )
        write_part(results, self._output)
        words = Counter(result.word for result in results)
        return {"word": list(words), "count": list(words.values())}


def inspect_at_scale(
    files: Iterable[str | Path],
    load: Load,
    model: str,
    output: Path,
    workers: int | None = None,
    batch_size: int = 8,
    gpu: bool = False,
) -> Counter[str]:
    """Inspect files with Ray, but those that an earlier run has dealt with.

    Args:
        files: pictures, under names that all machines know.
        load: returns the pipeline in a worker; it is sent there.
        model: as the user names it.
        output: folder that all machines see; gets `part-*.parquet`, a row per picture, and `head.json`.
        workers: number of models; None is one a core, or one a GPU.
        batch_size: pictures per network call on a GPU.
        gpu: whether each worker takes a GPU.

    Returns:
        Number of pictures by verdict, those of earlier runs included.

    Raises:
        ModuleNotFoundError: ray is not installed.
        ValueError: the folder holds results of other weights or settings.
    """
    import ray

    output.mkdir(parents=True, exist_ok=True)
    _check_head(header(load(), model), output)
    counts, done = read_done(output)
    todo = [name for name in dict.fromkeys(map(str, files)) if name not in done]
    if not todo:
        return counts
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False)  # RAY_ADDRESS names a cluster
    kind = "GPU" if gpu else "CPU"
    number = workers or max(1, int(ray.cluster_resources().get(kind, 1)))
    parts = -(-len(todo) // PART)
    data = ray.data.from_items([{"file": name} for name in todo], override_num_blocks=max(parts, number))
    ran = data.map_batches(
        Worker,
        fn_constructor_args=(load, output.resolve(), batch_size),
        batch_size=PART,
        compute=ray.data.ActorPoolStrategy(size=number),
        num_cpus=1,
        num_gpus=1 if gpu else None,
    )
    for row in ran.iter_rows():
        counts[row["word"]] += row["count"]
    return counts


def write_part(results: list[Result], output: Path) -> Path:
    """Write results as a Parquet file that is there whole or not at all; return its place."""
    import pyarrow as pa
    from pyarrow import parquet

    rows = []
    for result in results:
        row = result.to_dict()
        nested = {name: json.dumps(row[name]) for name in ("regions", "known_marks")}
        # A name that is no Unicode cannot be kept in Parquet as it is.
        row["file"] = row["file"].encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        rows.append(row | nested)
    place = output / f"part-{uuid.uuid4().hex}.parquet"
    with replacing(place) as partial:
        parquet.write_table(pa.Table.from_pylist(rows, schema=_schema()), partial)
    return place


def _schema() -> Any:
    import pyarrow as pa

    numbers = ("score", "threshold", "p_value", "false_alarm_rate", "familiarity_p_value", "seconds")
    types = {name: pa.float64() for name in numbers} | {"n": pa.int64(), "is_known": pa.bool_()}
    names = Result(Path()).to_dict()
    return pa.schema([(name, types.get(name, pa.string())) for name in names])


def read_done(output: Path) -> tuple[Counter[str], set[str]]:
    """Return the number of pictures by verdict, and the names of the files that were dealt with."""
    from pyarrow import parquet

    counts: Counter[str] = Counter()
    done: set[str] = set()
    for part in sorted(output.glob("part-*.parquet")):
        table = parquet.read_table(part, columns=["file", "verdict"])
        names = zip(table["file"].to_pylist(), table["verdict"].to_pylist(), strict=True)
        fresh = {name: word for name, word in names if name not in done}  # a worker that died may write twice
        counts.update(fresh.values())
        done.update(fresh)
    return counts, done


def _check_head(head: dict[str, Any], output: Path) -> None:
    path = output / HEAD
    if path.is_file():
        earlier = json.loads(path.read_text(encoding="utf-8"))
        for name in ("weights_sha256", "settings_sha256"):
            if earlier.get(name) != head[name]:
                what = name.partition("_")[0]
                raise ValueError(f"`{output}` holds results of other {what}; give another --output.")
        return
    with replacing(path) as partial:
        partial.write_text(json.dumps(head, indent=1), encoding="utf-8")


class LoadModel:
    """Loads a model in a worker.

    Args:
        model: folder, or id on the Hub, that every machine can read.
        device: cpu or cuda.
        dtype: name of a torch type.
        settings: of the pipeline.
    """

    def __init__(self, model: str, device: str, dtype: str, settings: dict[str, Any]):
        self._model, self._device, self._dtype, self._settings = model, device, dtype, settings

    def __call__(self) -> Any:
        """Return the pipeline."""
        if is_exported(self._model):
            from diffusionad.deploy.exported import ExportedPipeline

            return ExportedPipeline(self._model, threads=1).configure(**self._settings)
        import torch

        from diffusionad.pipeline import DiffusionADPipeline

        pipeline = DiffusionADPipeline.from_pretrained(self._model, dtype=getattr(torch, self._dtype))
        pipeline.configure(**self._settings)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline.to(self._device)
