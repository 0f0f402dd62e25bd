"""`winnow`: serves, filters, looks after jobs and keys. It speaks HTTP through the client like everybody else."""

import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from winnow_client import ApiError, Client

from kernels import effective_threads
from winnow.datasets.base import VIDEO_SUFFIXES, is_video
from winnow.embeddings.base import Runtime
from winnow.embeddings.cache import ShardCache
from winnow.encoders import ENCODERS, OUT
from winnow.errors import WinnowError
from winnow.samples import render_sample_dataset
from winnow.serve import alone, embedded
from winnow.settings import Settings
from winnow.spec import EncoderSpec
from winnow.store import keys as key_store
from winnow.store import migrate as migrations
from winnow.store.artifacts import Artifacts
from winnow.store.db import Database
from winnow.store.jobs import oldest_unfinished_start
from winnow.weights import missing_modules, present

app = typer.Typer(no_args_is_help=True, add_completion=False, help="The samples worth labelling, in order of worth.")
jobs = typer.Typer(no_args_is_help=True, help="Look at and end jobs.")
keys = typer.Typer(no_args_is_help=True, help="Make and end API keys.")
cache = typer.Typer(invoke_without_command=True, help="Look at the vectors that are kept, and let some go.")
encoders = typer.Typer(no_args_is_help=True, help="See which encoders there are, and bring their weights.")
app.add_typer(jobs, name="jobs")
app.add_typer(keys, name="keys")
app.add_typer(cache, name="cache")
app.add_typer(encoders, name="encoders")

console = Console()

Url = Annotated[str, typer.Option(envvar="WINNOW_URL", help="Address of the service.")]
DataDir = Annotated[Path | None, typer.Option(help="The service's folder; else WINNOW_DATA_DIR, or .winnow.")]
ApiKey = Annotated[str | None, typer.Option(envvar="WINNOW_API_KEY", help="API key, where the service wants one.")]
_LIST_FILES = ("selection.txt", "selection.csv", "removed.jsonl", "quarantine.jsonl", "manifest.json")
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_VECTORS = (".npy", ".parquet", ".csv")
_URLS = ".txt"


def main() -> None:
    """Errors people can act on are one line; anything else is a bug and shows itself."""
    try:
        app()
    except (WinnowError, ApiError) as error:
        Console(stderr=True).print(
            f"[bold red]{error.code}[/] {getattr(error, 'detail', error)}", highlight=False, soft_wrap=True
        )
        raise SystemExit(1) from error
    except (FileExistsError, FileNotFoundError, TimeoutError) as error:
        Console(stderr=True).print(f"[bold red]error[/] {error}", highlight=False, soft_wrap=True)
        raise SystemExit(1) from error


@app.command()
def serve(
    port: Annotated[int | None, typer.Option(help="0 picks a free one; else WINNOW_PORT, or 8000.")] = None,
    host: Annotated[str | None, typer.Option(help="Else WINNOW_HOST, or 127.0.0.1.")] = None,
    data_dir: DataDir = None,
    allow_root: Annotated[list[Path], typer.Option(help="A folder datasets may come from; may be repeated.")] = [],  # noqa: B006
    output_root: Annotated[list[Path], typer.Option(help="A folder copies may go to; may be repeated.")] = [],  # noqa: B006
    slots: Annotated[int | None, typer.Option(help="Jobs at a time; else WINNOW_SLOTS, or 1.")] = None,
    worker: Annotated[bool, typer.Option(help="--no-worker serves HTTP only.")] = True,
) -> None:
    """Run the service on embedded defaults: SQLite and a folder, nothing to install."""
    settings = _settings(
        host=host,
        port=port,
        data_dir=data_dir,
        allow_roots=tuple(path.resolve() for path in allow_root) or None,
        output_roots=tuple(path.resolve() for path in output_root) or None,
        slots=slots,
    )
    told = _told_to_stop()
    with embedded(settings, worker=worker) as url:
        console.print(f"Winnow listens on [bold]{url}[/]; Ctrl-C stops it.")
        while not told.wait(3600):
            pass


@app.command()
def migrate(data_dir: DataDir = None) -> None:
    """Bring the database of WINNOW_DATABASE_URL (or of the data folder) to the newest schema."""
    migrations.upgrade(_settings(data_dir=data_dir).effective_database_url)
    console.print("The schema is up to date.")


@app.command("filter")
def filter_(
    path: Annotated[
        Path,
        typer.Argument(exists=True, help="A folder, a zip or tar, a video, an .npy, .parquet or .csv, URLs in a .txt."),
    ],
    out: Annotated[Path, typer.Option(help="Where the list, the plots and the proof go.")],
    method: str = "coreset",
    fraction: float | None = None,
    count: int | None = None,
    radius: float | None = None,
    min_distance: float | None = None,
    metric: str = "l2",
    seed: int = 0,
    encoder: Annotated[str | None, typer.Option(help="What makes vectors of pictures; `winnow encoders list`.")] = None,
    dimension: Annotated[int | None, typer.Option(help="Numbers a sample ends in.")] = None,
    fps: Annotated[float | None, typer.Option(help="Frames a second to take of videos; PATH may be a folder.")] = None,
    labels: Annotated[Path | None, typer.Option(exists=True, help="A CSV or Parquet of path and label.")] = None,
    copy: Annotated[bool, typer.Option(help="Also copy the selected files to OUT/selected.")] = False,
    url: Annotated[str | None, typer.Option(envvar="WINNOW_URL", help="A running service; none starts one.")] = None,
    api_key: ApiKey = None,
) -> None:
    """Rank a dataset by worth and write down the best."""
    given = {"fraction": fraction, "count": count, "radius": radius, "min_distance": min_distance}
    target = {name: value for name, value in given.items() if value is not None}
    job: dict[str, Any] = {"selection": {"method": method, "metric": metric, "target": target}, "seed": seed}
    if encoder or dimension:
        own = "given" if path.name.lower().endswith(_VECTORS) else "winnow-64"
        job["encoder"] = {"name": encoder or own} | ({"dimension": dimension} if dimension else {})
    _make_room(out)
    if copy:
        job["output"] = {"path": str(out.resolve() / "selected")}
    with _service(url, path, out) as address, Client(address, api_key) as client:
        job["dataset"] = {"name": path.name, "source": _source(client, path, fps)}
        if labels is not None:
            job["dataset"]["labels"] = {"upload_id": client.upload(labels)}
        done = _watched(client, client.submit(job)["id"])
        _fetch(client, done, out)
    _summary(done, out)


def _make_room(out: Path) -> None:
    for name in _LIST_FILES:
        if (out / name).exists():
            raise FileExistsError(f"{out / name} exists; choose another --out")
    out.mkdir(parents=True, exist_ok=True)


@app.command()
def embed(
    path: Annotated[Path, typer.Argument(exists=True, help="A folder, a zip or tar, a video, URLs in a .txt.")],
    out: Annotated[Path, typer.Option(help="A new file, .npy or .parquet.")],
    encoder: str = "winnow-64",
    dimension: Annotated[int | None, typer.Option(help="Numbers a sample ends in.")] = None,
    fps: Annotated[float | None, typer.Option(help="Frames a second to take of videos; PATH may be a folder.")] = None,
    url: Annotated[str | None, typer.Option(envvar="WINNOW_URL", help="A running service; none starts one.")] = None,
    api_key: ApiKey = None,
) -> None:
    """Turn a dataset into vectors, and select nothing."""
    if out.suffix not in {".npy", ".parquet"}:
        raise typer.BadParameter("name a file that ends in .npy or .parquet", param_hint="--out")
    if out.exists():
        raise FileExistsError(f"{out} exists; choose another --out")
    with _service(url, path, out.parent) as address, Client(address, api_key) as client:
        dataset = {"name": path.name, "source": _source(client, path, fps)}
        made_by = {"name": encoder} | ({"dimension": dimension} if dimension else {})
        done = _watched(client, client.embed({"dataset": dataset, "encoder": made_by})["id"])
        client.download_embeddings(done["id"], out)
    counts = done["counts"]
    console.print(
        f"\n[bold]{counts['valid'] - counts['exact_duplicates']}[/] vectors in {out}; "
        f"{counts['exact_duplicates']} exact duplicates, {counts['quarantined']} set aside.",
        soft_wrap=True,
    )


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="A folder of pictures.")],
    labels: Annotated[Path | None, typer.Option(help="CSV of path, label and split; else FOLDER/labels.csv.")] = None,
    encoder: str = "winnow-64",
) -> None:
    """Say what an encoder's vectors are worth on pictures that somebody has labelled."""
    from winnow.embeddings.report import report_on  # noqa: PLC0415 - brings what only this needs

    found = report_on(
        folder, labels or folder / "labels.csv", encoder, processes=effective_threads(), runtime=Runtime.of(_settings())
    )
    table = Table("what", "value", "within")
    shares = {"10-NN accuracy": found.knn_accuracy, "linear probe accuracy": found.probe_accuracy}
    shares |= {f"  on {budget} labels": share for budget, share in found.low_shot.items()}
    shares |= {"edges within a class": found.intra_class_edges}
    shares |= {"near-duplicates found": found.twin_recall} if found.twin_recall else {}
    for name, share in shares.items():
        table.add_row(name, f"{share.value:.3f}", f"{share.within:.3f}")
    console.print(table)


@app.command()
def evaluate(
    encoder: str,
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Holds val/CLASS/*, maybe train/.")],
    dimension: Annotated[int, typer.Option(min=8, max=2048, help="Numbers a picture ends in.")] = OUT,
    per_class: Annotated[int | None, typer.Option(min=1, help="Pictures of a class to learn from; else all.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Draws, where something is drawn.")] = 3,
    cache: Annotated[Path | None, typer.Option(help="Keeps vectors, so that a second run computes none.")] = None,
) -> None:
    """A linear classifier on an encoder's vectors: Acc@1 and Acc@5 on a folder laid out as ILSVRC2012."""
    from winnow.embeddings import evaluate as protocol  # noqa: PLC0415 - brings what only this needs

    try:
        asked = EncoderSpec(name=encoder, dimension=dimension)
    except ValidationError as error:
        raise typer.BadParameter("; ".join(said["msg"] for said in error.errors())) from error
    found = protocol.evaluate(
        folder,
        asked,
        per_class=per_class,
        seeds=seeds,
        cache=cache,
        processes=effective_threads(),
        runtime=Runtime.of(_settings()),
    )
    table = Table("what", "value", "95 % interval", "spread over seeds")
    for name, share in (("Acc@1", found.top1), ("Acc@5", found.top5)):
        spread = f"{share.spread:.4f}" if len(found.seeds) > 1 else "-"
        table.add_row(name, f"{share.value:.4f}", f"{share.low:.4f} to {share.high:.4f}", spread)
    console.print(table)
    console.print(
        f"{encoder}/{found.version}, {found.dimension} numbers; {found.classes} classes; learned from {found.learned} "
        f"pictures, measured on {found.measured}; seeds {', '.join(map(str, found.seeds))}; {found.unusable} unusable",
        highlight=False,
        soft_wrap=True,
    )


@encoders.command("list")
def list_encoders() -> None:
    """Every encoder, and what of it is on this machine."""
    table = Table("encoder", "numbers", "licence", "software", "weights")
    folder = _settings().weights_dir
    for entry in ENCODERS.values():
        software = "missing" if missing_modules(entry) else "installed"
        at_hand = "missing" if entry.weights and not present(entry, folder) else "present" if entry.weights else "-"
        table.add_row(entry.name, str(entry.width or "any"), entry.licence, software, at_hand)
    console.print(table)


@encoders.command()
def fetch(
    name: str,
    weights_dir: Annotated[Path | None, typer.Option(help="Where to; else WINNOW_WEIGHTS_DIR.")] = None,
) -> None:
    """Download an encoder's weights, check them, and write safetensors with its sha256 beside it."""
    entry, folder = ENCODERS.get(name), weights_dir or _settings().weights_dir
    if entry is None:
        raise typer.BadParameter(f"no such encoder; there are {', '.join(ENCODERS)}")
    if folder is None:
        raise typer.BadParameter("say where to with --weights-dir, or set WINNOW_WEIGHTS_DIR")
    if missing := missing_modules(entry):
        raise typer.BadParameter(f"{', '.join(missing)} is missing; install winnow[{entry.extra}]")
    from winnow.embeddings.fetch import fetch as fetched  # noqa: PLC0415 - brings torch

    console.print(f"{fetched(entry, folder)}", highlight=False, soft_wrap=True)


@app.command()
def demo(folder: Path = Path(".winnow/demo"), port: int = 0) -> None:
    """Render a sample dataset, filter it over HTTP, and show where everything is."""
    began = time.monotonic()
    pictures, out = folder / "pictures", folder / f"result-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    if not pictures.exists():
        console.print("Rendering a sample dataset of street scenes ...")
        count = render_sample_dataset(pictures)
        console.print(f"  {count} files in {pictures}")
    roots = (folder.resolve(),)
    settings = alone(port=port, data_dir=(folder / "data").absolute(), allow_roots=roots, log_level="WARNING")
    with embedded(settings) as url, Client(url) as client:
        console.print(f"The service listens on {url}; posting a job: coreset, 10 % of the dataset.")
        job = client.submit_folder(pictures.resolve(), method="coreset", fraction=0.1)
        done = _watched(client, job["id"])
        _fetch(client, done, out)
    _summary(done, out)
    console.print(
        f"  the page    [bold]make serve[/] and open http://127.0.0.1:8000/#/jobs/{done['id']}", soft_wrap=True
    )
    console.print(f"Done in {time.monotonic() - began:.0f} s.")


@jobs.command("list")
def list_jobs(state: str | None = None, url: Url = "http://127.0.0.1:8000", api_key: ApiKey = None) -> None:
    """The jobs, newest first."""
    table = Table("job", "kind", "state", "stage", "selected", "created")
    with Client(url, api_key) as client:
        for job in client.jobs(**({"state": state} if state else {})):
            selected = (job["counts"] or {}).get("selected", "")
            table.add_row(job["id"], job["kind"], job["state"], job["stage"], str(selected), job["created_at"])
    console.print(table)


@jobs.command()
def show(job_id: str, url: Url = "http://127.0.0.1:8000", api_key: ApiKey = None) -> None:
    """Everything the service says of a job."""
    with Client(url, api_key) as client:
        console.print_json(data=client.get(job_id))


@jobs.command()
def cancel(job_id: str, url: Url = "http://127.0.0.1:8000", api_key: ApiKey = None) -> None:
    """Ask a job to end."""
    with Client(url, api_key) as client:
        console.print(f"{job_id} is {client.cancel(job_id)['state']}")


@jobs.command()
def delete(job_id: str, url: Url = "http://127.0.0.1:8000", api_key: ApiKey = None) -> None:
    """Forget an ended job and its files."""
    with Client(url, api_key) as client:
        client.delete(job_id)


@keys.command()
def create(
    tenant: str,
    scope: Annotated[list[str], typer.Option(help="read, write or admin; may be repeated.")],
    expires_days: float | None = None,
    data_dir: DataDir = None,
) -> None:
    """Make a key; its text is shown this once."""
    expires_at = time.time() + expires_days * 86_400 if expires_days else None
    with _database(data_dir) as database, database.begin() as connection:
        _, text = key_store.create(connection, tenant, scope, expires_at)
    print(text)


@keys.command("list")
def list_keys(data_dir: DataDir = None) -> None:
    """Every key by its public prefix."""
    table = Table("prefix", "tenant", "scopes", "last used", "state")
    with _database(data_dir) as database, database.read() as connection:
        for row in key_store.page(connection):
            used = datetime.fromtimestamp(row.last_used_at, UTC).isoformat() if row.last_used_at else "never"
            expired = row.expires_at is not None and row.expires_at < time.time()
            state = "revoked" if row.revoked_at else "expired" if expired else "live"
            table.add_row(row.prefix, row.tenant_name, ", ".join(row.scopes), used, state)
    console.print(table)


@keys.command()
def revoke(prefix: str, data_dir: DataDir = None) -> None:
    """End a key at once."""
    with _database(data_dir) as database, database.begin() as connection:
        key_store.revoke(connection, prefix)
    console.print(f"{prefix} is revoked")


@keys.command()
def rotate(prefix: str, grace_hours: float = 24.0, data_dir: DataDir = None) -> None:
    """Make a successor; the old key ends after the grace."""
    with _database(data_dir) as database, database.begin() as connection:
        _, text = key_store.rotate(connection, prefix, grace_hours * 3600)
    print(text)


@keys.command()
def quota(
    tenant: str,
    max_running: Annotated[int | None, typer.Option(min=0, help="Jobs that run at one time.")] = None,
    max_queued: Annotated[int | None, typer.Option(min=0, help="Jobs that wait.")] = None,
    max_bytes: Annotated[int | None, typer.Option(min=0, help="Of uploads that are kept.")] = None,
    max_items: Annotated[int | None, typer.Option(min=0, help="In one dataset.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Change what a tenant may use, and show it."""
    asked = {"max_running": max_running, "max_queued": max_queued, "max_bytes": max_bytes, "max_items": max_items}
    with _database(data_dir) as database, database.begin() as connection:
        limits = {name: limit for name, limit in asked.items() if limit is not None}
        stands = key_store.set_quota(connection, tenant, **limits)
    for name, limit in stands.items():
        console.print(f"{name:<12} {limit}", highlight=False, soft_wrap=True)


@cache.callback()
def show_cache(context: typer.Context, data_dir: DataDir = None) -> None:
    """Every encoder whose vectors are kept: how many, how large, and when they were last of use."""
    if context.invoked_subcommand is not None:
        return
    table = Table("encoder@version+decoder", "vectors", "bytes", "oldest use", "newest use")
    for shelf in _cache(data_dir).usage():
        used = (f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}" for at in (shelf.oldest, shelf.newest))
        table.add_row(shelf.made_by, str(shelf.rows), str(shelf.bytes), *used)
    console.print(table)


@cache.command()
def prune(
    keep: Annotated[int | None, typer.Option("--bytes", min=0, help="Else WINNOW_CACHE_BYTES.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Let go what was of no use for the longest, but nothing that a job uses just now."""
    bound = _settings(data_dir=data_dir).cache_bytes if keep is None else keep
    with _database(data_dir) as database, database.read() as connection:
        gone = _cache(data_dir).prune(bound, spare_since=oldest_unfinished_start(connection))
    console.print(f"{gone} bytes are free", highlight=False)


@cache.command()
def clear(data_dir: DataDir = None) -> None:
    """Let go everything that no job uses just now."""
    prune(0, data_dir)


def _cache(data_dir: Path | None) -> ShardCache:
    return ShardCache(Artifacts(_settings(data_dir=data_dir).data_dir).cache)


def _settings(**given: Any) -> Settings:
    """What the command line says, and for the rest the environment."""
    return Settings(**{name: value for name, value in given.items() if value is not None})


@contextmanager
def _database(data_dir: Path | None) -> Iterator[Database]:
    url = _settings(data_dir=data_dir).effective_database_url
    migrations.upgrade(url)
    database = Database(url)
    try:
        yield database
    finally:
        database.dispose()


@contextmanager
def _service(url: str | None, path: Path, out: Path) -> Iterator[str]:
    """The service asked for, or one of our own that lasts as long as the block."""
    if url is not None:
        yield url
        return
    with tempfile.TemporaryDirectory(prefix="winnow-") as data:
        roots = (path.resolve() if path.is_dir() else path.resolve().parent,)
        settings = alone(
            data_dir=Path(data),
            allow_roots=roots,
            output_roots=(out.resolve(),),
            allow_urls=path.suffix == _URLS,  # whoever names them here fetches them here
            log_level="WARNING",
        )
        with embedded(settings) as address:
            yield address


def _source(client: Client, path: Path, fps: float | None) -> dict[str, Any]:
    if fps is not None or is_video(path.name):
        return {"type": "videos", "path": str(path.resolve()), "sampling": {"fps": fps or 1}}
    if path.is_dir():
        return {"type": "folder", "path": str(path.resolve())}
    if path.name.lower().endswith(_ARCHIVES):
        return {"type": "archive", "upload_id": client.upload(path)}
    if path.suffix.lower() in _VECTORS:
        return {"type": "vectors", "upload_id": client.upload(path)}
    if path.suffix == _URLS:
        return {"type": "urls", "upload_id": client.upload(path)}
    raise FileNotFoundError(
        f"{path} is neither a folder, nor one of {', '.join((*_ARCHIVES, *_VECTORS, *VIDEO_SUFFIXES, _URLS))}"
    )


def _watched(client: Client, job_id: str) -> dict[str, Any]:
    """Wait with a bar; in a pipe, where nobody sees it move, the bar stays quiet."""
    columns = (
        TextColumn("{task.description:<11}"),
        BarColumn(),
        TextColumn("{task.fields[said]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        line = bar.add_task("waiting", total=1.0, said="")

        def show(job: dict[str, Any]) -> None:
            stages = job["progress"]["stages"]
            said = f"{stages[-1]['done']}/{stages[-1]['total']}" if stages else ""
            bar.update(line, completed=job["progress"]["fraction"], description=job["stage"] or job["state"], said=said)

        done: dict[str, Any] = client.wait(job_id, on_progress=show)
        return done


def _fetch(client: Client, job: dict[str, Any], out: Path) -> None:
    for name in (entry["name"] for entry in client.artifacts(job["id"])):
        if name in _LIST_FILES or name.startswith("plots/"):
            client.download(job["id"], name, out / name)


def _summary(job: dict[str, Any], out: Path) -> None:
    counts = job["counts"]
    console.print(
        f"\n[bold]{counts['selected']}[/] of {counts['valid']} usable samples selected; "
        f"{counts['exact_duplicates']} exact duplicates, {counts['quarantined']} set aside."
    )
    console.print(f"  the list    {out / 'selection.txt'}", highlight=False, soft_wrap=True)
    console.print(f"  why         {out / 'removed.jsonl'}, {out / 'quarantine.jsonl'}", highlight=False, soft_wrap=True)
    if (out / "plots").exists():
        console.print(f"  the plots   {out / 'plots'}", highlight=False, soft_wrap=True)
    console.print(
        f"  the proof   {out / 'manifest.json'}  {job['digests']['selection'][:23]}...", highlight=False, soft_wrap=True
    )


def _told_to_stop() -> threading.Event:
    """Set by Ctrl-C or SIGTERM from now on."""
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    return told
