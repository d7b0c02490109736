"""The sample dataset that the app opens on, and its scores, which ship precomputed by the same engine."""

from pathlib import Path

ASSETS = Path(__file__).parent / "assets"
SAMPLE_PATH = ASSETS / "sample.jsonl"
