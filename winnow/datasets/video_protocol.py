"""What we and the guarded process that decodes videos say to each other, over a socket."""

from struct import Struct
from typing import Final

REQUEST: Final = Struct("<I")  # bytes of JSON; a descriptor of the open video travels with it
ANSWER: Final = Struct("<cII")  # kind, bytes of JSON, bytes of a picture

READY: Final = b"R"  # said once, before all answers
SAMPLE: Final = b"S"  # one of many: what the frame is, and a picture of it
PROGRESS: Final = b"P"  # one of many: it is alive
DONE: Final = b"D"  # the last
FAILED: Final = b"E"  # the last: the code of an ItemError and its detail
