"""What the baseline encoder is worth on real pictures."""

import numpy as np

from winnow.datasets import Limits
from winnow.datasets.archive import ArchiveReader
from winnow.datasets.decoders import DecoderPool
from winnow.embeddings import get_encoder
from winnow.embeddings.cache import ShardCache
from winnow.embeddings.extract import extract
from winnow.results import silent
from winnow.spec import OnError


def test_the_nearest_neighbour_of_a_frame_is_a_frame_of_the_same_clip(real_data, tmp_path):
    encoder = get_encoder("descriptor-64")
    reader = ArchiveReader(real_data / "bursts.zip", tmp_path / "ds", Limits())
    listing = reader.list(silent)
    with DecoderPool(2, 10**8, encoder.size) as pool:
        embedded = extract(listing, reader, encoder, ShardCache(tmp_path / "c"), pool, silent, on_error=OnError())
    assert embedded.failures == []
    clips = np.array([path.rsplit("/", 1)[0] for path in embedded.paths])
    squared = (embedded.vectors**2).sum(1)
    distance = squared[:, None] + squared[None] - 2 * embedded.vectors @ embedded.vectors.T
    np.fill_diagonal(distance, np.inf)
    assert len(set(clips)) > 1
    assert (clips[distance.argmin(1)] == clips).mean() > 0.95
