"""The client: one method a call, retries where a second try can do no harm."""

import json
import random
import re
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import httpx

from winnow_client.bar import draw
from winnow_client.errors import ConflictError, JobFailedError, NotFoundError, UnavailableError, error_from

Job = dict[str, Any]
OnProgress = Callable[[Job], None]
Output = dict[str, str] | None

_FINAL = frozenset({"succeeded", "failed", "cancelled"})
_AGAIN = frozenset({429, 502, 503, 504})
_WAIT_S = 20  # a long poll
_INLINE_URLS, _INLINE_BYTES = 10_000, 500_000  # what a request may hold


@dataclass(frozen=True)
class SelectedSample:
    """One line of the selection."""

    rank: int
    sample_id: str
    path: str
    insertion_distance: float | None
    bytes: int
    width: int | None
    height: int | None
    video: str | None = None  # where the sample is a frame: its video or folder,
    frame: int | None = None  # its number there, from 0,
    pts: int | None = None  # its time stamp, in the video's own unit
    time_s: float | None = None  # and in seconds


class Client:
    """Safe to retry by construction: every POST carries an Idempotency-Key."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        api_key: str | None = None,
        *,
        timeout_s: float = 40.0,
        retries: int = 5,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s)
        self._retries, self._pause = retries, pause

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    # --- in ---------------------------------------------------------------------------------------

    def upload(self, path: str | Path) -> str:
        """Send an archive or a file of embeddings; returns the upload's id."""

        def send(upload_id: str) -> httpx.Response:
            with Path(path).open("rb") as file:  # opened anew by each try
                return self._http.put(f"/v1/uploads/{upload_id}", content=file, timeout=None)

        return self._sealed(send)

    def _uploaded(self, content: bytes) -> str:
        return self._sealed(lambda upload_id: self._http.put(f"/v1/uploads/{upload_id}", content=content, timeout=None))

    def _sealed(self, send: Callable[[str], httpx.Response]) -> str:
        upload_id: str = self._post("/v1/uploads")["id"]
        try:
            self._tried(lambda: send(upload_id))
        except ConflictError:  # an earlier try may have arrived although its answer did not
            if self._get(f"/v1/uploads/{upload_id}")["state"] != "complete":
                raise
        return upload_id

    def create_dataset(self, source: dict[str, Any], name: str = "dataset") -> dict[str, Any]:
        return self._post("/v1/datasets", {"name": name, "source": source})

    def dataset(self, dataset_id: str) -> dict[str, Any]:
        """Its source and its state: `pending` until it is listed, then `ready`, or `failed` with an error."""
        return self._get(f"/v1/datasets/{dataset_id}")

    def submit(self, job: dict[str, Any], *, idempotency_key: str | None = None) -> Job:
        """Queue a job as the API describes it."""
        return self._post("/v1/jobs", job, idempotency_key)

    def submit_folder(
        self, path: str | Path, *, method: str = "coreset", output: Output = None, **target: float
    ) -> Job:
        """The shortest way: a folder the service may read, a method, one of count, fraction, radius, min_distance."""
        return self.submit_source({"type": "folder", "path": str(path)}, method=method, output=output, **target)

    def submit_object_store(
        self, connection: str, prefix: str = "", *, method: str = "coreset", output: Output = None, **target: float
    ) -> Job:
        """The same of what lies below a prefix of a store; the administrator has named the connection."""
        source = {"type": "object_store", "connection": connection, "prefix": prefix}
        return self.submit_source(source, method=method, output=output, **target)

    def submit_urls(
        self, urls: Sequence[str], *, method: str = "coreset", output: Output = None, **target: float
    ) -> Job:
        """The same of pictures on the web; a list too long for a request is uploaded first."""
        inline = len(urls) <= _INLINE_URLS and sum(map(len, urls)) <= _INLINE_BYTES
        where = {"urls": list(urls)} if inline else {"upload_id": self._uploaded("\n".join(urls).encode())}
        return self.submit_source({"type": "urls", **where}, method=method, output=output, **target)

    def submit_source(
        self, source: dict[str, Any], *, method: str = "coreset", output: Output = None, **target: float
    ) -> Job:
        """Any source, in the shortest words; `output` names a folder for copies of the selected files."""
        job = {"dataset": {"source": source}, "selection": {"method": method, "target": target}}
        return self.submit(job | ({"output": output} if output else {}))

    def submit_videos(
        self,
        path: str | Path,
        *,
        sampling: dict[str, Any] | None = None,
        method: str = "coreset",
        output: Output = None,
        **target: float,
    ) -> Job:
        """The same for a video, or a folder of them: `sampling` is one of fps, every_nth, keyframes, scene_change."""
        source = {"type": "videos", "path": str(path)} | ({"sampling": sampling} if sampling else {})
        return self.submit_source(source, method=method, output=output, **target)

    def embed(self, job: dict[str, Any], *, idempotency_key: str | None = None) -> Job:
        """Queue a job that embeds a dataset and selects nothing, as `POST /v1/embeddings` describes it."""
        return self._post("/v1/embeddings", job, idempotency_key)

    def embed_folder(self, path: str | Path, *, encoder: str = "winnow-64") -> Job:
        """The shortest way: a folder the service may read, and who is to embed it."""
        source = {"type": "folder", "path": str(path)}
        return self.embed({"dataset": {"source": source}, "encoder": {"name": encoder}})

    def plan(self, job: dict[str, Any]) -> dict[str, Any]:
        """What a job would cost; stores nothing."""
        return self._post("/v1/jobs?validate_only=true", job)

    # --- while it runs ----------------------------------------------------------------------------

    def get(self, job_id: str) -> Job:
        return self._get(f"/v1/jobs/{job_id}")

    def jobs(self, **query: Any) -> Iterator[Job]:
        """Newest first, page after page."""
        yield from self._pages("/v1/jobs", query)

    def wait(
        self,
        job_id: str,
        *,
        timeout_s: float | None = None,
        on_progress: OnProgress | None = None,
        progress: bool = False,
        poll_s: float = 0,
    ) -> Job:
        """Until the job has ended; JobFailedError where it did not succeed, TimeoutError where it took too long.

        `progress` draws a bar on stderr; `on_progress` is given the job every second.
        """
        deadline = time.monotonic() + timeout_s if timeout_s is not None else None
        on_progress = on_progress or (draw if progress else None)
        wait_s = 1 if on_progress else _WAIT_S
        while True:
            job = self._get(f"/v1/jobs/{job_id}", {"wait": wait_s})
            if on_progress is not None:
                on_progress(job)
            if job["state"] == "succeeded":
                return job
            if job["state"] in _FINAL:
                raise JobFailedError(job)
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"{job_id} is still {job['state']} after {timeout_s:g} s")
            self._pause(poll_s)

    def cancel(self, job_id: str) -> Job:
        """Ask for its end; cancelling twice is no error."""
        try:
            return self._post(f"/v1/jobs/{job_id}:cancel")
        except ConflictError:
            job = self.get(job_id)
            if job["state"] != "cancelled":
                raise
            return job

    def delete(self, job_id: str) -> None:
        """Forget an ended job and its files."""
        self._deleted(f"/v1/jobs/{job_id}")

    def delete_dataset(self, dataset_id: str) -> None:
        """Forget a dataset whose jobs are deleted; the pictures themselves are not touched."""
        self._deleted(f"/v1/datasets/{dataset_id}")

    def delete_upload(self, upload_id: str) -> None:
        """Free the room of an upload that no dataset reads."""
        self._deleted(f"/v1/uploads/{upload_id}")

    # --- out --------------------------------------------------------------------------------------

    def selection(self, job_id: str, *, limit: int | None = None) -> list[SelectedSample]:
        query = {"format": "jsonl"} | ({"limit": limit} if limit is not None else {})
        answer = self._tried(lambda: self._http.get(f"/v1/jobs/{job_id}/selection", params=query))
        known = {field.name for field in fields(SelectedSample)}
        # Not `iter_lines`: it would also break a line within a name, at U+2028 and its like.
        lines = (json.loads(line) for line in answer.content.split(b"\n") if line)
        return [SelectedSample(**{name: line[name] for name in known & line.keys()}) for line in lines]

    def removed(self, job_id: str) -> Iterator[dict[str, Any]]:
        yield from self._pages(f"/v1/jobs/{job_id}/removed", {"page_size": 1000})

    def quarantine(self, job_id: str) -> Iterator[dict[str, Any]]:
        yield from self._pages(f"/v1/jobs/{job_id}/quarantine", {"page_size": 1000})

    def embeddings(self, job_id: str) -> tuple[Any, list[str]]:
        """A float32 numpy array, one row a distinct sample, and the path of each row's sample."""
        import numpy as np  # noqa: PLC0415 - whoever wants an array has it; nobody else needs it

        answer = self._tried(lambda: self._http.get(f"/v1/jobs/{job_id}/embeddings", params={"format": "ids"}))
        with tempfile.TemporaryDirectory() as folder:
            vectors = np.load(self.download_embeddings(job_id, Path(folder) / "vectors.npy"))
        return vectors, [_path_of(line) for line in answer.content.decode().split("\n") if line]

    def download_embeddings(self, job_id: str, to: str | Path) -> Path:
        """Stream the vectors to a new file, as `.npy` or `.parquet` by its name; it appears whole or not at all."""
        kind = Path(to).suffix.removeprefix(".")
        if kind not in {"npy", "parquet"}:
            raise ValueError(f"{to} ends neither in .npy nor in .parquet")
        return self._saved(f"/v1/jobs/{job_id}/embeddings.{kind}", Path(to))

    def explain(self, job_id: str, sample_id: str) -> dict[str, Any]:
        return self._get(f"/v1/jobs/{job_id}/samples/{sample_id}")

    def manifest(self, job_id: str) -> dict[str, Any]:
        return self._get(f"/v1/jobs/{job_id}/manifest")

    def certificate(self, job_id: str) -> dict[str, Any]:
        """How good the selection is, and how much better any other of its size could be."""
        return self._get(f"/v1/jobs/{job_id}/certificate")

    def insights(self, job_id: str) -> list[str]:
        return [item["name"] for item in self._get(f"/v1/jobs/{job_id}/insights")["items"]]

    def insight(self, job_id: str, name: str) -> dict[str, Any]:
        return self._get(f"/v1/jobs/{job_id}/insights/{name}")

    def artifacts(self, job_id: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self._get(f"/v1/jobs/{job_id}/artifacts")["items"]
        return items

    def download(self, job_id: str, name: str, to: str | Path) -> Path:
        """Stream one artifact, for example `selection.csv`, to a new file; it appears whole or not at all."""
        return self._saved(f"/v1/jobs/{job_id}/artifacts/{name}", Path(to))

    # --- how --------------------------------------------------------------------------------------

    def _saved(self, url: str, target: Path) -> Path:
        if target.exists():
            raise FileExistsError(f"{target} exists; it is not overwritten")
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
        try:
            self._tried(lambda: self._stream_to(aside, url))
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)
        return target

    def _stream_to(self, path: Path, url: str) -> httpx.Response:
        with self._http.stream("GET", url) as answer:
            if answer.is_success:
                with path.open("wb") as file:
                    for piece in answer.iter_bytes():
                        file.write(piece)
            else:
                answer.read()
            return answer

    def _get(self, url: str, query: dict[str, Any] | None = None) -> dict[str, Any]:
        body: dict[str, Any] = self._tried(lambda: self._http.get(url, params=query)).json()
        return body

    def _post(self, url: str, body: Any = None, key: str | None = None) -> dict[str, Any]:
        headers = {"Idempotency-Key": key or uuid.uuid4().hex}
        answer: dict[str, Any] = self._tried(lambda: self._http.post(url, json=body, headers=headers)).json()
        return answer

    def _deleted(self, url: str) -> None:
        tries = 0

        def send() -> httpx.Response:
            nonlocal tries
            tries += 1
            return self._http.delete(url)

        try:
            self._tried(send)
        except NotFoundError:
            if tries == 1:  # else an earlier try has done it
                raise

    def _pages(self, url: str, query: dict[str, Any]) -> Iterator[dict[str, Any]]:
        while True:
            page = self._get(url, query)
            yield from page["items"]
            if page["next_page_token"] is None:
                return
            query = query | {"page_token": page["next_page_token"]}

    def _tried(self, call: Callable[[], httpx.Response]) -> httpx.Response:
        """The answer, after as many tries as it takes; `Retry-After` is obeyed."""
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                answer = call()
            except httpx.TransportError as error:
                if last:
                    raise UnavailableError("UNREACHABLE", f"no answer from the service: {error}") from error
                self._pause(_backoff_s(attempt, None))
                continue
            if last or not _passes(answer):
                break
            self._pause(_backoff_s(attempt, answer.headers.get("Retry-After")))
        if not answer.is_success:
            raise error_from(answer)
        return answer


def _passes(answer: httpx.Response) -> bool:
    """Whether asking again may help."""
    return answer.status_code in _AGAIN or (answer.status_code == 409 and '"REQUEST_IN_FLIGHT"' in answer.text)


def _backoff_s(attempt: int, retry_after: str | None) -> float:
    """What the service asks for, or 0.2, 0.4, 0.8 ... seconds, shaken so that clients do not march in step."""
    if retry_after is not None and retry_after.isdigit():
        return float(retry_after)
    return float(0.2 * 2**attempt * random.uniform(0.7, 1.3))  # noqa: S311 - not a secret


def _path_of(line: str) -> str:
    """Of a line as `sha256sum` writes it: after a backslash, line breaks and backslashes of the name are escaped."""
    _, name = line.split("  ", 1)
    if not line.startswith("\\"):
        return name
    return re.sub(r"\\(.)", lambda found: {"n": "\n", "r": "\r"}.get(found[1], found[1]), name)
