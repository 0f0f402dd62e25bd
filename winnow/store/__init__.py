"""The database and the disk: every query and every path once. Functions take a Connection first and never commit.

Map: `db` connections and transactions, `tables` the schema as data, `ids` new identifiers, `jobs` the queue and
its verdicts, `datasets`, `uploads`, `keys` (tenants and API keys), `idempotency`, `artifacts` (paths), `migrate`.
"""
