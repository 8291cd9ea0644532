"""Values for the labelled schemas: every generator takes a seeded random.Random and makes one value.

Nothing here is real: numbers are drawn at random and only satisfy the check digits. `faker_…` generators take their values from
Faker, whose vocabulary nobody of this project chose; the held-out schemas use those.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import random
import string
import uuid
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import Any

from faker import Faker

R = random.Random
TODAY = datetime.date(2026, 6, 30)
GENERATORS: dict[str, Callable[[R], Any]] = {}


def generator(function: Callable[[R], Any]) -> Callable[[R], Any]:
    GENERATORS[function.__name__] = function
    return function


def choice(name: str, *items: Any) -> None:
    GENERATORS[name] = lambda r: r.choice(items)


def words(name: str, text: str) -> None:
    choice(name, *text.split())


def digits(r: R, n: int) -> str:
    return "".join(r.choices(string.digits, k=n))


def wide(text: str) -> str:
    """Full-width digits and letters, as input methods of the GBK days left them behind."""
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


def luhn(body: str) -> str:
    total = 0
    for i, c in enumerate(reversed(body)):
        d = int(c) * (2 if i % 2 == 0 else 1)
        total += d - 9 if d > 9 else d
    return body + str(-total % 10)


# -- people -------------------------------------------------------------------------------------------------------------
_SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾萧田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤"
_GIVEN = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀英霞平刚桂兰梅琳雪婷慧颖欣怡佳嘉子涵宇轩浩然俊思雨晨梓萱博文志国建华海波鹏飞晓东立新玉红春燕文斌云龙振宁德福成家豪一诺若曦"
_FIRST = "James Mary Robert Patricia John Jennifer Michael Linda David Elizabeth William Barbara Anna Peter Laura Thomas Sofia Lukas Marie Paul".split()
_LAST = "Smith Johnson Williams Brown Jones Garcia Miller Davis Rodriguez Martinez Muller Schmidt Rossi Dubois Novak Kim Nguyen Anderson Taylor".split()
_PINYIN = "zhang wei|wang fang|li na|liu yang|chen jing|yang lei|zhao min|huang qiang|zhou jie|wu tao|xu yan|sun li|ma chao|zhu ying|hu bin|guo lin"


@generator
def person_zh(r: R) -> str:
    if r.random() < 0.02:
        return r.choice(["欧阳", "司马", "上官", "诸葛"]) + "".join(r.choices(_GIVEN, k=2))
    return r.choice(_SURNAMES) + "".join(r.choices(_GIVEN, k=r.choice([1, 2, 2, 2])))


@generator
def person_en(r: R) -> str:
    return f"{r.choice(_FIRST)} {r.choice(_LAST)}"


@generator
def person_comma(r: R) -> str:
    return f"{r.choice(_LAST).upper()}, {r.choice(_FIRST)}"


@generator
def person_pinyin(r: R) -> str:
    return r.choice(_PINYIN.split("|")).upper()


@generator
def person_two(r: R) -> str:
    return f"{person_zh(r)} ({r.choice(_PINYIN.split('|')).title()})"


@generator
def person_mixed(r: R) -> str:
    return r.choice([person_zh, person_zh, person_en])(r)


@generator
def surname_zh(r: R) -> str:
    return r.choice(_SURNAMES)


@generator
def given_zh(r: R) -> str:
    return "".join(r.choices(_GIVEN, k=2))


@generator
def first_en(r: R) -> str:
    return r.choice(_FIRST)


@generator
def last_en(r: R) -> str:
    return r.choice(_LAST)


@generator
def username(r: R) -> str:
    return r.choice(_PINYIN.split("|")).replace(" ", "") + digits(r, r.choice([0, 2, 3]))


choice("gender", "男", "女")
choice("gender_code", "M", "F")
words("ethnicity", "汉族 汉族 汉族 汉族 汉族 回族 满族 壮族 维吾尔族 苗族 藏族 蒙古族")
words("religion", "无 无 佛教 道教 伊斯兰教 基督教 天主教")
words("religion_en", "Catholic Muslim Buddhist Jewish Hindu Protestant None")
words("political", "群众 中共党员 共青团员 民主党派 群众 群众")
words("blood", "A B O AB")
choice(
    "diagnosis",
    "2型糖尿病",
    "高血压3级",
    "急性上呼吸道感染",
    "慢性胃炎",
    "冠状动脉粥样硬化性心脏病",
    "肺部感染",
    "腰椎间盘突出症",
    "乙型病毒性肝炎",
)
choice("icd10", "E11.9", "I10", "J06.9", "K29.5", "I25.1", "J18.9", "M51.2", "B18.1")
words("marital", "已婚 未婚 离异 丧偶")
words("education", "本科 大专 硕士 博士 高中")

# -- documents ----------------------------------------------------------------------------------------------------------
_REGIONS = (
    "110101 110105 310104 310115 440106 440305 330106 320102 510104 420106 610113 370202 350203 210102 500103 430102".split()
)


@generator
def dob(r: R) -> datetime.date:
    return datetime.date(1945, 1, 1) + datetime.timedelta(days=r.randrange(60 * 365))


@generator
def dob_text(r: R) -> str:
    return dob(r).strftime("%Y%m%d")


@generator
def dob_int(r: R) -> int:
    return int(dob_text(r))


@generator
def dob_dashes(r: R) -> str:
    return dob(r).isoformat()


@generator
def dob_zh(r: R) -> str:
    d = dob(r)
    return f"{d.year}年{d.month}月{d.day}日"


@generator
def dob_slash(r: R) -> str:
    return dob(r).strftime("%d/%m/%Y")


@generator
def dob_ts(r: R) -> datetime.datetime:
    return datetime.datetime.combine(dob(r), datetime.time())


@generator
def id18(r: R) -> str:
    body = r.choice(_REGIONS) + dob_text(r) + digits(r, 3)
    total = sum(int(c) * w for c, w in zip(body, (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2), strict=True))
    return body + "10X98765432"[total % 11]


@generator
def id15(r: R) -> str:
    return r.choice(_REGIONS) + dob_text(r)[2:] + digits(r, 3)


@generator
def id18_wide(r: R) -> str:
    return wide(id18(r)) if r.random() < 0.5 else id18(r)


@generator
def id18_spoilt(r: R) -> str:
    """A fifth of them damaged, as in any old table."""
    value = id18(r)
    return value[:-1] + r.choice("0123456789") if r.random() < 0.2 else value


@generator
def document_mixed(r: R) -> str:
    return r.choice([id18, id18, id18, passport_cn, permit_hk, passport_cn])(r)


@generator
def passport_cn(r: R) -> str:
    return r.choice("EEEG") + digits(r, 8) if r.random() < 0.7 else "E" + r.choice("ABCDFGH") + digits(r, 7)


@generator
def passport_any(r: R) -> str:
    return r.choice([passport_cn(r), digits(r, 9), "C" + digits(r, 2) + r.choice("FGHJK") + digits(r, 5), "N" + digits(r, 7)])


@generator
def permit_hk(r: R) -> str:
    return r.choice("HHM") + digits(r, r.choice([8, 8, 10]))


@generator
def permit_out(r: R) -> str:
    return "C" + r.choice(string.digits + "ABCDE") + digits(r, 7)


@generator
def permit_tw(r: R) -> str:
    return digits(r, 8)


@generator
def hkid(r: R) -> str:
    letter, body = r.choice("ABCDEGHKPRVYZ"), digits(r, 6)
    total = 36 * 9 + (ord(letter) - 55) * 8 + sum(int(c) * w for c, w in zip(body, range(7, 1, -1), strict=True))
    check = -total % 11
    return f"{letter}{body}({'A' if check == 10 else check})"


@generator
def ssn_us(r: R) -> str:
    return f"{r.randrange(100, 665):03}-{r.randrange(10, 99):02}-{r.randrange(1000, 9999):04}"


@generator
def uscc(r: R) -> str:
    alphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"
    body = r.choice(["91", "91", "91", "12", "52", "93"]) + r.choice(_REGIONS) + "".join(r.choices(alphabet, k=9))
    total = sum(
        alphabet.index(c) * w for c, w in zip(body, (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28), strict=True)
    )
    return body + alphabet[-total % 31]


_PLATE = "京沪粤浙苏川鄂陕鲁闽辽渝湘冀豫皖"


@generator
def plate(r: R) -> str:
    return r.choice(_PLATE) + r.choice("ABCDEFGH") + "".join(r.choices("ABCDEFGHJKLMNPQRSTUVWXYZ0123456789", k=5))


@generator
def plate_dot(r: R) -> str:
    value = plate(r)
    return f"{value[:2]}·{value[2:]}"


@generator
def vin(r: R) -> str:
    return "L" + "".join(r.choices("ABCDEFGHJKLMNPRSTUVWXYZ0123456789", k=10)) + digits(r, 6)


# -- contact ------------------------------------------------------------------------------------------------------------
_MOBILE = "130 131 132 133 135 136 137 138 139 150 151 152 155 156 157 158 159 166 170 173 176 177 178 180 181 182 185 186 187 188 189 191 198 199".split()


@generator
def mobile(r: R) -> str:
    return r.choice(_MOBILE) + digits(r, 8)


@generator
def mobile_int(r: R) -> int:
    return int(mobile(r))


@generator
def mobile_86(r: R) -> str:
    return r.choice(["+86", "+86 ", "86-", "0086"]) + mobile(r)


@generator
def mobile_spaced(r: R) -> str:
    m = mobile(r)
    return r.choice([f"{m[:3]}-{m[3:7]}-{m[7:]}", f"{m[:3]} {m[3:7]} {m[7:]}", m])


@generator
def mobile_wide(r: R) -> str:
    return wide(mobile(r)) if r.random() < 0.4 else mobile(r)


@generator
def mobile_masked(r: R) -> str:
    m = mobile(r)
    return f"{m[:3]}****{m[7:]}"


@generator
def landline(r: R) -> str:
    return f"{r.choice(['010', '021', '0755', '020', '0571', '028'])}-{r.choice('2345678')}{digits(r, 7)}"


@generator
def landline_bracket(r: R) -> str:
    return f"({r.choice(['010', '021', '0755', '020'])}){r.choice('2345678')}{digits(r, 7)}"


@generator
def phone_mixed(r: R) -> str:
    return r.choice([mobile, mobile, landline, mobile_spaced])(r)


@generator
def hotline(r: R) -> str:
    return r.choice([f"400-{digits(r, 3)}-{digits(r, 4)}", "955" + digits(r, 2), f"800{digits(r, 7)}"])


@generator
def phone_intl(r: R) -> str:
    return r.choice(
        [
            f"+1 212-{r.randrange(200, 999)}-{digits(r, 4)}",
            f"+44 20 7{digits(r, 3)} {digits(r, 4)}",
            f"+49 30 {r.randrange(2000000, 8999999)}",
            f"+852 9{digits(r, 3)} {digits(r, 4)}",
            f"+81 90-{r.randrange(1000, 9999)}-{digits(r, 4)}",
        ]
    )


@generator
def phone_us(r: R) -> str:
    return r.choice(["({}) {}-{}", "{}-{}-{}", "{}.{}.{}"]).format(
        r.choice([212, 415, 650, 312, 206]), r.randrange(200, 999), digits(r, 4)
    )


@generator
def email(r: R) -> str:
    return username(r) + "@" + r.choice(["qq.com", "163.com", "gmail.com", "example.com", "corp.example.cn"])


@generator
def email_upper(r: R) -> str:
    return email(r).upper()


@generator
def contact_any(r: R) -> str:
    return r.choice([mobile, email, mobile])(r)


@generator
def wechat(r: R) -> str:
    return r.choice(["wxid_" + "".join(r.choices(string.ascii_lowercase + string.digits, k=14)), username(r)])


@generator
def qq(r: R) -> str:
    return str(r.randrange(10**5, 10**10))


_CITY = "北京市朝阳区 上海市浦东新区 广东省深圳市南山区 广东省广州市天河区 浙江省杭州市西湖区 江苏省南京市鼓楼区 四川省成都市武侯区 湖北省武汉市洪山区".split()


@generator
def address_zh(r: R) -> str:
    road = r.choice(["中山", "人民", "建设", "科技", "文化", "解放", "长江", "学院"]) + r.choice(["路", "大道", "街", "北路"])
    return f"{r.choice(_CITY)}{road}{r.randrange(1, 999)}号{r.choice(['', f'{r.randrange(1, 30)}栋{r.randrange(101, 2999)}室', '阳光小区3单元'])}"


@generator
def address_short(r: R) -> str:
    return f"{r.choice(['幸福', '和平', '胜利', '东风'])}{r.choice(['路', '街', '巷'])}{r.randrange(1, 300)}号"


@generator
def address_village(r: R) -> str:
    return f"{r.choice(['河南省', '山东省', '安徽省'])}{r.choice(['兰考', '曹', '金寨'])}县{r.choice(['城关', '三里', '大庄'])}镇{r.choice(['王', '李', '赵'])}庄村{r.randrange(1, 12)}组"


@generator
def address_en(r: R) -> str:
    return f"{r.randrange(1, 9999)} {r.choice(['Main', 'Oak', 'Park', 'Cedar', 'Hill'])} {r.choice(['St', 'Ave', 'Road', 'Lane', 'Blvd'])}, {r.choice(['Springfield', 'Salem', 'Dover'])}"


choice("province", *"北京市 上海市 广东省 浙江省 江苏省 四川省 湖北省 山东省 河南省".split())
choice("city", *"北京 上海 深圳 广州 杭州 南京 成都 武汉 金华 温州 安阳 常州 黄石 马鞍山".split())
choice("city_en", "London", "Paris", "Berlin", "Madrid", "Boston", "Chicago", "Dallas", "Austin", "Sydney", "Florence")
choice("region_code", *_REGIONS)


@generator
def postcode(r: R) -> str:
    return str(r.randrange(100000, 859999))


@generator
def latitude(r: R) -> Decimal:
    return Decimal(r.randrange(18_000000, 53_000000)).scaleb(-6)


@generator
def longitude(r: R) -> Decimal:
    return Decimal(r.randrange(73_000000, 135_000000)).scaleb(-6)


# -- money and cards ----------------------------------------------------------------------------------------------------
@generator
def card(r: R) -> str:
    prefix, length = r.choice(
        [("621700", 19), ("622848", 19), ("622202", 19), ("625800", 16), ("439225", 16), ("518710", 16), ("356833", 16)]
    )
    return luhn(prefix + digits(r, length - len(prefix) - 1))


@generator
def card_spaced(r: R) -> str:
    value = card(r)
    return " ".join(value[i : i + 4] for i in range(0, len(value), 4))


@generator
def card_spoilt(r: R) -> str:
    return card(r) if r.random() < 0.75 else "62" + digits(r, 17)


@generator
def cvv(r: R) -> str:
    return digits(r, 3)


@generator
def expiry(r: R) -> str:
    return f"{r.randrange(1, 13):02}/{r.randrange(25, 33)}"


@generator
def account(r: R) -> str:
    return r.choice(["0200", "3301", "4402", "1109"]) + digits(r, 15)


@generator
def account_short(r: R) -> str:
    return digits(r, 12)


@generator
def iban(r: R) -> str:
    country, length = r.choice([("DE", 18), ("ES", 20), ("BE", 12)])
    body = digits(r, length)
    number = int("".join(str(int(c, 36)) for c in body + country + "00"))
    return f"{country}{98 - number % 97:02}{body}"


@generator
def iban_spaced(r: R) -> str:
    value = iban(r)
    return " ".join(value[i : i + 4] for i in range(0, len(value), 4))


choice("bic", "DEUTDEFF", "BKCHCNBJ", "ICBKCNBJ", "CHASUS33", "HSBCHKHH")


@generator
def money(r: R) -> Decimal:
    return Decimal(int(r.lognormvariate(11, 1.6))).scaleb(-2) + r.randrange(1000)


@generator
def salary(r: R) -> Decimal:
    return Decimal(r.randrange(4000, 60000, 100))


@generator
def price(r: R) -> Decimal:
    return Decimal(r.choice([9.9, 19.9, 49, 99, 129, 199, 399]))


# -- networks, secrets --------------------------------------------------------------------------------------------------
@generator
def ip4(r: R) -> str:
    return ".".join(str(r.randrange(1, 255)) for _ in range(4))


@generator
def ip6(r: R) -> str:
    return "2001:db8:" + ":".join(f"{r.randrange(65536):x}" for _ in range(6))


@generator
def mac(r: R) -> str:
    return ":".join(f"{r.randrange(256):02x}" for _ in range(6))


@generator
def imei(r: R) -> str:
    return luhn("86" + digits(r, 12))


@generator
def bcrypt(r: R) -> str:
    return "$2b$12$" + "".join(r.choices(string.ascii_letters + string.digits + "./", k=53))


@generator
def md5(r: R) -> str:
    return hashlib.md5(digits(r, 20).encode(), usedforsecurity=False).hexdigest()


@generator
def sha256(r: R) -> str:
    return hashlib.sha256(digits(r, 20).encode()).hexdigest()


@generator
def jwt(r: R) -> str:
    part = "".join(r.choices(string.ascii_letters + string.digits + "-_", k=60))
    return f"eyJhbGciOiJIUzI1NiJ9.eyJ{part}.{part[:43]}"


@generator
def api_key(r: R) -> str:
    return "".join(r.choices(string.ascii_letters + string.digits, k=40))


@generator
def password(r: R) -> str:
    return "".join(r.choices(string.ascii_letters + string.digits + "!@#", k=r.randrange(6, 12)))


@generator
def pin6(r: R) -> str:
    return digits(r, 6)


# -- harmless things, some of which look like something else ------------------------------------------------------------
class Serial:
    """1, 2, 3 …: the one generator with a memory, made anew for each column."""

    def __init__(self, start: int, prefix: str = "") -> None:
        self.next, self.prefix = start, prefix

    def __call__(self, r: R) -> Any:
        self.next += 1
        return f"{self.prefix}{self.next}" if self.prefix else self.next


SERIALS: dict[str, Callable[[], Serial]] = {
    "serial": lambda: Serial(0),
    "serial_big": lambda: Serial(13800000000),
    "serial_18": lambda: Serial(110101199001010000),
    "serial_code": lambda: Serial(10000000, "E"),
}


@generator
def small(r: R) -> int:
    return r.randrange(1, 500)


@generator
def flag(r: R) -> bool:
    return r.random() < 0.5


@generator
def percent(r: R) -> Decimal:
    return Decimal(r.randrange(1, 10000)).scaleb(-2)


@generator
def rate(r: R) -> Decimal:
    return Decimal(r.randrange(100, 900)).scaleb(-4)


@generator
def uuid4(r: R) -> str:
    return str(uuid.UUID(int=r.getrandbits(128), version=4))


@generator
def now(r: R) -> datetime.datetime:
    return datetime.datetime.combine(TODAY, datetime.time()) - datetime.timedelta(seconds=r.randrange(3 * 365 * 86400))


@generator
def day(r: R) -> datetime.date:
    return now(r).date()


@generator
def day_text(r: R) -> str:
    return day(r).strftime("%Y%m%d")


@generator
def old_day(r: R) -> datetime.date:
    """Hired, founded: decades, up to today."""
    return TODAY - datetime.timedelta(days=int(r.random() ** 2 * 30 * 365))


@generator
def future(r: R) -> datetime.date:
    return TODAY + datetime.timedelta(days=r.randrange(3000))


@generator
def epoch(r: R) -> int:
    return 1_700_000_000 + r.randrange(80_000_000)


@generator
def epoch_ms(r: R) -> int:
    return epoch(r) * 1000 + r.randrange(1000)


@generator
def order16(r: R) -> str:
    return day_text(r) + digits(r, 8)


@generator
def order16_random(r: R) -> str:
    while True:
        value = "4" + digits(r, 15)
        if luhn(value[:-1]) != value:
            return value


@generator
def order18(r: R) -> str:
    return day_text(r) + digits(r, 10)


@generator
def order_prefixed(r: R) -> str:
    return r.choice(["SO", "PO", "DD"]) + day_text(r) + digits(r, 5)


@generator
def snowflake(r: R) -> int:
    return (epoch_ms(r) - 1_288_834_974_657 << 22) + r.randrange(1 << 22)


@generator
def number11(r: R) -> str:
    return r.choice("2345678") + digits(r, 10)


@generator
def model_no(r: R) -> str:
    return r.choice(["iPhone 15", "Mate 60", "Galaxy S24", "Redmi K70", "GT-I9500", "SM-G9910", "TD-LTE 8"]) + r.choice(
        ["", " Pro", " Max", "+"]
    )


@generator
def ean13(r: R) -> str:
    body = "69" + digits(r, 10)
    return body + str(-sum(int(c) * (3 if i % 2 else 1) for i, c in enumerate(body)) % 10)


words(
    "product_zh",
    "黄金积存 白酒礼盒 金葵花卡 方便面 毛巾 安心存款 龙井茶 马克杯 高清摄像头 江小白 温度计 汤圆 石英表 余额宝 万能充 鲁花油 雷达表 任天堂 平板电脑 华为手机",
)
choice(
    "product_en",
    "Golden Saver Account",
    "Blue Pen",
    "Desk Lamp",
    "Travel Mug",
    "Wool Scarf",
    "Office Chair",
    "Phone Case",
    "Water Bottle",
)
choice("branch_zh", "中山路支行", "高新区支行", "王府井支行", "金融街支行", "营业部", "陆家嘴支行", "徐家汇分理处", "黄埔支行")
words("dept_zh", "财务部 人力资源部 信息科技部 零售业务部 风险管理部 办公室 审计部 安保部")
choice(
    "company_zh",
    "深圳市腾云科技有限公司",
    "北京华信贸易有限责任公司",
    "上海浦江物流股份有限公司",
    "杭州西子电子厂",
    "广州白云食品集团",
)
choice("company_en", "Acme Ltd", "Globex Corporation", "Initech GmbH", "Umbrella Inc.", "Stark Industries")
words("status", "NEW PAID SHIPPED CLOSED")
words("status_zh", "正常 冻结 注销 挂失")
words("currency", "CNY USD EUR HKD JPY")
words("colour_zh", "黄色 白色 金色 红色 蓝色 黑色")
words("job_zh", "柜员 客户经理 程序员 会计 主任 高级工程师")
words("code2", "01 02 03 04 99")
words("brand", "Apple Huawei Xiaomi Samsung Lenovo Sony Dell Philips")
choice("menu", "User List", "Order Detail", "Role Admin", "Daily Report", "Card Query")
words("table_name", "customers accounts phone_log user_role order_item card_bin")
words("role_code", "admin teller manager auditor guest")
words("hex_colour", "#ff0000 #00ff00 #336699 #ffffff")
choice("country", "China", "Germany", "France", "Japan", "Brazil", "Chad", "Jordan", "Georgia")
choice("url", "https://www.example.com/a/1", "https://shop.example.cn/item?id=9", "http://intranet/x")
choice("file_name", "report_2024.pdf", "photo_001.jpg", "contract-77.docx", "scan.tiff")
choice("title_en", "The Grey Harbour", "Winter in Prague", "Charlotte Road", "A Room for Henry")
choice(
    "note_zh",
    "客户来电咨询理财产品",
    "已回访，无异议",
    "资料齐全",
    "待补充材料",
    "无",
    "同意办理",
    "建议下次联系时推荐新产品，客户态度良好",
)
choice(
    "note_en",
    "called back, no answer",
    "all documents complete",
    "wants a new card",
    "n/a",
    "please follow up next week about the mortgage",
)
choice("log_line", "login ok", "GET /index.html 200", "timeout after 30000 ms", "batch 20240105 finished, 1200 rows")


@generator
def version_no(r: R) -> str:
    return f"{r.randrange(1, 12)}.{r.randrange(20)}.{r.randrange(50)}"


@generator
def version4(r: R) -> str:
    return f"{r.randrange(1, 12)}.{r.randrange(20)}.{r.randrange(50)}.{r.randrange(1000, 9999)}"


@generator
def blob64(r: R) -> str:
    return base64.b64encode(r.randbytes(90)).decode()


@generator
def empty(r: R) -> None:
    return None


@generator
def note_personal(r: R) -> str:
    if r.random() < 0.6:
        return GENERATORS["note_zh"](r)
    return r.choice(
        [
            f"客户{person_zh(r)}来电，手机{mobile(r)}，要求改寄",
            f"身份证{id18(r)}已核对，与原件一致",
            f"代办人联系电话：{mobile(r)}",
            f"请转入{card(r)}，户名{person_zh(r)}",
        ]
    )


@generator
def note_personal_en(r: R) -> str:
    if r.random() < 0.6:
        return GENERATORS["note_en"](r)
    return r.choice(
        [
            f"call {person_en(r)} on {phone_intl(r)} tomorrow",
            f"mail sent to {email(r)} about the claim",
            f"card {card(r)} was reported stolen",
        ]
    )


@generator
def json_person(r: R) -> dict[str, Any]:
    return {"id_card": id18(r), "mobile": mobile(r), "tags": ["a", "b"], "level": small(r), "contact": {"home": address_zh(r)}}


@generator
def json_plain(r: R) -> dict[str, Any]:
    return {"theme": "dark", "page": small(r), "flags": {"beta": flag(r)}}


@generator
def json_event(r: R) -> str:
    return json.dumps({"event": "login", "user": {"name": person_zh(r), "email": email(r)}, "at": epoch(r)}, ensure_ascii=False)


@generator
def json_contacts(r: R) -> dict[str, Any]:
    return {"contacts": [{"n": person_zh(r), "tel": mobile(r)} for _ in range(2)]}


@generator
def phones(r: R) -> list[str]:
    return [mobile(r) for _ in range(r.randrange(1, 4))]


@generator
def tags(r: R) -> list[str]:
    return r.sample(["vip", "new", "gold", "online", "branch"], k=2)


# -- values of which nobody here chose the vocabulary -------------------------------------------------------------------
@lru_cache(maxsize=16)
def _faker(locale: str) -> Faker:
    return Faker(locale)


def from_faker(name: str, r: R) -> Any:
    """`faker_zh_CN.name`: the provider `name` of the locale zh_CN, seeded from `r`."""
    locale, _, provider = name.removeprefix("faker_").partition(".")
    fake = _faker(locale)
    fake.seed_instance(r.getrandbits(32))
    value = getattr(fake, provider)()
    return value.replace("\n", ", ") if isinstance(value, str) else value
