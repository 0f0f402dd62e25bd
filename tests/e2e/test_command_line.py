"""The command line as a person uses it: one line from a folder to a list, a service that outlives its parts."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
from winnow_client import ApiError, Client

from winnow.embeddings.cache import ShardCache

WINNOW = str(Path(sys.executable).with_name("winnow"))


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch):
    for name in [name for name in os.environ if name.startswith("WINNOW_") and "TEST" not in name]:
        monkeypatch.delenv(name)


def run(*arguments, **options):
    return subprocess.run(
        [WINNOW, *map(str, arguments)], capture_output=True, text=True, timeout=90, check=False, **options
    )


def test_one_line_from_a_folder_to_its_list(pictures, tmp_path):
    out = tmp_path / "out"
    done = run("filter", pictures, "--count", 6, "--out", out, "--copy")
    assert done.returncode == 0, done.stderr
    kept = (out / "selection.txt").read_text().splitlines()
    assert len(kept) == 6
    assert {str(path.relative_to(out / "selected")) for path in (out / "selected").rglob("*.png")} == set(kept)
    assert json.loads((out / "manifest.json").read_text())["counts"]["selected"] == 6
    assert (out / "plots" / "map.png").exists()
    again = run("filter", pictures, "--count", 6, "--out", out)
    assert again.returncode == 1
    assert "exists" in again.stderr


def test_a_mistake_is_one_line_that_says_what_to_do(pictures, tmp_path):
    wrong = run("filter", pictures, "--method", "magic", "--count", 6, "--out", tmp_path / "out")
    assert wrong.returncode == 1
    assert "INVALID_REQUEST" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_keys_are_made_listed_and_ended(tmp_path):
    environment = os.environ | {"WINNOW_DATA_DIR": str(tmp_path)}
    key = run("keys", "create", "acme", "--scope", "read", env=environment).stdout.strip()
    prefix = re.fullmatch(r"wn_([0-9a-f]{12})_[\w-]{43}", key)[1]
    assert prefix in run("keys", "list", env=environment).stdout
    assert run("keys", "revoke", prefix, env=environment).returncode == 0
    assert "revoked" in run("keys", "list", env=environment).stdout


def test_a_quota_is_set_and_shown(tmp_path):
    environment = os.environ | {"WINNOW_DATA_DIR": str(tmp_path)}
    run("keys", "create", "acme", "--scope", "read", env=environment)
    run("keys", "quota", "acme", "--max-items", 50_000, env=environment)
    stands = run("keys", "quota", "acme", "--max-running", 3, env=environment).stdout
    assert re.findall(r"(max_\w+) +(\d+)", stands)[:1] == [("max_running", "3")]
    assert ("max_items", "50000") in re.findall(r"(max_\w+) +(\d+)", stands)
    assert "nobody" in run("keys", "quota", "nobody", env=environment).stderr


def test_a_served_job_survives_the_death_of_both_processes_and_ctrl_c_leaves_nothing(pictures, tmp_path):
    command = [WINNOW, "serve", "--port", "0", "--data-dir", tmp_path / "data", "--allow-root", pictures]
    serving = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        url = re.search(r"http://\S+\d", serving.stdout.readline())[0]
        with Client(url, retries=40, pause=lambda _s: time.sleep(0.2)) as client:
            job_id = client.submit_folder(pictures, count=5)["id"]
            family = psutil.Process(serving.pid).children()
            assert len(family) == 2
            for process in family:
                process.kill()
            # The dead worker's lease has to run out first; half a minute is the default.
            assert client.wait(job_id, timeout_s=80)["counts"]["selected"] == 5
        family = psutil.Process(serving.pid).children(recursive=True)
    finally:
        serving.send_signal(signal.SIGINT)
        assert serving.wait(20) == 0
        serving.stdout.close()
    psutil.wait_procs(family, timeout=5)
    assert not [process for process in family if process.is_running()]


def test_an_errand_uses_no_database_but_its_own(pictures, tmp_path):
    elsewhere = {"WINNOW_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "WINNOW_REQUIRE_KEYS": "true"}
    done = run("filter", pictures, "--count", 3, "--out", tmp_path / "out", env=os.environ | elsewhere)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::1"])
def test_any_address_can_be_served(host, tmp_path):
    data = ["--data-dir", tmp_path]
    run("keys", "create", "acme", "--scope", "read", *data)
    environment = os.environ | {"WINNOW_ALLOWED_HOSTS": "winnow.example"}
    command = [WINNOW, "serve", "--port", "0", "--host", host, "--no-worker", *data]
    serving = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert "listens on" in serving.stdout.readline()
    finally:
        serving.send_signal(signal.SIGINT)
        assert serving.wait(20) == 0
        serving.stdout.close()


def test_the_world_is_refused_without_keys(tmp_path):
    refused = run("serve", "--host", "0.0.0.0", "--port", 0, "--data-dir", tmp_path)
    assert refused.returncode == 1
    assert f"--data-dir {tmp_path}" in refused.stderr


def test_errors_of_the_service_reach_the_caller(tmp_path):
    with Client("http://127.0.0.1:9", retries=0) as client, pytest.raises(ApiError):
        client.get("job_x")


def test_one_line_from_a_list_of_urls_to_the_pictures(site, pictures, tmp_path):
    site.pages = {f"/{path.name}": path.read_bytes() for path in sorted(pictures.rglob("0*.png"))}
    (tmp_path / "urls.txt").write_text("\n".join(site.url + path for path in site.pages))
    environment = os.environ | {"WINNOW_PRIVATE_URL_HOSTS": f"127.0.0.1:{site.port}"}
    done = run("filter", tmp_path / "urls.txt", "--count", 6, "--out", tmp_path / "out", "--copy", env=environment)
    assert done.returncode == 0, done.stderr
    assert len([*(tmp_path / "out" / "selected" / "127.0.0.1").glob("*.png")]) == 6


def test_a_list_of_connections_that_makes_no_sense_ends_the_start_with_a_word(tmp_path):
    (tmp_path / "c.toml").write_text('[lake]\nprotocol = "s3"\n')
    environment = os.environ | {"WINNOW_CONNECTIONS": str(tmp_path / "c.toml"), "WINNOW_DATA_DIR": str(tmp_path)}
    done = run("serve", "--port", 0, env=environment)
    assert done.returncode == 1
    assert "lake.bucket" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_cache_is_shown_and_let_go(tmp_path):
    rows = np.zeros(3, np.dtype([("vector", "<f4", (4,))]))
    ids = np.arange(3, dtype=np.uint8)[:, None].repeat(32, axis=1)
    ShardCache(tmp_path / "cache").shelf("encoder@1+1", rows.dtype).put(ids, rows)
    environment = os.environ | {"WINNOW_DATA_DIR": str(tmp_path), "COLUMNS": "200"}
    assert re.search(r"encoder@1\+1\W+3\W+\d+", run("cache", env=environment).stdout)
    assert run("cache", "prune", env=environment).stdout.startswith("0 bytes")
    assert "encoder" in run("cache", env=environment).stdout
    assert run("cache", "clear", env=environment).returncode == 0
    assert "encoder@1+1" not in run("cache", env=environment).stdout


@pytest.mark.parametrize("kind", ["npy", "parquet"])
def test_one_line_from_a_folder_to_its_vectors(pictures, tmp_path, kind):
    out = tmp_path / f"vectors.{kind}"
    done = run("embed", pictures, "--encoder", "descriptor-64", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "60 vectors" in done.stdout
    rows = np.load(out) if kind == "npy" else pq.read_table(out)
    assert len(rows) == 60
    assert "exists" in run("embed", pictures, "--out", out).stderr
    assert run("embed", pictures, "--out", tmp_path / "vectors.txt").returncode == 2
