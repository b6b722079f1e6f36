"""Writes in place that a quantized graph loses.

A quantizer gives each reader of a value a dequantized copy of its own. What an op writes to one of them in
place does not reach those who read another, as it does in the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch.fx import Node

from handlens.capture.nodes import is_dequantize, is_quantize_or_dequantize
from handlens.comparison.memory import Memory, written_by


def lost_writes(
    reference: Memory, actual: Memory, twins: Mapping[Node, Node]
) -> Iterator[tuple[Node, Node, Node, Node]]:
    """For each read that misses a write: the reading op, the writing op, what is read in the reference, and
    what is read instead in the quantized graph. ``twins`` are the ops of both graphs that belong together.
    """
    writers = [(node, written_by(node)) for node in twins if written_by(node)]
    for reader, twin in twins.items() if writers else ():
        for source, instead in zip(reader.all_input_nodes, twin.all_input_nodes):
            for writer, written in writers:
                if (
                    writer is not reader
                    and reference.precedes(writer, reader)
                    and any(reference.shares(source, each) for each in written)
                    and _misses(instead, twins[writer], actual)
                ):
                    yield reader, writer, source, instead


def _misses(read: Node, writer: Node, memory: Memory) -> bool:
    """Whether a dequantized value was taken before an op wrote to what it is the value of."""
    written = written_by(writer)
    node, is_copy = read, False
    while not any(memory.shares(node, each) for each in written):
        if not is_quantize_or_dequantize(node) or memory.precedes(node, writer):
            return is_copy or is_dequantize(node)
        is_copy = True
        node = node.args[0]  # type: ignore[assignment]
    return False
