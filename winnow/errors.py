"""The one error tree: stable codes and words for people; HTTP numbers live in `app/errors.py` alone."""

from typing import ClassVar, Final


class WinnowError(Exception):
    """A refusal that can be shown to the caller: `code` is stable, `detail` says what to do next.

    `fields` points into the request: pairs of (JSON pointer, what is wrong there).
    """

    code: ClassVar[str] = "INTERNAL"
    title: ClassVar[str] = "Something went wrong on our side"

    def __init__(self, detail: str, *, fields: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.fields = fields


# --- the request ---------------------------------------------------------------------------------


class InvalidRequest(WinnowError):
    code = "INVALID_REQUEST"
    title = "The request does not fit the schema"


class SourceNotAllowed(InvalidRequest):
    code = "SOURCE_NOT_ALLOWED"
    title = "This source is not one the service may read"


class UrlNotAllowed(SourceNotAllowed):
    code = "URL_NOT_ALLOWED"
    title = "This URL is not one the service may fetch"


class OutputNotAllowed(InvalidRequest):
    code = "OUTPUT_NOT_ALLOWED"
    title = "This folder is not one the service may write to"


class IdempotencyKeyReused(InvalidRequest):
    code = "IDEMPOTENCY_KEY_REUSED"
    title = "This Idempotency-Key was used with another request"


class Unauthenticated(WinnowError):
    code = "UNAUTHENTICATED"
    title = "A valid API key is needed"


class Forbidden(WinnowError):
    code = "FORBIDDEN"
    title = "This key may not do that"


class NotFound(WinnowError):
    code = "NOT_FOUND"
    title = "There is no such thing here"


class EmbeddingsNotKept(NotFound):
    code = "EMBEDDINGS_NOT_KEPT"
    title = "The job did not keep its vectors"


class Conflict(WinnowError):
    code = "CONFLICT"
    title = "The state of the resource does not allow this"


class JobNotFinished(Conflict):
    code = "JOB_NOT_FINISHED"
    title = "The job has no result yet"


class NothingSelected(Conflict):
    code = "NOTHING_SELECTED"
    title = "A job of this kind selects nothing"


class DatasetNotReady(Conflict):
    code = "DATASET_NOT_READY"
    title = "The dataset has not been listed yet"


class JobFinished(Conflict):
    code = "JOB_FINISHED"
    title = "The job has already ended"


class RequestInFlight(Conflict):
    code = "REQUEST_IN_FLIGHT"
    title = "The first request with this Idempotency-Key is still running"


class OutputExists(Conflict):
    code = "OUTPUT_EXISTS"
    title = "The output folder already holds something"


class QuotaExceeded(WinnowError):
    code = "QUOTA_EXCEEDED"
    title = "The tenant's quota is used up"


class RateLimited(WinnowError):
    code = "RATE_LIMITED"
    title = "Too many requests"


class Unavailable(WinnowError):
    code = "UNAVAILABLE"
    title = "A part the service depends on is away; try again shortly"


class StorageFull(WinnowError):
    code = "STORAGE_FULL"
    title = "The disk is full"


# --- the job: raised by stages, kept in the job row as its `error` --------------------------------


class JobError(WinnowError):
    """Ends the attempt. `transient` attempts are tried again with a backoff, others fail the job."""

    transient: ClassVar[bool] = False


class SourceGone(JobError):
    code = "SOURCE_GONE"
    title = "The source can no longer be read"


class SourceTooLarge(JobError):
    code = "SOURCE_TOO_LARGE"
    title = "The source holds more bytes than the limit"


class StoreRefused(JobError):
    code = "STORE_REFUSED"
    title = "The object store refuses the connection's credentials"


class StoreDriverMissing(JobError):
    code = "STORE_DRIVER_MISSING"
    title = "What speaks to this kind of object store is not installed"


class ConnectionBroken(JobError):
    code = "CONNECTION_BROKEN"
    title = "The connection to the object store is not set up"


class WeightsMissing(JobError):
    code = "WEIGHTS_MISSING"
    title = "The encoder's weights are not here"


class DatasetEmpty(JobError):
    code = "DATASET_EMPTY"
    title = "The dataset holds no usable sample"


class TooManyItems(JobError):
    code = "TOO_MANY_ITEMS"
    title = "The dataset holds more items than the limit"


class TooManyItemErrors(JobError):
    code = "TOO_MANY_ITEM_ERRORS"
    title = "More items failed than `on_error` allows"


class ArchiveUnsafe(JobError):
    code = "ARCHIVE_UNSAFE"
    title = "The archive holds an entry that points outside it"


class ArchiveTooLarge(JobError):
    code = "ARCHIVE_TOO_LARGE"
    title = "The archive unpacks to more than the limit"


class ArchiveEncrypted(JobError):
    code = "ARCHIVE_ENCRYPTED"
    title = "The archive is encrypted"


class ArchiveCorrupt(JobError):
    code = "ARCHIVE_CORRUPT"
    title = "The archive is damaged"


class VideoSupportMissing(JobError):
    code = "VIDEO_SUPPORT_MISSING"
    title = "This worker cannot read videos"


class UnsupportedArtifact(JobError):
    code = "UNSUPPORTED_ARTIFACT"
    title = "The file of embeddings is not in a form that is safe to read"


class InvalidVectors(JobError):
    code = "INVALID_VECTORS"
    title = "The vectors cannot be used"


class InvalidLabels(JobError):
    code = "INVALID_LABELS"
    title = "The table of labels cannot be used"


class OutputFailed(JobError):
    code = "OUTPUT_FAILED"
    title = "The selected files could not be copied out"


class WorkerCrashed(JobError):
    code = "WORKER_CRASHED"
    title = "The computation died three times"


class LeaseExpired(JobError):
    code = "LEASE_EXPIRED"
    title = "The workers that held this job kept vanishing"


class DeadlineExceeded(JobError):
    code = "DEADLINE_EXCEEDED"
    title = "The job ran longer than its limit"


class Stalled(JobError):
    code = "STALLED"
    title = "The job made no progress for too long"


class MemoryLimit(JobError):
    code = "MEMORY_LIMIT"
    title = "The job needed more memory than the worker may use"


class TransientJobError(JobError):
    transient = True


class WorkerStorageFull(TransientJobError):
    code = "STORAGE_FULL"
    title = "The worker's disk is full"


class StoreUnreachable(TransientJobError):
    code = "STORE_UNREACHABLE"
    title = "The object store does not answer"


# --- control flow between supervisor and computation ----------------------------------------------


class JobCancelled(Exception):
    """The caller asked for an end; raised out of `report` at the next safe point."""


# --- one item of a dataset: recorded beside the job, never the end of it ---------------------------


class ItemError(Exception):
    """One sample cannot be used; `code` is one of `ITEM_CODES`."""

    def __init__(self, code: str, detail: str = "") -> None:
        if code not in ITEM_CODES:
            raise ValueError(f"unknown item code {code}")
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail


# What is said of an item where nothing more is known.
ITEM_CODES: Final = {
    "LINK_ESCAPES_ROOT": "a link that leads out of the dataset's folder",
    "NOT_A_REGULAR_FILE": "a pipe, a socket or a device",
    "UNREADABLE": "the file cannot be opened",
    "FORBIDDEN": "the store does not hand it out",
    "FETCH_FAILED": "the URL could not be fetched",
    "URL_NOT_ALLOWED": "a URL the service may not fetch",
    "NAME_NOT_A_PATH": "a name that could not be a file's",
    "FILE_TOO_LARGE": "more bytes than one item may have",
    "NAME_NOT_UTF8": "the name is not UTF-8",
    "CONTENT_CHANGED": "not the bytes that were listed",
    "UNSUPPORTED_FORMAT": "no picture or video of a kind that is read",
    "VIDEO_UNREADABLE": "no frame of the video could be decoded",
    "VIDEO_DAMAGED": "a part of the video could not be decoded; the frames of the rest are in",
    "VIDEO_TOO_LARGE": "longer, larger or denser than one video may be",
    "IMAGE_TOO_LARGE": "more pixels than one picture may have",
    "DECODE_FAILED": "the picture is damaged",
    "ITEM_TIMEOUT": "decoding took too long, twice",
    "ITEM_CRASHED_DECODER": "decoding ended the decoder, twice",
    "NOT_FINITE": "the vector holds NaN or infinity",
    "ZERO_VECTOR": "a vector of zeros has no direction, which cosine compares",
}
