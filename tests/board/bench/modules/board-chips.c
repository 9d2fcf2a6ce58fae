// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * An I2C adapter with chips that are nothing but memory, for the kernel's own drivers and for programs on /dev/i2c-9 alike.
 *
 * Each chip is ADDRESS:POINTER:WIDTH in the parameter `chips`: a write begins with POINTER bytes (a register or a command),
 * each of which has WIDTH bytes of memory. What follows them is stored there, a read returns what is there. So a BME280 is
 * 0x76:1:1, an INA219 with its 16-bit registers 0x40:1:2, an SHT31 with its 16-bit commands and six bytes of answer 0x44:2:8,
 * and a PCF8574 without any register 0x20:0:1. Answers are put there by the program that plays the chip, with writes on the same bus.
 *
 * i2c-stub has this for SMBus calls only, which leaves out programs that use I2C_RDWR.
 *
 * Writing an address to `unplugged` takes that chip off the bus, 0 brings it back; 1 to `gone` takes the adapter away, 0 brings
 * it back. With 1 in `hung` no transfer ends, as long as the process that began it lives, and with it all others on the adapter wait; with 1
 * in `held` each takes a second and fails, as on an adapter whose clock line is held down.
 */
#include <linux/i2c.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#define CHIP_LIMIT 48
#define POINTER_LIMIT 2
#define WIDTH_LIMIT 64

struct chip {
	u16 address;
	u8 pointer, width;
	u8 *memory;
	u32 size;
	u32 at;
};

static struct chip fitted[CHIP_LIMIT];
static int count;

static char *chips[CHIP_LIMIT];
module_param_array(chips, charp, &count, 0444);
MODULE_PARM_DESC(chips, "ADDRESS:POINTER:WIDTH of each chip");

static int number = 9;
module_param(number, int, 0444);
MODULE_PARM_DESC(number, "of the adapter: 9 is /dev/i2c-9");

static unsigned short unplugged[CHIP_LIMIT];
static int unplugged_count;
module_param_array(unplugged, ushort, &unplugged_count, 0644);
MODULE_PARM_DESC(unplugged, "addresses that do not answer; 0 is none");

static bool gone;
static struct i2c_adapter *adapter;
static DEFINE_MUTEX(plug);

static bool hung;
module_param(hung, bool, 0644);
MODULE_PARM_DESC(hung, "whether transfers hang");

static bool held;
module_param(held, bool, 0644);
MODULE_PARM_DESC(held, "whether transfers time out after a second");

static struct chip *answering(u16 address)
{
	int i;

	for (i = 0; i < unplugged_count; i++)
		if (unplugged[i] == address)
			return NULL;
	for (i = 0; i < count; i++)
		if (fitted[i].address == address)
			return &fitted[i];
	return NULL;
}

static void take(struct chip *chip, const struct i2c_msg *msg)
{
	u32 i, at = 0;

	if (msg->len < chip->pointer)
		return;
	for (i = 0; i < chip->pointer; i++)
		at = at << 8 | msg->buf[i];
	chip->at = at * chip->width;
	for (i = chip->pointer; i < msg->len; i++)
		chip->memory[(chip->at + i - chip->pointer) % chip->size] = msg->buf[i];
}

static int transfer(struct i2c_adapter *from, struct i2c_msg *msgs, int n)
{
	int i;
	u32 at;

	/* What i2c-bcm2835 answers to who still has it open when its driver has let go of it. */
	if (READ_ONCE(gone))
		return -ETIMEDOUT;
	while (READ_ONCE(hung))
		if (schedule_timeout_killable(HZ / 50) && fatal_signal_pending(current))
			return -EINTR;
	if (READ_ONCE(held)) {
		schedule_timeout_killable(HZ);
		return -ETIMEDOUT;
	}
	for (i = 0; i < n; i++) {
		struct chip *chip = answering(msgs[i].addr);

		if (!chip)
			return -ENXIO;
		if (!(msgs[i].flags & I2C_M_RD))
			take(chip, &msgs[i]);
		else
			for (at = 0; at < msgs[i].len; at++)
				msgs[i].buf[at] = chip->memory[(chip->at + at) % chip->size];
	}
	return n;
}

static u32 functionality(struct i2c_adapter *of)
{
	return I2C_FUNC_I2C | I2C_FUNC_SMBUS_EMUL;
}

static const struct i2c_algorithm algorithm = {
	.master_xfer = transfer,
	.functionality = functionality,
};

static int plug_in(void)
{
	int error;

	adapter = kzalloc(sizeof(*adapter), GFP_KERNEL);
	if (!adapter)
		return -ENOMEM;
	adapter->owner = THIS_MODULE;
	adapter->algo = &algorithm;
	adapter->nr = number;
	strscpy(adapter->name, "board-chips", sizeof(adapter->name));
	error = i2c_add_numbered_adapter(adapter);
	if (error) {
		kfree(adapter);
		adapter = NULL;
	}
	return error;
}

/* Waits until nobody has the device open any more, as the removal of every I2C adapter does. */
static void pull_out(void)
{
	if (adapter)
		i2c_del_adapter(adapter);
	kfree(adapter);
	adapter = NULL;
}

static int set_gone(const char *text, const struct kernel_param *param)
{
	bool wanted;
	int error = kstrtobool(text, &wanted);

	if (error)
		return error;
	mutex_lock(&plug);
	WRITE_ONCE(gone, wanted);
	if (wanted)
		pull_out();
	else if (!adapter)
		error = plug_in();
	mutex_unlock(&plug);
	return error;
}

static const struct kernel_param_ops gone_ops = { .set = set_gone, .get = param_get_bool };
module_param_cb(gone, &gone_ops, &gone, 0644);
MODULE_PARM_DESC(gone, "whether the adapter is unplugged");

static int solder(struct chip *chip, const char *text)
{
	unsigned int address, pointer, width;

	if (sscanf(text, "%i:%u:%u", &address, &pointer, &width) != 3 || address > 0x7f || pointer > POINTER_LIMIT ||
	    !width || width > WIDTH_LIMIT)
		return -EINVAL;
	chip->address = address;
	chip->pointer = pointer;
	chip->width = width;
	chip->size = width << (8 * pointer);
	chip->memory = vzalloc(chip->size);
	return chip->memory ? 0 : -ENOMEM;
}

static void board_chips_exit(void)
{
	int i;

	pull_out();
	for (i = 0; i < CHIP_LIMIT; i++)
		vfree(fitted[i].memory);
}

static int __init board_chips_init(void)
{
	int i, error = 0;

	for (i = 0; i < count && !error; i++)
		error = solder(&fitted[i], chips[i]);
	if (!error && !gone)
		error = plug_in();
	if (error)
		board_chips_exit();
	return error;
}

module_init(board_chips_init);
module_exit(board_chips_exit);
MODULE_DESCRIPTION("I2C chips made of memory, for tests");
MODULE_LICENSE("Dual MIT/GPL");
