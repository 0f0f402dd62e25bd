"""What a caller may ask for: datasets and jobs as frozen, closed, versioned models."""

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from winnow.encoders import ENCODERS, OUT

SPEC_VERSION: Final = 1

Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
PathText = Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=r"^[^\x00]+$")]
DatasetId = Annotated[str, StringConstraints(pattern=r"^ds_[0-9a-f]{32}$")]
UploadId = Annotated[str, StringConstraints(pattern=r"^up_[0-9a-f]{32}$")]
ConnectionName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Prefix = Annotated[str, StringConstraints(max_length=1024)]
UrlText = Annotated[str, StringConstraints(min_length=1, max_length=2048)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Neighbors = Annotated[int, Field(ge=1, le=100)]

DEFAULT_NEIGHBORS: Final = 10


class Spec(BaseModel):
    """Frozen, closed and strict: a number is not a bool, an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


# --- datasets --------------------------------------------------------------------------------------


class FolderSource(Spec):
    """Every picture below a folder that the operator has allowed."""

    type: Literal["folder"]
    path: PathText
    sequences: Literal["by_folder"] | None = None  # the pictures of each folder are the frames of one recording


class ArchiveSource(Spec):
    """A zip or tar (plain, gz, bz2, xz) uploaded first; read as a stream, never unpacked by name."""

    type: Literal["archive"]
    upload_id: UploadId


class VectorsSource(Spec):
    """Ready embeddings: a `.npy` matrix, a Parquet table with a `vector` list column, or a CSV of numbers.

    Table and CSV may name their rows in a column `id`, or else `path`.
    """

    type: Literal["vectors"]
    path: PathText | None = None
    upload_id: UploadId | None = None

    @model_validator(mode="after")
    def _one_place(self) -> "VectorsSource":
        if (self.path is None) == (self.upload_id is None):
            raise ValueError("give exactly one of path, upload_id")
        return self


class Table(Spec):
    """A CSV or Parquet table, below an allowed root or uploaded."""

    path: PathText | None = None
    upload_id: UploadId | None = None

    @model_validator(mode="after")
    def _one_place(self) -> "Table":
        if (self.path is None) == (self.upload_id is None):
            raise ValueError("give exactly one of path, upload_id")
        return self


class Sampling(Spec):
    """Which frames of a video become samples: exactly one of these rules."""

    fps: float | None = Field(None, gt=0, le=1000, allow_inf_nan=False)  # by time stamps, whatever the frame rate
    every_nth: int | None = Field(None, ge=1, le=2**31)
    keyframes: bool = False
    scene_change: float | None = Field(None, gt=0, le=1, allow_inf_nan=False)  # a score as of FFmpeg's `scene`

    @model_validator(mode="after")
    def _exactly_one(self) -> "Sampling":
        if len(self._given()) != 1:
            raise ValueError("give exactly one of fps, every_nth, keyframes, scene_change")
        return self

    @property
    def rule(self) -> tuple[str, float]:
        """Its name and its number."""
        ((name, value),) = self._given().items()
        return name, float(value)

    def _given(self) -> dict[str, float]:
        rules = {name: getattr(self, name) for name in ("fps", "every_nth", "keyframes", "scene_change")}
        return {name: value for name, value in rules.items() if value}


class VideosSource(Spec):
    """Frames of one video, or of every video below a folder; needs the extra `video` on the worker."""

    type: Literal["videos"]
    path: PathText
    sampling: Sampling = Sampling(fps=1)


class ObjectStoreSource(Spec):
    """Every picture below a prefix of an object store; the administrator has made the connection and named it."""

    type: Literal["object_store"]
    connection: ConnectionName
    prefix: Prefix = ""


class UrlsSource(Spec):
    """Pictures behind http(s) URLs, given here, or in an uploaded text file with one a line; fetched once."""

    type: Literal["urls"]
    urls: Annotated[tuple[UrlText, ...], Field(min_length=1, max_length=10_000, strict=False)] | None = None
    upload_id: UploadId | None = None

    @model_validator(mode="after")
    def _one_place(self) -> "UrlsSource":
        if (self.urls is None) == (self.upload_id is None):
            raise ValueError("give exactly one of urls, upload_id")
        return self


Source = Annotated[
    FolderSource | ArchiveSource | VideosSource | ObjectStoreSource | UrlsSource | VectorsSource,
    Field(discriminator="type"),
]


class DatasetSpec(Spec):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "yard", "source": {"type": "folder", "path": "/data/yard"}},
                {"name": "gate", "source": {"type": "videos", "path": "/data/clips", "sampling": {"fps": 2}}},
                {"name": "lake", "source": {"type": "object_store", "connection": "lake", "prefix": "yard/2026/"}},
                {"name": "web", "source": {"type": "urls", "urls": ["https://example.com/a.jpg"]}},
            ]
        }
    )

    name: Name = "dataset"
    source: Source
    labels: Table | None = None  # columns path, label, split; explains selections, never changes one


# --- jobs ------------------------------------------------------------------------------------------


def _in_the_table(name: str) -> str:
    if name not in ENCODERS:
        raise ValueError(f"no such encoder; there are {', '.join(ENCODERS)}")
    return name


EncoderName = Annotated[str, AfterValidator(_in_the_table), Field(json_schema_extra={"enum": [*ENCODERS]})]


class EncoderSpec(Spec):
    """`winnow-64` knows what pictures show, `descriptor-64` how they look; datasets of vectors always use `given`."""

    name: EncoderName = "winnow-64"
    # How many numbers a sample ends in; null: 64, or as many as the encoder gives where that is fewer, or `given`.
    dimension: int | None = Field(None, ge=8, le=2048)
    # What makes them fewer: principal components, fitted on the dataset's own samples. auto: pca, where there are more.
    head: Literal["auto", "none", "pca", "pca-whitening"] = "auto"
    normalize: bool = False  # every vector brought to length 1 at the end

    @model_validator(mode="after")
    def _reachable(self) -> "EncoderSpec":
        width = ENCODERS[self.name].width
        if self.dimension is not None and 0 < width < self.dimension:
            raise ValueError(f"{self.name} gives {width} numbers; dimension cannot be more")
        if self.head == "none" and self.dimension not in {None, width}:
            raise ValueError("a dimension needs a head; leave head out, or ask for pca")
        return self

    def wanted(self, width: int) -> tuple[Literal["none", "pca", "pca-whitening"], int]:
        """The head for vectors of this width, and how many numbers come out of it."""
        given = ENCODERS[self.name].width == 0
        if self.head == "none":
            return "none", width
        dimension = self.dimension or (width if given and self.head == "auto" else min(width, OUT))
        if self.head != "auto":
            return self.head, dimension
        return ("none" if dimension == width else "pca"), dimension

    def answer_fields(self) -> dict[str, Any]:
        """What is asked for, said one way only: a default that is spelled out is still the default."""
        width = ENCODERS[self.name].width
        said: dict[str, Any] = {"name": self.name}
        if width:
            head, dimension = self.wanted(width)
            plain = EncoderSpec(name=self.name).wanted(width)
            said |= {} if (head, dimension) == plain else {"head": head, "dimension": dimension}
        else:
            said |= self.model_dump(mode="json", include={"dimension", "head"}, exclude_defaults=True)
            if said.get("head") == "none":
                del said["head"]  # as `auto` does where no dimension is asked for
        return said | ({"normalize": True} if self.normalize else {})


class Target(Spec):
    """Exactly one of these says when to stop."""

    count: int | None = Field(None, ge=1, le=2**53)
    fraction: float | None = Field(None, gt=0, le=1, allow_inf_nan=False)
    radius: Positive | None = None
    min_distance: Positive | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "Target":
        given = [name for name in ("count", "fraction", "radius", "min_distance") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of count, fraction, radius, min_distance")
        return self

    def budget(self, n: int) -> int:
        """How many of n samples to keep at most; n where the target is a distance."""
        if self.count is not None:
            return min(self.count, n)
        if self.fraction is not None:
            return min(n, max(1, round(self.fraction * n)))
        return n


class CoresetSelection(Spec):
    """Greedy k-center: each pick is the sample farthest from everything picked before."""

    method: Literal["coreset"]
    metric: Literal["l2", "cosine", "geodesic"] = "l2"  # geodesic: along the l2 paths from near neighbour to neighbour
    target: Target
    neighbors: Neighbors = DEFAULT_NEIGHBORS  # that a sample is joined to, for geodesic

    @model_validator(mode="after")
    def _neighbors_for_paths(self) -> "CoresetSelection":
        if self.metric != "geodesic" and self.neighbors != DEFAULT_NEIGHBORS:
            raise ValueError("neighbors belongs to the metric geodesic")
        return self


class AdjacencySelection(Spec):
    """Remove one end of the shortest edge, again and again; what is left is spread out."""

    method: Literal["adjacency"]
    metric: Literal["l2", "cosine"] = "l2"
    # complete: every two samples have an edge. local: as far apart as the shortest path from near neighbour to
    # neighbour. auto: complete, unless there are too many samples for that.
    graph: Literal["auto", "complete", "local"] = "auto"
    target: Target
    neighbors: Neighbors = DEFAULT_NEIGHBORS  # that a sample is joined to in the local graph

    @model_validator(mode="after")
    def _no_radius(self) -> "AdjacencySelection":
        if self.target.radius is not None:
            raise ValueError("adjacency stops at count, fraction or min_distance, not at a radius")
        return self

    @model_validator(mode="after")
    def _neighbors_for_paths(self) -> "AdjacencySelection":
        if self.graph == "complete" and self.neighbors != DEFAULT_NEIGHBORS:
            raise ValueError("neighbors belongs to the local graph")
        return self


class RandomSelection(Spec):
    """A seeded shuffle of the canonical order: the baseline every method has to beat."""

    method: Literal["random"]
    metric: Literal["l2", "cosine"] = "l2"
    target: Target

    @model_validator(mode="after")
    def _count_only(self) -> "RandomSelection":
        if self.target.count is None and self.target.fraction is None:
            raise ValueError("random stops at count or fraction")
        return self


SelectionSpec = Annotated[CoresetSelection | AdjacencySelection | RandomSelection, Field(discriminator="method")]

InsightName = Literal["curve", "histograms", "map", "neighbours", "balance", "encoder", "backtest"]
OF_LABELS: Final[tuple[InsightName, ...]] = ("balance", "encoder", "backtest")  # for datasets that have some
ALL_INSIGHTS: Final[tuple[InsightName, ...]] = ("curve", "histograms", "map", "neighbours", *OF_LABELS)


class OnError(Spec):
    """`skip` sets bad items aside until their share passes max_fraction; `fail` ends the job at the first."""

    policy: Literal["skip", "fail"] = "skip"
    max_fraction: float = Field(1.0, ge=0, le=1, allow_inf_nan=False)


class Output(Spec):
    """Copy the selected files here too: a folder that does not exist yet, under an allowed output root."""

    path: PathText


class JobSpec(Spec):
    """One filter job; everything that can change the answer is in here."""

    dataset_id: DatasetId
    encoder: EncoderSpec = EncoderSpec()
    selection: SelectionSpec
    on_error: OnError = OnError()
    insights: tuple[InsightName, ...] = Field(ALL_INSIGHTS, strict=False, max_length=16)
    output: Output | None = None
    keep_vectors: bool | None = None  # for download; where it is not said, up to 64 MiB of them are kept
    seed: int = Field(0, ge=0, lt=2**63)
    spec_version: Literal[1] = SPEC_VERSION

    def answer_fields(self) -> dict[str, Any]:
        """The part of the spec the selection depends on: what its digest covers."""
        fields = self.model_dump(mode="json", include={"selection", "seed", "spec_version"})
        return fields | {"encoder": self.encoder.answer_fields()}


class EmbedSpec(Spec):
    """One embedding job: the vectors of a dataset, and no selection among them."""

    dataset_id: DatasetId
    encoder: EncoderSpec = EncoderSpec()
    on_error: OnError = OnError()
    spec_version: Literal[1] = SPEC_VERSION
