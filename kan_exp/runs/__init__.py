"""What runs leave behind, read and written without torch."""

from kan_exp.runs.files import replacing, write_json, write_text
from kan_exp.runs.identity import option_name
from kan_exp.runs.names import folder_name, run_name
from kan_exp.runs.status import Status, StatusFile, is_running, read_status, write_status
from kan_exp.runs.versions import changes, versions

__all__ = [
    "Status",
    "StatusFile",
    "changes",
    "folder_name",
    "is_running",
    "option_name",
    "read_status",
    "replacing",
    "run_name",
    "versions",
    "write_json",
    "write_status",
    "write_text",
]
