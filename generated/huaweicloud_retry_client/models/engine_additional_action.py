from typing import Literal

EngineAdditionalAction = Literal["ForceDelete", "Noting", "Retry", "Rollback"]
