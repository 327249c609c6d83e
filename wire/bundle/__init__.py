"""The evidence bundle: one file with signed packs, events and decisions, and the proof that a ledger holds them.

The format is docs/bundle.md. `write` makes one, `verify` judges one; neither knows a database or a network.
"""
