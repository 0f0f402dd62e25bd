"""The container files: linted, accepted by Compose, and hardened service by service."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile.gpu").read_text()
OURS = ("migrate", "app", "worker")


def test_the_compose_file_is_clean_yaml():
    rules = "{extends: relaxed, rules: {line-length: disable}}"
    command = [sys.executable, "-m", "yamllint", "-s", "-d", rules, "docker-compose.yml"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def test_the_dockerfile_has_no_lint():
    linter = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if linter is None:
        pytest.skip("hadolint is not here")
    found = subprocess.run([linter, "Dockerfile.gpu"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def compose() -> list[str]:
    """Compose as a plugin of the docker client, or the older program of its own; neither needs an engine for this."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            asked = subprocess.run([*command, "version"], capture_output=True, check=False)
            if asked.returncode == 0:
                return command
    pytest.skip("neither `docker compose` nor `docker-compose` is here")


def test_compose_accepts_the_file():
    command = [*compose(), "-f", "docker-compose.yml", "config", "-q"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_every_service_is_hardened(name):
    service = COMPOSE["services"][name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "healthcheck" in service
    assert "latest" not in service["image"]
    assert "/var/run/docker.sock" not in str(service)
    if name != "postgres":
        assert service["read_only"] is True


@pytest.mark.parametrize("name", OURS)
def test_our_services_take_secrets_from_files(name):
    environment = COMPOSE["services"][name]["environment"]
    assert environment["WINNOW_DATABASE_URL_FILE"].startswith("/run/secrets/")
    assert not any("PASSWORD" in variable for variable in environment)


def test_only_the_api_is_published_and_on_loopback():
    published = {name: service["ports"] for name, service in COMPOSE["services"].items() if "ports" in service}
    assert published == {"app": ["127.0.0.1:8000:8000"]}


def stages():
    parts = re.split(r"^FROM (\S+) AS (\w+)$", DOCKERFILE, flags=re.MULTILINE)
    return {parts[at + 1]: (parts[at], parts[at + 2]) for at in range(1, len(parts), 3)}


def test_the_images_run_as_a_plain_user_and_carry_no_compiler():
    assert set(stages()) == {"build", "app", "worker"}
    for name in ("app", "worker"):
        base, body = stages()[name]
        assert ":" in base
        assert "USER 10001" in body
        assert "HEALTHCHECK" in body
        assert "build-essential" not in body


def test_the_api_image_has_no_torch():
    assert "torch" not in stages()["app"][1]
    assert "[timm,video,s3]" in stages()["worker"][1]  # timm brings torch
