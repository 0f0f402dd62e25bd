"""HTTP to job: parse, decide, answer. Thin; it never imports the worker, the kernels or anything heavy.

Map: `main` puts the app together, `routers` the calls, `service` the verbs (one transaction each), `deps` who asks and
for what, `rates` how often, `schemas` what is answered, `examples` what the description shows, `errors` the HTTP
numbers, `middleware` and `http_protocol` the guard at the door, `strict_json` bodies, `uploads` bytes in, `files` and
`downloads` bytes out, `tokens` and `paging` lists, `watching` who waits, `estimates` plans, `queue` the doorbell,
`metrics` for Prometheus, `web` the page.
"""
