"""Applications as the tests meet them: made by the admin, speaking with their tokens."""

from __future__ import annotations

from typing import Any

from tests.conversations.conftest import ApiUser
from tests.integration.single import Instance


async def administer(
    instance: Instance, method: str, path: str, body: Any = None, *, status: int = 200
) -> Any:
    """A request of the admin API, as the command line makes it."""
    token = instance.wiring.admin_tokens.make()
    url = f"/_comity/admin/v1{path}"
    return await instance.call(method, url, body, token=token, status=status)


class App(ApiUser):
    """An application, and one of its tokens."""

    def __init__(self, instance: Instance, application_id: str, token: str) -> None:
        super().__init__(instance, "application", token)
        self.application_id = application_id

    def user(self, name: str) -> AppUser:
        """One of its users, for whom it acts."""
        return AppUser(self, name)


class AppUser(ApiUser):
    """An application's calls for one of its users."""

    def __init__(self, app: App, name: str) -> None:
        super().__init__(app.instance, name, app.token)

    async def call_with_headers(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        status: int = 200,
        headers: dict[str, str] | None = None,
    ) -> tuple[Any, Any]:
        """One call in the user's name."""
        return await super().call_with_headers(
            method,
            path,
            body,
            status=status,
            headers={"Comity-User": self.name, **(headers or {})},
        )


async def new_app(
    instance: Instance, *, token_scopes: list[str] | None = None, **settings: Any
) -> App:
    """A new application, whose users are ``shop_*``, and a token of its."""
    request = {
        "name": "Shop",
        "user_patterns": ["shop_*"],
        "may_create_users": True,
        **settings,
    }
    application_id = (await administer(instance, "POST", "/applications", request))["id"]
    body = {"name": "test", "scopes": token_scopes or []}
    path = f"/applications/{application_id}/tokens"
    made = await administer(instance, "POST", path, body)
    return App(instance, application_id, made["token"])
