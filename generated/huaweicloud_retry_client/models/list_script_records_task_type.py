from typing import Literal

ListScriptRecordsTaskType = Literal["COMMAND", "SCRIPT"]
"""Type of the task, SCRIPT or COMMAND."""
