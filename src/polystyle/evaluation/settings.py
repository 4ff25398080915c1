"""What a network was trained on, and how: read from its run's folder and its file's header."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

# What is asked of the run that made a network: the key in its configuration, and the value where
# neither that nor the network's header has one.
SETTINGS = {
    "content_dir": ("data.content_dir", ""),
    "style_dir": ("data.style_dir", ""),
    "image_size": ("data.image_size", 256),
    "style_size": ("data.style_size", 256),
    "val_fraction": ("data.val_fraction", 0.05),
    "vgg_weights": ("loss.vgg.weights", ""),
    "relative": ("loss.relative", True),
    "content_weight": ("loss.content_weight", 1.0),
    "style_weight": ("loss.style_weight", 5.0),
}


def read_settings(
    model: Path, header: Mapping[str, Any], content_dir: Path | None, style_dir: Path | None
) -> dict[str, Any]:
    """What a network was trained on, and how: a value for each of `SETTINGS`.

    Args:
        model: the network's file. The configuration of its run is looked for beside it.
        header: what the file itself says of its training.
        content_dir, style_dir: folders that win over the run's.

    Raises:
        FileNotFoundError: a folder of the run is no longer there.
        ValueError: a folder that nobody names, or a configuration that can't be read.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from polystyle.files.terminal_text import sanitized

    # Not the folders: a network may come from anybody.
    numbers = [name for name, (_, default) in SETTINGS.items() if default != ""]
    found = {name: header[name] for name in numbers if header.get(name) is not None}
    typed_in = Path()
    config_path = model.parent / ".hydra" / "config.yaml"
    if config_path.is_file():
        try:
            config = OmegaConf.load(config_path)
            for name, (key, _) in SETTINGS.items():
                if (value := OmegaConf.select(config, key)) is not None:
                    found[name] = value
            # Relative paths start where the user typed polystyle-train.
            hydra = OmegaConf.load(config_path.with_name("hydra.yaml"))
            typed_in = Path(OmegaConf.select(hydra, "hydra.runtime.cwd") or "")
        except (OmegaConfBaseException, YAMLError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{config_path} is no configuration of a run: {reason}") from error
    settings = {}
    for name, (_, default) in SETTINGS.items():
        try:
            settings[name] = type(default)(found.get(name, default))
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(
                f"{model}: its run's {name} is {sanitized(repr(found[name]))}"
            ) from error
    if not settings["relative"]:
        # The weights of that run are for losses of another size.
        for name in ("content_weight", "style_weight"):
            settings[name] = SETTINGS[name][1]
    if settings["vgg_weights"] not in ("", "random"):
        settings["vgg_weights"] = str(typed_in / settings["vgg_weights"])

    for name, given in (("content_dir", content_dir), ("style_dir", style_dir)):
        flag = f"--{name.replace('_', '-')}"
        if given:
            settings[name] = given
            continue
        if not settings[name]:
            raise ValueError(f"{model} does not lie in its run's folder: {flag} is needed")
        folders = [folder / settings[name] for folder in (typed_in, Path())]
        there = [folder for folder in folders if folder.is_dir()]
        if not there:
            raise FileNotFoundError(
                f"{model} was trained with {folders[0]}, which is not there: pass {flag}"
            )
        settings[name] = there[0].resolve()
    return settings
