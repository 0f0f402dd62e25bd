"""The API in this process; see `in_process`."""

from in_process import api, make_api, root  # noqa: F401 - fixtures
