// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Runs on the emulated board: ends a process with a signal and reports when each output was where it must be after that.
 *
 *   watch SECONDS PID SIGNAL NAME=PLACE:SAFE...
 *
 * PLACE is `gpio:PIN` (the level of a pin of the processor, SAFE is 0 or 1) or `i2c:ADDRESS:REGISTER` (bytes of a chip on
 * /dev/i2c-9, SAFE is their hex digits; REGISTER is hex too, `-` for a chip without any). First it waits until no output is
 * safe any more, else a signal would prove nothing. Then it sends the signal, looks at all of them every millisecond, and
 * goes on for a while when all are safe, so that one that leaves its safe state again is seen. With the SIGNAL 0 nothing is sent,
 * and with no SECONDS it looks once and waits for nothing.
 *
 * Prints `NAME MILLISECONDS` for each, or `NAME inf`, and by how much later than meant the latest look was. By
 * CLOCK_MONOTONIC. It is no script because a look at five outputs takes one many milliseconds here.
 */
#include <fcntl.h>
#include <linux/i2c-dev.h>
#include <linux/i2c.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define GPIO_BLOCK 0x3f200000
#define LEVELS (0x34 / 4)
#define OUTPUT_LIMIT 16
#define BYTE_LIMIT 8
#define EVERY 0.001
#define UNSAFE_WITHIN 20.0
#define STEADY_FOR 0.3

struct output {
	char name[32];
	int pin; /* of the processor, or negative */
	unsigned int address, reg;
	int has_reg, length;
	uint8_t safe[BYTE_LIMIT];
	double since; /* when it became safe, or negative */
};

static struct output outputs[OUTPUT_LIMIT];
static int count, bus;
static volatile uint32_t *gpio;

static void die(const char *what)
{
	perror(what);
	exit(2);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void pause_for(double seconds)
{
	struct timespec time = { .tv_sec = 0, .tv_nsec = (long)(seconds * 1e9) };

	nanosleep(&time, NULL);
}

static void take(struct output *output, const char *word)
{
	char reg[8], digits[2 * BYTE_LIMIT + 1];
	unsigned int byte;
	int level;

	output->pin = -1;
	if (sscanf(word, "%31[^=]=gpio:%d:%d", output->name, &output->pin, &level) == 3) {
		output->safe[0] = (uint8_t)level;
		return;
	}
	if (sscanf(word, "%31[^=]=i2c:%i:%7[^:]:%16s", output->name, (int *)&output->address, reg, digits) != 4) {
		fprintf(stderr, "watch: what is %s?\n", word);
		exit(2);
	}
	output->has_reg = strcmp(reg, "-") != 0;
	output->reg = (unsigned int)strtoul(reg, NULL, 16);
	for (; sscanf(digits + 2 * output->length, "%2x", &byte) == 1; output->length++)
		output->safe[output->length] = (uint8_t)byte;
}

static int is_safe(const struct output *output)
{
	uint8_t reg = (uint8_t)output->reg, found[BYTE_LIMIT];
	struct i2c_msg messages[] = {
		{ .addr = (uint16_t)output->address, .len = 1, .buf = &reg },
		{ .addr = (uint16_t)output->address, .flags = I2C_M_RD, .len = (uint16_t)output->length, .buf = found },
	};
	struct i2c_rdwr_ioctl_data both = { .msgs = messages, .nmsgs = 2 };

	if (output->pin >= 0)
		return (gpio[LEVELS + output->pin / 32] >> output->pin % 32 & 1) == output->safe[0];
	if (!output->has_reg) {
		both.msgs++;
		both.nmsgs--;
	}
	if (ioctl(bus, I2C_RDWR, &both) < 0)
		die(output->name);
	return !memcmp(found, output->safe, (size_t)output->length);
}

static void wait_unsafe(void)
{
	double end = now() + UNSAFE_WITHIN;
	int i, safe;

	do {
		for (i = safe = 0; i < count; i++)
			safe += is_safe(&outputs[i]);
		if (!safe)
			return;
		pause_for(EVERY);
	} while (now() < end);
	for (i = 0; i < count; i++)
		if (is_safe(&outputs[i]))
			fprintf(stderr, "watch: %s was safe before anything was done\n", outputs[i].name);
	exit(2);
}

/* When the last of them became safe, or a negative number. */
static double look(void)
{
	double at, last = 0;
	int i;

	for (i = 0; i < count; i++) {
		at = now();
		if (!is_safe(&outputs[i]))
			outputs[i].since = -1;
		else if (outputs[i].since < 0)
			outputs[i].since = at;
		if (outputs[i].since < 0 || last < 0)
			last = -1;
		else if (outputs[i].since > last)
			last = outputs[i].since;
	}
	return last;
}

int main(int words, char **word)
{
	double begun, end, before, last, gap = 0;
	int i, memory;

	if (words < 5 || words - 4 > OUTPUT_LIMIT)
		return 2;
	for (count = 0; count < words - 4; count++) {
		take(&outputs[count], word[4 + count]);
		outputs[count].since = -1;
	}
	memory = open("/dev/mem", O_RDONLY | O_SYNC);
	bus = open("/dev/i2c-9", O_RDWR);
	if (memory < 0 || bus < 0)
		die("watch");
	gpio = mmap(NULL, 4096, PROT_READ, MAP_SHARED, memory, GPIO_BLOCK);
	if (gpio == MAP_FAILED)
		die("/dev/mem");
	end = atof(word[1]);
	if (end > 0)
		wait_unsafe();
	begun = now();
	end += begun;
	if (atoi(word[3]) && kill(atoi(word[2]), atoi(word[3])))
		die("kill");
	do {
		before = now();
		last = look();
		if (last >= 0 && now() > last + STEADY_FOR)
			break;
		pause_for(EVERY);
		if (now() - before - EVERY > gap)
			gap = now() - before - EVERY;
	} while (now() < end);
	for (i = 0; i < count; i++)
		if (outputs[i].since < 0)
			printf("%s inf\n", outputs[i].name);
		else
			printf("%s %.1f\n", outputs[i].name, end > begun ? (outputs[i].since - begun) * 1000 : 0.0);
	printf("late %.1f\n", gap * 1000);
	return 0;
}
