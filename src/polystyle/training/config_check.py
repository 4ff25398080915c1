"""Whether a configuration's values are of the kind that the constructors they go to ask for."""

import inspect
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from hydra.utils import get_object
from typeguard import CollectionCheckStrategy, ForwardRefPolicy, TypeCheckError, check_type

from polystyle.training.run_record import flat

# Keys that train.py itself reads.
OWN: dict[str, Any] = {
    "seed": int,
    "model_file": str | None,
    "ckpt_path": str | None,
    "run_dir": str,
    "allow_changes": bool,
    "data": dict,
    "model": dict,
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
            raise ValueError(f"{key} must be {in_words(annotation)}, not {value!r}") from None


def in_words(annotation: Any) -> str:
    """A type as a person says it: float, str or null, max or average."""
    if get_args(annotation) and get_origin(annotation) in (Literal, Union, UnionType):
        return " or ".join(dict.fromkeys(in_words(each) for each in get_args(annotation)))
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__name__.replace("NoneType", "null")
    return str(annotation).replace("typing.", "").replace("collections.abc.", "")


def annotated(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Each value with its dotted key and the annotation of what it becomes, where there is one."""
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
    """Of a constructor or function, by name. Raises ValueError if there is none of that name."""
    try:
        called = get_object(target)
        try:
            return inspect.signature(called, eval_str=True).parameters
        except NameError:  # an annotation that is there for type checkers alone
            return inspect.signature(called).parameters
    except (ImportError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"_target_ must name a class or function, not {target!r}") from error
