"""Safetensors files from untrusted sources: no code is run, and only expected tensors are read."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from polystyle.files.atomic_file import atomic_write
from polystyle.files.new_folder import made_folder
from polystyle.files.terminal_text import sanitized

MAX_HEADER = 32_000_000  # bytes; a style's name and thumbnail take 2,500


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    """Writes a file atomically. Makes its folder and replaces an older file. The same tensors and
    header give the same bytes.

    Args:
        path: the file.
        tensors: by name, float32 or float16.
        header: plain text by name.
    """
    # safetensors writes memory as it is, so channels_last weights are made contiguous.
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with made_folder(path.parent), atomic_write(path) as partial:
        partial.write_bytes(with_sorted_header(save(plain, metadata=dict(header))))


def with_sorted_header(data: bytes) -> bytes:
    """A safetensors file with sorted metadata, which safetensors itself writes in random order."""
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)  # the format aligns tensors to 8 bytes
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


@contextmanager
def opened(path: Path) -> Iterator[safe_open]:
    """Opens a safetensors file and reads its header only. safetensors checks that the declared
    tensors lie one after the other and fill the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or of another kind.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > MAX_HEADER:  # true of most files of other formats
        raise ValueError(
            f"{path} is damaged, or not a safetensors file (its header would have {length} bytes)"
        )
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        reason = sanitized(str(error))
        raise ValueError(f"{path} is damaged, or not a safetensors file ({reason})") from error


def read_header(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file. Raises the errors of `opened`."""
    with opened(path) as file:
        return file.metadata() or {}


def read_tensors(path: Path, shapes: Mapping[str, Sequence[int | None]]) -> dict[str, Tensor]:
    """Reads the tensors of a safetensors file by name, as float32. The file must hold exactly the
    expected tensors, in float32 or float16.

    The header is checked before any tensor is read.

    Args:
        path: the file.
        shapes: the expected shapes by name; None is a side of any length.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or of another kind, a tensor is missing, unexpected or of
            another shape or dtype, or a number is infinite or NaN.
    """
    with opened(path) as file:
        found = set(file.keys())
        complaints = [f"{name} is missing" for name in shapes.keys() - found]
        complaints += [f"unexpected tensor '{sanitized(name)}'" for name in found - shapes.keys()]
        for name in shapes.keys() & found:
            tensor = file.get_slice(name)
            dtype, shape = tensor.get_dtype(), tensor.get_shape()
            expected = [
                found_side if side is None else side
                for side, found_side in zip_longest(shapes[name], shape, fillvalue=-1)
            ]
            if dtype not in ("F32", "F16") or shape != expected:
                complaints.append(f"{name} is {dtype} {shape}, not F32 {list(shapes[name])}")
        if complaints:
            raise ValueError(f"{path} does not hold what its header describes: {min(complaints)}")
        # Copies, because the originals are mapped from the file, which may change.
        tensors = {name: file.get_tensor(name).to(torch.float32, copy=True) for name in shapes}
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{path}: {name} holds numbers that are infinite or NaN")
    return tensors
