"""The grammar and the rules of HTTP: text in, values out; no I/O, no scope, nothing to await."""
