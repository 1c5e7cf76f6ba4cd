"""Where a study runs: how many processes here, or which cluster. Not part of what the study is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field

from runtime.config import Settings
from runtime.parallel import cores

Workers = Annotated[int, Field(ge=1)] | Literal["auto"]


class SlurmSettings(Settings):
    """A SLURM cluster; the study's directory must be on a folder that its nodes share.

    Attributes:
        kind: The scheduler.
        partition: Null for the cluster's default one.
        minutes: Limit of each job; one that reaches it is put into the queue again and goes on.
        cpus: Cores of each job.
        gpus: GPUs of each job.
        memory: Of each job, in GB; null for the partition's default.
        at_once: Trials that run at a time, at most.
        requeues: How often a job that reached its limit is put into the queue again.
        signal_seconds: How long before its limit a job is told, so that it can save.
        account: Charged for it; null for the user's default.
        qos: Quality of service; null for the default.
        setup: Shell commands before each job, e.g. ``module load cuda``.
        extra: Other options of ``sbatch`` by name, e.g. ``{constraint: a100}``.
        wait: Stay until the report is there; false submits, and returns.
        every: Seconds between two looks at the queue.
    """

    kind: Literal["slurm"] = "slurm"
    partition: str | None = None
    minutes: int = Field(240, ge=1)
    cpus: int = Field(4, ge=1)
    gpus: int = Field(0, ge=0)
    memory: float | None = Field(None, gt=0)
    at_once: int = Field(64, ge=1)
    requeues: int = Field(3, ge=0)
    signal_seconds: int = Field(120, ge=1)
    account: str | None = None
    qos: str | None = None
    setup: tuple[str, ...] = ()
    extra: dict[str, str | int | bool] = Field(default_factory=dict)
    wait: bool = True
    every: float = Field(10.0, gt=0)


NOT_THE_STUDY = frozenset({"out", "workers", "cluster", "reuse"})
"""Keys of a study's settings that say where it runs and what is there, and may differ when it goes on."""


def gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if os.environ.get("RARECELL_DEVICE", "cuda").partition(":")[0] != "cuda" or not torch.cuda.is_available():
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(number) for number in range(torch.cuda.device_count())]


def pool_size(workers: Workers, jobs: int) -> int:
    """How many processes a pool has.

    Args:
        workers: As asked for; ``auto`` is one for each GPU, or without a GPU for each core.
        jobs: To be done; no more processes than these.
    """
    wanted = (len(gpus()) or cores()) if workers == "auto" else workers
    return max(1, min(wanted, jobs))


def jobs_folder(out: Path) -> Path:
    """Where a cluster's job files and logs of a study are."""
    return out.resolve() / "jobs"
