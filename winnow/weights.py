"""Where an encoder's weights may lie on this machine, and whether its software is here; nothing is loaded."""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from winnow.encoders import Entry
from winnow.errors import WeightsMissing

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Found:
    """A file of weights, and the sha256 (or its first digits) it must have."""

    path: Path
    sha256: str

    def content(self) -> bytes:
        """Its bytes, once they are known to be the right ones."""
        content = self.path.read_bytes()
        if not hashlib.sha256(content).hexdigest().startswith(self.sha256):
            raise WeightsMissing(f"{self.path.name} is damaged: its sha256 does not begin with {self.sha256}")
        return content


def missing_modules(entry: Entry) -> list[str]:
    return [name for name in entry.needs if find_spec(name) is None]


def file_in(folder: Path, entry: Entry) -> Path:
    """Where the weights are looked for first."""
    return folder / f"{entry.name}.safetensors"


def find(entry: Entry, folder: Path | None) -> Found | None:
    """The operator's folder first, then what the publisher's own tools have left in their caches."""
    places = (_in_folder(entry, folder), _in_torch_cache(entry), _in_hub_cache(entry))
    return next((found for place in places for found in place), None)


def present(entry: Entry, folder: Path | None) -> bool:
    """Whether a job would find them; whether they are undamaged shows when they are read."""
    try:
        return find(entry, folder) is not None
    except (WeightsMissing, OSError):
        return False


def _in_folder(entry: Entry, folder: Path | None) -> Iterator[Found]:
    if folder is None or not (path := file_in(folder, entry)).is_file():
        return
    note = path.with_name(f"{path.name}.sha256")
    said = note.read_text().split()[:1] if note.is_file() else []
    if not said or not _SHA256.fullmatch(said[0]):
        raise WeightsMissing(f"{path.name} needs its sha256 in {note.name} beside it; `sha256sum` writes one")
    yield Found(path, said[0])


def _in_torch_cache(entry: Entry) -> Iterator[Found]:
    """torchvision names a file by the first digits of its hash."""
    if entry.weights is None or entry.weights.sha256 is None:
        return
    home = Path(os.environ.get("TORCH_HOME", _cache() / "torch"))
    path = home / "hub" / "checkpoints" / entry.weights.url.rpartition("/")[2]
    if path.is_file():
        yield Found(path, entry.weights.sha256)


def _in_hub_cache(entry: Entry) -> Iterator[Found]:
    """The hub's cache holds a file as a link to a blob, named by its sha256."""
    if entry.weights is None or not entry.name.startswith("timm/"):
        return
    repository = "--".join(entry.weights.url.partition("/resolve/")[0].split("/")[-2:])
    home = Path(os.environ.get("HF_HOME", _cache() / "huggingface"))
    kept = Path(os.environ.get("HF_HUB_CACHE", home / "hub")) / f"models--{repository}"
    main = kept / "refs" / "main"
    if not main.is_file():
        return
    path = kept / "snapshots" / main.read_text().strip() / "model.safetensors"
    if path.is_file() and _SHA256.fullmatch(blob := path.resolve().name):
        yield Found(path, blob)


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))


def how_to_bring(entry: Entry, folder: Path | None) -> str:
    """What to do where there are none, as the end of a sentence."""
    file = f"{entry.name}.safetensors and {entry.name}.safetensors.sha256"
    where = "the folder WINNOW_WEIGHTS_DIR names" + ("" if folder else " (it is not set)")
    return (
        f"bring {file} into {where}; `winnow encoders fetch {entry.name} --weights-dir DIR` writes both below DIR, "
        "on a machine with internet. Jobs download nothing unless WINNOW_ALLOW_DOWNLOADS is set"
    )
