"""Personal data inside longer text: numbers that prove themselves, or have a form that hardly anything else has."""

from __future__ import annotations

import re

from policies.detect import checks
from policies.detect.forms import international, marks
from policies.detect.people import names_in

_RUN = re.compile(r"(?<![\dA-Za-z_.-])\d{11,19}[Xx]?(?![\dA-Za-z_-])")
_GROUPS = re.compile(r"(?<![\d-])\d{4}(?:[ -]\d{4}){3}(?:[ -]?\d{1,3})?(?!\d)")
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}")
_PLUS = re.compile(r"\+\d{1,3}[\d ()-]{6,18}\d")
_LANDLINE = re.compile(r"(?<!\d)0\d{2,3}-[2-8]\d{6,7}(?!\d)")
_DASHED_MOBILE = re.compile(r"(?<!\d)1[3-9]\d[ -]\d{4}[ -]\d{4}(?!\d)")
_NORTH_AMERICA = re.compile(r"(?<![\d.-])(?:\([2-9]\d{2}\)\s?\d{3}-|[2-9]\d{2}-\d{3}-|[2-9]\d{2}\.\d{3}\.)\d{4}(?![\d-]|\.\d)")
_JOINED = re.compile(r"(?<![\dA-Za-z])[A-Za-z]*_?(\d{17}[\dXx])(?![\dA-Za-z])")
_ADDRESS = re.compile(
    r"[\u4e00-\u9fff]{1,6}(?:省|市|区|县|镇|乡)[\u4e00-\u9fff\d]{1,16}(?:路|街|道|巷|弄|村|里|苑|园|小区)[\u4e00-\u9fff]{0,4}\d{1,5}(?:号|弄|栋|幢|室)"
)
_SSN = re.compile(r"(?<![\d-])(?!000|666)[0-8]\d{2}-\d{2}-\d{4}(?![\d-])")
_CODE = re.compile(
    r"(?:验证码|校验码|动态码|动态密码|随机密码|初始密码|密码锁?)[为是:： ]{0,4}[A-Za-z0-9]{4,12}(?![A-Za-z0-9])|(?<!\d)\d{4,8}"
    r"(?:\s?[(（].{0,12}验证码|\s?为您的验证码| is your )"
    r"|(?:verification code|passcode|one-time code|\bOTP|security code|password|login code)(?: is)?[:= ]{1,3}\S*\d\S{2,}",
    re.IGNORECASE,
)
_SWIFT = re.compile(r"(?<!\d):5[09][AFK]?:[/A-Z]")
"""The ordering customer and the beneficiary of a SWIFT MT message."""
_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)


def personal_data_in(text: str) -> frozenset[str]:
    """The kinds of personal data that stand inside `text`."""
    found: set[str] = set()
    if "@" in text and _EMAIL.search(_URL.sub(" ", text)):
        found.add("email")
    if names_in(text):
        found.add("name")
    if not any(c.isdigit() for c in text):
        return frozenset(found)
    for run in _JOINED.findall(text):
        if "id18" in marks(run):
            found.add("id_card")
    if _SWIFT.search(text):
        found.add("account")
    if _CODE.search(text):
        found.add("secret")
    if (place := _ADDRESS.search(text)) and 2 * len(place[0]) < len(text):
        found.add("address")
    for run in _RUN.findall(text):
        inner = marks(run)
        if inner & {"id18", "id15"}:
            found.add("id_card")
        elif "card" in inner:
            found.add("card_no")
        elif "bare_mobile" in inner:
            found.add("phone")
    for group in _GROUPS.findall(text):
        bare = re.sub(r"[ -]", "", group)
        if "card" in marks(bare) and checks.luhn(bare):
            found.add("card_no")
    if (
        _LANDLINE.search(text)
        or _DASHED_MOBILE.search(text)
        or _NORTH_AMERICA.search(text)
        or any(international(n) for n in _PLUS.findall(text))
    ):
        found.add("phone")
    if _SSN.search(text):
        found.add("national_id")
    return frozenset(found)
