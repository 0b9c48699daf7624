"""The grammar and rules of HTTP: strings in, values out. Nothing here does I/O, knows a scope or awaits."""
