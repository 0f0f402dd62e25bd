"""What reading ahead is worth on an object store that takes its time: `python benchmarks/bench_sources.py [DELAY_S]`.

moto's S3 in a process of its own answers each request after the delay; the same pictures are embedded one read at a
time and as many at a time as the reader asks for.
"""

import io
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(1, str(Path(__file__).parents[1]))
sys.path.append(str(Path(__file__).parents[1] / "tests"))  # last: tests/winnow is not the package
from servers import S3Server

from winnow.connections import Connection
from winnow.datasets import Limits
from winnow.datasets.decoders import DecoderPool
from winnow.datasets.objects import ObjectsReader
from winnow.embeddings import get_encoder
from winnow.embeddings.cache import ShardCache
from winnow.embeddings.extract import extract
from winnow.results import silent
from winnow.spec import OnError

COUNT = 400


def picture(number):
    out = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 255, (48, 64, 3), np.uint8)
    Image.fromarray(pixels).save(out, "JPEG")
    return out.getvalue()


def seconds(reader, listing, encoder):
    with tempfile.TemporaryDirectory() as cache, DecoderPool(2, 10**7, encoder.size) as pool:
        began = time.monotonic()
        extract(listing, reader, encoder, ShardCache(Path(cache)), pool, silent, on_error=OnError())
        return time.monotonic() - began


def main(delay_s):
    server = S3Server().start()
    try:
        server.client.create_bucket(Bucket="pictures")
        server.put("pictures", {f"{number}.jpg": picture(number) for number in range(COUNT)})
        with tempfile.TemporaryDirectory() as folder:
            secrets = Path(folder) / "lake.json"
            secrets.write_text(json.dumps({"key": server.KEY, "secret": server.SECRET}))
            table = {"protocol": "s3", "bucket": "pictures", "endpoint_url": server.url, "credentials_file": secrets}
            reader = ObjectsReader(Connection.model_validate(table), "", Path(folder) / "ds", Limits())
            listing, encoder, took = reader.list(silent), get_encoder("descriptor-64"), {}
            server.trouble(delay_s=delay_s)
            for at_once in (1, 4, ObjectsReader.reads_at_once):
                reader.reads_at_once = at_once
                took[at_once] = seconds(reader, listing, encoder)
                print(f"{at_once:3} reads at once: {took[at_once]:6.2f} s, {took[1] / took[at_once]:5.1f}-fold")
    finally:
        server.remove()


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 0.1)
