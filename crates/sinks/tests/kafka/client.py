"""Looks at a Kafka broker with confluent-kafka, for the tests.

client.py CONFIGURATION create TOPIC PARTITIONS
client.py CONFIGURATION consume TOPIC COUNT      one line of JSON per message, that many at least
"""

import json
import sys
import time

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PATIENCE_SECONDS = 30


def create(configuration, topic, partitions):
    admin = AdminClient(configuration)
    # A broker that has just begun to listen may not be ready for this yet.
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            new = NewTopic(topic, num_partitions=int(partitions), replication_factor=1)
            admin.create_topics([new])[topic].result(timeout=PATIENCE_SECONDS)
            return
        except Exception as error:
            if time.monotonic() > deadline:
                raise error


def consume(configuration, topic, count):
    """Reads from the beginning until there are that many messages, and then whatever else comes within a second.

    Where a partition ends is not asked for: the broker of the tests names an end that is too early when one request of a
    producer has followed another closely.
    """
    consumer = Consumer({**configuration, "group.id": "test", "enable.auto.commit": False})
    partitions = consumer.list_topics(topic, timeout=PATIENCE_SECONDS).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    deadline = time.monotonic() + PATIENCE_SECONDS
    left = int(count)
    while (message := consumer.poll(1.0)) is not None or left > 0:
        if message is None:
            if time.monotonic() > deadline:
                sys.exit(f"{left} messages of {count} do not come")
            continue
        if message.error():
            sys.exit(str(message.error()))
        left -= 1
        decode = lambda part: None if part is None else part.decode()
        found = {
            "partition": message.partition(),
            "key": decode(message.key()),
            "value": decode(message.value()),
            "headers": [(name, decode(value)) for name, value in message.headers() or []],
        }
        print(json.dumps(found))
    consumer.close()


if __name__ == "__main__":
    configuration = dict(json.loads(sys.argv[1]))
    {"create": create, "consume": consume}[sys.argv[2]](configuration, *sys.argv[3:])
