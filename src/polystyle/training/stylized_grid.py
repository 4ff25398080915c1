"""The picture that a run of style transfer paints at every validation."""

from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from torch import Tensor
from torchvision.transforms import v2
from torchvision.utils import make_grid, save_image

from polystyle.data.datamodule import StyleTransferData
from polystyle.data.paintings import mosaic
from polystyle.files.atomic_file import atomic_write


class StylizedGrid(Callback):
    """One picture of how training stands: paintings along the top, held-out photos down the side,
    and each photo in each style.

    It is written at the start, at every validation and at the end, to
    ``<folder>/step-000300.png`` and to every logger that takes pictures. The data is
    `StyleTransferData`.

    Args:
        folder: where the pictures go.
        max_photos, max_styles: rows and columns, at the most (the first ones).
    """

    def __init__(self, folder: str, max_photos: int = 4, max_styles: int = 16) -> None:
        self.folder = Path(folder)
        self.max_photos = max_photos
        self.max_styles = max_styles
        self.written_step: int | None = None

    def bytes_to_write(self, data: StyleTransferData, num_validations: int) -> int:
        """About how much a run's pictures take, as files and for TensorBoard, at the most."""
        rows = 1 + min(self.max_photos, data.num_val_photos)
        columns = 1 + min(self.max_styles, len(data.conditions))
        # Paint does not compress well.
        return 2 * num_validations * rows * columns * 3 * data.image_size**2

    @torch.no_grad()
    def grid(self, trainer: Trainer, module: LightningModule) -> Tensor:
        """``[3, H, W]`` in [0, 1]."""
        photos = trainer.datamodule.val_photos[: self.max_photos]
        paintings = list(trainer.datamodule.paintings.values())[: self.max_styles]
        size = photos.shape[-1]
        square = v2.Compose([v2.Resize(size), v2.CenterCrop(size)])
        white = torch.ones_like(photos[0])
        cells = [white, *(square(mosaic(images)) if images else white for images in paintings)]
        for photo in photos:
            cells.append(photo)
            for index in range(len(paintings)):
                style = torch.tensor([index], device=module.device)
                with trainer.precision_plugin.forward_context():
                    stylized = module.net(photo[None].to(module.device), style)
                cells.append(stylized[0].float().cpu())
        return make_grid(cells, nrow=len(paintings) + 1, padding=4, pad_value=1.0)

    def write(self, trainer: Trainer, module: LightningModule) -> None:
        step = trainer.global_step
        # The end often comes right after a validation.
        if not trainer.is_global_zero or trainer.fast_dev_run or step == self.written_step:
            return
        self.written_step = step
        grid = self.grid(trainer, module)
        self.folder.mkdir(exist_ok=True)
        with atomic_write(self.folder / f"step-{step:06d}.png") as partial:
            save_image(grid, partial, format="png")
        for logger in trainer.loggers:
            log_picture(logger, "stylized", grid, step)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.write(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self.write(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.write(trainer, pl_module)


def log_picture(logger: Logger, name: str, picture: Tensor, step: int) -> None:
    """Hand a picture ``[3, H, W]`` to a logger that takes pictures: TensorBoard's, or one with
    ``log_image``, such as Lightning's WandbLogger."""
    if hasattr(logger, "log_image"):
        logger.log_image(key=name, images=[picture], step=step)
    elif hasattr(logger.experiment, "add_image"):
        logger.experiment.add_image(name, picture, step)
