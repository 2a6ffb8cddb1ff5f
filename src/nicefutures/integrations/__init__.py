"""The same levels in other engines; each module needs the extra of its name, and is imported when asked for."""
