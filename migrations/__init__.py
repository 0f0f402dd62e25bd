"""The history of the schema; each step stands alone and imports nothing of ours."""
