"""What `make secrets` knows beside detect-secrets' own rules: how Meta's tokens look, wherever they stand."""

from __future__ import annotations

import re

from detect_secrets.plugins.base import RegexBasedDetector


class MetaTokenDetector(RegexBasedDetector):
    """Finds access tokens of Facebook and Instagram, and an app's own, which is its id and its secret.

    https://developers.facebook.com/docs/facebook-login/guides/access-tokens
    """

    secret_type = "Meta access token"  # noqa: S105 - its name
    denylist = (
        re.compile(r"\b(?:EAA|IGAA|IGQ)[A-Za-z0-9_-]{40,}"),
        re.compile(r"\b[0-9]{15,17}\|[A-Za-z0-9_-]{20,}"),
    )
