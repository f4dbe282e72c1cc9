"""The ONNX files: a student as a graph by torch.onnx, and the same with int8 weights, its embedding table included."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contract.errors import BadInput, MissingExtra
from distill.shipping.onnx_form import INPUTS, LOGITS, SENTENCE_LOGITS
from distill.students.student import Joint, Student

OPSET = 20
# Seven bits of weights: products of eight overflow 16-bit sums on processors without VNNI (AVX2, older AVX-512).
INT8_SETTINGS = {"weights": "int8, a scale a column", "bits": 7, "activations": "uint8, a scale a text"}
_QUANTISED = ["MatMul", "Gemm", "Gather"]  # Gather: the tables of words, places and sentences


class _Graph(nn.Module):
    """The student as a function of the tokenizer's arrays alone."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.model = student.model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Any:
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        if not isinstance(self.model, Joint):
            return self.model(**inputs).logits
        said = self.model.transformer(**inputs, output_hidden_states=True)
        return said.logits, self.model.head(said.hidden_states[-1][:, 0])


def write_onnx(student: Student, path: Path) -> None:
    """Write the student's graph in float32, for any number of texts of any length it reads.

    The same weights give the same bytes: what the exporter notes of files and code paths is left out.
    """
    if isinstance(student.transformer, PreTrainedModel):
        student.transformer.set_attn_implementation("eager")  # the plainest graph, and the fastest
    outputs = [LOGITS, SENTENCE_LOGITS] if isinstance(student.model, Joint) else [LOGITS]
    typed = "token_type_ids" in student.tokenizer.model_input_names
    write_graph(_Graph(student), path, typed=typed, outputs=outputs, max_length=student.max_length)


def write_graph(graph: nn.Module, path: Path, *, typed: bool, outputs: Sequence[str], max_length: int) -> None:
    """Write a module that takes the tokenizer's arrays, (texts, tokens) each; BadInput when torch cannot."""
    onnx = _onnx()
    names = INPUTS if typed else INPUTS[:2]
    example = [torch.ones((2, 6), dtype=torch.int64) for _ in names]  # one tensor three times would be one input
    sizes = {0: torch.export.Dim("texts"), 1: torch.export.Dim("tokens", max=max_length)}
    try:
        with _silent():
            program = torch.onnx.export(
                graph.eval(),
                tuple(example),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(names),
                output_names=list(outputs),
                dynamic_shapes=(sizes,) * len(names),
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        first = str(error).strip().splitlines()[0][:200]
        raise BadInput(f"torch cannot write this model as ONNX: {first}; export with --no-onnx") from error
    assert program is not None
    model = program.model_proto
    _forget(model)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


def write_int8(source: Path, path: Path) -> None:
    """Write the graph of `source` with int8 weights; activations are rounded as they come (dynamic quantisation)."""
    onnx = _onnx()
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _silent():
        quantize_dynamic(
            source,
            path,
            op_types_to_quantize=_QUANTISED,
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
    model = onnx.load(str(path))
    _forget(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _forget(model: Any) -> None:
    """Drop notes of where in the code each node came from, and shapes between nodes, some of which are wrong."""
    del model.graph.value_info[:], model.metadata_props[:], model.graph.metadata_props[:]
    model.doc_string = model.graph.doc_string = ""
    for noted in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del noted.metadata_props[:]
        noted.doc_string = ""


def _onnx() -> Any:
    try:
        import onnx
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtra(f"Writing ONNX needs {error.name}: pip install 'transferset[onnx]'") from error
    return onnx


@contextmanager
def _silent() -> Iterator[None]:
    """Without the exporters' notes about themselves, on which a user can do nothing."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
