"""A job of SLURM's that is about to lose its place: it asks for another one. Imports no torch."""

import os
import signal
import subprocess

# What sbatch --signal=USR1@90 sends, 90 seconds before the end. Windows has none.
REQUEUE_SIGNAL = getattr(signal, "SIGUSR1", None)


def is_job() -> bool:
    return "SLURM_JOB_ID" in os.environ


def requeue() -> str:
    """Have this job started again, with the command that it was submitted with; says what came of
    it."""
    job = os.environ["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = "{SLURM_ARRAY_JOB_ID}_{SLURM_ARRAY_TASK_ID}".format(**os.environ)
    try:
        done = subprocess.run(
            ["scontrol", "requeue", job], capture_output=True, text=True, check=False
        )
    except OSError as error:
        return f"SLURM could not be asked to start job {job} again: {error}"
    if done.returncode:
        return f"SLURM does not start job {job} again: {done.stderr.strip()}"
    return f"SLURM will start job {job} again"
