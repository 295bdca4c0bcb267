from typing import Literal

EngineStatus = Literal[
    "Available",
    "CreateFailed",
    "Creating",
    "Deleted",
    "DeleteFailed",
    "Deleting",
    "Freezed",
    "ModifyFailed",
    "Modifying",
    "Unavailable",
    "UpgradeFailed",
    "Upgrading",
]
