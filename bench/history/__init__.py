"""What history costs: envelopes and bytes of a folded year, with a real VictoriaMetrics beside it."""
