"""kafka-python as writer and reader.

    client.py write BOOTSTRAP TOPIC CODEC FILE    lines "timestamp TAB key TAB headers TAB value"
    client.py read BOOTSTRAP TOPIC                canonical lines on standard output, whole topic

"\\N" stands for none; headers are "name=value,name=value".
"""

import sys

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

NONE = "\\N"


def field(text):
    return None if text == NONE else text.encode()


def headers_of(text):
    return [(name, value.encode()) for name, value in (part.split("=", 1) for part in text.split(",") if part)]


def write(bootstrap, topic, codec, path):
    producer = KafkaProducer(
        bootstrap_servers=bootstrap,
        compression_type=None if codec == "none" else codec,
        acks="all",
        enable_idempotence=True,
        linger_ms=20,
        batch_size=256 * 1024,
    )
    sent = []
    with open(path, encoding="utf-8", newline="\n") as lines:
        for line in lines:
            timestamp, key, headers, value = line.rstrip("\n").split("\t")
            sent.append(
                producer.send(
                    topic,
                    key=field(key),
                    value=field(value),
                    headers=headers_of(headers),
                    timestamp_ms=int(timestamp),
                )
            )
    producer.flush(timeout=120)
    for future in sent:
        future.get(timeout=60)
    producer.close()


def show(data):
    return NONE if data is None else data.decode()


def read(bootstrap, topic):
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=None,
        enable_auto_commit=False,
        max_partition_fetch_bytes=4 * 1024 * 1024,
        max_poll_records=10000,
    )
    partitions = [TopicPartition(topic, index) for index in sorted(consumer.partitions_for_topic(topic))]
    consumer.assign(partitions)
    ends = consumer.end_offsets(partitions)
    consumer.seek_to_beginning(*partitions)
    out = sys.stdout
    while any(consumer.position(partition) < ends[partition] for partition in partitions):
        for records in consumer.poll(timeout_ms=1000).values():
            for record in records:
                headers = ",".join(f"{name}={show(value)}" for name, value in record.headers)
                out.write(
                    f"{record.partition}\t{record.offset}\t{record.timestamp}\t"
                    f"{show(record.key)}\t{headers}\t{show(record.value)}\n"
                )
    consumer.close()


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]](*sys.argv[2:])
