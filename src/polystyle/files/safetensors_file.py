"""Weights on disk, which anybody may have made: nothing in them is run, and no more of them is read
than what is expected."""

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
    """Write a file whole or not at all; its folder is made, and an older file there replaced. The
    same tensors and header make the same bytes.

    Args:
        path: the file.
        tensors: by name, float32 or float16.
        header: plain text by name.
    """
    # safetensors writes what lies in memory, so channels_last weights are laid out anew.
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with made_folder(path.parent), atomic_write(path) as partial:
        partial.write_bytes(with_sorted_header(save(plain, metadata=dict(header))))


def with_sorted_header(data: bytes) -> bytes:
    """A safetensors file, the metadata of which safetensors itself writes in any order."""
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)  # tensors begin at multiples of 8, as the format wants it
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


@contextmanager
def opened(path: Path) -> Iterator[safe_open]:
    """A safetensors file, of which nothing is read but its header. safetensors sees to it that the
    tensors which the header declares lie in the file, one after the other, and fill it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is damaged, or of another kind.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > MAX_HEADER:  # as in most files of another kind
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
    """What a safetensors file says of itself; raises as `opened`."""
    with opened(path) as file:
        return file.metadata() or {}


def read_tensors(path: Path, shapes: Mapping[str, Sequence[int | None]]) -> dict[str, Tensor]:
    """The tensors of a safetensors file that holds exactly these, by name, as finite float32. The
    file may hold them in float16.

    No tensor is read before the header is known to declare what is expected.

    Args:
        path: the file.
        shapes: what the file must hold, by name; None is a side of any length.

    Raises:
        FileNotFoundError, ValueError: see `opened`; or the file holds something else, says what.
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
            raise ValueError(f"{path} does not hold what its header promises: {min(complaints)}")
        # Copies: what they are copied from is the file itself, which may change.
        tensors = {name: file.get_tensor(name).to(torch.float32, copy=True) for name in shapes}
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{path}: {name} holds numbers that are infinite or NaN")
    return tensors
