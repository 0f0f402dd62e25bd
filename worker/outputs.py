"""An outcome becomes files: each written aside, synced and renamed, the manifest last."""

import hashlib
import json
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from winnow.datasets import snapshot
from winnow.datasets.ahead import Ahead, one_by_one
from winnow.embeddings import head
from winnow.exports import FORMATS, VECTOR_FILES, certificate, copy_selected, kept_rows, quarantine_rows, removed_rows
from winnow.exports.formats import write_jsonl
from winnow.pipeline import canonical_json
from winnow.plots import draw
from winnow.plots.thumbnails import render_thumbnails
from winnow.results import Embedding, Outcome, Report
from winnow.spec import EmbedSpec, JobSpec, Spec
from winnow.store.artifacts import written

_SHOWN_KEPT = 240  # thumbnails of the first picks, for the page
_KEPT_UNASKED_BYTES = 64 << 20  # of vectors, where a filter job does not say whether to keep them


@dataclass(frozen=True)
class Pictures:
    """How to get at the pixels of a dataset of pictures; absent for ready vectors."""

    read: Callable[[str], bytes]  # to look at
    original: Callable[[str], bytes]  # to copy out
    max_pixels: int
    ahead: Ahead = one_by_one


@dataclass
class _Folder:
    """The attempt's folder, and a record of each file put there."""

    path: Path
    files: list[dict[str, Any]]

    def put(self, name: str, media_type: str, write: Callable[[BinaryIO], None]) -> None:
        target = self.path / name
        with written(target) as file:
            write(file)
        with target.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = target.stat().st_size
        self.files.append({"name": name, "bytes": size, "sha256": digest, "media_type": media_type})

    def put_bytes(self, name: str, media_type: str, content: bytes) -> None:
        self.put(name, media_type, lambda file: _write_all(file, content))


def write(
    outcome: Outcome,
    spec: JobSpec,
    folder: Path,
    *,
    job_id: str,
    pictures: Pictures | None,
    output_roots: tuple[Path, ...],
    report: Report,
) -> list[dict[str, Any]]:
    """All files of a finished job below `folder`; returns name, size, sha256 and media type of each."""
    out = _Folder(folder, [])
    _write_lists(out, outcome)
    if _is_kept(spec.keep_vectors, outcome):
        _write_vectors(out, outcome)
    _write_pictures(out, outcome, pictures, report)
    if spec.output is not None and pictures is not None:
        # By name and not by rank: the frames of a video are found on one way through it.
        paths = sorted(outcome.embedded.paths[position] for position in outcome.selection.positions)
        target = Path(spec.output.path)
        copy_selected(
            pictures.original,
            paths,
            target,
            roots=output_roots,
            job_id=job_id,
            report=report,
            ahead=pictures.ahead,
        )
    selection = outcome.selection
    _conclude(out, outcome, spec, {"radius": float(selection.radius), "notes": selection.notes})
    report("writing", 1, 1)
    return out.files


def write_embedding(embedding: Embedding, spec: EmbedSpec, folder: Path, *, report: Report) -> list[dict[str, Any]]:
    """All files of a finished embedding job; what is kept is the vectors, and what became of every other item."""
    out = _Folder(folder, [])
    _write_vectors(out, embedding)
    report("writing", 1, 2)
    _write_items(out, embedding)
    _conclude(out, embedding, spec, {})
    report("writing", 2, 2)
    return out.files


def _conclude(out: _Folder, embedding: Embedding, spec: Spec, more: Mapping[str, Any]) -> None:
    """The timings beside the manifest, which comes last and holds no time."""
    out.put_bytes("timings.json", _JSON, canonical_json(embedding.timings_s))
    manifest = _manifest(embedding, spec, out.files, more)
    out.put_bytes("manifest.json", _JSON, json.dumps(manifest, indent=2, ensure_ascii=False).encode())


def _is_kept(wanted: bool | None, outcome: Outcome) -> bool:
    return outcome.embedded.vectors.nbytes <= _KEPT_UNASKED_BYTES if wanted is None else wanted


def _write_vectors(out: _Folder, embedding: Embedding) -> None:
    about = {"winnow.encoder": embedding.versions["encoder"], "winnow.embedding": embedding.digests["embedding"]}
    for kind in VECTOR_FILES.values():
        out.put(kind.file_name, kind.media_type, partial(kind.write, embedding.embedded, about))


_JSON = "application/json"
_JSONL = "application/x-ndjson"


def counts(embedding: Embedding) -> dict[str, int]:
    """The numbers of the job object; `selected` where the job selects."""
    embedded = embedding.embedded
    numbers = {
        "input": len(embedding.listing) + len(embedding.listing.failures),
        "valid": len(embedded.paths) + len(embedded.duplicates),
        "exact_duplicates": len(embedded.duplicates),
        "quarantined": len(embedded.failures),
    }
    return numbers | ({"selected": len(embedding.selection.positions)} if isinstance(embedding, Outcome) else {})


def _write_lists(out: _Folder, outcome: Outcome) -> None:
    embedded, selection = outcome.embedded, outcome.selection
    for kind in FORMATS.values():
        out.put(kind.file_name, kind.media_type, partial(kind.write, kept_rows(embedded, selection)))
    removed = removed_rows(embedded, selection, outcome.listing)
    out.put("removed.jsonl", _JSONL, lambda file: write_jsonl(removed, file))
    out.put_bytes("certificate.json", _JSON, json.dumps(certificate(embedded, selection), indent=2).encode())
    _write_items(out, outcome)


def _write_items(out: _Folder, embedding: Embedding) -> None:
    """Every item that went in, copies included, and those that could not be used."""
    embedded = embedding.embedded
    if embedding.head is not None:
        out.put("head.npz", "application/octet-stream", partial(head.write, embedding.head))
    out.put("quarantine.jsonl", _JSONL, lambda file: write_jsonl(quarantine_rows(embedded), file))
    out.put("inputs.parquet", FORMATS["parquet"].media_type, partial(snapshot.write, embedding.listing))


def _write_pictures(out: _Folder, outcome: Outcome, pictures: Pictures | None, report: Report) -> None:
    shown = _thumbnails(outcome, pictures) if pictures is not None else {}
    ids = dict(zip(outcome.embedded.paths, outcome.embedded.ids, strict=True)) if shown else {}
    for path, jpeg in shown.items():
        out.put_bytes(f"thumbnails/{ids[path].tobytes().hex()}.jpg", "image/jpeg", jpeg)
    for done, insight in enumerate(outcome.insights):
        body = canonical_json({"name": insight.name, "title": insight.title, "data": insight.data})
        out.put_bytes(f"insights/{insight.name}.json", _JSON, body)
        for kind, content in draw(insight, thumbnails=shown.get).items():
            out.put_bytes(f"plots/{insight.name}.{kind}", _PICTURE_TYPES[kind], content)
        report("writing", done, len(outcome.insights))


_PICTURE_TYPES = {"png": "image/png", "svg": "image/svg+xml"}


def _thumbnails(outcome: Outcome, pictures: Pictures) -> dict[str, bytes]:
    """Small JPEGs of what the page and the contact sheet show."""
    first = (outcome.embedded.paths[position] for position in islice(outcome.selection.positions, _SHOWN_KEPT))
    paired = (path for insight in outcome.insights if insight.name == "neighbours" for path in _paths(insight.data))
    known = set(outcome.embedded.paths)
    wanted = [path for path in dict.fromkeys((*first, *paired)) if path in known]
    return render_thumbnails(pictures.read, wanted, max_pixels=pictures.max_pixels, ahead=pictures.ahead)


def _paths(value: Any) -> Iterator[str]:
    """Every `path` anywhere in an insight's data."""
    if isinstance(value, Mapping):
        if isinstance(value.get("path"), str):
            yield value["path"]
        value = list(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            yield from _paths(part)


def _manifest(
    embedding: Embedding, spec: Spec, files: Iterable[Mapping[str, Any]], more: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything needed to reproduce the answer. No time and no machine in it: a repeat writes the same bytes."""
    stable = [dict(file) for file in files if file["name"] != "timings.json"]
    return {
        "manifest_version": 1,
        "spec": spec.model_dump(mode="json"),
        "counts": counts(embedding),
        "digests": embedding.digests,
        **more,
        **({"head": head.facts(embedding.head)} if embedding.head is not None else {}),
        "versions": {
            **embedding.versions,
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "pillow", "pyarrow")},
            **{name: version(name) for name in ("torch", "timm", "av") if name in sys.modules},
        },
        "files": stable,
    }


def _write_all(file: BinaryIO, content: bytes) -> None:
    file.write(content)
