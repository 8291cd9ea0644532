"""Which definition texts give data away. The texts are as PostgreSQL deparses them."""

from __future__ import annotations

import pytest

from proxy.control.literals import comment_embeds_data, embeds_data

HARMLESS = [
    "",
    "now()",
    "false",
    "0",
    "nextval('bank.seq'::regclass)",
    "nextval('bank.seq_20240131123456'::regclass)",
    "'active'::text",
    "(status = ANY (ARRAY['active'::text, 'frozen'::text, 'closed'::text]))",
    "(VALUE ~ '^1[0-9]{10}$'::text)",
    "((credit_score >= 300) AND (credit_score <= 850))",
    "(daily_limit <= 1000000)",
    "'500000000000'::bigint",
    "2147483647",
    "'9223372036854775807'::bigint",
    "999999999.99",
    "'9999-12-31'::date",
    "'1970-01-01 00:00:00+00'::timestamp with time zone",
    "'00000000-0000-0000-0000-000000000000'::uuid",
    "'{}'::jsonb",
    "'\\x'::bytea",
    "to_char(created_at, 'YYYY-MM-DD'::text)",
    "'Asia/Shanghai'::text",
    "'in progress'::text",
    "'正常'::text",
    "'人民币'::text",
    "'高级'::text",
    'lower("13800001234")',
    "t20240131_1",
]

DATA = [
    "'13800001234'::text",
    "'138-0000-1234'::text",
    "'+86 138 0000 1234'::text",
    "(phone = '13800001234'::text)",
    "((id_card)::text = '11010119900307123X'::text)",
    "(account_no = 6222020200112233)",
    "'6222020200112233'::bigint",
    "('call '::text || '4008001234'::text)",
    "(email = 'zhang.wei@example.com'::text)",
    "(full_name = 'Zhang Wei'::text)",
    "(full_name = 'O''Brien Smith'::text)",
    '\'{"name": "Wang Fang"}\'::jsonb',
    "(full_name = '张三'::text)",
    "(full_name = '欧阳娜娜'::text)",
    "'北京市朝阳区建国路八十八号'::text",
    "'1990-03-07'::date",
    "'550e8400-e29b-41d4-a716-446655440000'::uuid",
    "'\\x0123456789abcdef'::bytea",
    "E'\\\\x0123456789abcdef'::bytea",
    "(a = 'x''y'::text) OR (phone = '13800001234'::text)",
    "'１３８００００１２３４'::text",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_codes_and_limits_are_not_data(text: str) -> None:
    assert not embeds_data(text)


@pytest.mark.parametrize("text", DATA)
def test_values_are_data(text: str) -> None:
    assert embeds_data(text)


@pytest.mark.parametrize(
    "text", ["Customers, one row each", "客户主表，手机号已加密", "since 2021", "ISO 4217 code", "see p. 12"]
)
def test_prose_in_comments(text: str) -> None:
    assert not comment_embeds_data(text)


@pytest.mark.parametrize("text", ["complaint filed by 13800001234", "投诉人电话 138 0000 1234", "ask zhang@example.cn"])
def test_data_in_comments(text: str) -> None:
    assert comment_embeds_data(text)
