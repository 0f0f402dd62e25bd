"""The Celery instance of the bell, and its one task. Nothing of ours is in a message but a job's id.

Early acknowledgement, no results, no retries, no limits: a lost, doubled or forged message costs at most a look at the
job table. The options guard against what Celery on Redis was seen to do when a broker freezes, dies or lies.
"""

import os
import socket
from contextlib import suppress

from celery import Celery

from winnow.queues import COMPUTE_QUEUE, KEY_PREFIX, RUN_JOB
from winnow.settings import Settings

SOCKET_VARIABLE = "WINNOW_BELL_SOCKET"

# A frozen broker must not freeze us: two seconds, then the poll finds the job.
TRANSPORT = {
    "socket_timeout": 2,
    "socket_connect_timeout": 2,
    "health_check_interval": 10,
    "global_keyprefix": KEY_PREFIX,
}


def make_celery(broker_url: str | None) -> Celery:
    celery = Celery("winnow", broker=broker_url or "memory://")
    celery.conf.update(
        task_default_queue=COMPUTE_QUEUE,
        task_acks_late=False,  # the row decides; redelivery would only ring twice
        task_ignore_result=True,
        task_publish_retry=False,
        task_serializer="json",
        accept_content=["json"],  # a pickled message is refused unread
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=TRANSPORT,
    )
    return celery


app = make_celery(Settings().broker_url)


@app.task(name=RUN_JOB)  # type: ignore[untyped-decorator]
def ring(job_id: str) -> None:
    """Wake the runner beside us. Which job it takes is the table's business."""
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.setblocking(False)
        door.sendto(job_id.encode()[:64], os.environ[SOCKET_VARIABLE])
