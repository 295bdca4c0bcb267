from typing import Literal

JobType = Literal["Configure", "Create", "Delete", "Modify", "Update", "Upgrade"]
"""What a job does. Modify in the API definition is Configure on ServiceStage's pages; Update is on the
page of the job list only."""
