"""Copies the selected files into a new folder: whole or not at all, over nothing and through no link."""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from winnow.datasets.ahead import Ahead, Read, one_by_one
from winnow.datasets.allowed import allowed_path
from winnow.datasets.beneath import opened_root
from winnow.errors import ItemError, OutputFailed, SourceNotAllowed
from winnow.results import Report

Contents = Iterator[tuple[str, bytes | ItemError]]

# A name too long, or in the place of a folder: the file takes another name, which the marker tells.
_NO_SUCH_NAME = frozenset({errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG})
_MARKER = ".winnow.json"  # says which job filled the folder, so that a second attempt of the same job is content


def copy_selected(
    read: Read,
    paths: list[str],
    target: Path,
    *,
    roots: tuple[Path, ...],
    job_id: str,
    report: Report,
    ahead: Ahead = one_by_one,
) -> int:
    """Fill `target`, which must not exist, with `paths` below it; returns how many files lie there.

    Its parent is looked up now, not when the job was asked for, and then held open: a link that is put in its place
    meanwhile leads nowhere.
    """
    try:
        parent = allowed_path(str(target.parent), roots)
        with opened_root(parent) as folder:
            place = Path(f"/proc/self/fd/{folder.descriptor}", target.name)
            return _copied(ahead(read, paths), len(paths), place, job_id, report)
    except SourceNotAllowed as error:
        raise OutputFailed("the output folder does not lie below an allowed output root any more") from error
    except OSError as error:
        raise OutputFailed(f"the output folder could not be filled: {error.strerror or 'I/O error'}") from error


def _copied(contents: Contents, count: int, target: Path, job_id: str, report: Report) -> int:
    if _filled_by(target) == job_id:
        return count
    renamed: dict[str, str] = {}
    with _filled_aside(target, job_id, renamed) as aside:
        for done, (path, answer) in enumerate(contents):
            content = _readable(path, answer)
            try:
                _write_new(aside, path, content)
            except OSError as error:
                if error.errno not in _NO_SUCH_NAME:
                    raise
                renamed[path] = f"renamed/{done:08d}{PurePosixPath(path).suffix[:8]}"
                _write_new(aside, renamed[path], content)
            report("writing", done + 1, count)
    return count


@contextmanager
def _filled_aside(target: Path, job_id: str, renamed: dict[str, str]) -> Iterator[Path]:
    """A private folder beside the target that takes its name at the end."""
    aside = target.with_name(f".{target.name}.{job_id}.partial")
    try:
        shutil.rmtree(aside, ignore_errors=True)  # an attempt that died
        aside.mkdir(mode=0o700)
        yield aside
        (aside / _MARKER).write_text(json.dumps({"job_id": job_id, "renamed": renamed}, ensure_ascii=False))
        aside.chmod(0o755)
        target.mkdir()  # fails where anything stands there, also a link; then an empty folder of ours gives way
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _readable(path: str, answer: bytes | ItemError) -> bytes:
    if isinstance(answer, ItemError):
        raise OutputFailed(f"{path!r} can no longer be read as it was selected: {answer.code}") from answer
    return answer


def _write_new(folder: Path, path: str, content: bytes) -> None:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or parts == (_MARKER,):
        raise OutputFailed("a sample's path cannot be used as a file name; download the list instead")
    destination = folder.joinpath(*parts)
    destination.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(destination, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _filled_by(target: Path) -> str | None:
    marker = target / _MARKER
    if target.is_symlink() or not marker.is_file():
        return None
    try:
        return str(json.loads(marker.read_text())["job_id"])
    except (ValueError, KeyError, OSError):
        return None
