"""What ingest costs: packs sealed beforehand, a publisher of its own process, the real cloud, and peers beside it."""
