"""Runs what the files in deploy/ would run, on loopback addresses and in temporary directories.

The commands are taken from the files, word for word. Only places are changed: the host name of a
compose service (and 0.0.0.0 in it) becomes a loopback address of its own, and the data directory a
temporary one. Every process is stopped by its id.
"""

import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from ruamel.yaml import YAML

PURLIN = sys.argv[1]
DEPLOY = pathlib.Path(__file__).resolve().parents[2] / "deploy"
READY_SECONDS = 60
STOP_SECONDS = 60


class Node:
    """A node process, started with words of a deployment file."""

    def __init__(self, name, words, log, environment=None):
        self.name = name
        self.log = open(log, "ab")
        self.process = subprocess.Popen(
            [PURLIN, *words], stdout=subprocess.PIPE, stderr=self.log, text=True,
            env={**os.environ, **(environment or {})},
        )
        line = self.process.stdout.readline()
        if not line.startswith("ready "):
            self.process.wait(READY_SECONDS)
            sys.exit(f"{name} said {line!r} and not that it is ready:\n{pathlib.Path(log).read_text()}")
        print(f"{name}: {line.strip()}")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(STOP_SECONDS)
        if status != 0:
            sys.exit(f"{self.name} ended with {status} after SIGTERM")


def purlin(*words, given=None, fails=False):
    done = subprocess.run([PURLIN, *words], input=given, capture_output=True, text=True, timeout=120)
    if done.returncode != 0 and not fails:
        sys.exit(f"purlin {shlex.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def until_healthy(bootstrap):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        done = subprocess.run([PURLIN, "cluster", "health", "-b", bootstrap], capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout
        time.sleep(0.2)
    sys.exit(f"the cluster did not become healthy:\n{done.stdout}{done.stderr}")


def dockerfile(work):
    """ENTRYPOINT and CMD of the image, twice: a container that is restarted runs them again."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = dict(line.split(" ", 1) for line in text.splitlines() if line.startswith(("ENTRYPOINT ", "CMD ")))
    assert json.loads(lines["ENTRYPOINT"]) == ["/usr/bin/purlin"]
    words = [
        word.replace("/var/lib/purlin", f"{work}/image").replace("0.0.0.0", "127.0.9.1").replace("localhost", "127.0.9.1")
        for word in json.loads(lines["CMD"])
    ]
    health = next(line for line in text.splitlines() if line.lstrip().startswith("HEALTHCHECK"))
    probe = json.loads(health[health.index("[") :])
    for round in ("first start", "restart"):
        node = Node(f"image, {round}", words, work / "image.log")
        print(purlin(*[word.replace("127.0.0.1", "127.0.9.1") for word in probe[1:]]).strip())
        node.stop()


def compose(work):
    """The three services, in the order of their dependencies; a record through them; a restart."""
    services = YAML(typ="safe").load(DEPLOY / "compose.yaml")["services"]
    address = {name: f"127.0.9.{place}" for place, name in enumerate(services, start=11)}

    def words(name):
        command = services[name]["command"].replace("/var/lib/purlin", f"{work}/{name}")
        command = command.replace("0.0.0.0", address[name])
        for other, its in address.items():
            command = command.replace(f"{other}:", f"{its}:")
        return shlex.split(command)

    start = lambda name: Node(name, words(name), work / f"{name}.log")
    first = [name for name in services if "depends_on" not in services[name]]
    order = first + [name for name in services if name not in first]
    nodes = {name: start(name) for name in order}
    bootstrap = ",".join(f"{its}:9092" for its in address.values())
    print(until_healthy(bootstrap).strip())
    purlin("topic", "create", "orders", "-p", "12", "-r", "3", "-b", f"{address['node2']}:9092")
    purlin("produce", "orders", "-b", f"{address['node1']}:9092", given="one\ntwo\nthree\n")
    # Every container is restarted, one after the other, as an upgrade does it.
    for name in order:
        nodes[name].stop()
        nodes[name] = start(name)
        until_healthy(bootstrap)
    read = purlin("consume", "orders", "--from-beginning", "--exit-at-end", "-b", f"{address['node3']}:9092")
    assert sorted(read.split()) == ["one", "three", "two"], read
    print("compose: three nodes, each restarted once, hold what was written before")
    # The first node loses its volume: it founds no second cluster beside the others.
    nodes.pop("node1").stop()
    shutil.rmtree(work / "node1")
    done = subprocess.run([PURLIN, *words("node1")], capture_output=True, text=True, timeout=READY_SECONDS)
    assert done.returncode == 2 and "purlin node join --seed" in done.stderr, done
    print("compose: a first node without its volume is told to join")
    for node in nodes.values():
        node.stop()


def unit(work):
    """ExecStart with the shipped environment file, twice."""
    lines = [line for line in (DEPLOY / "purlin.service").read_text().splitlines() if "=" in line]
    setting = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    shipped = [line.split("=", 1) for line in (DEPLOY / "purlin.env").read_text().splitlines() if "=" in line and not line.startswith("#")]
    command = setting["ExecStart"].removeprefix("/usr/bin/purlin ")
    for name, value in [*shipped, ("STATE_DIRECTORY", f"{work}/unit")]:
        command = command.replace(f"${{{name}}}", value).replace(f"${name}", value)
    command = command.replace("0.0.0.0", "127.0.9.21").replace("localhost", "127.0.9.21")
    for round in ("first start", "restart"):
        Node(f"unit, {round}", [*shlex.split(command), "--admin", "127.0.9.21:9644"], work / "unit.log").stop()


with tempfile.TemporaryDirectory() as directory:
    for part in (dockerfile, unit, compose):
        part(pathlib.Path(directory))
