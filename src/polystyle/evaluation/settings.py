"""The settings of an evaluation: those of the run that trained the network."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from polystyle.files.terminal_text import sanitized

# Each setting's key in the configuration of a run, and its default where neither the configuration
# nor the model file's header has a value. The default also gives the type.
KEYS: dict[str, tuple[str, Any]] = {
    "content_dir": ("data.content_dir", ""),
    "style_dir": ("data.style_dir", ""),
    "image_size": ("data.image_size", 256),
    "style_size": ("data.style_size", 384),
    "val_fraction": ("data.val_fraction", 0.05),
    "vgg_weights": ("loss.vgg.weights", ""),
    "relative": ("loss.relative", True),
    "content_weight": ("loss.content_weight", 1.0),
    "style_weight": ("loss.style_weight", 10.0),
}


@dataclass(frozen=True)
class Settings:
    """The settings of an evaluation.

    Attributes:
        content_dir, style_dir: existing folders of photos and of paintings.
        image_size: side of the square photos, in pixels.
        style_size: shorter side of the paintings, in pixels.
        val_fraction: share of the photos that training held out.
        vgg_weights: a file of VGG-16's weights, "random", or None for the published ones.
        content_weight, style_weight: weights of the scale-free losses in the total.
    """

    content_dir: Path
    style_dir: Path
    image_size: int
    style_size: int
    val_fraction: float
    vgg_weights: str | None
    content_weight: float
    style_weight: float


def read_settings(
    model_file: Path, header: Mapping[str, Any], content_dir: Path | None, style_dir: Path | None
) -> Settings:
    """Collects the settings from the run's configuration, the model file's header and the defaults,
    in this order.

    Args:
        model_file: the network's file. The configuration of its run is expected beside it, in
            ``.hydra/config.yaml``.
        header: the training settings in the model file's header.
        content_dir, style_dir: folders to use in place of the run's; None uses the run's.

    Raises:
        FileNotFoundError: a folder of the run does not exist; names the command's flag.
        ValueError: a folder is known from nowhere, or the configuration can't be read.
    """
    values, run_cwd = read_configuration(model_file.parent / ".hydra" / "config.yaml")
    values = convert(model_file, {**numbers_in(header), **values})
    if not values["relative"]:
        # Weights of the papers' losses mean nothing for scale-free losses.
        for name in ("content_weight", "style_weight"):
            values[name] = KEYS[name][1]
    vgg_weights = values["vgg_weights"]
    if vgg_weights not in ("", "random"):
        vgg_weights = str(run_cwd / vgg_weights)
    return Settings(
        content_dir=content_dir
        or find_folder(model_file, values["content_dir"], run_cwd, "--content-dir"),
        style_dir=style_dir or find_folder(model_file, values["style_dir"], run_cwd, "--style-dir"),
        image_size=values["image_size"],
        style_size=values["style_size"],
        val_fraction=values["val_fraction"],
        vgg_weights=vgg_weights or None,
        content_weight=values["content_weight"],
        style_weight=values["style_weight"],
    )


def read_configuration(path: Path) -> tuple[dict[str, Any], Path]:
    """Reads the settings that a run's configuration has, as they stand there.

    Returns:
        The values by name, and the folder that the run's relative paths start from: the one in
        which polystyle-train was called. No values if there is no configuration.

    Raises:
        ValueError: it can't be read.
    """
    if not path.is_file():
        return {}, Path()
    try:
        config = OmegaConf.load(path)
        values = {name: OmegaConf.select(config, key) for name, (key, _) in KEYS.items()}
        hydra = OmegaConf.load(path.with_name("hydra.yaml"))
        run_cwd = Path(OmegaConf.select(hydra, "hydra.runtime.cwd") or "")
    except (OmegaConfBaseException, YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is not the configuration of a run: {reason}") from error
    return {name: value for name, value in values.items() if value is not None}, run_cwd


def numbers_in(header: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers among a header's settings. Its paths are not used: a model file may come from
    anywhere, and must not choose which files are read."""
    numbers = [name for name, (_, default) in KEYS.items() if not isinstance(default, str)]
    return {name: header[name] for name in numbers if header.get(name) is not None}


def convert(model_file: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values in the types of `KEYS`, with the defaults of those that are missing.

    Raises:
        ValueError: a value that can't be converted.
    """
    converted = {}
    for name, (_, default) in KEYS.items():
        try:
            converted[name] = type(default)(values.get(name, default))
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(
                f"{model_file}: {name} of its run is {sanitized(repr(values[name]))}, "
                "which is not a valid number"
            ) from error
    return converted


def find_folder(model_file: Path, folder: str, run_cwd: Path, flag: str) -> Path:
    """The folder that a run used, looked up from the run's working directory, then from the
    current one.

    Raises:
        FileNotFoundError: it does not exist.
        ValueError: the run's folder is not known.
    """
    if not folder:
        raise ValueError(f"{model_file} is not in the folder of its run: {flag} is needed")
    for start in (run_cwd, Path()):
        if (start / folder).is_dir():
            return (start / folder).resolve()
    raise FileNotFoundError(
        f"{model_file} was trained with {run_cwd / folder}, which does not exist: pass {flag}"
    )
