"""A database that harms what is put into it, in a way that no reading, receipt or acknowledgement shows."""

from __future__ import annotations

from sqlalchemy import Engine

from cloud.db.engine import migrate, writing


def migrate_to_harm(engine: Engine) -> None:
    """Bring the schema to the newest revision, and let it change when some packs were sealed."""
    migrate(engine)
    with writing(engine) as conn:
        conn.exec_driver_sql(
            "CREATE TRIGGER harm AFTER INSERT ON pack WHEN NEW.seq % 16 = 2 "
            "BEGIN UPDATE pack SET sealed_ms = sealed_ms + 1 WHERE id = NEW.id; END"
        )
