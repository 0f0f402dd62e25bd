"""A log line is one line, and holds no secret."""

import json
import subprocess
import sys

import pytest

SCRIPT = (
    "import logging, sys; from winnow import log; log.configure('INFO'); logging.getLogger('t').warning(sys.argv[1])"
)


def logged(text: str) -> list[str]:
    """What a process of its own writes to stderr."""
    command = [sys.executable, "-c", SCRIPT, text]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer wn_0123456789ab_SECRETSECRETSECRET",
        "postgresql://winnow:SECRETSECRET@db/winnow is away",
        "password=SECRETSECRET",
        '{"api_key": "SECRETSECRET"}',
    ],
)
def test_secrets_are_masked(text):
    (line,) = logged(text)
    assert "***" in line
    assert "SECRET" not in line


def test_a_line_break_cannot_forge_a_second_line():
    (line,) = logged('a\n{"event": "forged"}\x1b[31m')
    assert json.loads(line)["event"].startswith("a\n")
    assert "\x1b" not in line
