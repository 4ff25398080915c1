"""What a run is, on record in its folder: versions, configuration, a fingerprint of its data. A run
that goes on is compared with it."""

import json
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from polystyle.files.atomic_file import atomic_write

PACKAGES = ("polystyle", "torch", "torchvision", "lightning", "pillow", "numpy")

# 1, of polystyle 0.1, had other keys in its configuration: see `RENAMED`.
FORMAT_VERSION = 2

# Keys of polystyle 0.1 and their names now. None: the key is gone, and so is what it did.
RENAMED = {
    "model.width": "network.width",
    "model.init_std": "network.init_std",
    "model.row_rate": "model.style_lr_multiplier",
    "data.small_share": "data.progressive_share",
    "data.photo_row": "data.identity_style",
    "data.cache": None,
}

# Keys that may change when a run goes on: how, how long and where, but no weight of it. What the
# folders hold has a fingerprint, and the network to add conditions to has its own.
FREE = (
    *("allow_changes", "ckpt_path", "run_dir", "init", "model_file", "callbacks", "logger"),
    *("data.num_workers", "data.skipped_photos", "model.compile", "trainer"),
)
# Of the trainer's, these are not.
FIXED = (
    *("trainer.precision", "trainer.accumulate_grad_batches"),
    *("trainer.gradient_clip_val", "trainer.gradient_clip_algorithm"),
)


def versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def write_record(
    run_dir: Path,
    configuration: Mapping[str, Any],
    fingerprint: Mapping[str, Any],
    start_step: int,
    changes: list[str],
) -> None:
    """Put a run that begins or goes on at a step on record, once it is sure to start: ``run.json``.

    Raises:
        ValueError: the record of an earlier start is damaged.
    """
    path = run_dir / "run.json"
    with named_if_damaged(path):
        earlier = json.loads(path.read_text())["starts"] if path.exists() else []
    start = {"step": start_step, "changes": changes, "versions": versions()}
    record = {
        "format_version": FORMAT_VERSION,
        "seed": configuration["seed"],
        "configuration": configuration,
        "data": fingerprint,
        "starts": [*earlier, start],
    }
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(record, indent=2))


def differences(
    run_dir: Path, configuration: Mapping[str, Any], fingerprint: Mapping[str, Any]
) -> list[str]:
    """In what a run differs from what is on record in a folder; nothing if nothing is.

    Raises:
        ValueError: the record is damaged.
    """
    path = run_dir / "run.json"
    if not path.exists():  # a run before there were records
        return []
    with named_if_damaged(path):
        record = json.loads(path.read_text())
        before, now = flat(record["configuration"]), flat(configuration)
        if record.get("format_version", 1) == 1:
            before = {RENAMED.get(key, key): value for key, value in before.items()}
            before.pop(None, None)
            # These could not be chosen then.
            for key in [key for key in now if key.startswith(("network._target_", "objective"))]:
                del now[key]
        return [
            *config_differences(before, now),
            *data_differences(record["data"], fingerprint),
        ]


@contextmanager
def named_if_damaged(record: Path) -> Iterator[None]:
    """What a damaged record leads to in the block, as a ValueError that says so."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{record} is damaged: remove it to go on") from error


def config_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The keys in which two flat configurations differ, and may not, each with both values."""
    fixed = list(FIXED)
    if before.get("data.progressive_share") or now.get("data.progressive_share"):
        fixed.append("trainer.max_steps")  # it says where the small crops end
    different = []
    for key in sorted(before.keys() | now.keys()):
        is_free = any(key == free or key.startswith(f"{free}.") for free in FREE)
        is_free |= key.startswith("data.") and key.endswith("_dir")
        if not is_same(key, before.get(key), now.get(key)) and (key in fixed or not is_free):
            different.append(f"{key} was {before.get(key)} and is {now.get(key)}")
    return different


def is_same(key: str, before: Any, now: Any) -> bool:
    """Whether a key has the same value. A class may have moved to another module."""
    if key.endswith("_target_") and isinstance(before, str) and isinstance(now, str):
        return before.rpartition(".")[2] == now.rpartition(".")[2]
    return before == now


def data_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In what two fingerprints of data differ.

    A fingerprint holds kinds of files by name. Each kind has a count and one digest of all its
    files, or a digest of each file by name. Names that only one of the two has do not count.
    """
    different = []
    for key, was in before.items():
        files = now.get(key, {})
        if "count" in was:
            if was["count"] != files.get("count"):
                different.append(f"there were {was['count']} {key} and are {files.get('count')}")
            elif was["sha256"] != files["sha256"]:
                different.append(f"of {files['count']} {key} some have another name or size")
        else:
            others = [name for name in files if name in was and files[name] != was[name]]
            if others:
                different.append(f"other {key} than before: {', '.join(others)}")
    return different


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A configuration's values by their dotted names."""
    values: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict) and value:
            values |= flat(value, f"{prefix}{name}.")
        else:
            values[f"{prefix}{name}"] = value
    return values
