"""A run that a callback ends before its last step: where it may stop, why it did, and how the next
start goes on."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, Timer
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason


class EarlyEnd(Callback):
    """Lets a run that another callback ends go on later, to the same bits.

    - The run stops after an optimizer step, never between the batches that are accumulated for
      one: a checkpoint holds no accumulated gradients.
    - A checkpoint restores `EarlyStopping` as it was, so that a killed run goes on unchanged. But a
      start that `EarlyStopping` ended would be ended again by the count that it had reached: the
      next start counts anew. So does every start with `Timer`, which limits one start's time.
    - `EarlyStopping` would take its patience from the checkpoint: it is what is configured now.

    This callback stands last, so that it sees what the others decide.
    """

    def __init__(self) -> None:
        self.is_due = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.is_due = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.is_due |= trainer.should_stop
        trainer.should_stop = self.is_due and not (batch_idx + 1) % trainer.accumulate_grad_batches

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        states = checkpoint.get("callbacks", {})
        for callback in trainer.callbacks:
            state = states.get(callback.state_key)
            if state and isinstance(callback, Timer):
                del states[callback.state_key]
            elif state and isinstance(callback, EarlyStopping):
                state["patience"] = callback.patience
                if state["stopping_reason"] != EarlyStoppingReason.NOT_STOPPED.value:
                    state["wait_count"] = 0
                    state["stopping_reason"] = EarlyStoppingReason.NOT_STOPPED.value


def reason_of(trainer: Trainer) -> str:
    """Why a run that no signal stopped ended before its last step."""
    for callback in trainer.callbacks:
        if isinstance(callback, Timer) and (callback.time_remaining() or 0) < 0:
            return "the time limit is reached (trainer.max_time)"
        if (
            isinstance(callback, EarlyStopping)
            and callback.stopping_reason != EarlyStoppingReason.NOT_STOPPED
        ):
            message = callback.stopping_reason_message or "EarlyStopping ended the run"
            return message.removesuffix(" Signaling Trainer to stop.").rstrip(".")
    own = [
        type(callback).__name__
        for callback in trainer.callbacks
        if not type(callback).__module__.startswith(("lightning.", "polystyle."))
    ]
    return f"a callback set trainer.should_stop{': ' * bool(own)}{' or '.join(own)}"
