"""Brings weights from their publishers: downloads, checks, and writes safetensors with its sha256 beside it."""

import hashlib
import io
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

import safetensors.torch
import torch

from winnow import weights
from winnow.datasets.atomic import appearing
from winnow.encoders import Entry
from winnow.errors import WeightsMissing

_TIMEOUT_S: Final = 60.0
_CHUNK: Final = 1 << 20


def fetch(entry: Entry, folder: Path) -> Path:
    """The file that a job will find below `folder`; one that is there stays."""
    if entry.weights is None:
        raise WeightsMissing(f"{entry.name} needs no weights of others")
    target = weights.file_in(folder, entry)
    if target.exists():
        return target
    content = _downloaded(entry.weights.url, entry.weights.sha256 or _told(entry.weights.url))
    if not entry.weights.url.endswith(".safetensors"):
        content = safetensors.torch.save(_packable(unpickled(content)))
    target.parent.mkdir(parents=True, exist_ok=True)
    note = f"{hashlib.sha256(content).hexdigest()}  {target.name}\n"
    for path, body in ((target.with_name(f"{target.name}.sha256"), note.encode()), (target, content)):
        with appearing(path) as file:
            file.write(body)
        path.chmod(0o644)  # made to be copied, and read by a service that runs as somebody else
    return target


def unpickled(content: bytes) -> dict[str, torch.Tensor]:
    """A .pth as tensors; anything else that a pickle can do is refused."""
    held = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return {name: tensor for name, tensor in held.items() if isinstance(tensor, torch.Tensor)}


def _packable(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}


def _downloaded(url: str, sha256: str) -> bytes:
    out = io.BytesIO()
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - the URLs are the table's
            while chunk := answer.read(_CHUNK):
                out.write(chunk)
    except OSError as error:
        raise WeightsMissing(f"{url} cannot be reached ({error}); fetch on a machine with internet") from error
    content = out.getvalue()
    if not hashlib.sha256(content).hexdigest().startswith(sha256):
        raise WeightsMissing(f"what {url} gave is not what was published: its sha256 does not begin with {sha256}")
    return content


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """The answer that would send one on is the one to read."""


def _told(url: str) -> str:
    """The hub says a large file's sha256 in the headers of its first answer, before it sends one elsewhere."""
    asked = urllib.request.Request(url, method="HEAD")  # noqa: S310 - likewise
    try:
        with urllib.request.build_opener(_NoRedirect).open(asked, timeout=_TIMEOUT_S) as answer:
            headers = answer.headers
    except urllib.error.HTTPError as error:
        if error.code in {401, 403}:
            raise WeightsMissing(f"{url} wants its licence accepted; download it by hand") from error
        headers = error.headers
    except OSError as error:
        raise WeightsMissing(f"{url} cannot be reached ({error}); fetch on a machine with internet") from error
    told = (headers.get("X-Linked-ETag") or "").strip('"')
    if len(told) != hashlib.sha256().digest_size * 2:
        raise WeightsMissing(f"the publisher of {url} does not say its sha256")
    return told
