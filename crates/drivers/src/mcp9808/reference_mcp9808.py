"""adafruit-circuitpython-mcp9808 on the simulated registers."""

import adafruit_mcp9808

WORLD = {"temperature": (-40, 125)}


def read(i2c, settings):
    return {"temperature": adafruit_mcp9808.MCP9808(i2c, settings["address"]).temperature}
