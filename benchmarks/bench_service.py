"""Times the service: POST -> 202 with a full table, a million vectors, many pictures in one job.

    python benchmarks/bench_service.py submit  [--database-url URL] [--jobs 10000] [--requests 500]
    python benchmarks/bench_service.py vectors [--database-url URL] [--rows 1000000] [--count 1000]
    python benchmarks/bench_service.py pictures [--database-url URL] [--rows 100000] [--encoder winnow-64]

Each starts its own service in a temporary folder, prints one table row, and stops it. It asserts nothing.
"""

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from PIL import Image

from winnow.store import datasets, jobs, keys, migrate
from winnow.store.db import Database

COUNT_REQUEST = {"method": "coreset", "target": {"count": 10}}


@contextmanager
def service(
    folder: Path, database_url: str, *modules: str
) -> Iterator[tuple[httpx.Client, list[subprocess.Popen[bytes]]]]:
    """`python -m app` and, if named, `python -m worker` on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "WINNOW_DATA_DIR": str(folder / "data"),
        "WINNOW_DATABASE_URL": database_url,
        "WINNOW_ALLOW_ROOTS": str(folder),
        "WINNOW_PORT": str(port),
        "WINNOW_RATE_PER_MINUTE": "1000000",
        "WINNOW_LOG_LEVEL": "ERROR",
        "WINNOW_LEASE_S": "5",
    }
    os.environ.update(environment)  # for whoever starts another
    processes = [subprocess.Popen([sys.executable, "-m", module]) for module in modules]
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            _await_ready(client)
            yield client, processes
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(20)


def _await_ready(client: httpx.Client) -> None:
    for _ in range(300):
        with suppress(httpx.TransportError):
            if client.get("/readyz").status_code == 200:
                return
        time.sleep(0.1)
    raise SystemExit("the service did not become ready in 30 s")


def bench_submit(folder: Path, database_url: str, table_size: int, requests: int) -> None:
    database = Database(database_url)
    with database.begin() as connection:
        tenant = keys.local_caller(connection).tenant_id
        keys.set_quota(connection, keys.LOCAL_TENANT, max_queued=10 * table_size + requests)
        dataset = datasets.create(
            connection, tenant_id=tenant, name="b", source={"type": "folder", "path": str(folder)}
        ).id
        for _ in range(table_size):
            jobs.submit(connection, tenant_id=tenant, kind="filter", dataset_id=dataset, spec={}, run_limit_s=60)
    database.dispose()
    body = {"dataset_id": dataset, "selection": COUNT_REQUEST}
    with service(folder, database_url, "app") as (client, _):
        times_ms = []
        for number in range(requests):
            began = time.perf_counter()
            answer = client.post("/v1/jobs", json=body, headers={"Idempotency-Key": f"bench-{number}"})
            times_ms.append((time.perf_counter() - began) * 1e3)
            assert answer.status_code == 202, answer.text
    cuts = statistics.quantiles(times_ms, n=100)
    kind = database_url.split(":", 1)[0]
    shown = " | ".join(f"p{rank} {cuts[rank - 1]:.1f} ms" for rank in (50, 95, 99))
    print(f"| POST -> 202 | {kind} | {table_size} jobs | {shown} |")


def bench_vectors(folder: Path, database_url: str, rows: int, count: int) -> None:
    source = folder / "vectors.npy"
    _write_clusters(source, rows)
    with service(folder, database_url, "app", "worker") as (client, processes):
        api = psutil.Process(processes[0].pid)
        body = {
            "dataset": {"name": "million", "source": {"type": "vectors", "path": str(source)}},
            "encoder": {"name": "given"},
            "selection": {"method": "coreset", "target": {"count": count}},
        }
        began, peak_rss = time.perf_counter(), 0
        job = client.post("/v1/jobs", json=body).json()
        while job["state"] not in {"succeeded", "failed", "cancelled"}:
            job = client.get(f"/v1/jobs/{job['id']}", params={"wait": "2"}).json()
            peak_rss = max(peak_rss, api.memory_info().rss)
        took_s = time.perf_counter() - began
        for name in ("selection?format=parquet", "selection", "removed?page_size=1000"):
            client.get(f"/v1/jobs/{job['id']}/{name}").raise_for_status()
            peak_rss = max(peak_rss, api.memory_info().rss)
    print(f"| {rows} x 64 vectors | {job['state']} | {took_s:.0f} s | API peak RSS {peak_rss >> 20} MiB |")


def bench_pictures(folder: Path, database_url: str, rows: int, encoder: str) -> None:
    """One job without trouble; then with an empty cache, and the worker killed and started anew at 20, 50 and 80 %."""
    pictures = folder / "pictures"
    _draw_pictures(pictures, rows)
    print("| run | state | attempts | s | peak MiB of the computation, by fifths of the embedding | selection |")
    print("|---|---|---|---|---|---|")
    for name, kills in (("quiet", []), ("killed at 20, 50 and 80 %", [0.2, 0.5, 0.8])):
        shutil.rmtree(folder / "data" / "cache", ignore_errors=True)
        with service(folder, database_url, "app", "worker") as (client, processes):
            began = time.perf_counter()
            job, peaks = _watched(client, processes, pictures, encoder, kills)
            took_s = time.perf_counter() - began
        shown = ", ".join(f"{peak >> 20}" for peak in peaks)
        digest = job["digests"]["selection"][:15]
        print(f"| {name} | {job['state']} | {job['attempt']} | {took_s:.0f} | {shown} | {digest} |", flush=True)


def _watched(
    client: httpx.Client, processes: list[subprocess.Popen[bytes]], pictures: Path, encoder: str, kills: list[float]
) -> tuple[dict[str, Any], list[int]]:
    body = {
        "dataset": {"source": {"type": "folder", "path": str(pictures)}},
        "encoder": {"name": encoder},
        "selection": {"method": "coreset", "target": {"fraction": 0.1}},
        "insights": [],
    }
    job = client.post("/v1/jobs", json=body).json()
    peaks = [0] * 5
    while job["state"] not in {"succeeded", "failed", "cancelled"}:
        time.sleep(0.2)
        job = client.get(f"/v1/jobs/{job['id']}").json()
        done = next(
            (s["done"] / max(1, s["total"]) for s in job["progress"]["stages"] if s["name"] == "embedding"), 0.0
        )
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(processes[1].pid).children()
            if children and job["stage"] == "embedding":
                fifth = min(4, int(5 * done))
                peaks[fifth] = max(peaks[fifth], *(child.memory_info().rss for child in children))
        if kills and kills[0] <= done < 1:
            kills.pop(0)
            processes[1].kill()
            processes[1].wait()
            processes[1] = subprocess.Popen([sys.executable, "-m", "worker"])
    return job, peaks


def _draw_pictures(folder: Path, count: int) -> None:
    """Small and all different: blurred noise around one of a hundred colours."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (100, 3))
    for number in range(count):
        place = folder / f"{number // 1000:03d}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.clip(colours[number % 100] + rng.normal(0, 40, (8, 8, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC).save(place / f"{number:06d}.jpg", quality=85)


def _write_clusters(path: Path, rows: int, width: int = 64, clusters: int = 100) -> None:
    rng = np.random.default_rng(0)
    out = np.lib.format.open_memmap(path, "w+", np.float32, (rows, width))
    centres = rng.normal(size=(clusters, width)).astype(np.float32) * 4
    for start in range(0, rows, 100_000):
        size = min(100_000, rows - start)
        noise = rng.normal(size=(size, width)).astype(np.float32)
        out[start : start + size] = centres[rng.integers(0, clusters, size)] + noise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("submit", "vectors", "pictures"))
    parser.add_argument("--database-url")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--encoder", default="winnow-64")
    parser.add_argument("--count", type=int, default=1_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        database_url = asked.database_url or f"sqlite:///{folder / 'winnow.db'}"
        migrate.upgrade(database_url)
        if asked.what == "submit":
            bench_submit(folder, database_url, asked.jobs, asked.requests)
        elif asked.what == "vectors":
            bench_vectors(folder, database_url, asked.rows or 1_000_000, asked.count)
        else:
            bench_pictures(folder, database_url, asked.rows or 100_000, asked.encoder)


if __name__ == "__main__":
    main()
