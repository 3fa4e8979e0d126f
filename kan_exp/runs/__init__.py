"""What runs leave behind, read and written without torch."""

from kan_exp.runs.files import write_json, write_text
from kan_exp.runs.status import Status, StatusFile, is_running, read_status, write_status

__all__ = [
    "Status",
    "StatusFile",
    "is_running",
    "read_status",
    "write_json",
    "write_status",
    "write_text",
]
