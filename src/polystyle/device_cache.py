"""A prepared set's photos in a device's memory, and crops made there."""

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from polystyle.pictures import PictureError, load_image
from polystyle.prepared import PreparedPhoto


class DeviceCache:
    """All photos of a prepared set, decoded, in one device's memory.

    Args:
        photos: what to read, once, on all cores.
        device: where to keep them.
        show_progress: whether to draw a bar, where there is a terminal.

    Raises:
        ValueError: they don't fit, or one of them is damaged.
    """

    def __init__(
        self, photos: Sequence[PreparedPhoto], device: torch.device, show_progress: bool = True
    ) -> None:
        counts = [photo.width * photo.height for photo in photos]
        starts = [0, *accumulate(counts)]
        needed, free = 3 * starts[-1], free_memory(device)
        if needed > free:
            raise ValueError(
                f"data.cache=device needs {needed / 1e9:.3g} GB on {device}, of which "
                f"{free / 1e9:.3g} GB are free: prepare smaller photos (polystyle-prepare --size) "
                "or fewer, or set data.cache=null"
            )
        self.pixels = torch.empty(starts[-1], 3, dtype=torch.uint8, device=device)
        self.starts = torch.tensor(starts[:-1], device=device)
        self.sizes = torch.tensor([(photo.width, photo.height) for photo in photos], device=device)
        self.largest_side = max(min(photo.width, photo.height) for photo in photos)

        def keep(photo: PreparedPhoto, start: int) -> None:
            try:
                image = load_image(photo)
                if image.size != (photo.width, photo.height):
                    raise PictureError(photo, f"is {image.width} x {image.height} pixels")
            except PictureError as error:
                raise ValueError(f"{error}: make the set again with polystyle-prepare") from error
            pixels = torch.from_numpy(np.array(image)).view(-1, 3)
            self.pixels[start : start + len(pixels)] = pixels

        # Threads: Pillow decodes without Python's lock.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            kept = pool.map(keep, photos, starts)
            hide = None if show_progress else True
            for _ in tqdm(
                kept, f"Photos to {device}", len(photos), unit="photo", disable=hide, leave=False
            ):
                pass

    def crop(self, batch: dict[str, Tensor], size: int) -> Tensor:
        """The crops that a batch of `TrainingCrops` describes, resized as Pillow resizes them
        (bilinear, antialiased), without waiting for the device.

        Bilinear resizing is a weighted mean of some rows, then of some columns: two matrix
        products, of the same shapes in every batch.

        Returns:
            ``[B, 3, size, size]`` float32 in [0, 1].
        """
        left, top, side = batch["box"].unbind(1)
        width, height = self.sizes[batch["photo"]].unbind(1)
        reach = max(self.largest_side / size, 1)
        window = math.ceil(self.largest_side + 2 * reach) + 1
        columns, across = resizing(left, side, width, size, window)
        rows, down = resizing(top, side, height, size, window)
        across = torch.where(batch["flip"][:, None, None], across.flip(1), across)
        start = self.starts[batch["photo"]]
        places = start[:, None, None] + rows[:, :, None] * width[:, None, None] + columns[:, None]
        pixels = self.pixels[places].float() / 255  # [B, window, window, 3]
        shorter = (down @ pixels.flatten(2)).unflatten(2, (window, 3))  # [B, size, window, 3]
        return shorter.permute(0, 3, 1, 2) @ across.mT[:, None]


def resizing(
    start: Tensor, length: Tensor, limit: Tensor, size: int, window: int
) -> tuple[Tensor, Tensor]:
    """How to resize a piece of a line of pixels, as Pillow does: a triangle as wide as two new
    pixels, or two old ones if those are wider, around the middle of each new one.

    Args:
        start, length: of the piece, ``[B]`` float32, in pixels.
        limit: the line's length, ``[B]`` int64.
        size: how many pixels to make of the piece.
        window: how many old pixels to look at, enough for every piece.

    Returns:
        the old pixels to look at, ``[B, window]`` int64, and their weights in each new one,
        ``[B, size, window]`` float32.
    """
    scale = (length / size)[:, None]
    reach = scale.clamp(min=1)
    first = (start[:, None] - reach).floor().clamp(min=0)
    old = first + torch.arange(window, device=start.device)
    new = start[:, None] + (torch.arange(size, device=start.device) + 0.5) * scale
    distance = (old[:, None, :] + 0.5 - new[:, :, None]).abs() / reach[:, :, None]
    weights = (1 - distance).clamp(min=0) * (old < limit[:, None])[:, None, :]
    places = torch.minimum(old.long(), limit[:, None] - 1)
    return places, weights / weights.sum(2, keepdim=True)


def free_memory(device: torch.device) -> int:
    """Bytes free on a GPU; of other devices, all that the machine has."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
