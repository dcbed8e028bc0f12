"""int8: the networks in whole numbers, by the post-training quantisation of NNCF, for OpenVINO.

The distances of a `FeatureMemory` stay in fp32: they are differences of large squares.
"""

import contextlib
import io
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from diffusionad.deploy.exported import ExportedPipeline
from diffusionad.images.preparation import Preparation, tiles_of

TILES = 128  # that ranges of activations are taken from; more make no difference


def tiles_for(exported: ExportedPipeline, pictures: Sequence[Path | np.ndarray]) -> Iterator[np.ndarray]:
    """Yield what the networks see of pictures, float32 [1,3,S,S] each, as an export hands it over."""
    preparation = Preparation.from_config(exported.config)
    for i, picture in enumerate(pictures):
        source = str(picture) if isinstance(picture, Path) else picture
        prepared = preparation.prepare(source, i, None)
        for tiles in tiles_of([prepared], 1):
            yield exported.to_input(np.stack([p.tiled.tile(k) for p, k in tiles]))


def quantize(exported: ExportedPipeline, graph: Path, pictures: Sequence[Path | np.ndarray]) -> None:
    """Replace a graph of the networks by one in int8.

    Args:
        exported: the export that the graph belongs to.
        graph: .xml of its networks.
        pictures: good and defective ones; the ranges of the activations are those that they cause.
    """
    import nncf
    import openvino

    tiles = list(tiles_for(exported, pictures))
    # Evenly from all pictures: the first ones alone may be alike.
    chosen = np.linspace(0, len(tiles) - 1, min(TILES, len(tiles))).round().astype(int)
    logging.getLogger("nncf").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):  # progress bars
        quantized = nncf.quantize(
            openvino.Core().read_model(str(graph)),
            nncf.Dataset([tiles[i] for i in chosen]),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(chosen),
        )
    partial = graph.with_name("quantized.xml")  # OpenVINO still reads the weights of the old one
    openvino.save_model(quantized, str(partial), compress_to_fp16=False)
    for suffix in (".xml", ".bin"):
        partial.with_suffix(suffix).replace(graph.with_suffix(suffix))
