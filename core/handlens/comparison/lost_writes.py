"""Writes in place that a quantized graph loses.

A quantizer gives each reader of a value its own dequantized copy. An op that writes to one copy in place
does not change the others, though in the float model all readers see the write.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch.fx import Node

from handlens.capture.nodes import is_dequantize, is_quantize_or_dequantize
from handlens.comparison.memory import Memory, written_by


def lost_writes(
    reference: Memory, actual: Memory, twins: Mapping[Node, Node]
) -> Iterator[tuple[Node, Node, Node, Node]]:
    """Find the reads that miss a write. ``twins`` has, by op of the reference, that of the quantized graph.

    Yields the reading op, the writing op and the node that is read, all of the reference, and the node that
    is read instead in the quantized graph.
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
    """True if ``read`` is a dequantized copy, made before ``writer`` wrote to the original."""
    written = written_by(writer)
    node, is_copy = read, False
    while not any(memory.shares(node, each) for each in written):
        if not is_quantize_or_dequantize(node) or memory.precedes(node, writer):
            return is_copy or is_dequantize(node)
        is_copy = True
        node = node.args[0]  # type: ignore[assignment]
    return False
