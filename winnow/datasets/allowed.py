"""Says at submit time, without walking anything, whether a source may be opened at all."""

from pathlib import Path

from winnow.errors import SourceNotAllowed
from winnow.spec import Source

_MAX_PATH_BYTES = 4096


def check_source(source: Source, roots: tuple[Path, ...]) -> None:
    """Refuse a path that does not lie in or below an allowed root; uploads have none and always pass."""
    path = getattr(source, "path", None)
    if path is not None:
        allowed_path(path, roots)


def allowed_path(text: str, roots: tuple[Path, ...], place: str = "/source/path") -> Path:
    """The real path, if it lies in or below a root; the refusal names no path, so it tells nothing about the server."""
    real = _resolved(text) if _is_plain(text) else None
    if real is None or not any(real.is_relative_to(root.resolve()) for root in roots):
        raise SourceNotAllowed(
            "the path must be absolute and lie below a folder the operator has allowed (--allow-root)",
            fields=((place, "not below an allowed root"),),
        )
    return real


def _is_plain(text: str) -> bool:
    """Absolute, and free of anything that could mean another place than it says."""
    parts = text.split("/")
    odd = "\0" in text or ".." in parts or any(part.startswith("~") for part in parts[:2])
    return text.startswith("/") and not odd and len(text.encode("utf-8", "replace")) <= _MAX_PATH_BYTES


def _resolved(text: str) -> Path | None:
    try:
        return Path(text).resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, or letters no file system has
        return None
