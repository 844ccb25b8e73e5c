-- main.db, schema 2: the runs of one name in any order, read from one index.

-- jobs_page filtered by a rarer name and sorted by anything but progress and updatedAt (which change with every
-- sample): all that is sorted by lies side by side here, so that not every run's row has to be looked up.
CREATE INDEX job_runs_of_name ON job (name, created_at, started_at, finished_at, duration_ms, priority, status);
