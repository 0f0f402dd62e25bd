"""The calls, one file a noun: parse, call the service, answer."""
