"""Kill a training run with SIGKILL again and again, and check that nothing is lost.

    python tests/stress/kill_training.py --kills 30

A small run trains once without a kill. Then the same command is run again and again, and killed:
half of the times at a random moment, from its start to its last step, and half of the times while
it writes a file; half of the times with its loader workers, and half without them. After one kill
in four the newest checkpoint is damaged, too. After every kill the next process must resume from
the newest whole checkpoint, and the weights and the optimizer state at the end must be, bit for
bit, those of the run without a kill. The last line counts the kills; the exit status is 1 if
anything was lost.

Takes about ten seconds a kill, on one core. Linux and macOS.
"""

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from tqdm import tqdm

from polystyle.files.atomic_file import UNFINISHED

STEPS = 24
OVERRIDES = (
    *("data.content_dir=photos", "data.style_dir=paintings", "data.image_size=32"),
    *("data.style_size=32", "data.batch_size=3", "data.num_val_photos=2", "data.val_fraction=0.3"),
    *("data.num_workers=1", "model.compile=false", "loss.vgg.weights=random"),
    "network.width=0.5",  # checkpoints of 5 MB, which take some milliseconds to write
    *("trainer.accelerator=cpu", "trainer.log_every_n_steps=1", "trainer.val_check_interval=3"),
    "ckpt_path=last",
)

# One process in so many finds its newest checkpoint damaged.
DAMAGE_EVERY = 4


class LostError(Exception):
    """A run lost something, or printed something else than it should."""


def make_folders(root: Path) -> None:
    """30 photos and three paintings of noise, each in a colour of its own, in `root`."""
    rng = np.random.default_rng(0)
    for folder, names in (
        ("photos", [f"photo{number:02}" for number in range(30)]),
        ("paintings", ["dots", "haze", "rust"]),
    ):
        (root / folder).mkdir(parents=True)
        for name in names:
            pixels = rng.integers(0, 256, (40, 48, 3)) * rng.random(3)
            Image.fromarray(pixels.astype(np.uint8)).save(root / folder / f"{name}.png")


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder that is removed at the end, but kept for inspection if something was lost."""
    root = Path(tempfile.mkdtemp(prefix="polystyle_"))
    try:
        yield root
    except LostError as error:
        raise LostError(f"{error}\nIt is all in {root}") from None
    except BaseException:
        shutil.rmtree(root, ignore_errors=True)
        raise
    shutil.rmtree(root)


class Life:
    """One process of a run: polystyle-train in the folder that `make_folders` made.

    Attributes:
        root: the working directory.
        run_dir: the run's folder.
        said, complained: files of the standard output and the standard error.
        group: the process group, which the loader workers are in, too.
    """

    def __init__(
        self, root: Path, name: str, *overrides: str, env: dict[str, str] | None = None
    ) -> None:
        self.root = root
        self.run_dir = root / name
        command = [*OVERRIDES, f"trainer.max_steps={STEPS}", f"hydra.run.dir={name}", *overrides]
        # To files: an orphaned worker would keep a pipe open.
        self.said = root / f"{name.replace('/', '_')}.{time.monotonic_ns()}.out"
        self.complained = self.said.with_suffix(".err")
        with self.said.open("wb") as stdout, self.complained.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "polystyle.train", *command],
                cwd=root,
                # Small tensors on several threads spend their time waiting.
                env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        self.group = self.process.pid
        self.started_at = time.monotonic()

    def output(self) -> str:
        return "".join(file.read_text(errors="replace") for file in (self.said, self.complained))

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def wait_for(self, pattern: str) -> str:
        """Wait until the output matches a regular expression, and return the match."""
        while True:
            is_alive = self.is_alive()
            if found := re.search(pattern, self.output()):
                return found[0]
            if not is_alive:
                raise LostError(f"a run never said {pattern!r}, but\n{self.output()}")
            time.sleep(0.01)

    def end(self, status: int = 0) -> str:
        """Wait until the process ends by itself, and return its output."""
        try:
            found = self.process.wait(timeout=300)
        except subprocess.TimeoutExpired:
            self.kill(with_workers=True)
            raise LostError(f"a run never ends:\n{self.output()}") from None
        if found != status:
            raise LostError(f"a run ended with status {found}, not {status}:\n{self.output()}")
        return self.output()

    def kill(self, with_workers: bool) -> None:
        """Send SIGKILL. Workers that are left alone end by themselves after some seconds."""
        if with_workers:
            with suppress(ProcessLookupError):
                os.killpg(self.group, signal.SIGKILL)
        else:
            self.process.kill()
        self.process.wait()

    def writing(self) -> set[str]:
        """The names of the files that the process is writing, or was writing when it was killed."""
        return {path.name[1:].rsplit(".", 2)[0] for path in self.unfinished()}

    def unfinished(self) -> list[Path]:
        found = []
        for folder in (self.run_dir, self.run_dir / "checkpoints", self.run_dir / "stylized"):
            with suppress(FileNotFoundError):
                found += folder.glob(f".*-{self.group}{UNFINISHED}")
        return found

    def stop_within_write(self, name: str = "", writes: int = 1, microseconds: float = 0) -> None:
        """Stop the process (SIGSTOP) while it writes a file, or wait until it ends.

        Args:
            name: how the file's name begins.
            writes: how many such files begin to be written before the process is stopped.
            microseconds: time to wait after that writing begins.
        """
        seen: set[str] = set()
        while self.is_alive():
            seen |= {file for file in self.writing() if file.startswith(name)}
            if len(seen) >= writes:
                time.sleep(microseconds / 1e6)
                self.process.send_signal(signal.SIGSTOP)
                if any(file.startswith(name) for file in self.writing()):
                    return
                # The file was finished meanwhile: wait for the next one.
                self.process.send_signal(signal.SIGCONT)
                writes, seen = 1, set()
            time.sleep(0.0002)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The contents of a checkpoint; None if the file is damaged."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # torch meets damaged files with many kinds of error
        return None


def is_same(one: Any, other: Any) -> bool:
    """Whether two values are equal, bit for bit: tensors, and dicts and lists of them."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(is_same, one, other))
    return one == other


@dataclass
class Remains:
    """What a killed run has left on the disk, read without polystyle's own code.

    Attributes:
        newest: the newest whole checkpoint, if there is one.
        step: the step of that checkpoint.
        damaged: the names of checkpoints that are not whole.
    """

    newest: Path | None = None
    step: int = 0
    damaged: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, run_dir: Path, damaged: dict[Path, int]) -> "Remains":
        """Look into a run's folder.

        Args:
            run_dir: the folder.
            damaged: checkpoints that this script damaged, and their modification times then: a run
                that has written one again since has made it whole.

        Raises:
            LostError: a checkpoint or the model file is damaged, and not by this script.
        """
        remains, ages = cls(), {}
        for path in (run_dir / "checkpoints").glob("*.ckpt"):
            written = path.stat().st_mtime_ns
            if damaged.get(path) == written:
                remains.damaged.add(path.name)
                continue
            checkpoint = load_checkpoint(path)
            if checkpoint is None:
                raise LostError(f"{path} is cut")
            ages[checkpoint["global_step"], written] = path
        if ages:
            remains.step, _ = max(ages)
            remains.newest = ages[max(ages)]
        model = run_dir / "model.safetensors"
        if model.exists():
            try:
                load_file(model)
            except Exception as error:  # whatever safetensors finds
                raise LostError(f"{model} is cut: {error}") from error
        return remains

    def check(self, output: str, root: Path) -> bool:
        """Check that the next process resumed from here; returns whether it printed that it did."""
        if self.step and f"It is at step {self.step} already" in output:
            expected = f"It is at step {self.step} already"
        elif self.newest:
            expected = f"Going on from {self.newest.relative_to(root)}, step {self.step}\n"
        else:
            expected = "Starting\n"
        spoke = re.search("Going on from |Starting\n|It is at step ", output) is not None
        if spoke and expected not in output:
            raise LostError(f"it should have said {expected.strip()!r}, and said\n{output}")
        named = {line.split(" is damaged")[0] for line in output.splitlines() if "Passed" in line}
        if spoke and {Path(line).name for line in named} != self.damaged:
            raise LostError(f"it should have passed over {self.damaged}, and said\n{output}")
        return spoke and self.newest is not None


def check_same_end(run_dir: Path, whole: Path, damaged: dict[Path, int] | None = None) -> None:
    """Check that a run ended as the run without a kill did, and left no unfinished file.

    Args:
        run_dir: the run's folder.
        whole: the folder of the run without a kill.
        damaged: see `Remains.of`. If last.ckpt is among them, the newest other checkpoint of the
            last step is compared.
    """
    if left := list(run_dir.rglob(f"*{UNFINISHED}*")):
        raise LostError(f"{run_dir} is finished, and there is {left[0]}")
    newest = Remains.of(run_dir, damaged or {}).newest
    one, other = (load_checkpoint(path) for path in (newest, whole / "checkpoints/last.ckpt"))
    for part in ("global_step", "state_dict", "optimizer_states"):
        if not is_same(one[part], other[part]):
            raise LostError(f"{newest} has another {part} than the run without a break")
    trained = load_file(run_dir / "model.safetensors")
    if not is_same({f"net.{name}": tensor for name, tensor in trained.items()}, one["state_dict"]):
        raise LostError(f"{run_dir}/model.safetensors is not what {newest} holds")


def damage(path: Path, rng: random.Random) -> None:
    """Cut a checkpoint, flip one of its bits, or write zeros over a part of it, until its contents
    have changed."""
    good, before = path.read_bytes(), load_checkpoint(path)
    while is_same(load_checkpoint(path), before):  # some bytes hold nothing
        data = bytearray(good)
        place = rng.randrange(len(data))
        kind = rng.choice(("cut", "bit", "zeros"))
        if kind == "cut":
            del data[place:]
        elif kind == "bit":
            data[place] ^= 1 << rng.randrange(8)
        else:
            length = len(data[place : place + 4096])
            data[place : place + length] = bytes(length)
        path.write_bytes(data)


@dataclass
class Tally:
    kills: int = 0
    within_write: int = 0  # kills that left an unfinished file
    cut: int = 0  # unfinished files with a part of their bytes
    damaged: int = 0  # checkpoints
    checked: int = 0  # processes that printed where they resume
    finished: int = 0  # runs

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.within_write} of them within the writing of a file, which "
            f"cut {self.cut} short; {self.damaged} checkpoints damaged; {self.checked} times it "
            f"went on from the newest whole checkpoint; {self.finished} runs finished"
        )


def kill_once(life: Life, whole_seconds: float, rng: random.Random, tally: Tally) -> bool:
    """Kill a process at a random moment; returns False if it ended before.

    Args:
        life: the process.
        whole_seconds: about how long the process would take to its end.
        rng: draws the moment.
        tally: counts the kill, and the unfinished files that it leaves.
    """
    if rng.random() < 0.5:
        moment = life.started_at + rng.uniform(0, whole_seconds)
        while life.is_alive() and time.monotonic() < moment:
            time.sleep(0.001)
    else:
        # One validation writes four files.
        life.stop_within_write(
            writes=rng.randint(1, 8), microseconds=rng.choice((0, rng.uniform(0, 20_000)))
        )
    if not life.is_alive():
        return False
    life.kill(with_workers=rng.random() < 0.5)
    tally.kills += 1
    sizes = [path.stat().st_size for path in life.unfinished()]
    largest = max(
        (path.stat().st_size for path in life.run_dir.glob("**/*.ckpt")), default=sys.maxsize
    )
    tally.within_write += bool(sizes)
    tally.cut += sum(0 < size < largest for size in sizes)
    return True


def kill_many(root: Path, kills: int, rng: random.Random, bar: tqdm) -> Tally:
    """Kill runs in `root`, as this file's docstring describes.

    Args:
        root: a folder that `make_folders` filled.
        kills: how many.
        rng: draws the moments.
        bar: shows progress.

    Raises:
        LostError: something was lost.
    """
    whole = Life(root, "whole")
    whole.wait_for("Starting\n")
    startup = time.monotonic() - whole.started_at
    whole.end()
    training = time.monotonic() - whole.started_at - startup

    tally, groups = Tally(), []
    while tally.kills < kills:
        name = f"killed_{tally.finished}"
        remains, damaged = Remains(), {}
        is_finished = False
        while not is_finished:
            life = Life(root, name)
            groups.append(life.group)
            if tally.kills < kills:
                seconds = startup + training * (1 - remains.step / STEPS)
                is_finished = not kill_once(life, seconds, rng, tally)
                bar.update(not is_finished)
            else:
                is_finished = True
            if is_finished:
                life.end()
            tally.checked += remains.check(life.output(), root)
            remains = Remains.of(life.run_dir, damaged)
            others = len(list(life.run_dir.glob("checkpoints/*.ckpt"))) - len(remains.damaged) - 1
            if others > 0 and not is_finished and rng.random() < 1 / DAMAGE_EVERY:
                damage(remains.newest, rng)
                damaged[remains.newest] = remains.newest.stat().st_mtime_ns
                tally.damaged += 1
                remains = Remains.of(life.run_dir, damaged)
        check_same_end(life.run_dir, whole.run_dir, damaged)
        tally.finished += 1
    check_all_gone(groups)
    return tally


def check_all_gone(groups: list[int], seconds: float = 30) -> None:
    """Check that orphaned workers end by themselves."""
    deadline = time.monotonic() + seconds
    for group in groups:
        with suppress(ProcessLookupError):
            while time.monotonic() < deadline:
                os.killpg(group, 0)
                time.sleep(0.1)
            os.killpg(group, signal.SIGKILL)
            raise LostError(f"a worker outlived its run by {seconds:.0f} seconds")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=30, metavar="N", help="(default: 30)")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the moments to kill at (default: 0)"
    )
    args = parser.parse_args()
    try:
        with scratch_folder() as root, tqdm(total=args.kills, unit="kill") as bar:
            make_folders(root)
            tally = kill_many(root, args.kills, random.Random(args.seed), bar)
    except LostError as error:
        sys.exit(f"kill_training.py: {error}")
    print(f"{tally}, all bit-identical to the run without a break")


if __name__ == "__main__":
    main()
