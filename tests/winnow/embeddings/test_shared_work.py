"""Two jobs that want the same samples at the same time, in processes of their own, embed each of them once."""

import json
import subprocess
import sys

import numpy as np
from PIL import Image

TOTAL = 400
JOB = """
import hashlib, json, sys
from pathlib import Path
from winnow.datasets import Limits
from winnow.datasets.decoders import DecoderPool
from winnow.datasets.folder import FolderReader
import winnow.embeddings.extract as module
from winnow.embeddings import get_encoder
from winnow.embeddings.cache import ShardCache
from winnow.results import silent
from winnow.spec import OnError

class CountingReader(FolderReader):
    asked = 0
    def read(self, path, sample_id):
        self.asked += 1
        return super().read(path, sample_id)

module.SHARD = 20
reader, encoder = CountingReader(Path(sys.argv[1]), Limits()), get_encoder("descriptor-64")
listing = reader.list(silent)
with DecoderPool(1, 10**7, encoder.size) as pool:
    print("ready", flush=True)
    sys.stdin.readline()
    cache = ShardCache(Path(sys.argv[2]))
    found = module.extract(listing, reader, encoder, cache, pool, silent, on_error=OnError())
print(json.dumps({"asked": reader.asked, "vectors": hashlib.sha256(found.vectors.tobytes()).hexdigest()}))
"""


def test_each_sample_is_embedded_once(tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(TOTAL):
        pixels = np.random.default_rng(number).integers(0, 255, (200, 200, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:04d}.png")
    command = [sys.executable, "-c", JOB, str(folder), str(tmp_path / "cache")]
    jobs = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [job.stdout.readline() for job in jobs] == ["ready\n"] * 2
    for job in jobs:
        job.stdin.write("go\n")
        job.stdin.flush()
    one, two = (json.loads(job.communicate()[0]) for job in jobs)
    assert one["vectors"] == two["vectors"]
    assert one["asked"] + two["asked"] == TOTAL
    assert min(one["asked"], two["asked"]) > 0, "one of them did everything, before the other began"
