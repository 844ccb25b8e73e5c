"""``etlmon jobs``: the table of its commands; each lives in a file beside this one."""

from __future__ import annotations

from etlmon.commands.lazy import Entry, LazyGroup

COMMANDS = {
    "list": Entry("etlmon.commands.job_list:list_jobs", "List jobs; --watch keeps the list live."),
    "show": Entry("etlmon.commands.job_show:show", "Everything about one job."),
    "watch": Entry("etlmon.commands.job_watch:watch", "Follow one job until it ends."),
    "logs": Entry("etlmon.commands.job_logs:job_logs", "Log lines of one or several jobs; -f follows."),
    "events": Entry("etlmon.commands.job_show:events", "A job's part of the journal."),
    "metrics": Entry("etlmon.commands.job_show:metrics", "A job's measurements."),
    "wait": Entry("etlmon.commands.job_wait:wait", "Wait until jobs have ended."),
    "pause": Entry("etlmon.commands.job_control:pause", "Ask jobs to hold still."),
    "resume": Entry("etlmon.commands.job_control:resume", "Let paused jobs go on."),
    "cancel": Entry("etlmon.commands.job_control:cancel", "Cancel jobs; this is final."),
    "submit": Entry("etlmon.commands.job_submit:submit", "Queue a job; --follow shows its log."),
    "retry": Entry("etlmon.commands.job_retry:retry", "Start finished jobs again."),
    "priority": Entry("etlmon.commands.job_priority:priority", "Which queued job is sooner."),
    "bulk": Entry("etlmon.commands.job_bulk:bulk", "Pause, resume, cancel or retry all that match."),
    "ls": Entry("etlmon.commands.job_list:list_jobs", "Same as list.", hidden=True),
    "get": Entry("etlmon.commands.job_show:show", "Same as show.", hidden=True),
}

jobs = LazyGroup("jobs", table=COMMANDS, help="List, show, watch, wait for, submit and control jobs.")
