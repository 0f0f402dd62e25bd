"""Every path the service writes to, below one folder, and the one way a file is put there."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from winnow.errors import WorkerStorageFull

# Leave this much free, so that the database and the logs can still be written when data cannot.
_RESERVE_BYTES = 256 << 20


class Artifacts:
    """Names are made of our own ids only; nothing a caller typed becomes part of a path."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def dataset(self, dataset_id: str) -> Path:
        return self.root / "datasets" / dataset_id

    def upload(self, upload_id: str) -> Path:
        return self.root / "uploads" / upload_id

    def job(self, job_id: str) -> Path:
        return self.root / "jobs" / job_id

    def attempt(self, job_id: str, attempt: int) -> Path:
        """A late attempt writes beside the winner, never over it."""
        return self.job(job_id) / f"a{attempt}"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    def delete_job(self, job_id: str) -> None:
        shutil.rmtree(self.job(job_id), ignore_errors=True)

    def delete_dataset(self, dataset_id: str) -> None:
        shutil.rmtree(self.dataset(dataset_id), ignore_errors=True)

    def delete_upload(self, upload_id: str) -> None:
        self.upload(upload_id).unlink(missing_ok=True)

    def require_space(self, needed_bytes: int) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(self.root).free < needed_bytes + _RESERVE_BYTES:
            raise WorkerStorageFull("too little free space on the artifact disk; the job is tried again later")


@contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """A file that appears whole or not at all: written aside, synced, renamed, the folder synced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".tmp.{os.getpid()}.{path.name}")
    try:
        with aside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
