"""Message to job: claims, supervises, reports. Thin; it holds no algorithm and never imports the API.

Map: `__main__` starts the parts, `runner` claims and supervises, `child` computes in a process of its own, `progress`
turns reports into numbers for people, `outputs` writes files, `reconciler` mends, `bell` listens to the broker.
"""
