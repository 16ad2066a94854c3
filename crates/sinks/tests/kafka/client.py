"""Looks at a Kafka broker with confluent-kafka, for the tests.

client.py CONFIGURATION create TOPIC PARTITIONS
client.py CONFIGURATION user MECHANISM USER PASSWORD
client.py CONFIGURATION consume TOPIC            one line of JSON per message, up to each partition's present end
"""

import json
import sys
import time

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    NewTopic,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

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


def user(configuration, mechanism, name, password):
    mechanism = {
        "SCRAM-SHA-256": ScramMechanism.SCRAM_SHA_256,
        "SCRAM-SHA-512": ScramMechanism.SCRAM_SHA_512,
    }[mechanism]
    upsertion = UserScramCredentialUpsertion(name, ScramCredentialInfo(mechanism, 4096), password.encode())
    for future in AdminClient(configuration).alter_user_scram_credentials([upsertion]).values():
        future.result(timeout=PATIENCE_SECONDS)


def consume(configuration, topic):
    consumer = Consumer({**configuration, "group.id": "test", "enable.auto.commit": False})
    partitions = consumer.list_topics(topic, timeout=PATIENCE_SECONDS).topics[topic].partitions
    ends = {}
    for partition in partitions:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=PATIENCE_SECONDS)
        if high > low:
            ends[partition] = high
    consumer.assign([TopicPartition(topic, partition, 0) for partition in ends])
    deadline = time.monotonic() + PATIENCE_SECONDS
    while ends:
        message = consumer.poll(1.0)
        if message is None:
            if time.monotonic() > deadline:
                sys.exit(f"the messages up to {ends} do not come")
            continue
        if message.error():
            sys.exit(str(message.error()))
        decode = lambda part: None if part is None else part.decode()
        found = {
            "partition": message.partition(),
            "key": decode(message.key()),
            "value": decode(message.value()),
            "headers": [(name, decode(value)) for name, value in message.headers() or []],
        }
        print(json.dumps(found))
        if message.offset() + 1 >= ends.get(message.partition(), 0):
            ends.pop(message.partition(), None)
    consumer.close()


if __name__ == "__main__":
    configuration = dict(json.loads(sys.argv[1]))
    {"create": create, "user": user, "consume": consume}[sys.argv[2]](configuration, *sys.argv[3:])
