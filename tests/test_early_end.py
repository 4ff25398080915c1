"""Runs that a callback ends before their last step: they say why, and the next start goes on."""

from types import SimpleNamespace

import pytest
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, Timer
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from polystyle.training.early_end import EarlyEnd, reason_of


class OwnCallback(Callback):
    """A callback of a user's."""


def batches_until_stop(asked_at: int, accumulated: int) -> int:
    """How many batches a run takes in which another callback stops it after batch `asked_at`."""
    trainer = SimpleNamespace(should_stop=False, accumulate_grad_batches=accumulated)
    callback = EarlyEnd()
    callback.on_train_start(trainer, None)
    for batch_idx in range(20):
        trainer.should_stop |= batch_idx + 1 == asked_at
        callback.on_train_batch_end(trainer, None, None, None, batch_idx)
        if trainer.should_stop:
            return batch_idx + 1
    return 20


@pytest.mark.parametrize(
    ("asked_at", "accumulated", "batches"),
    [(4, 1, 4), (4, 3, 6), (6, 3, 6), (7, 3, 9), (30, 3, 20)],
)
def test_a_run_stops_after_a_whole_optimizer_step(
    asked_at: int, accumulated: int, batches: int
) -> None:
    assert batches_until_stop(asked_at, accumulated) == batches


def restored(callbacks: list[Callback], states: dict[str, dict]) -> dict[str, dict]:
    """The states of callbacks that a run restores from a checkpoint."""
    checkpoint = {"callbacks": states}
    trainer = SimpleNamespace(callbacks=callbacks)
    EarlyEnd().on_load_checkpoint(trainer, None, checkpoint)
    return checkpoint["callbacks"]


def test_time_counts_from_each_start() -> None:
    timer = Timer("00:00:01:00")
    assert restored([timer], {timer.state_key: timer.state_dict(), "Other": {}}) == {"Other": {}}


@pytest.mark.parametrize(
    ("reason", "wait_count"),
    [(EarlyStoppingReason.NOT_STOPPED, 2), (EarlyStoppingReason.PATIENCE_EXHAUSTED, 0)],
)
def test_the_count_that_ended_a_start_begins_anew_and_any_other_goes_on(
    reason: EarlyStoppingReason, wait_count: int
) -> None:
    before, now = EarlyStopping("val/loss", patience=2), EarlyStopping("val/loss", patience=5)
    before.wait_count, before.stopping_reason = 2, reason
    states = restored([now], {now.state_key: before.state_dict()})
    now.load_state_dict(states[now.state_key])
    assert now.stopping_reason == EarlyStoppingReason.NOT_STOPPED
    assert (now.wait_count, now.patience) == (wait_count, 5)


def test_the_reason_is_that_of_the_callback_that_ended_the_run() -> None:
    timer, early, own = Timer("00:00:01:00"), EarlyStopping("val/loss"), OwnCallback()
    trainer = SimpleNamespace(callbacks=[Timer(), timer, early, own, EarlyEnd()])
    assert reason_of(trainer) == "a callback set trainer.should_stop: OwnCallback"
    early.stopping_reason = EarlyStoppingReason.PATIENCE_EXHAUSTED
    early.stopping_reason_message = "val/loss did not improve. Signaling Trainer to stop."
    assert reason_of(trainer) == "val/loss did not improve"
    timer._offset = 61
    assert reason_of(trainer) == "the time limit is reached (trainer.max_time)"
