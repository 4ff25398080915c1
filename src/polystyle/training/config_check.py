"""Whether a configuration can be run: keys that are missing or old, values of another type than the
constructors that they go to ask for, parts of one's own."""

import inspect
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib.resources import files
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import hydra
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf, open_dict
from typeguard import CollectionCheckStrategy, ForwardRefPolicy, TypeCheckError, check_type

from polystyle.training.command_line import (
    STYLE_NUMBERS,
    check_not_empty,
    is_path_key,
    meant_by,
    style_numbers,
)
from polystyle.training.run_record import RENAMED, flat

# Keys that train.py itself reads.
OWN: dict[str, Any] = {
    "seed": int,
    "init": str,
    "model_file": str | None,
    "ckpt_path": str | None,
    "run_dir": str,
    "allow_changes": bool,
    "data": dict,
    "network": dict,
    "model": dict,
    "objective": dict,
    "loss": dict,
    "trainer": dict,
    "callbacks": dict[str, dict | None],
    "logger": dict | None,
    "data.image_size": int | None,
    "data.style_size": int | None,
    "trainer.accelerator": str,
    "trainer.devices": int | str | list[int],
    # The losses take float32, so that others ending in -true can't be.
    "trainer.precision": Literal["auto", "32-true", "bf16-mixed", "16-mixed"],
    "trainer.max_steps": int,
    "trainer.val_check_interval": int,
    "trainer.log_every_n_steps": int,
}

# Numbers of steps.
COUNTS = ("max_steps", "val_check_interval", "log_every_n_steps", "accumulate_grad_batches")

# What a key that has no default is.
REQUIRED = {"data.content_dir": "the folder of photos", "data.style_dir": "the folder of paintings"}

# Groups of which a user may name a class of their own by `_target_`.
OPEN_GROUPS = ("network", "objective", "data")


def check_config(cfg: DictConfig) -> None:
    """Raises ValueError for the first thing about a configuration that can't be run."""
    for key in flat(OmegaConf.to_container(cfg)):
        if key in RENAMED:
            raise ValueError(renamed(key))
    for key in sorted(OmegaConf.missing_keys(cfg)):
        meaning = f": {REQUIRED[key]}" if key in REQUIRED else ""
        raise ValueError(f"{key} is not set{meaning}. See polystyle-train --help")
    read_style_numbers(cfg)
    config = OmegaConf.to_container(cfg, resolve=True)
    for key, value in flat(config).items():
        if is_path_key(key) and isinstance(value, str):
            check_not_empty(key, value)
    check_types(config)
    for key in COUNTS:
        if cfg.trainer[key] < 1:
            raise ValueError(f"trainer.{key} must be at least 1, not {cfg.trainer[key]}")


def read_style_numbers(cfg: DictConfig) -> None:
    """Turn numbers by style into dictionaries whose keys are text: from the text that the command
    line makes of them, and from YAML, in which the names 1 and true are no text.

    Args:
        cfg: the configuration, which is changed.

    Raises:
        ValueError: a text of another form.
    """
    for key in STYLE_NUMBERS:
        value = OmegaConf.select(cfg, key)
        if isinstance(value, str):
            try:
                OmegaConf.update(cfg, key, style_numbers(value))
            except ValueError as error:
                raise ValueError(f"{key} {error}") from error
        elif isinstance(value, DictConfig):
            numbers = {
                str(name).lower() if isinstance(name, bool) else str(name): number
                for name, number in value.items()
            }
            OmegaConf.update(cfg, key, numbers, merge=False)


def renamed(key: str) -> str:
    """What to type in place of a key of polystyle 0.1."""
    if RENAMED[key] is None:
        return f"there is no {key} any more: leave it out"
    return f"{key} is called {RENAMED[key]} now"


def drop_unused(cfg: DictConfig, overrides: list[str]) -> list[str]:
    """Where a part is a class of one's own, take out the arguments of polystyle's class.

    ``network._target_=my_net.MyNet`` leaves `width` and whatever else ``configs/network`` gives to
    polystyle's own network. What MyNet does not take is taken out, unless it was typed.

    Args:
        cfg: the configuration, which is changed.
        overrides: what was typed.

    Returns:
        A line for each part, for people.
    """
    typed = {text.lstrip("+").partition("=")[0] for text in overrides}
    lines = []
    for group in OPEN_GROUPS:
        target = str(cfg[group]._target_)
        if target.startswith("polystyle."):
            continue
        parameters = parameters_of(target).values()
        called = get_object(target)
        # A LightningDataModule without an __init__ of its own takes anything, and ignores it.
        inherits = inspect.isclass(called) and "__init__" not in vars(called)
        if not inherits and any(p.kind == p.VAR_KEYWORD for p in parameters):
            continue
        taken = {parameter.name for parameter in parameters}
        unused = [
            str(name)
            for name in cfg[group]
            if name not in taken and not name.startswith("_") and f"{group}.{name}" not in typed
        ]
        with open_dict(cfg):
            for name in unused:
                del cfg[group][name]
        if unused:
            lines.append(f"{target} takes no {', '.join(unused)}: left out of {group}")
    return lines


def explain(error: Exception) -> str:
    """An error of Hydra's, in one line, with the keys or choices that may have been meant."""
    # Hydra names its search path, in more lines than the error itself.
    message = " ".join(str(error).split("Config search path")[0].split())
    if "'hydra/launcher/submitit_" in message:
        return f"{message} It needs the plugin: pip install 'polystyle[slurm]'"
    if choice := re.search(
        r"Could not find '(\S+)/(.*?)' Available options in '.*?': (.*)", message
    ):
        return unknown_choice(*choice.groups())
    if several := re.match(r"Ambiguous value for argument '(.*?)' 1\. To use it", message):
        return f"{several[1]} names several values: add -m to train a run for each"
    if "override_grammar" in message:
        typed = getattr(error, "override", None) or "an argument"
        return f"{typed} can't be read: a value with special characters takes quotes, KEY='VALUE'"
    if unknown := re.match(r"Could not override '([^']+)'", message):
        # Of key={a:1}, the cause names the key within the braces.
        nested = re.search(r"full_key: (\S+)", str(error.__cause__))
        is_within = nested and nested[1].startswith(f"{unknown[1]}.")
        return unknown_key(nested[1] if is_within else unknown[1])
    return message


def unknown_choice(group: str, choice: str, available: str) -> str:
    """In one line that a group has no such choice."""
    choices = available.split()
    if not choice:
        return f"{group} is empty: choose one of {', '.join(choices)}"
    names = {name.lower(): name for name in choices}
    near = get_close_matches(choice.lower(), names, n=2)
    meant = " or ".join(f"{group}={names[name]}" for name in near)
    hint = f"did you mean {meant}?" if meant else f"choose one of {', '.join(choices)}"
    return f"there is no {group}={choice}: {hint}"


def unknown_key(key: str) -> str:
    """In one line that there is no such key, and which may have been meant."""
    if key in RENAMED:
        return renamed(key)
    said = f"there is no {key} in the configuration"
    parent, _, leaf = key.rpartition(".")
    if parent in STYLE_NUMBERS:
        return f"{said}: did you mean {parent}={{{leaf}:NUMBER}}?"
    with hydra.initialize_config_module("polystyle.configs", version_base="1.3"):
        known = list(flat(OmegaConf.to_container(hydra.compose("train"))))
    same_leaf = [name for name in known if name.split(".")[-1] == leaf]
    suggestion = meant_by(key)
    if suggestion and not (parent and same_leaf):
        return f"{said}: did you mean {suggestion}?"
    nodes = {name.rpartition(".")[0] for name in known}
    near = dict.fromkeys(same_leaf + get_close_matches(key, [*known, *nodes, "experiment"], n=3))
    meant = f"did you mean {' or '.join(near)}?" if near else "see polystyle-train --help"
    return f"{said}: {meant}"


def check_types(config: dict[str, Any]) -> None:
    """Raises ValueError for the first value of another type than its annotation, and for a number
    that is infinite, NaN, or too large to compute with.

    Args:
        config: as it was composed, interpolations resolved.
    """
    for key, value in flat(config).items():
        if isinstance(value, int | float) and not abs(value) < 2**63:  # NaN is not, either
            raise ValueError(f"{key} must be a finite number, not {value}")
    for key, value, annotation in annotated(config):
        if annotation is int and isinstance(value, bool):  # to Python true is 1
            raise ValueError(f"{key} must be int, not {value!r}")
        try:
            check_type(
                value,
                annotation,
                forward_ref_policy=ForwardRefPolicy.IGNORE,
                collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS,
            )
        except TypeCheckError:
            if is_choice(key, value):
                group = key.replace(".", "/")
                raise ValueError(f"{key} takes no name: choose {group}={value}") from None
            raise ValueError(f"{key} must be {in_words(annotation)}, not {value!r}") from None


def is_choice(key: str, value: Any) -> bool:
    """Whether a value is the name of a configuration in the group that fills a key."""
    group = files("polystyle.configs").joinpath(*key.split("."))
    return isinstance(value, str) and group.joinpath(f"{value}.yaml").is_file()


def in_words(annotation: Any) -> str:
    """A type as a person says it: float, str or null, max or average."""
    if get_args(annotation) and get_origin(annotation) in (Literal, Union, UnionType):
        return " or ".join(dict.fromkeys(in_words(choice) for choice in get_args(annotation)))
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__name__.replace("NoneType", "null")
    return str(annotation).replace("typing.", "").replace("collections.abc.", "")


def annotated(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Each value with its dotted key and the annotation of its parameter, if there is one."""
    parameters: Mapping[str, inspect.Parameter] = {}
    if "_target_" in config:
        parameters = parameters_of(config["_target_"])
    for name, value in config.items():
        key = f"{prefix}{name}"
        is_built = isinstance(value, dict) and "_target_" in value
        if key in OWN:
            yield key, value, OWN[key]
        elif name in parameters and not is_built:
            annotation = parameters[name].annotation
            if annotation is not inspect.Parameter.empty:
                yield key, value, annotation
        if isinstance(value, dict):
            yield from annotated(value, f"{key}.")


def parameters_of(target: str) -> Mapping[str, inspect.Parameter]:
    """The parameters of a constructor or function, by name.

    Raises:
        ValueError: there is none of that name.
    """
    try:
        called = get_object(target)
        try:
            return inspect.signature(called, eval_str=True).parameters
        except NameError:  # an annotation that is there for type checkers alone
            return inspect.signature(called).parameters
    except (ImportError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"_target_ must name a class or function, not {target!r}") from error
