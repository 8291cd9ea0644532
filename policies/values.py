"""The values of a YAML document as Python has them: for what carries data, such as the rows of a policy test."""

from __future__ import annotations

from decimal import Decimal

from policies.document import Entry

Value = str | int | Decimal | bool | None | list["Value"] | dict[str, "Value"]


def plain(entry: Entry) -> Value:
    """Text, whole numbers, Decimals, booleans, None, lists and maps. Dates and times stay the text that they are."""
    if entry.is_mapping:
        return {key: plain(value) for key, value in entry.mapping()}
    if entry.is_list:
        return [plain(item) for item in entry.items()]
    if entry.is_null:
        return None
    kind = entry.node.tag.rpartition(":")[2]
    if kind == "bool":
        return entry.bool()
    if kind == "int":
        return entry.int()
    if kind == "float":
        entry.number()
        return Decimal(str(entry.node.value).replace("_", ""))
    return str(entry.node.value)
