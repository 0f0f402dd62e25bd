"""Times the front door: POST -> 202 with a full table, and the API's memory while a million vectors are selected.

    python benchmarks/bench_service.py submit  [--database-url URL] [--jobs 10000] [--requests 500]
    python benchmarks/bench_service.py vectors [--database-url URL] [--rows 1000000] [--count 1000]

Each starts its own service in a temporary folder, prints one table row, and stops it. It asserts nothing.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import numpy as np
import psutil

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
        "WINNOW_LOG_LEVEL": "WARNING",
    }
    processes = [subprocess.Popen([sys.executable, "-m", module], env=environment) for module in modules]
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
    parser.add_argument("what", choices=("submit", "vectors"))
    parser.add_argument("--database-url")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--count", type=int, default=1_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        database_url = asked.database_url or f"sqlite:///{folder / 'winnow.db'}"
        migrate.upgrade(database_url)
        if asked.what == "submit":
            bench_submit(folder, database_url, asked.jobs, asked.requests)
        else:
            bench_vectors(folder, database_url, asked.rows, asked.count)


if __name__ == "__main__":
    main()
