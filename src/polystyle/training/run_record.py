"""What a run is, on record in its folder: versions, configuration, a fingerprint of its data. A run
that goes on is compared with it."""

import json
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from polystyle.files.atomic_file import atomic_write

if TYPE_CHECKING:
    from polystyle.data.datamodule import StyleTransferData

PACKAGES = ("polystyle", "torch", "torchvision", "lightning", "pillow", "numpy")

# Keys that may change when a run goes on: how, how long and where, but no weight of it. What the
# folders hold has a fingerprint, and the network to add styles to has its own.
FREE = (
    *("allow_changes", "ckpt_path", "run_dir", "model_file", "callbacks", "logger"),
    *("data.content_dir", "data.style_dir", "data.num_workers", "data.skipped_photos"),
    *("model.compile", "trainer"),
)
# Of the trainer's, these are not.
FIXED = ("trainer.precision", "trainer.accumulate_grad_batches", "trainer.gradient_clip_val")


def versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def write_record(
    run_dir: Path, cfg: DictConfig, data: "StyleTransferData", start_step: int, changes: list[str]
) -> None:
    """Put a run that begins or goes on at a step on record, once it is sure to start: ``run.json``,
    and for people ``.hydra/``, as Hydra itself would have written it.

    Raises:
        ValueError: the record of an earlier start is damaged.
    """
    path = run_dir / "run.json"
    with named_if_damaged(path):
        earlier = json.loads(path.read_text())["starts"] if path.exists() else []
    start = {"step": start_step, "changes": changes, "versions": versions()}
    record = {
        "seed": cfg.seed,
        "configuration": OmegaConf.to_container(cfg),
        "data": data.fingerprint(),
        "starts": [*earlier, start],
    }
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(record, indent=2))
    folder = run_dir / ".hydra"
    folder.mkdir(exist_ok=True)
    parts = {"config": cfg}
    if HydraConfig.initialized():
        parts["hydra"] = HydraConfig.instance().cfg
        parts["overrides"] = HydraConfig.get().overrides.task
    for name, part in parts.items():
        with atomic_write(folder / f"{name}.yaml") as partial:
            OmegaConf.save(part, partial)


def differences(run_dir: Path, cfg: DictConfig, data: "StyleTransferData") -> list[str]:
    """In what a run differs from what is on record in a folder; nothing if nothing is.

    Raises:
        ValueError: the record is damaged.
    """
    path = run_dir / "run.json"
    if not path.exists():  # a run before there were records
        return []
    with named_if_damaged(path):
        record = json.loads(path.read_text())
        return [
            *config_differences(flat(record["configuration"]), flat(OmegaConf.to_container(cfg))),
            *data_differences(record["data"], data.fingerprint()),
        ]


@contextmanager
def named_if_damaged(record: Path) -> Iterator[None]:
    """What a damaged record leads to in the block, as a ValueError that says so."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{record} is damaged: remove it to go on") from error


def config_differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    fixed = list(FIXED)
    if before.get("data.progressive_share") or now.get("data.progressive_share"):
        fixed.append("trainer.max_steps")  # it says where the small crops end
    different = []
    for key in sorted(before.keys() | now.keys()):
        is_free = any(key == free or key.startswith(f"{free}.") for free in FREE)
        if before.get(key) != now.get(key) and (key in fixed or not is_free):
            different.append(f"{key} was {before.get(key)} and is {now.get(key)}")
    return different


def data_differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    different = []
    for key in ("photos to train on", "held-out photos"):
        was, are = before[key], now[key]
        if was["count"] != are["count"]:
            different.append(f"there were {was['count']} {key} and are {are['count']}")
        elif was["sha256"] != are["sha256"]:
            different.append(f"of {are['count']} {key} some have another name or size")
    old, new = before["paintings"], now["paintings"]
    others = [name for name in new if name in old and new[name] != old[name]]
    if others:
        different.append(f"another picture is the painting {', '.join(others)}")
    return different


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A configuration's values by their dotted names."""
    values: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict) and value:
            values |= flat(value, f"{prefix}{name}.")
        else:
            values[f"{prefix}{name}"] = value
    return values
