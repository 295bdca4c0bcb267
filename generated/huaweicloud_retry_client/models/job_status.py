from typing import Literal

JobStatus = Literal["Error", "Executing", "Finished", "Init", "PreInit", "Timeout"]
"""Status of a job, and of its steps and tasks. PreInit, Init and Executing are in progress; Error and
Timeout failed; Finished succeeded. PreInit is on the page of the job list only."""
