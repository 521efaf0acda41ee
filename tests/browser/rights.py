"""An auth manager with rights for each DAG, as FAB and Keycloak have them: the viewer may not see the DAG ``secret``."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

PASSWORDS = {"admin": "admin-password", "viewer": "viewer-password"}
USERS = "admin:admin,viewer:viewer"
SECRET = "secret"


class PerDagAuthManager(SimpleAuthManager):
    """The simple one, but for what the viewer sees."""

    def is_authorized_dag(self, *, user: SimpleAuthManagerUser, details: DagDetails | None = None, **more: Any) -> bool:
        """Refuse the one DAG to the viewer."""
        if user.username == "viewer" and details is not None and details.id == SECRET:
            return False
        return super().is_authorized_dag(user=user, details=details, **more)
