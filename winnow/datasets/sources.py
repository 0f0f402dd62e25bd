"""Opens a source: one reader for each kind of place samples come from."""

from pathlib import Path

from winnow.datasets.allowed import allowed_path, check_source
from winnow.datasets.archive import ArchiveReader
from winnow.datasets.base import Limits, Reader
from winnow.datasets.folder import FolderReader
from winnow.datasets.vectors import VectorsReader
from winnow.datasets.video import VideosReader
from winnow.errors import SourceGone
from winnow.spec import ArchiveSource, FolderSource, Source, VideosSource

__all__ = ["allowed_path", "check_source", "open_source"]


def open_source(
    source: Source,
    *,
    folder: Path,
    roots: tuple[Path, ...],
    upload: Path | None,
    limits: Limits,
    processes: int = 1,
) -> Reader:
    """`folder` is the dataset's own, for what has to be unpacked; `upload` is where the uploaded bytes lie.

    The path is judged again here: what was allowed at submit time may have become a link since.
    """
    if isinstance(source, FolderSource):
        return FolderReader(allowed_path(source.path, roots), limits, sequences=source.sequences is not None)
    if isinstance(source, VideosSource):
        return VideosReader(allowed_path(source.path, roots), source.sampling, folder, limits, processes=processes)
    if isinstance(source, ArchiveSource):
        return ArchiveReader(upload, folder, limits)
    path = allowed_path(source.path, roots) if source.path is not None else upload
    if path is None:
        raise SourceGone("the upload is not there; upload the file again and make a new dataset of it")
    return VectorsReader(path, limits)
