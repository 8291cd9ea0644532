"""One value in, marks out: every form that the whole value has. A mark is no verdict; `combine` weighs marks over a column."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from functools import lru_cache

import phonenumbers

from policies.detect import checks, people, places
from policies.detect.dates import read_date
from policies.detect.foreign import national
from policies.detect.shapes import UUID, shapes

PERSONAL = frozenset(
    (
        "id18",
        "mobile",
        "landline",
        "phone_intl",
        "phone_na",
        "email",
        "card",
        "iban",
        "ssn",
        "national",
        "hkid",
        "twid",
        "uscc",
        "plate",
    )
)
"""Marks that prove a value personal, more or less, whatever stands beside it."""
LONGEST = 4000
"""Characters of a value that are looked at."""
_PROVINCES = frozenset(
    "11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 61 62 63 64 65 71 81 82 83".split()
)
_ID18 = re.compile(r"([1-9]\d)\d{4}(19\d\d|20[0-4]\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])\d{3}[\dXx]")
_ID15 = re.compile(r"([1-9]\d)\d{6}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])\d{3}")
_MOBILE = re.compile(r"(?:(?:\+|00)?86[- ]?)?1(?:3\d|4[5-9]|5[0-35-9]|6[2567]|7[0-8]|8\d|9[0-35-9])\d{8}")
_LANDLINE = re.compile(
    r"(?:(?:\+|00)?86[- ]?)?(?:\(0\d{2,3}\)\s?|0\d{2,3}[- ])[2-8]\d{2,3}[ -]?\d{4}(?:\s?(?:-|转|ext\.?|x|#)\s?\d{1,6})?",
    re.IGNORECASE,
)
_WITHIN_COUNTRY = re.compile(r"\(?0\d{1,4}\)?[ /-]{1,3}\d{2,4}(?:[ -]?\d{2,4}){1,3}|0\d(?:[ .]\d\d){4}")
"""With the trunk prefix 0 and a sign after the area code: Germany, Switzerland, Austria, France, Britain."""
_SERVICE = re.compile(r"(?:400|800)[- ]?\d{3}[- ]?\d{4}|95\d{3}|100\d{2}|12\d{3}|1(?:10|19|20|22)")
_NORTH_AMERICA = re.compile(
    r"(?:\+?0{0,2}1[-. ]?)?(?:\([2-9]\d{2}\)\s?\d{3}[-. ]\d{4}|[2-9]\d{2}([-. ])\d{3}\1\d{4})(?:\s?(?:x|ext\.?)\s?\d{1,6})?",
    re.IGNORECASE,
)
_DIALLED = re.compile(r"[+(]?[\d(][\d ()./-]{5,22}\d(?:\s?(?:x|ext\.?|#|转|-)\s?\d{1,6})?", re.IGNORECASE)
_EMAIL = re.compile(r"[^@\s,;<>\"()]{1,64}@[A-Za-z0-9\u00a1-\uffff-]+(?:\.[A-Za-z0-9\u00a1-\uffff-]+)+")
_BIN = re.compile(
    r"(?:62\d{14,17}|81\d{14,17}|4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2(?:2[2-9]|[3-6]\d|7[01]|720)\d{12,13}|3[47]\d{13}|35(?:2[89]|[3-8]\d)\d{12}"
    r"|6(?:011|5\d\d|4[4-9]\d)\d{12,15}|3(?:0[0-5]|[68]\d|9\d)\d{11,13}|9[45]\d{14,17}|(?:5018|5020|5038|6304|67\d\d)\d{8,15}|60\d{14}|220[0-4]\d{12,15})"
)
_USCC = re.compile(r"[1-9A-HJ-NPQRTUWXY][1-9A-F]\d{6}[0-9A-HJ-NPQRTUWXY]{10}")
_MRZ = re.compile(r"[PIACV][A-Z<][A-Z<]{3}[A-Z0-9<]{20,}(?:\s*[A-Z0-9<]{20,})*")
_PASSPORT_CN = re.compile(r"[EGDSPHK]\d{8}|E[A-HJ-NP-Z]\d{7}", re.IGNORECASE)
_PERMIT = re.compile(r"[HM]\d{8}(?:\d{2})?|[CTWLR][A-Z0-9]\d{7}", re.IGNORECASE)
_HKID = re.compile(r"[A-Z]{1,2}\d{6}\(?[0-9A]\)?")
_TWID = re.compile(r"[A-Z][1289]\d{8}")
_PLATE = re.compile(
    r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼使领][A-Z][·•. -]?[A-HJ-NP-Z0-9]{4,6}"
    r"[A-HJ-NP-Z0-9挂学警港澳试超领]"
)
_VIN = re.compile(r"(?=.*[A-Z])(?=.*\d)[A-HJ-NPR-Z0-9]{12}\d{5}")
_MAC = re.compile(
    r"[0-9a-f]{2}([:-])(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}(?:\1[0-9a-f]{2}\1[0-9a-f]{2})?|[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4}",
    re.IGNORECASE,
)
_SSN = re.compile(r"(?!000|666)[0-9]{3}-(?!00)\d{2}-(?!0000)\d{4}")
_STORED_PASSWORD = re.compile(
    r"\$(?:2[abxy]?|1|5|6|7|y|apr1|argon2(?:id?|d)?|scrypt|pbkdf2[\w-]*)\$.{10,}"
    r"|\{(?:S?SHA\d*|SSHA512|MD5|SMD5|CRYPT|bcrypt|noop|pbkdf2)\}.+|SCRAM-SHA-256\$.+"
    r"|pbkdf2_sha\d+\$.+|bcrypt_sha256\$.+|scrypt:\d+:.+|pbkdf2:sha\d+.+|argon2\$.+",
    re.IGNORECASE | re.DOTALL,
)
_KEY = re.compile(
    r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*|-----BEGIN [A-Z ]*(?:PRIVATE KEY|CERTIFICATE)-----.*|(?:AKIA|ASIA)[A-Z0-9]{16}"
    r"|gh[pousr]_\w{30,}|github_pat_\w{30,}"
    r"|sk_(?:live|test)_\w{16,}|sk-[\w-]{20,}|xox[abprs]-[\w-]{10,}|AIza[\w-]{35}|glpat-[\w-]{20,}|npm_\w{30,}|ya29\.[\w-]{20,}",
    re.DOTALL,
)
_WALLET = re.compile(
    r"0x[0-9a-fA-F]{40}|bc1[02-9ac-hj-np-z]{25,62}|[13][1-9A-HJ-NP-Za-km-z]{25,34}|T[1-9A-HJ-NP-Za-km-z]{33}|[xyz]pub[1-9A-Za-z]{90,120}"
)
_HEX = re.compile(r"(?:[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{56}|[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})", re.IGNORECASE)
_GEO_PAIR = re.compile(
    r"[(\[]?\s*-?\d{1,3}\.\d{3,}\s*[,;|/ ]\s*-?\d{1,3}\.\d{3,}\s*[)\]]?"
    r"|(?:SRID=\d+;)?POINT\s*\(-?\d[\d.]* -?\d[\d.]*\)|(?:geo:)-?\d+\.\d+,-?\d+\.\d+",
    re.IGNORECASE,
)
_TRACK = re.compile(r"[;%]?[Bb]?\d{12,19}(?:[=D]\d{7,}[\dF]*\??|\^[^^]{2,26}\^\d{7,}\S*)")
_FILE = re.compile(r"(?:.*[/\\])?([^/\\]{3,120})\.[A-Za-z0-9]{2,5}")
_CENTS = re.compile(r"-?\d+\.\d{1,2}")
_SUM = r"\d[\d,.' ]*\s?(?:[kKwW]\b|万|千)?"
_FIGURE = re.compile(
    rf"(?:[<>≤≥~≈]=?|up to |over |under )?\s?(?:[¥￥$€£]|[A-Z]{{3}} )?\s?{_SUM}[^\dA-Za-z]{{0,3}}(?:\s?{_SUM})?"
    r"\s?(?:元|万元|€|EUR|USD|CNY|GBP|RMB|CHF|JPY|HKD)?\s?(?:[以之]?[上下内]|/?(?:月|年|mo(?:nth)?|yr|year|h)|p\.?a\.?)?"
)
"""An amount as people write it: 60k EUR, 3k-5k, 5000元以上."""
_NUMBER = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|[¥￥$€£]\s?[\d,.]+")
_ID_LIKE = re.compile(r"[A-Z0-9][A-Z0-9 ./()-]{3,29}")
_HAN = re.compile(r"[\u4e00-\u9fff]+")
_COMPANY = re.compile(
    r"\b(?:ltd|limited|inc|corp|corporation|gmbh|ag|sarl|s\.?a\.?|bv|llc|plc|co|company|group|holdings?)\b\.?|公司|集团|厂$",
    re.IGNORECASE,
)
_SEPARATORS = re.compile(r"[\s\-.]+")
_STARS = re.compile(r"[*＊●•xX#]{3,}")
_EXPIRY = re.compile(r"(?:0[1-9]|1[0-2])[/-]?(?:2\d|3\d|20[2-4]\d)|(?:20)?[23]\d[/-]?(?:0[1-9]|1[0-2])")
_ETHNIC = re.compile(
    r"(?:汉|回|满|壮|苗|藏|彝|侗|瑶|白|傣|黎|畲|水|佤|羌|怒|京|土|维吾尔|蒙古|朝鲜|布依|哈尼|哈萨克|傈僳|高山|拉祜|东乡|纳西|景颇|土家"
    r"|柯尔克孜|达斡尔|仫佬|布朗|撒拉|毛南|仡佬|锡伯|阿昌|普米|塔吉克|乌孜别克|俄罗斯|鄂温克|德昂|保安|裕固|塔塔尔|独龙|鄂伦春|赫哲|门巴|珞巴|基诺)族?"
)
_DISEASE = re.compile(
    r".{0,20}(?:糖尿病|高血压|肿瘤|癌|炎|冠心病|心脏病|梗死|梗塞|骨折|抑郁|精神分裂|肝硬化|结核|艾滋|HIV|哮喘|贫血|白血病|肺病|中风|脑卒中"
    r"|感染|综合征|突出症|结石|溃疡|肝病|肾病|甲亢|甲减|痛风|癫痫|焦虑|失眠|流产|早孕|孕\d|脂肪肝|结节|息肉|囊肿|血脂|心律|早搏|过敏|病$|症$"
    r"|diabet|hypertens|asthma|cancer|carcinoma|tumou?r|depress|anxiety|arthritis|fracture|stroke\b|hepatitis|pneumonia|migraine|copd\b"
    r"|infarct|epilep|obesity|leuk[ae]mia|an[ae]mia|schizo|bipolar|dementia|alzheimer|parkinson|sclerosis|insomnia|angina|arrhythm"
    r"|\w{3,}itis\b|syndrome|disorder|sprain|lesion|back pain|chest pain|insulin|metformin|statin\b)(?:.{0,40})",
    re.IGNORECASE,
)
_ICD = re.compile(r"[A-TV-Z]\d{2}(?:\.\d{1,3}[A-Z]?)?(?:x\d{3})?(?:[ :-].{2,60})?")
_ICD_FINE = re.compile(r"[A-TV-Z]\d{2}\.\d{1,3}[A-Z]?(?:x\d{3})?(?:[ :-].{2,60})?")
_RELIGION = re.compile(
    r"佛教|道教|伊斯兰教|基督教|天主教|东正教|印度教|犹太教|catholic|protestant|muslim|islam|buddhist|buddhism|hindu|hinduism|jewish|judaism"
    r"|christian(?:ity)?|orthodox|atheist|sikh|baptist|lutheran",
    re.IGNORECASE,
)
_PARTY = re.compile(
    r"中共(?:预备)?党员|共青团员|民主党派|民革党员|民盟盟员|民建会员|民进会员|农工党党员|致公党党员|九三学社社员|台盟盟员|无党派(?:人士)?"
    r"|democrat|republican",
    re.IGNORECASE,
)


def normal(text: str) -> str:
    """Without blanks around it, full-width characters as half-width ones (NFKC)."""
    return unicodedata.normalize("NFKC", text[:LONGEST]).strip().strip("\u200b\ufeff")


@lru_cache(maxsize=4096)
def marks(text: str) -> frozenset[str]:
    """Everything that a normal, non-empty text looks like as a whole."""
    if len(text) > 300:
        return frozenset({"long"} | ({"key"} if _KEY.fullmatch(text) else set()))
    found: set[str] = set()
    if any(c.isdigit() for c in text):
        _numbers(text, found)
    _networks(text, found)
    _secrets(text, found)
    _words(text, found)
    found |= shapes(text)
    if len(_STARS.findall(text)) and len(text) <= 40:
        found.add("starred")
    if found & PERSONAL:
        found.add("personal")
    return frozenset(found)


def _numbers(text: str, found: set[str]) -> None:
    bare = _SEPARATORS.sub("", text).upper()
    compact = text.upper().replace(" ", "")
    if len(bare) == 18:
        if (id18 := _ID18.fullmatch(bare)) and id18[1] in _PROVINCES:
            found.add("id_shape")
            if checks.resident_id(bare):
                found.add("id18")
        if _USCC.fullmatch(bare) and checks.credit_code(bare):
            found.add("uscc")
    elif len(bare) == 15 and (id15 := _ID15.fullmatch(bare)) and id15[1] in _PROVINCES:
        found.add("id15")
    if bare.isascii() and bare.isdigit():
        found.add("digits")
        if len(bare) >= 11 and bare.startswith("20") and read_date(bare[:8]) is not None:
            found.add("dated")
        if _BIN.fullmatch(bare):
            found.add("card_shape")
            if checks.luhn(bare):
                found.add("card")
        if len(bare) == 15 and checks.luhn(bare):
            found.add("imei")
    if _NUMBER.fullmatch(text):
        found.add("number")
    if _ID_LIKE.fullmatch(text.upper()) and sum(c.isdigit() for c in text) >= (8 if "." in text else 4):
        found.add("id_like")
    _phones(text, found)
    if _EXPIRY.fullmatch(text):
        found.add("expiry")
    if read_date(text) is not None:
        found.add("date")
    if _SSN.fullmatch(text):
        found.add("ssn")
    if national(text):
        found.add("national")
    if len(text) <= 30 and _FIGURE.fullmatch(text):
        found.add("money_text")
    if _PASSPORT_CN.fullmatch(compact):
        found.add("passport")
    if _PERMIT.fullmatch(compact):
        found.add("permit")
    if _HKID.fullmatch(compact) and checks.hong_kong_id(compact.replace("(", "").replace(")", "")):
        found.add("hkid")
    if _TWID.fullmatch(compact) and checks.taiwan_id(compact):
        found.add("twid")
    if _PLATE.fullmatch(text.upper()):
        found.add("plate")
    if _VIN.fullmatch(text):
        found.add("vin")
    if checks.iban(bare):
        found.add("iban")
    if _ICD.fullmatch(text):
        found.add("icd")
        if _ICD_FINE.fullmatch(text):
            found.add("icd_fine")
    if _GEO_PAIR.fullmatch(text):
        found.add("geo_pair")
    if _TRACK.fullmatch(text):
        found.add("track")
    if _CENTS.fullmatch(text):
        found.add("cents")


def _phones(text: str, found: set[str]) -> None:
    squeezed = re.sub(r"(?<=\d)[- ](?=\d)", "", text)
    if _MOBILE.fullmatch(squeezed):
        found.add("mobile")
        if squeezed == text and text.isdigit():
            found.add("bare_mobile")
    elif len(text) == 11 and text[0] == "1" and text.isdigit():
        found.add("no_mobile")
    elif _LANDLINE.fullmatch(text):
        found.add("landline")
    elif _WITHIN_COUNTRY.fullmatch(text):
        found.add("phone_within")
    elif _SERVICE.fullmatch(text):
        found.add("service_number")
    elif _NORTH_AMERICA.fullmatch(text):
        found.add("phone_na")
    elif (text[0] == "+" or (text[:2] == "00" and len(text) > 9)) and international(text):
        found.add("phone_intl")
    if _DIALLED.fullmatch(text) and 6 <= sum(c.isdigit() for c in text) <= 20:
        found.add("dialled")


def international(text: str) -> bool:
    """A number with its country code that exists by its country's numbering plan."""
    try:
        number = phonenumbers.parse("+" + text.lstrip("+0") if text[0] != "+" else text, None)
    except phonenumbers.NumberParseException:
        return False
    return phonenumbers.is_possible_number(number)


def _networks(text: str, found: set[str]) -> None:
    if "@" in text and _EMAIL.fullmatch(text):
        found.add("email")
    if _MAC.fullmatch(text):
        found.add("mac")
    elif (text.count(".") == 3 or text.count(":") >= 2) and len(text) <= 49:
        try:
            at = ipaddress.ip_interface(text).ip
            found.add("ip")
            if at.is_private or at.is_loopback:
                found.add("ip_inside")
        except ValueError:
            pass


def _secrets(text: str, found: set[str]) -> None:
    if _STORED_PASSWORD.fullmatch(text):
        found.add("stored_password")
    if _KEY.fullmatch(text):
        found.add("key")
    if _MRZ.fullmatch(text):
        found.add("mrz")
    if _WALLET.fullmatch(text):
        found.add("wallet")
    if _HEX.fullmatch(text):
        found.add("hex")
    if UUID.fullmatch(text):
        found.add("uuid")
    if len(text) >= 4 and not re.search(r"\s", text) and text.isascii():
        found.add("token_shape")


def _words(text: str, found: set[str]) -> None:
    if people.chinese_name(text):
        found.add("name_zh")
        if people.chinese_given(text):
            found.add("given_zh")
        if people.chinese_common(text):
            found.add("common_zh")
    elif people.bilingual(text) or people.several_names(text):
        found.update(("name_zh", "given_zh", "common_zh"))
    elif latin := people.latin_words(text):
        found.add("name_latin")
        if len(latin) > 1:
            found.add("latin_words")
        elif people.first_name(latin[0]):
            found.add("first_name")
        if people.latin_known(latin):
            found.add("known_latin")
        if len(latin) == 1 and people.last_name(latin[0]):
            found.add("last_name")
    if (
        len(text) <= 80
        and any(ord(c) > 0x24F for c in text)
        and not any(c.isdigit() or c in "_/\\@:;=<>{}[]|&%$#!?。！？；：" for c in text)
    ):
        found.add("wordy")
    if places.chinese_address(text):
        found.add("address_zh")
    elif places.latin_address(text):
        found.add("address_latin")
    if (file := _FILE.fullmatch(text)) and people.name_in_parts(file[1]):
        found.add("name_file")
    if _COMPANY.search(text):
        found.add("company")
    if _HAN.fullmatch(text):
        found.add("han")
    if len(text) >= 5 and not text.isdigit() and re.search(r"\s|[\u4e00-\u9fff]", text):
        found.add("several_words")
    if len(text) <= 12 and _ETHNIC.fullmatch(text) and text.endswith("族"):
        found.add("ethnic")
    if len(text) <= 40:
        if _DISEASE.fullmatch(text):
            found.add("disease")
        if _RELIGION.fullmatch(text):
            found.add("religion")
        if _PARTY.fullmatch(text):
            found.add("party")
