"""Digests by which processes find out whether they have the same tensors, values and settings of torch."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

PLAIN = (str, bytes, int, float, complex, bool, type(None))
"""The types of values whose text tells all of them."""
TENSORS = (Tensor, torch.nn.Parameter, torch.nn.Buffer)
"""The types of tensors that are nothing but their values."""


def are_plain(batches: Iterable[Any]) -> bool:
    """True if all are lists or tuples of tensors and literals, which are the same each time."""
    leaves = pytree.tree_leaves([*batches])
    return all(type(each) in (list, tuple) for each in batches) and all(
        type(each) in (*TENSORS, *PLAIN) for each in leaves
    )


def layouts(values: Iterable[Any]) -> Iterator[str]:
    """The layouts of tensors (see ``layout``), and other values as text."""
    memory: dict[int, int] = {}
    for each in values:
        yield layout(each, memory) if isinstance(each, Tensor) else repr(each)


def layout(value: Tensor, memory: dict[int, int]) -> str:
    """The type and the layout of a tensor, and where it is in the memory that it shares with others.

    ``memory`` numbers the memory of all tensors so far by its address.
    """
    is_strided = value.layout == torch.strided
    layout = value.stride() if is_strided else value.layout
    found = f"{type(value).__name__} {value.dtype} {tuple(value.shape)} {layout} {value.device}"
    if type(value) in TENSORS and is_strided:
        # Fake tensors have no memory.
        number = memory.setdefault(value.untyped_storage().data_ptr(), len(memory))
        found += f" {number} {value.storage_offset()} {value.requires_grad}"
    return found


def settings() -> Iterator[Any]:
    """Torch's settings that have a part in what ops compute."""
    yield torch.get_default_dtype()
    yield torch.get_num_threads()
    yield torch.get_float32_matmul_precision()
    yield torch.are_deterministic_algorithms_enabled()
    yield torch.is_grad_enabled()
    yield torch.is_autocast_enabled("cpu")
    yield torch.backends.quantized.engine
    yield torch.backends.mkldnn.enabled
    yield torch._C._get_cudnn_allow_tf32(), torch._C._get_cublas_allow_tf32()


def of(values: Iterable[Any]) -> str:
    """The digest of tensors and plain values."""
    found = hashlib.sha256()
    for value in values:
        if isinstance(value, Tensor):
            for each in _plain(value):
                found.update(f"{each.dtype} {tuple(each.shape)}".encode())
                found.update(_memory(each))
        elif isinstance(value, PLAIN):
            found.update(f"{value!r}\n".encode("utf-8", "surrogatepass"))
        else:
            # What two processes make of an object need not have the same text.
            found.update(type(value).__qualname__.encode())
    return found.hexdigest()


def _plain(value: Tensor) -> Iterator[Tensor]:
    """The tensors that a tensor subclass is made of, as that of a packed weight; others as they are."""
    if type(value) not in TENSORS and hasattr(value, "__tensor_flatten__"):
        names, _ = value.__tensor_flatten__()
        for name in names:
            yield from _plain(getattr(value, name))
    else:
        value = value.detach()
        dense = value if value.layout == torch.strided else value.to_dense()
        yield dense.cpu().resolve_conj().resolve_neg().contiguous()


def _memory(value: Tensor) -> Any:
    """The memory of a tensor. NumPy, which could give it, need not be installed."""
    size = value.numel() * value.element_size()
    return (ctypes.c_char * size).from_address(value.data_ptr()) if size else b""
