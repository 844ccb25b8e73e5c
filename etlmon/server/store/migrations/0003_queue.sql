-- The queue: one row for each managed job that is not over, written in the transaction that moves the job.
-- state: 0 ready, 1 waits for its time, 2 waits for other jobs, 3 claimed (then token, worker and lease_until hold).
CREATE TABLE queue (
    job_id TEXT NOT NULL PRIMARY KEY,
    queue TEXT NOT NULL,
    state INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    dedup_key TEXT,
    token INTEGER,
    worker TEXT,
    lease_until INTEGER
) STRICT, WITHOUT ROWID;
-- claimable: highest priority first, then whoever waits longest.
CREATE INDEX queue_ready ON queue (queue, priority DESC, due_at) WHERE state = 0;
-- ripen: those whose time has come.
CREATE INDEX queue_later ON queue (due_at) WHERE state = 1;
-- expired: leases that ran out.
CREATE INDEX queue_leased ON queue (lease_until) WHERE state = 3;
-- a live job of a dedupKey.
CREATE UNIQUE INDEX queue_by_dedup_key ON queue (dedup_key) WHERE dedup_key IS NOT NULL;

-- Which jobs wait for the end of a job.
CREATE TABLE queue_after (
    upstream TEXT NOT NULL,
    job_id TEXT NOT NULL,
    PRIMARY KEY (upstream, job_id)
) STRICT, WITHOUT ROWID;

-- What to do for a managed job, whole: what its worker gets. Kept for a retry, as long as the job is.
CREATE TABLE work (
    job_id TEXT NOT NULL PRIMARY KEY,
    body BLOB NOT NULL
) STRICT;

-- Queues that give out nothing now, by whom and why; '*' stands for every queue.
CREATE TABLE queue_pause (
    queue TEXT NOT NULL PRIMARY KEY,
    by TEXT,
    reason TEXT,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Processes that claimed jobs; a new process has a new id.
CREATE TABLE worker (
    id TEXT NOT NULL PRIMARY KEY,
    last_seen_at INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Since when a schedule is known as it is: slots before that are not made up for.
CREATE TABLE schedule (
    name TEXT NOT NULL PRIMARY KEY,
    spec TEXT NOT NULL,
    since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Slots of schedules that were started: each once.
CREATE TABLE slot (
    name TEXT NOT NULL,
    at INTEGER NOT NULL,
    job_id TEXT NOT NULL,
    PRIMARY KEY (name, at)
) STRICT, WITHOUT ROWID;
-- prune: slots long gone by.
CREATE INDEX slot_by_at ON slot (at);
