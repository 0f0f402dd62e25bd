"""The settings, the example file and the environment say the same."""

import re
from pathlib import Path

import pytest

from winnow.settings import Settings

OTHERS = {"kernels_isa", "url", "api_key"}  # read by the kernels, and by the command line as a client
EXAMPLE = Path(__file__).parents[2] / ".env.example"


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.delenv(f"WINNOW_{name.upper()}", raising=False)


def example() -> dict[str, str]:
    lines = re.findall(r"^#?WINNOW_([A-Z_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE)
    return {name.lower(): value for name, value in lines}


def test_the_example_names_every_setting_and_no_other():
    assert set(example()) - OTHERS == set(Settings.model_fields)


def test_the_example_shows_the_defaults(monkeypatch):
    for name, value in example().items():
        if value:
            monkeypatch.setenv(f"WINNOW_{name.upper()}", value)
    assert Settings() == Settings.model_construct(
        **{name: field.default for name, field in Settings.model_fields.items()}
    )


def test_folders_are_split_at_colons(monkeypatch):
    monkeypatch.setenv("WINNOW_ALLOW_ROOTS", "/a:/b/c")
    assert Settings().allow_roots == (Path("/a"), Path("/b/c"))


@pytest.mark.parametrize(
    ("host", "required"), [("127.0.0.1", False), ("::1", False), ("0.0.0.0", True), ("10.0.0.1", True)]
)
def test_keys_are_required_beyond_loopback(host, required):
    assert Settings(host=host).keys_required is required


def test_a_secret_may_come_from_a_file(monkeypatch, tmp_path):
    (tmp_path / "url").write_text("redis://:secret@broker/0\n")
    monkeypatch.setenv("WINNOW_BROKER_URL_FILE", str(tmp_path / "url"))
    assert Settings().broker_url == "redis://:secret@broker/0"
