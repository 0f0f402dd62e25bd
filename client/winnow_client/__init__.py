"""Talks to a Winnow service: submit, wait, download; errors by code, polite retries.

from winnow_client import Client

with Client("http://127.0.0.1:8000") as winnow:
    job = winnow.submit_folder("/data/yard", method="coreset", fraction=0.1)
    job = winnow.wait(job["id"])
    for sample in winnow.selection(job["id"], limit=100):
        print(sample.rank, sample.path)
"""

from winnow_client.client import Client, SelectedSample
from winnow_client.errors import (
    ApiError,
    ConflictError,
    InvalidRequestError,
    JobFailedError,
    NotAllowedError,
    NotFoundError,
    UnavailableError,
)

__all__ = [
    "ApiError",
    "Client",
    "ConflictError",
    "InvalidRequestError",
    "JobFailedError",
    "NotAllowedError",
    "NotFoundError",
    "SelectedSample",
    "UnavailableError",
]
