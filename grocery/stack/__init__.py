"""The local stack: a real Kafka broker and a real Flink cluster on this machine, kept alive by supervisord."""

from grocery.stack.errors import StackError
from grocery.stack.local import Stack

__all__ = ["Stack", "StackError"]
