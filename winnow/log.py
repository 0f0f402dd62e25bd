"""Logging as one JSON object a line, with line breaks, colours and secrets made harmless."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

_SECRETS: Final = (
    (
        re.compile(
            r"(?i)(authorization|x-api-key|api[_-]?key|password|secret|token)(\"?\s*[:=]\s*\"?)[^\s\",}&]+( wn_\S+)?"
        ),
        r"\1\2***",
    ),
    (re.compile(r"wn_([0-9a-f]{12})_[A-Za-z0-9_-]+"), r"wn_\1_***"),
    (re.compile(r"(\w+://[^\s:/@]*:)[^\s@/]+@"), r"\1***@"),
)


_SIGNING: Final = ("botocore", "aiobotocore", "s3fs", "fsspec", "gcsfs", "azure", "adlfs")  # they log what they sign


def configure(level: str) -> None:
    """Everything any library logs goes through the same door, to stderr."""
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _masked,
            structlog.processors.JSONRenderer(),
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("alembic", "kombu", "celery", "PIL", "matplotlib", "asyncio", "httpx", "httpcore", *_SIGNING):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))


def _masked(_logger: Any, _name: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: masked(value) if isinstance(value, str) else value for key, value in entry.items()}


def masked(text: str) -> str:
    """The text without what only its owner may know. JSON escapes line breaks and control characters by itself."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text
