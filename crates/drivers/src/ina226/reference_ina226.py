"""pamoja-sensors on the simulated registers.

Its drivers are compiled and want a bus of their own, so here it does all but the transfers: it knows the registers, makes
their contents and turns what they say into units. Adafruit has no driver for this chip.
"""

from pamoja.sensors import ina226

WORLD = {"voltage": (0, 36), "current": (-0.8, 0.8)}

SETTINGS = [{"shunt": 0.1}, {"address": 0x45, "shunt": 0.002, "averaging": "1"}]

# It reports the power that the chip computed, which is cut to a step of the current's times 25 and has no sign; ours is computed
# from the voltages in full. The steps are 0.625 mW and 31.25 mW.
TOLERANCE = {"power": 0.04}


def read(i2c, settings):
    def word(register, signed=False):
        answer = bytearray(2)
        i2c.writeto_then_readfrom(settings["address"], bytes([register]), answer)
        return int.from_bytes(answer, "big", signed=signed)

    ina226.identify(word(ina226.REGISTER_MANUFACTURER_ID), word(ina226.REGISTER_DIE_ID))
    # In microamperes: with it the current's register follows the shunt voltage's bit by bit.
    shunt_milliohms = round(settings["shunt"] * 1000)
    step = 2500 // shunt_milliohms
    calibration = ina226.calibration(step, shunt_milliohms)
    i2c.writeto(settings["address"], bytes([ina226.REGISTER_CALIBRATION, *calibration.to_bytes(2, "big")]))
    i2c.writeto(settings["address"], bytes([ina226.REGISTER_CONFIGURATION, *ina226.CONFIG_RESET.to_bytes(2, "big")]))
    while not ina226.mask_enable_from_register(word(ina226.REGISTER_MASK_ENABLE)).conversion_ready_flag:
        pass
    current = ina226.current_amps(word(ina226.REGISTER_CURRENT, signed=True), step)
    power = ina226.power_watts(word(ina226.REGISTER_POWER), step)
    return {
        "voltage": ina226.bus_volts(word(ina226.REGISTER_BUS_VOLTAGE)),
        "current": current,
        "power": power if current >= 0 else -power,
    }
