"""Odd values of polystyle-train's configuration."""

import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from torch import Tensor

from attacks.commands import Tally, attempt, fault, record
from attacks.ground import train_arguments
from polystyle.losses.vgg_weights import random_weights

VALUES = (
    *("null", "true", "-1", "0", "1", "2", "0.5", "-0.5", "1e-30", "1e30", "1e400", "nan", "inf"),
    *("1000000000", "10000000000000000000000", "''", "abc", "'a b'", "[]", "[1,2]", "{}", "{a:1}"),
    *("[nan]", "{relu1_2:-1}", "{relu9_9:1}", "{x:nan}", "{x:a}", "../x", "/dev/null", "all"),
    *("'\\u202e'", "64-true", "16-true", "cuda", "-7", "${seed}", "${nothing}", "???"),
)


def keys(config: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted keys of a configuration, without those whose task is to name code that runs."""
    for name, value in config.items():
        if not name.startswith("_"):
            yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{name}.")


def try_config(ground: Path, tally: Tally, count: int, rng: random.Random) -> Iterator[str]:
    import hydra
    from omegaconf import OmegaConf

    with hydra.initialize_config_module("polystyle.configs", version_base="1.3"):
        known = list(keys(OmegaConf.to_container(hydra.compose("train"))))
    # These would start a process for each device.
    known = [key for key in known if key not in ("trainer.devices", "trainer.num_nodes")]
    # Random weights take seconds to draw: once, and not in every fork.
    weights = random_weights()

    def copied_weights() -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in weights.items()}

    for _ in range(count):
        override = f"{rng.choice(known)}={rng.choice(VALUES)}"
        with (
            tempfile.TemporaryDirectory(dir=ground) as scratch,
            patch("polystyle.losses.vgg.random_weights", copied_weights),
        ):
            folder = Path(scratch) / "here"
            shutil.copytree(ground / "sound", folder)
            outcome = attempt("train", train_arguments(override), folder)
            did = "trained" if outcome.status == 0 else "refused"
            yield record(tally, override, fault("train", outcome), did, outcome)
