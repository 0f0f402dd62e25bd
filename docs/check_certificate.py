"""Checks a certificate with numpy alone: python check_certificate.py vectors.npy selection.jsonl certificate.json

The vectors are those of a job on a ready `.npy` (float32) with the metric l2. Takes time: every pair is measured.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

vectors = np.load(sys.argv[1]).astype(np.float64)
row_of = {hashlib.sha256(row.astype("<f4").tobytes()).hexdigest(): number for number, row in enumerate(vectors)}
kept = [row_of[json.loads(line)["sample_id"]] for line in Path(sys.argv[2]).read_text().splitlines()]
says = json.loads(Path(sys.argv[3]).read_text())
points = vectors[[*kept, *(row_of[pick] for pick in says["next_picks"])]]
surplus = min(np.sort(np.linalg.norm(points - sample, axis=1))[says["each"]] for sample in vectors)
to_kept = max(np.linalg.norm(vectors[kept] - sample, axis=1).min() for sample in vectors)
assert to_kept <= says["radius"], "some sample is farther from the kept than the certificate says"
assert len(points) > says["each"] * len(kept), "so many samples could have so few of the points each"
assert surplus >= says["lower_bound"], "some sample has more of the points nearer than the bound than it may"
print(f"holds: radius {to_kept:.6g}, and no {len(kept)} samples do better than {surplus:.6g}")
