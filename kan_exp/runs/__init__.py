"""The files of runs, read and written without torch."""

from kan_exp.runs.files import replacing, write_json, write_text
from kan_exp.runs.folders import folder_name, from_here, no_run, run_name
from kan_exp.runs.identity import option_name
from kan_exp.runs.lock import hold, holding, release
from kan_exp.runs.status import (
    Status,
    StatusFile,
    close_status,
    is_running,
    read_status,
    write_status,
)
from kan_exp.runs.versions import asks_version, changes, version_text, versions

__all__ = [
    "Status",
    "StatusFile",
    "asks_version",
    "changes",
    "close_status",
    "folder_name",
    "from_here",
    "hold",
    "holding",
    "is_running",
    "no_run",
    "option_name",
    "read_status",
    "release",
    "replacing",
    "run_name",
    "version_text",
    "versions",
    "write_json",
    "write_status",
    "write_text",
]
