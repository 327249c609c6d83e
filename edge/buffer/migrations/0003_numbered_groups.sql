-- The highest number of an open group that was sealed into a stream: numbers go on and are never given twice, so that
-- head.json can say what was accepted, and a file from which that is missing shows.
ALTER TABLE stream ADD COLUMN last_group INTEGER NOT NULL DEFAULT 0 CHECK (last_group >= 0);
