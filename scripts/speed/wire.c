/* A wire between two network name spaces, with a rate and a delay: what `tc netem` does, for
 * kernels that have none.  Not part of tcppipe.
 *
 *   wire ONE OTHER RATE DELAY       names as of `ip netns`; bits a second (0: as fast as it goes)
 *                                   and microseconds one way; "wire" is the device in both
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define SLOTS 32768   /* packets under way in one direction */
#define LONGEST 9216  /* bytes of a packet */
#define QUEUE 0.05    /* seconds of traffic that wait for a slow wire before packets are dropped */

struct way {
    int from, to;
    double free; /* when the last packet will have left */
    unsigned head, tail;
    struct packet {
        double due;
        int length;
        char *data;
    } slot[SLOTS];
} way[2];

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static int attach(const char *name)
{
    char path[256];
    struct ifreq wanted = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    snprintf(path, sizeof path, "/var/run/netns/%s", name);
    int space = open(path, O_RDONLY | O_CLOEXEC);
    if (space < 0 || setns(space, CLONE_NEWNET))
        err(1, "%s", path);
    close(space);
    int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    strcpy(wanted.ifr_name, "wire");
    if (device < 0 || ioctl(device, TUNSETIFF, &wanted))
        err(1, "/dev/net/tun");
    return device;
}

int main(int argc, char **argv)
{
    static char spare[LONGEST];
    if (argc != 5)
        errx(2, "wire ONE OTHER RATE DELAY");
    double rate = atof(argv[3]), delay = atof(argv[4]) / 1e6;
    prctl(PR_SET_TIMERSLACK, 1);
    way[0].from = way[1].to = attach(argv[1]);
    way[1].from = way[0].to = attach(argv[2]);
    for (;;) {
        double moment = now(), next = moment + 1;
        struct pollfd wait[2];
        for (int i = 0; i < 2; i++) {
            struct way *w = &way[i];
            while (w->head != w->tail && w->slot[w->head % SLOTS].due <= moment) {
                struct packet *p = &w->slot[w->head++ % SLOTS];
                if (write(w->to, p->data, p->length) < 0)
                    continue; /* dropped, as a full wire does */
            }
            if (w->head != w->tail && w->slot[w->head % SLOTS].due < next)
                next = w->slot[w->head % SLOTS].due;
            wait[i].fd = w->from;
            wait[i].events = w->tail - w->head < SLOTS ? POLLIN : 0;
        }
        double pause = next - now();
        struct timespec t = {(time_t)pause, (long)((pause - (time_t)pause) * 1e9)};
        if (pause <= 0)
            t.tv_sec = t.tv_nsec = 0;
        if (ppoll(wait, 2, &t, NULL) <= 0)
            continue;
        for (int i = 0; i < 2; i++) {
            struct way *w = &way[i];
            for (int n = 0; n < 64 && w->tail - w->head < SLOTS; n++) {
                int length = read(w->from, spare, LONGEST);
                if (length <= 0)
                    break;
                moment = now();
                if (w->free < moment)
                    w->free = moment;
                if (rate > 0 && w->free - moment > QUEUE)
                    continue;
                if (rate > 0)
                    w->free += length * 8 / rate;
                struct packet *p = &w->slot[w->tail++ % SLOTS];
                if (!p->data && !(p->data = malloc(LONGEST)))
                    err(1, "memory");
                memcpy(p->data, spare, length);
                p->length = length;
                p->due = w->free + delay;
            }
        }
    }
}
