-- main.db, schema 1. Instants are milliseconds UTC. This file never changes after a release: add the next one beside it.

-- One value each: epoch, head (last committed seq), oldest (a cursor before it has lost events to retention).
CREATE TABLE meta (
    key TEXT NOT NULL PRIMARY KEY,
    value ANY
) STRICT, WITHOUT ROWID;

-- Jobs, as filters and sorts need them: small rows, because a filter without an index looks at many.
-- Texts that filters compare are NOCASE: without regard to ASCII case, as core.filter_keys.fold.
CREATE TABLE job (
    key INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    id_reversed TEXT NOT NULL COLLATE NOCASE,
    seq INTEGER NOT NULL,
    final INTEGER NOT NULL,
    name TEXT NOT NULL COLLATE NOCASE,
    type TEXT NOT NULL COLLATE NOCASE,
    status TEXT NOT NULL,
    owner TEXT COLLATE NOCASE,
    host TEXT COLLATE NOCASE,
    source TEXT COLLATE NOCASE,
    reporter TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    paused_at INTEGER,
    paused_ms INTEGER NOT NULL,
    duration_ms INTEGER,
    priority INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    progress REAL,
    rows ANY,
    failed ANY,
    rate ANY,
    outcome TEXT,
    health TEXT,
    step TEXT COLLATE NOCASE,
    error TEXT COLLATE NOCASE,
    kind TEXT,
    fingerprint TEXT COLLATE NOCASE,
    words TEXT NOT NULL
) STRICT;

-- The whole job as JSON: the truth, of which the columns above are copies.
CREATE TABLE job_body (
    key INTEGER PRIMARY KEY,
    body BLOB NOT NULL
) STRICT;

-- find_jobs: ids that end with a given text (ids that begin with it: the unique index of id); filters on the id.
CREATE INDEX job_by_end_of_id ON job (id_reversed);
-- items_after: the newest samples of jobs that changed after a cursor.
CREATE INDEX job_by_seq ON job (seq);
-- active_jobs, and pages by duration: jobs that are not over.
CREATE INDEX job_active ON job (created_at) WHERE final = 0;
-- jobs_page, one for each sort key; the job's key, which every index ends with, breaks ties.
CREATE INDEX job_by_created ON job (created_at);
CREATE INDEX job_by_started ON job (started_at);
CREATE INDEX job_by_finished ON job (finished_at);
CREATE INDEX job_by_updated ON job (updated_at);
CREATE INDEX job_by_duration ON job (duration_ms);
CREATE INDEX job_by_priority ON job (priority, created_at);
-- By status first: nearly all jobs are completed and at 100, and would hide the others.
CREATE INDEX job_by_progress ON job (status, progress, created_at);
-- jobs_page filtered by one column, newest first; those of status and name also serve as sort keys.
CREATE INDEX job_of_status ON job (status, created_at);
CREATE INDEX job_of_name ON job (name, created_at);
CREATE INDEX job_of_type ON job (type, created_at);
CREATE INDEX job_of_owner ON job (owner, created_at);
CREATE INDEX job_of_host ON job (host, created_at);
CREATE INDEX job_of_source ON job (source, created_at);
CREATE INDEX job_of_reporter ON job (reporter, created_at);
-- history pages (sorted by their end) of one status, name, type or owner; past: the last completed runs of a name.
CREATE INDEX job_ended_status ON job (status, finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX job_ended_name ON job (name, finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX job_ended_type ON job (type, finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX job_ended_owner ON job (owner, finished_at) WHERE finished_at IS NOT NULL;
-- failures grouped by cause, newest first.
CREATE INDEX job_ended_fingerprint ON job (fingerprint, finished_at) WHERE fingerprint IS NOT NULL;

-- jobs_page filtered by a tag, newest first.
CREATE TABLE job_tag (
    tag TEXT NOT NULL,
    value TEXT NOT NULL COLLATE NOCASE,
    created_at INTEGER NOT NULL,
    key INTEGER NOT NULL,
    PRIMARY KEY (tag, value, created_at, key)
) STRICT, WITHOUT ROWID;
-- a job's tags, when it changes or goes.
CREATE INDEX job_tag_by_job ON job_tag (key);

-- How many jobs stand in each status, kept in the transaction that changes one.
CREATE TABLE job_count (
    status TEXT NOT NULL PRIMARY KEY,
    n INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Finished jobs by hour: a histogram of durations over logarithmic buckets (rollups.py), kept when a job ends.
CREATE TABLE finished (
    hour INTEGER NOT NULL,
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    owner TEXT NOT NULL,
    status TEXT NOT NULL,
    bucket INTEGER NOT NULL,
    n INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    PRIMARY KEY (hour, name, type, owner, status, bucket)
) STRICT, WITHOUT ROWID;
-- durations of one name.
CREATE INDEX finished_of_name ON finished (name, hour);

-- The journal: accepted facts in order. ``body`` holds the event, the job after it, and what differed before.
CREATE TABLE journal (
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    job_id TEXT,
    kind TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT;
-- job_events: one job's part of the journal.
CREATE INDEX journal_of_job ON journal (job_id, seq) WHERE job_id IS NOT NULL;
-- items_after for readers of no jobs: notices alone.
CREATE INDEX journal_of_notices ON journal (seq) WHERE job_id IS NULL;

-- The commit of log lines: ``n`` lines from ``seq`` lie in this block of this day file.
CREATE TABLE log_run (
    seq INTEGER PRIMARY KEY,
    n INTEGER NOT NULL,
    at INTEGER NOT NULL,
    file TEXT NOT NULL,
    block INTEGER NOT NULL
) STRICT;

-- How far each agent's process was taken, with the hash of its last batch.
CREATE TABLE producer (
    id TEXT NOT NULL PRIMARY KEY,
    token_id TEXT,
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL,
    at INTEGER NOT NULL,
    receipt BLOB NOT NULL
) STRICT, WITHOUT ROWID;
-- prune_producers: those silent for long.
CREATE INDEX producer_by_at ON producer (at);

-- What agents were asked to do.
CREATE TABLE command (
    id TEXT NOT NULL PRIMARY KEY,
    job_id TEXT NOT NULL,
    producer TEXT,
    action TEXT NOT NULL,
    reason TEXT,
    by TEXT,
    at INTEGER NOT NULL,
    deadline_at INTEGER,
    settled_at INTEGER,
    outcome TEXT
) STRICT;
-- open_commands.
CREATE INDEX command_open ON command (producer, at) WHERE settled_at IS NULL;
-- prune_rest: those settled long ago.
CREATE INDEX command_settled ON command (settled_at) WHERE settled_at IS NOT NULL;
-- commands of a job, and their removal with it.
CREATE INDEX command_of_job ON command (job_id, at);

CREATE TABLE token (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    owner TEXT,
    role TEXT NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    created_by TEXT,
    last_used_at INTEGER,
    revoked_at INTEGER,
    expires_at INTEGER
) STRICT;

-- Who did what. Never changed, only pruned by age.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail BLOB NOT NULL
) STRICT;

INSERT INTO meta (key, value) VALUES ('head', 0), ('oldest', 0);
