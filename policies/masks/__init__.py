"""The masks, each with an SQL face and a Python face that give the same result."""
