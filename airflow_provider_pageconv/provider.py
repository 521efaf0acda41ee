"""What Airflow learns about this package before it imports any of its hooks and operators.

Airflow calls :func:`get_provider_info` through the ``apache_airflow_provider`` entry point in every one of
its processes, so this module imports nothing of Airflow and nothing heavy.

The keys are those of Airflow's ``provider_info.schema.json``, plus two that only ``provider.yaml.schema.json``
knows: ``conn-fields`` and ``ui-field-behaviour``. From Airflow 3.2 on the connection form is built from them,
without an import of the hook.
https://airflow.apache.org/docs/apache-airflow-providers/howto/create-custom-providers.html
"""

from __future__ import annotations

from typing import Any

from airflow_provider_pageconv import __version__

_INTEGRATION = "Facebook Page conversations"


def _field(label: str, description: str, kind: str, **schema: Any) -> dict[str, Any]:
    """One field of the connection form that is kept in the connection's extra; it may be left empty.

    No field has a default of its own: what is left empty is not stored, so that a connection made today follows
    the defaults of the provider version that reads it.
    """
    return {"label": label, "schema": {"type": [kind, "null"], **schema}, "description": description}


def get_provider_info() -> dict[str, Any]:
    """Return the metadata of this provider in the form that Airflow's providers manager reads."""
    return {
        "package-name": "airflow-provider-pageconv",
        "name": "Facebook Page conversations",
        "description": (
            "Exports the conversations and messages of a Facebook Page, or of an Instagram professional "
            "account, from Meta's Graph API to object storage."
        ),
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": _INTEGRATION,
                "external-doc-url": "https://developers.facebook.com/docs/graph-api/reference/page/conversations/",
                "tags": ["service"],
            }
        ],
        "hooks": [
            {
                "integration-name": _INTEGRATION,
                "python-modules": ["airflow_provider_pageconv.hooks"],
            }
        ],
        "operators": [
            {
                "integration-name": _INTEGRATION,
                "python-modules": ["airflow_provider_pageconv.operators"],
            }
        ],
        "sensors": [
            {
                "integration-name": _INTEGRATION,
                "python-modules": ["airflow_provider_pageconv.sensors"],
            }
        ],
        "triggers": [
            {
                "integration-name": _INTEGRATION,
                "python-modules": ["airflow_provider_pageconv.triggers"],
            }
        ],
        "extra-links": [
            "airflow_provider_pageconv.links.ExportedFilesLink",
            "airflow_provider_pageconv.links.PageInboxLink",
            "airflow_provider_pageconv.links.PageExportsLink",
        ],
        "connection-types": [
            {
                "connection-type": "pageconv",
                "hook-class-name": "airflow_provider_pageconv.hooks.PageConversationsHook",
                "hook-name": "Facebook Page conversations",
                "ui-field-behaviour": {
                    # `schema` has no field of its own: a whole address goes into `host`. The Page's id has `login`, since the
                    # form opens with the standard fields and folds up the others. `port` is there because Airflow 3.3.2
                    # refuses to test a connection that was stored without one: https://github.com/apache/airflow/pull/73298
                    "hidden-fields": ["schema", "extra"],
                    "relabeling": {
                        "password": "Access token (required)",
                        "login": "Page id",
                        "host": "Graph API address",
                    },
                    # Airflow prefixes the names of the fields from `conn-fields` with `extra__pageconv__`.
                    "placeholders": {
                        "password": "the Page's access token, or a user's or system user's",
                        "login": "the Page's numeric id, if tasks name none",
                        "port": "443: without one, Airflow 3.3.2 refuses to test",
                        "host": "https://graph.facebook.com",
                        "page_id": "the Page's numeric id",
                        "app_secret": "the secret of the token's app",
                        "pseudonym_secret": "a long random text",
                        "app_id": "the id of the token's app",
                        "api_version": "v26.0",
                        "calls_per_second": "2",
                        "timeout": "60",
                        "media_hosts": "fbcdn.net, fbsbx.com, cdninstagram.com",
                    },
                },
                "conn-fields": {
                    "app_secret": _field(
                        "App secret",
                        "The secret of the app that the token belongs to. If given, every call is signed with it "
                        "(appsecret_proof), which some apps demand.",
                        "string",
                        format="password",
                    ),
                    "pseudonym_secret": _field(
                        "Pseudonym secret",
                        "What people are hashed with where a task has pseudonymize: a long random text. Keep it: with another "
                        "one the same people get other values.",
                        "string",
                        format="password",
                    ),
                    "app_id": _field(
                        "App id",
                        "The id of the app that the token belongs to. With it and the app secret, an export looks at its token "
                        "before the first call, and a system user's token can be renewed.",
                        "string",
                    ),
                    "api_version": _field(
                        "Graph API version",
                        "Such as v26.0, which is taken if empty.",
                        "string",
                    ),
                    "calls_per_second": _field(
                        "Calls per second",
                        "The pace for one Page within one task: 2 if empty, which is what Meta allows; 0 for no pace.",
                        "number",
                        minimum=0,
                    ),
                    "timeout": _field(
                        "Timeout",
                        "How many seconds an export waits for a server that says nothing: 60 if empty.",
                        "number",
                        minimum=1,
                    ),
                    "media_hosts": _field(
                        "Media hosts",
                        "Where a task has download_attachments: the hosts that files may come from, with commas between. "
                        "fbcdn.net, fbsbx.com and cdninstagram.com, and those below them, if empty.",
                        "string",
                    ),
                    "page_id": _field(
                        "Page id in the extra",
                        "The same as the Page id above: connections that were written as JSON have it here. One of the two is "
                        "enough. May stay empty where each task names its Page, as with a user's or system user's token for many.",
                        "string",
                    ),
                },
            }
        ],
        "config": {
            "pageconv": {
                "description": "How exports of Page conversations heed what the Graph API says about its limits and about their token.",
                "options": {
                    "usage_slow_percent": {
                        "description": (
                            "From this share of a limit on, in percent, as the usage headers report it, the calls slow down."
                        ),
                        "version_added": "0.1.0",
                        "type": "float",
                        "example": None,
                        "default": "75",
                    },
                    "usage_stop_percent": {
                        "description": (
                            "From this share of a limit on, in percent, as the usage headers report it, an export waits as "
                            "if the API had refused."
                        ),
                        "version_added": "0.1.0",
                        "type": "float",
                        "example": None,
                        "default": "95",
                    },
                    "check_token": {
                        "description": (
                            "Whether an export looks at its access token before the first call, where the connection has "
                            "app_id and app_secret: one that has ended, or lacks a permission, exports nothing."
                        ),
                        "version_added": "0.1.0",
                        "type": "boolean",
                        "example": None,
                        "default": "True",
                    },
                    "warn_days": {
                        "description": (
                            "An export warns that its access token, or the token's access to data, ends within so many days."
                        ),
                        "version_added": "0.1.0",
                        "type": "float",
                        "example": None,
                        "default": "14",
                    },
                },
            }
        },
    }
