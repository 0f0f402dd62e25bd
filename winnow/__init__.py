"""What the product knows: specs, results, stages and the store; never FastAPI, never Celery.

Map: `spec` and `results` are the nouns, `datasets -> embeddings -> selection -> insights -> plots` the
stages, `pipeline` their order, `store` the database, `settings` the configuration, `errors` the one tree.
"""

from importlib.metadata import version

__version__ = version("winnow")
