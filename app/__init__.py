"""HTTP to job: parse, decide, answer. Thin; it never imports the worker, the kernels or anything heavy.

Map: `main` puts the app together, `routers` the calls, `service` the verbs (one transaction each), `deps` who asks and
for what, `schemas` what is answered, `errors` the HTTP numbers, `middleware` the guard at the door, `files` and
`tokens` for results, `queue` the doorbell, `web` the page.
"""
