"""What a postal address looks like, in Chinese and in Latin script."""

from __future__ import annotations

import re

_ADMIN = re.compile(r"[\u4e00-\u9fff]{1,8}?(?:省|自治区|特别行政区|市|地区|州|盟|区|县|旗)")
_STREET = re.compile(
    r"[\u4e00-\u9fff\d]{1,12}?(?:路|大道|街道|街|巷|弄|胡同|里|村|屯|庄|乡|镇|小区|社区|花园|公寓|苑|广场|大厦|大楼|园区|开发区)"
)
_DOOR = re.compile(r"[\dA-Za-z一二三四五六七八九十甲乙丙-]+\s*(?:号楼|号院|号|栋|幢|座|单元|室|层|楼|组|队|房|户)")
_LATIN_STREET = re.compile(
    r"\b(?:st|str|street|ave|avenue|rd|road|ln|lane|blvd|boulevard|dr|drive|way|ct|court|pl|place|sq|square|ter|terrace|hwy|highway|pkwy|"
    r"parkway|close|crescent|grove|gardens?|mews|hill|row|walk|alley|trail|trace|path|loop|circle|cir|pike|turnpike|run|ridge|rue|via|viale|calle|avenida|plaza|"
    r"piazza|chemin|impasse|quai|allee|rua|laan|straat|gade|vei|plein|track|course|haven|view|views|islands?|isle|port|ports|shores?|spring|springs|"
    r"station|stravenue|stream|summit|throughway|trafficway|tunnel|union|unions|valleys?|village|villages|ville|vista|wall|walks|well|wells|"
    r"forge|fork|forks|fort|freeway|garden|gateway|glen|glens|green|greens|harbors?|heights|inlet|junctions?|key|keys|knolls?|lakes?|land|landing|"
    r"lights?|lock|locks|lodge|mall|manors?|meadows?|mill|mills|mission|motorway|mount|mountains?|neck|orchard|oval|overpass|park|parks|pass|passage|"
    r"pines?|plains?|point|points|prairie|radial|ramp|ranch|rapids?|rest|river|roads|skyway|bridge|brook|brooks|burg|bypass|camp|canyon|cape|causeway|"
    r"centers?|cliffs?|corners?|cove|coves|creek|crest|crossing|crossroad|curve|dale|dam|divide|estates?|expressway|extension|falls|ferry|fields?|flats?|ford)\b",
    re.IGNORECASE,
)
_LATIN_JOINED = re.compile(
    r"\w+(?:stra(?:ß|ss)e|str\.|gasse|weg|allee|platz|ring|damm|ufer|straat|gatan|vägen|vej)\b", re.IGNORECASE
)
_BOX = re.compile(r"\b(?:p\.?\s?o\.?\s?box|apt\.?|suite|unit|flat|psc|unit)\s+[\w#-]+", re.IGNORECASE)
_PROSE = re.compile(r"[。！？!?；;]|(?:https?|ftp)://|@")


def chinese_address(text: str) -> bool:
    """Names a street, village or building, with a place before it or a door after it. A city alone is no address."""
    if len(text) > 120 or _PROSE.search(text):
        return False
    street = _STREET.search(text)
    return street is not None and (_DOOR.search(text) is not None or len(_ADMIN.findall(text[: street.end()])) >= 2)


def latin_address(text: str) -> bool:
    """A house number with a street, or a post-office box, apartment or the like."""
    if not 6 <= len(text) <= 160 or _PROSE.search(text) or not any(c.isdigit() for c in text):
        return False
    if " " not in text and not _LATIN_JOINED.search(text):
        return False  # a number with a prefix: LN-24-000031
    if _BOX.search(text):
        return True
    return bool(
        (_LATIN_STREET.search(text) or _LATIN_JOINED.search(text)) and re.search(r"(?<![\d.:])\d{1,5}[A-Za-z]?\b(?![.:]\d)", text)
    )
