"""Opens a source: one reader for each kind of place samples come from."""

from collections.abc import Callable
from pathlib import Path

from winnow.datasets.allowed import NOTHING_REMOTE, Remote, allowed_path, allowed_prefix, check_source, url_rules
from winnow.datasets.archive import ArchiveReader
from winnow.datasets.base import Limits, Reader
from winnow.datasets.folder import FolderReader
from winnow.datasets.objects import ObjectsReader
from winnow.datasets.urls import UrlsReader
from winnow.datasets.vectors import VectorsReader
from winnow.datasets.video import VideosReader
from winnow.errors import SourceGone
from winnow.spec import ArchiveSource, FolderSource, ObjectStoreSource, Source, UrlsSource, VideosSource

__all__ = ["allowed_path", "check_source", "open_source"]


def open_source(
    source: Source,
    *,
    folder: Path,
    roots: tuple[Path, ...],
    upload: Path | None,
    limits: Limits,
    processes: int = 1,
    remote: Remote = NOTHING_REMOTE,
    alive: Callable[[], None] = lambda: None,
) -> Reader:
    """`folder` is the dataset's own, for what has to be unpacked; `upload` is where the uploaded bytes lie.

    `alive` hears of work that no report is made of: one sample may take long to fetch.

    The source is judged again here: what was allowed at submit time may have become a link since, or been taken back.
    """
    if isinstance(source, FolderSource):
        return FolderReader(allowed_path(source.path, roots), limits, sequences=source.sequences is not None)
    if isinstance(source, VideosSource):
        path = allowed_path(source.path, roots)
        return VideosReader(path, source.sampling, folder, limits, processes=processes, alive=alive)
    if isinstance(source, ArchiveSource):
        return ArchiveReader(upload, folder, limits)
    if isinstance(source, ObjectStoreSource):
        return ObjectsReader(allowed_prefix(source, remote), source.prefix, folder, limits)
    if isinstance(source, UrlsSource):
        return UrlsReader(upload, folder, url_rules(remote), limits)
    table = allowed_path(source.path, roots) if source.path is not None else upload
    if table is None:
        raise SourceGone("the upload is not there; upload the file again and make a new dataset of it")
    return VectorsReader(table, limits)
