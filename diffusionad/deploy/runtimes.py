"""What computes an exported graph: ONNX Runtime or OpenVINO, neither of which needs torch."""

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

FORMATS = {"onnx": "onnxruntime", "openvino": "openvino"}  # and the package that runs each
# And the name of what OpenVINO computes in, where a graph does not say otherwise: an int8 one does.
PRECISIONS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}

Graph = Callable[[np.ndarray], list[np.ndarray]]


def check_installed(format: str) -> None:
    """Raise a ValueError that says what to install for a format."""
    if find_spec(FORMATS[format]) is None:
        raise ValueError(f"`{FORMATS[format]}` is not installed; pip install 'diffusionad[export]'.")


def load_graph(path: Path, format: str, precision: str, threads: int | None = None) -> Graph:
    """Load a graph with one input.

    Args:
        path: .onnx or .xml.
        format: one of `FORMATS`.
        precision: in which OpenVINO computes, one of `PRECISIONS`; ONNX Runtime computes in fp32.
        threads: number of threads; None is as many as cores.

    Returns:
        Function of the input, to the outputs in their order.
    """
    check_installed(format)
    threads = threads or os.cpu_count() or 1
    return (_onnx if format == "onnx" else _openvino)(path, precision, threads)


def _onnx(path: Path, precision: str, threads: int) -> Graph:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    [name] = [value.name for value in session.get_inputs()]
    return lambda x: session.run(None, {name: x})


def _openvino(path: Path, precision: str, threads: int) -> Graph:
    import openvino

    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
        "INFERENCE_NUM_THREADS": threads,
    }
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    outputs = range(len(compiled.outputs))

    def run(x: np.ndarray) -> list[np.ndarray]:
        found = compiled(x)
        return [found[i] for i in outputs]

    return run
