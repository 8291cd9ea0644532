"""The log: structured events on standard error, one a line. Never SQL literals, never row values, never passwords.

`event(logger, "login_refused", sqlstate="28000")` becomes `time=… level=info event=login_refused sqlstate=28000`, or a
JSON object with the same fields.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time

_PLAIN = re.compile(r"[A-Za-z0-9_.:/@+\-]+")
_FIELDS = "pgveil_fields"
_common: dict[str, object] = {}


def event(logger: logging.Logger, name: str, level: int = logging.INFO, /, **fields: object) -> None:
    """Log an event. Field values are shown with str(); None is left out."""
    if logger.isEnabledFor(level):
        logger.log(level, name, extra={_FIELDS: {k: v for k, v in fields.items() if v is not None}})


def name_process(name: str) -> None:
    """Every event of this process names it as its `worker`."""
    _common["worker"] = name


class _Formatter(logging.Formatter):
    def fields(self, record: logging.LogRecord) -> dict[str, object]:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        found: dict[str, object] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            **_common,
        }
        extra = getattr(record, _FIELDS, None)
        if extra is None:
            found |= {"event": "message", "logger": record.name, "text": record.getMessage()}
        else:
            found |= {"event": record.msg, **extra}
        if record.exc_info and record.exc_info[0] is not None:
            found["trace"] = self.formatException(record.exc_info)
        return found


class KeyValueFormatter(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return " ".join(f"{k}={_quoted(v)}" for k, v in self.fields(record).items())


class JsonFormatter(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(self.fields(record), ensure_ascii=False, default=str)


def _quoted(value: object) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def set_up_logging(form: str, *, debug: bool = False) -> None:
    """Send the log to standard error as `text` (key=value) or `json`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else KeyValueFormatter())
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler], force=True)
    for noisy in ("asyncio", "aiohttp", "asyncpg"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
