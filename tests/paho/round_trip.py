"""A Paho client against a running gateway: readings, a command and its reply, retained topics, over both protocols.

Usage: round_trip.py PORT PROTOCOL, the latter being what the gateway speaks: only over MQTT 5 it learns of a response
topic. Ends with 0 when everything was as it should be, else with a message.
"""

import json
import queue
import sys
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

BASE = "fieldgate/g"
DEADLINE_S = 10


class Listener:
    """A connected client and what it hears, in order."""

    def __init__(self, port, protocol):
        self.heard = queue.Queue()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=protocol)
        self.client.on_connect = self.on_connect
        self.client.on_subscribe = lambda client, userdata, mid, codes, properties: self.heard.put(codes)
        self.client.on_message = lambda client, userdata, message: self.heard.put(message)
        self.client.connect("127.0.0.1", port, keepalive=60)
        self.client.loop_start()
        codes = self.heard.get(timeout=DEADLINE_S)
        assert not any(code.is_failure for code in codes), codes

    def on_connect(self, client, userdata, flags, reason, properties):
        assert not reason.is_failure, reason
        client.subscribe([(f"{BASE}/#", 1), ("answers/#", 1)])

    def wait(self, topic, fits=lambda message: True):
        """The next message on a topic that fits."""
        end = time.monotonic() + DEADLINE_S
        while True:
            try:
                message = self.heard.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                sys.exit(f"waited {DEADLINE_S} s in vain for {topic}")
            if message.topic == topic and fits(message):
                return message

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def retained_topics_tell_the_present(listener):
    wanted = {"status", "devices", "health", "actuators/pump/state", "sensors/tick/status"}
    found = {}
    while wanted - found.keys():
        message = listener.heard.get(timeout=DEADLINE_S)
        if message.retain:
            found[message.topic.removeprefix(f"{BASE}/")] = message
    assert found["status"].payload == b"online", found["status"].payload
    devices = json.loads(found["devices"].payload)
    assert devices["actuators"]["pump"]["set"] == f"{BASE}/actuators/pump/set", devices
    assert json.loads(found["health"].payload)["link"]["state"] == "up"
    assert json.loads(found["sensors/tick/status"].payload)["status"] == "ok"


def readings_arrive_in_their_order(listener):
    readings = [json.loads(listener.wait(f"{BASE}/sensors/tick").payload) for _ in range(5)]
    numbers = [reading["seq"] for reading in readings]
    assert numbers == list(range(numbers[0], numbers[0] + 5)), numbers
    assert all(reading["value"] == reading["seq"] for reading in readings), readings
    assert len({reading["run"] for reading in readings}) == 1


def a_command_is_answered(listener, identity, value, properties=None, elsewhere=False):
    payload = json.dumps({"value": value, "id": identity})
    info = listener.client.publish(f"{BASE}/actuators/pump/set", payload, qos=1, properties=properties)
    info.wait_for_publish(DEADLINE_S)
    # The reply may come before or after the state.
    reply = state = own = None
    end = time.monotonic() + DEADLINE_S
    while reply is None or state is None or (elsewhere and own is None):
        assert time.monotonic() < end, f"no answer to {identity}: {reply} {state} {own}"
        message = listener.heard.get(timeout=DEADLINE_S)
        if message.topic == f"{BASE}/actuators/pump/reply":
            reply = message
        elif message.topic == f"{BASE}/actuators/pump/state" and not message.retain:
            state = message
        elif message.topic.startswith("answers/"):
            own = message
    received = json.loads(reply.payload)
    assert (received["id"], received["outcome"], received["reason"], received["value"]) == (identity, "done", None, value), received
    received = json.loads(state.payload)
    assert (received["value"], received["cause"]) == (value, "command"), received
    return reply, own


def over_3_1_1(port):
    listener = Listener(port, mqtt.MQTTv311)
    retained_topics_tell_the_present(listener)
    readings_arrive_in_their_order(listener)
    a_command_is_answered(listener, "old1", "on")
    a_command_is_answered(listener, "old2", "off")
    listener.close()


def over_5(port, gateway):
    listener = Listener(port, mqtt.MQTTv5)
    retained_topics_tell_the_present(listener)
    readings_arrive_in_their_order(listener)
    properties = Properties(PacketTypes.PUBLISH)
    properties.ResponseTopic = "answers/paho"
    properties.CorrelationData = bytes([0, 1, 0xFE, 0xFF])
    elsewhere = gateway == "5"
    reply, own = a_command_is_answered(listener, "new1", "on", properties, elsewhere)
    if elsewhere:
        assert own.topic == "answers/paho" and own.payload == reply.payload
        assert own.properties.CorrelationData == bytes([0, 1, 0xFE, 0xFF]), own.properties
    a_command_is_answered(listener, "new2", "off")
    listener.close()


if __name__ == "__main__":
    over_3_1_1(int(sys.argv[1]))
    over_5(int(sys.argv[1]), sys.argv[2])
    print("all as it should be")
