"""The page on which somebody with a voucher sees its balance: one document, and no third party."""

import base64
import hashlib
import re
from pathlib import Path

from werkzeug.wrappers import Response

_DOCUMENT = Path(__file__).with_name("page.html").read_text(encoding="utf-8")


def _source(element: str) -> str:
    """Return the source expression of the document's one script or style (CSP3, Section 2.3.1)."""
    (content,) = re.findall(rf"<{element}>(.*?)</{element}>", _DOCUMENT, re.DOTALL)
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


POLICY = "; ".join(
    (
        "default-src 'none'",
        f"script-src {_source('script')}",
        f"style-src {_source('style')}",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


def page() -> Response:
    """Return the page."""
    answer = Response(_DOCUMENT, content_type="text/html; charset=utf-8")
    answer.headers["Content-Security-Policy"] = POLICY
    answer.headers["Referrer-Policy"] = "no-referrer"
    return answer
