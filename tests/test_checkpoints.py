"""Checkpoints: whole ones are found, damaged ones passed over, hostile ones not run."""

import errno
import os
import pickle
import shutil
import zipfile
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from training import make_module

from polystyle.training.checkpoints import (
    CheckpointFiles,
    checked_step,
    find_checkpoint,
    make_room,
    newest_checkpoint,
    read_checkpoint,
)


def make_checkpoint(step: int = 8, **more: Any) -> dict[str, Any]:
    return {
        "global_step": step,
        "style_names": ["dots"],
        "state_dict": {"net.weight": torch.arange(1000.0)},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(1000)}}}],
        "lr_schedulers": [],
        "skipped_in_a_row": 0,
        **more,
    }


def write(path: Path, step: int, **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    CheckpointFiles().save_checkpoint(make_checkpoint(step, **more), path)
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(write(tmp_path / "some.ckpt", 8))
    assert checkpoint["global_step"] == 8
    assert torch.equal(checkpoint["state_dict"]["net.weight"], torch.arange(1000.0))


def test_none_is_written_of_weights_that_may_not_be_good(tmp_path: Path) -> None:
    path = write(tmp_path / "last.ckpt", 8)
    CheckpointFiles().save_checkpoint(make_checkpoint(9, skipped_in_a_row=1), path)
    assert read_checkpoint(path)["global_step"] == 8


def test_a_failing_write_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "last.ckpt", 8)

    def fail(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match=r"last\.ckpt can't be written: No space left on device"):
        write(path, 9)
    assert read_checkpoint(path)["global_step"] == 8


@pytest.mark.parametrize("share", [0.001, 0.3, 0.9, 0.999])
def test_a_cut_one_is_named(tmp_path: Path, share: float) -> None:
    path = write(tmp_path / "cut.ckpt", 8)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(
        ValueError, match=r"cut\.ckpt is damaged, or not a checkpoint of polystyle$"
    ):
        read_checkpoint(path)


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_byte_in_the_weights_is_seen(tmp_path: Path, data: st.DataObject) -> None:
    path = write(tmp_path / "some.ckpt", 8)
    content = bytearray(path.read_bytes())
    weights = torch.arange(1000.0).numpy().tobytes()
    place = content.index(weights) + data.draw(st.integers(0, len(weights) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged"):
        read_checkpoint(path)


class LeavesAMark:
    """What runs code when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.mark),)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    mark, path = tmp_path / "mark", tmp_path / "some.ckpt"
    torch.save(make_checkpoint(extra=LeavesAMark(mark)), path)
    with pytest.raises(ValueError, match="is damaged, or not a checkpoint"):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps(LeavesAMark(mark)))  # torch's format of before 1.6
    with pytest.raises(ValueError, match="is damaged, or not a checkpoint"):
        read_checkpoint(path)
    assert not mark.exists()
    pickle.loads(path.read_bytes())
    assert mark.exists()  # so it would have


def test_a_tensor_larger_than_its_bytes_is_refused(tmp_path: Path) -> None:
    huge = torch.zeros(1).expand(10**13)
    path = write(tmp_path / "huge.ckpt", 8, state_dict={"net.weight": huge})
    with pytest.raises(ValueError, match="is damaged"):
        read_checkpoint(path)


def test_what_unpacks_to_more_than_itself_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "some.ckpt", 8, state_dict={"net.weight": torch.zeros(10**6)})
    packed = tmp_path / "packed.ckpt"
    with zipfile.ZipFile(path) as plain, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as zip_:
        for entry in plain.infolist():
            zip_.writestr(entry.filename, plain.read(entry))
    with pytest.raises(ValueError, match="is damaged"):
        read_checkpoint(packed)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", ["state_dict", "optimizer_states"])
def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, place: str, value: float) -> None:
    path = write(tmp_path / "some.ckpt", 8, **{place: {"some": torch.tensor([1.0, value])}})
    with pytest.raises(ValueError, match="holds numbers that are infinite or NaN"):
        read_checkpoint(path)


def test_the_newest_whole_one_is_found(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / "nowhere") is None
    last = write(tmp_path / "last.ckpt", 8)
    assert newest_checkpoint(tmp_path)[0] == last
    # Written after validation: the same step, but newer.
    best = write(tmp_path / "step-000008.ckpt", 8)
    assert newest_checkpoint(tmp_path)[0] == best
    # Left by a run that was taken up again from an earlier step: not where things stand.
    write(tmp_path / "step-000020.ckpt", 20)
    assert newest_checkpoint(tmp_path)[0] == best
    last = write(tmp_path / "last.ckpt", 10)
    found, checkpoint = newest_checkpoint(tmp_path)
    assert (found, checkpoint["global_step"]) == (last, 10)


def test_damaged_ones_are_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "step-000004.ckpt", 4)
    older = write(tmp_path / "step-000008.ckpt", 8)
    last = write(tmp_path / "last.ckpt", 12)
    last.write_bytes(last.read_bytes()[:-100])
    assert newest_checkpoint(tmp_path)[0] == older
    assert f"Passed over: {last} is damaged" in caplog.text
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"not one checkpoint in .* is whole"):
        newest_checkpoint(tmp_path)


def test_find_checkpoint(tmp_path: Path) -> None:
    assert find_checkpoint(None, tmp_path) is None
    assert find_checkpoint("last", tmp_path) is None
    last = write(tmp_path / "checkpoints/last.ckpt", 8)
    assert find_checkpoint("last", tmp_path)[0] == last
    assert find_checkpoint(str(last), tmp_path / "other")[0] == last
    with pytest.raises(FileExistsError, match="holds a run already"):
        find_checkpoint(None, tmp_path)
    last.unlink()
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(FileExistsError, match=r"holds a model\.safetensors"):
        find_checkpoint("last", tmp_path)


def test_only_a_checkpoint_of_the_same_run_goes_on() -> None:
    module = make_module(["dots"], loss=None)
    checkpoint = make_checkpoint(
        state_dict=module.state_dict(), lr_schedulers=[{"total_steps": 20}], base_fingerprint=None
    )
    del checkpoint["optimizer_states"]
    path = Path("some.ckpt")
    assert checked_step(path, checkpoint, module, 20) == 8
    with pytest.raises(ValueError, match=r"over 20 steps, .*init=RUN .*trainer\.max_steps=20$"):
        checked_step(path, checkpoint, module, 30)
    wider = make_module(["dots"], loss=None, width=0.25)
    with pytest.raises(ValueError, match="of a network of another shape"):
        checked_step(path, checkpoint, wider, 20)


def test_room_is_made_from_the_oldest_on_and_never_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    usage = namedtuple("usage", "total used free")
    sizes = {}

    def disk_usage(folder: Path) -> Any:
        used = sum(path.stat().st_size for path in tmp_path.iterdir())
        return usage(0, 0, sizes["disk"] - used)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)

    def names_after(disk: int, wanted: int) -> list[str]:
        for place, name in enumerate(["last", "step-000004", "step-000008", "step-000002"]):
            (tmp_path / f"{name}.ckpt").write_bytes(bytes(100))
            os.utime(tmp_path / f"{name}.ckpt", ns=(place, place))
        sizes["disk"] = disk
        make_room(tmp_path, wanted, tmp_path.glob("*.ckpt"))
        return sorted(path.stem for path in tmp_path.iterdir())

    assert len(names_after(disk=500, wanted=100)) == 4
    assert names_after(disk=480, wanted=100) == ["last", "step-000002", "step-000008"]
    assert "The disk is nearly full: removed" in caplog.text
    assert names_after(disk=350, wanted=1000) == ["last", "step-000002"]


def test_only_the_runs_own_checkpoints_make_room(tmp_path: Path) -> None:
    own, shared = tmp_path / "run/checkpoints", tmp_path / "shared"
    for folder in (own, shared):
        folder.mkdir(parents=True)
        (folder / "earlier.ckpt").touch()
    files = CheckpointFiles(own)
    for path in (own / "step-1.ckpt", shared / "step-1.ckpt"):
        files.save_checkpoint(make_checkpoint(1), path)
    beside = {path.name for path in files.own_beside(own / "step-2.ckpt")}
    assert beside == {"earlier.ckpt", "step-1.ckpt"}
    assert [path.name for path in files.own_beside(shared / "step-2.ckpt")] == ["step-1.ckpt"]
