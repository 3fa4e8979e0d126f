"""The files of runs, read and written without torch."""

from kan_exp.runs.files import replacing as replacing
from kan_exp.runs.files import write_json as write_json
from kan_exp.runs.files import write_text as write_text
from kan_exp.runs.folders import folder_name as folder_name
from kan_exp.runs.folders import from_here as from_here
from kan_exp.runs.folders import no_run as no_run
from kan_exp.runs.folders import run_name as run_name
from kan_exp.runs.identity import option_name as option_name
from kan_exp.runs.lock import hold as hold
from kan_exp.runs.lock import holding as holding
from kan_exp.runs.lock import release as release
from kan_exp.runs.status import Status as Status
from kan_exp.runs.status import StatusFile as StatusFile
from kan_exp.runs.status import close_status as close_status
from kan_exp.runs.status import is_running as is_running
from kan_exp.runs.status import read_status as read_status
from kan_exp.runs.status import write_status as write_status
from kan_exp.runs.versions import asks_version as asks_version
from kan_exp.runs.versions import changes as changes
from kan_exp.runs.versions import version_text as version_text
from kan_exp.runs.versions import versions as versions
