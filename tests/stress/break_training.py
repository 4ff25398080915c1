"""Take disk space, folders or photos from a training run, and check that it loses nothing.

    python tests/stress/break_training.py --times 3

A small run trains once without a fault. Then the same command meets one: a disk that is full or
nearly full, a folder that becomes read-only or is moved away, photos that vanish. The command must
end with one line, which names the fault and the checkpoint to resume from, or continue where it
can. The fault is removed, the same command is run again, and the weights at the end must be, bit
for bit, those of the run without a fault. A table lists the faults and what the command said; the
exit status is 1 if anything was lost.

Disks are small tmpfs mounts in a mount namespace of this script's own. Where the system permits no
mounts, the script says so and ends with exit status 2.

Takes about 20 seconds for each fault, each time, on one core. Linux only.
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
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kill_training import (
    Life,
    LostError,
    Remains,
    check_same_end,
    make_folders,
    scratch_folder,
)
from tqdm import tqdm

from polystyle.data.datamodule import StyleTransferData

IN_NAMESPACE = "POLYSTYLE_IN_MOUNT_NAMESPACE"
NAMESPACE = ("unshare", "--map-root-user", "--mount")

REFUSED = 2

DISK = "64m"

# The room that a run keeps free beside a checkpoint.
SPARE_BYTES = 2**20


@dataclass(frozen=True)
class Fault:
    """A fault that a run meets.

    Attributes:
        strike, mend: cause the fault, and remove it; both take the run's folder.
        says: regular expression for the line that ends the run, without the part about the
            checkpoint; or, if the run survives the fault, for one of its lines. RUN stands for the
            run's folder.
        at_start: the fault strikes before the run begins, not after a checkpoint.
        checkpoints: the fewest and the most checkpoints of a new run before the fault strikes.
        lives_on: the run survives the fault.
    """

    name: str
    strike: Callable[[Path], object]
    mend: Callable[[Path], object]
    says: str
    at_start: bool = False
    lives_on: bool = False
    checkpoints: tuple[int, int] = (1, 3)


def fill_disk(run_dir: Path, leave: int = 0) -> None:
    """Fill the disk of a run's folder, but for `leave` bytes."""
    disk = run_dir.parent
    with (disk / "ballast").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free - leave)


def fill_disk_nearly(run_dir: Path) -> None:
    """Leave too little room for a checkpoint, but enough once an older one is removed."""
    checkpoint = (run_dir / "checkpoints/last.ckpt").stat().st_size
    fill_disk(run_dir, checkpoint + SPARE_BYTES // 2)


def empty_disk(run_dir: Path) -> None:
    (run_dir.parent / "ballast").unlink()


def make_read_only(folder: Path) -> None:
    # The disk itself can't become read-only while a run has files of it open.
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)


def unmount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", folder], check=True)


def move_away(path: Path) -> None:
    path.rename(path.with_name(f"{path.name}_away"))


def move_back(path: Path) -> None:
    if path.exists():
        raise LostError(f"{path} was moved away, and the run made another one")
    path.with_name(f"{path.name}_away").rename(path)


def all_faults(photo: Path) -> list[Fault]:
    """All faults, in an order in which one run can meet them; `photo` is the one that vanishes."""
    return [
        Fault(
            "no room, at the start",
            fill_disk,
            empty_disk,
            r"RUN: this run will write some \d+ MB, and its disk has 0 MB free",
            at_start=True,
        ),
        Fault(
            "read-only disk, at the start",
            lambda run_dir: make_read_only(run_dir.parent),
            lambda run_dir: unmount(run_dir.parent),
            "RUN.*Read-only file system",
            at_start=True,
        ),
        Fault(
            "full disk",
            fill_disk,
            empty_disk,
            "RUN.*: No space left on device",
            checkpoints=(1, 1),  # no older checkpoint to remove
        ),
        Fault(
            "one photo vanishes",
            lambda _: move_away(photo),
            lambda _: move_back(photo),
            f"Skipped: photos/{photo.name} can't be read: No such file or directory",
            lives_on=True,
        ),
        Fault(
            "disk nearly full",
            fill_disk_nearly,
            empty_disk,
            r"The disk is nearly full: removed .*RUN/checkpoints/step-\d+\.ckpt",
            lives_on=True,
            checkpoints=(2, 3),
        ),
        Fault(
            "folder becomes read-only",
            make_read_only,
            unmount,
            "RUN.*: Read-only file system",
        ),
        Fault("folder is moved away", move_away, move_back, "RUN"),
        Fault(
            "all photos vanish",
            lambda _: move_away(photo.parent),
            lambda _: move_back(photo.parent),
            "none of the photos can be used",
        ),
    ]


def make_double(root: Path) -> Path:
    """Make a photo equal to its substitute, so that its vanishing changes no step; return its path.

    It is drawn some steps after the first checkpoint.
    """
    data = StyleTransferData(
        str(root / "photos"), str(root / "paintings"), batch_size=3, val_fraction=0.3
    )
    _, photo = data.samples(10)[0]
    place = data.train_paths.index(photo)
    shutil.copy(data.train_paths[(place + 1) % len(data.train_paths)], photo)
    return photo


def wait_for_checkpoints(life: Life, count: int) -> None:
    """Wait until a run has written `count` more checkpoints, and stop its processes there."""
    last = life.run_dir / "checkpoints/last.ckpt"
    written = {last.stat().st_mtime_ns} if last.exists() else set()
    count += len(written)
    while len(written) < count:
        if not life.is_alive():
            raise LostError(f"a run ended too early:\n{life.output()}")
        if last.exists():
            written.add(last.stat().st_mtime_ns)
        time.sleep(0.001)
    os.killpg(life.group, signal.SIGSTOP)


def meet(fault: Fault, life: Life, checkpoints: int) -> str:
    """Have a run meet a fault after `checkpoints` checkpoints, and mend it.

    Returns:
        What the run said of the fault.

    Raises:
        LostError: the run said something else.
    """
    root, name = life.root, str(life.run_dir.relative_to(life.root))
    says = fault.says.replace("RUN", re.escape(name))
    if not fault.at_start:
        wait_for_checkpoints(life, checkpoints)
        fault.strike(life.run_dir)
        os.killpg(life.group, signal.SIGCONT)
    try:
        if fault.lives_on:
            return life.wait_for(says)
        life.end(status=1)
    finally:
        fault.mend(life.run_dir)
    lines = life.complained.read_text().splitlines()
    found = re.match(f"polystyle-train: (.*{says}.*)", lines[0] if lines else "")
    if len(lines) != 1 or not found:
        raise LostError(f"it should have said {says!r}, in one line, and said\n{life.output()}")
    remains = Remains.of(life.run_dir, {})
    if fault.at_start:
        return found[1]
    if fault.strike is move_away:
        return found[1].split(" and go on with ")[0]
    stands = f". {remains.newest.relative_to(root)}, of step {remains.step}, stands: "
    if stands not in found[1]:
        raise LostError(f"it should have said {stands!r}, and said\n{life.output()}")
    return found[1].split(stands)[0]


def survive(root: Path, name: str, faults: Sequence[Fault], checkpoints: int) -> Iterator[str]:
    """Have one run, on a disk of its own, meet faults one after the other; compare its end with
    `root`/whole.

    Yields:
        What the run said, fault by fault.

    Raises:
        LostError: the run said something else than it should, or lost something.
    """
    disk = root / name
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", disk], check=True)
    life, remains = None, Remains()
    try:
        for fault in [*faults, None]:
            if fault and fault.at_start:
                fault.strike(disk / "run")
            if not life:
                life = Life(root, f"{name}/run")
            if fault:
                yield meet(fault, life, checkpoints)
            else:
                life.end()
            if not (fault and fault.lives_on):
                remains.check(life.output(), root)
                remains = Remains.of(life.run_dir, {})
                life = None
        check_same_end(disk / "run", root / "whole")
    finally:
        if life:
            life.kill(with_workers=True)
        unmount(disk)


def enter_namespace() -> None:
    """Restart this script in a mount namespace of its own, where mounts are allowed."""
    if IN_NAMESPACE in os.environ:
        return
    place = tempfile.gettempdir()
    try:
        probe = subprocess.run(
            [*NAMESPACE, "mount", "-t", "tmpfs", "none", place], capture_output=True, text=True
        )
        refusal = probe.stderr.strip()
    except OSError as error:
        probe, refusal = None, str(error)
    if probe is None or probe.returncode:
        print(f"break_training.py: this system permits no mounts: {refusal}", file=sys.stderr)
        sys.exit(REFUSED)
    sys.stdout.flush()
    os.execvpe(
        NAMESPACE[0], [*NAMESPACE, sys.executable, *sys.argv], {**os.environ, IN_NAMESPACE: "yes"}
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--times",
        type=int,
        default=3,
        metavar="N",
        help="how often each fault is tried, each time in a new run and at another moment "
        "(default: 3)",
    )
    parser.add_argument(
        "--short",
        action="store_true",
        help="one run that meets them all, one after the other, as the tests do",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    args = parser.parse_args()
    enter_namespace()
    with scratch_folder() as root:
        make_folders(root)
        faults = all_faults(make_double(root))
        rng = random.Random(args.seed)
        if args.short:
            trials = [(faults, 1)]
        else:
            trials = [([fault], rng.randint(*fault.checkpoints)) for fault in faults * args.times]
        Life(root, "whole").end()
        said: dict[Fault, str] = {}
        survived, lost = Counter(), []
        for number, (chosen, checkpoints) in enumerate(tqdm(trials, unit="run", disable=None)):
            met = []
            try:
                for fault, text in zip(
                    chosen, survive(root, f"disk{number}", chosen, checkpoints), strict=True
                ):
                    met.append(fault)
                    said[fault] = text
                survived.update(met)
            except LostError as error:
                where = chosen[len(met)].name if len(met) < len(chosen) else "in the end"
                lost.append(f"{where}: {error}")
        print(f"{'fault':<30}tried  survived  what the command said")
        for fault in faults:
            tried = sum(fault in chosen for chosen, _ in trials)
            print(f"{fault.name:<30}{tried:>5}{survived[fault]:>10}  {said.get(fault, '')}")
        if lost:
            raise LostError("\n".join(lost))
    print("All went on, once mended, to the same bits as on sound ground")


if __name__ == "__main__":
    try:
        main()
    except LostError as error:
        sys.exit(f"break_training.py: {error}")
