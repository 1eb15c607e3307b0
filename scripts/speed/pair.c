/* The yardstick of scripts/bench: a pair that copies a growing file and promises nothing,
 * and the writers whose bytes are timed.  Not part of tcppipe.
 *
 *   pair take PORT                       a child per connection appends what it is sent
 *   pair send FILE HOST PORT COPY        follows FILE (by name) and sends it to COPY there
 *   pair lag FILE COPY COUNT MS          a line every MS; prints each one's way in microseconds
 *   pair rate FILE COPY PER_SECOND SECONDS
 *                                        a write(2) per line, a batch each millisecond; prints
 *                                        writes a second, the largest lag and the last (ms)
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BUFFER (1 << 20)
#define PATIENCE 20.0 /* seconds that a byte may be on its way before it counts as lost */
static char buffer[BUFFER];

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void sleep_until(double when)
{
    struct timespec t = {(time_t)when, (long)((when - (time_t)when) * 1e9)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
}

static void put(int fd, const char *data, size_t length)
{
    while (length) {
        ssize_t n = write(fd, data, length);
        if (n < 0)
            err(1, "write");
        data += n;
        length -= n;
    }
}

static int open_or_die(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0640);
    if (fd < 0)
        err(1, "%s", path);
    return fd;
}

static off_t length_of(const char *path)
{
    struct stat st;
    return stat(path, &st) ? 0 : st.st_size;
}

/* --- the pair */

static void store(int link)
{
    char name[4096], *end = NULL;
    size_t have = 0;
    ssize_t n;
    while (!end) {
        if (have >= sizeof name - 1 || (n = read(link, name + have, sizeof name - 1 - have)) <= 0)
            exit(1);
        end = memchr(name + have, '\n', n);
        have += n;
    }
    *end = 0;
    int copy = open_or_die(name, O_WRONLY | O_CREAT | O_APPEND);
    put(copy, end + 1, name + have - (end + 1));
    while ((n = read(link, buffer, BUFFER)) > 0)
        put(copy, buffer, n);
    exit(n < 0);
}

static void reap(int signal)
{
    (void)signal;
    int kept = errno;
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    errno = kept;
}

static void take(int port)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(port)};
    int one = 1, door = socket(AF_INET, SOCK_STREAM, 0);
    struct sigaction reaping = {.sa_handler = reap, .sa_flags = SA_RESTART};
    sigaction(SIGCHLD, &reaping, NULL);
    setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(door, (struct sockaddr *)&here, sizeof here) || listen(door, 1024))
        err(1, "port %d", port);
    for (;;) {
        int link = accept(door, NULL, NULL);
        if (link < 0)
            continue;
        if (fork() == 0) {
            close(door);
            store(link);
        }
        close(link);
    }
}

static void follow(const char *path, const char *host, int port, const char *copy)
{
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons(port)};
    int one = 1, link = socket(AF_INET, SOCK_STREAM, 0), news = inotify_init1(IN_CLOEXEC);
    char events[4096];
    if (news < 0)
        err(1, "inotify");
    inet_pton(AF_INET, host, &there.sin_addr);
    if (connect(link, (struct sockaddr *)&there, sizeof there))
        err(1, "%s port %d", host, port);
    setsockopt(link, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    put(link, copy, strlen(copy));
    put(link, "\n", 1);
    for (;;) { /* a turn for each file that stands under this name */
        int file = open_or_die(path, O_RDONLY);
        int watch = inotify_add_watch(news, path, IN_MODIFY | IN_ATTRIB | IN_MOVE_SELF);
        struct stat mine, named;
        fstat(file, &mine);
        for (int gone = 0;;) {
            ssize_t n;
            while ((n = read(file, buffer, BUFFER)) > 0)
                put(link, buffer, n);
            if (gone)
                break;
            if (read(news, events, sizeof events) < 0)
                err(1, "inotify");
            gone = stat(path, &named) == 0 && named.st_ino != mine.st_ino;
        }
        inotify_rm_watch(news, watch);
        close(file);
    }
}

/* --- the writers */

static void lag(const char *path, const char *copy, int count, double ms)
{
    int file = open_or_die(path, O_WRONLY | O_CREAT | O_APPEND);
    int news = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    double *sent = calloc(count, sizeof *sent), *way = calloc(count, sizeof *way);
    off_t *ends = calloc(count, sizeof *ends), end = length_of(copy);
    int written = 0, there = 0;
    if (news >= 0 && inotify_add_watch(news, copy, IN_MODIFY) < 0)
        err(1, "%s", copy);
    for (double next = now(); there < count;) {
        double moment = now();
        if (written < count && moment >= next) {
            char line[128];
            int n = snprintf(line, sizeof line, "%08d %084d\n", written, written);
            sent[written] = now();
            put(file, line, n);
            ends[written++] = end += n;
            next += ms / 1e3;
        }
        if (written == count && moment > sent[count - 1] + PATIENCE)
            break;
        struct pollfd wake = {news, POLLIN, 0};
        double pause = written < count ? next - now() : 0.1;
        if (news < 0 && pause > 1e-4)
            pause = 1e-4; /* the system has no inotify instance left */
        struct timespec t = {0, pause > 0 ? (long)(pause * 1e9) : 0};
        if (ppoll(&wake, 1, &t, NULL) > 0)
            while (read(news, buffer, BUFFER) > 0)
                ;
        off_t size = length_of(copy);
        for (moment = now(); there < written && ends[there] <= size; there++)
            way[there] = moment - sent[there];
    }
    for (int i = 0; i < there; i++)
        printf("%.1f\n", way[i] * 1e6);
}

static void rate(const char *path, const char *copy, double per_second, double seconds)
{
    int file = open_or_die(path, O_WRONLY | O_CREAT | O_APPEND);
    int ticks = seconds * 1000 + 1, turn = 0, late = 0;
    double *when = calloc(ticks, sizeof *when), start = now(), moment = start, most = 0;
    off_t *ends = calloc(ticks, sizeof *ends), end = length_of(copy);
    long written = 0, all = per_second * seconds;
    while (written < all && turn < ticks) {
        sleep_until(start + (turn + 1) * 1e-3);
        long due = (now() - start) * per_second;
        for (; written < due && written < all; written++) {
            char line[128];
            int n = snprintf(line, sizeof line, "%010ld %088ld\n", written, written);
            put(file, line, n);
            end += n;
        }
        when[turn] = moment = now();
        ends[turn++] = end;
        off_t size = length_of(copy);
        while (late < turn && ends[late] <= size)
            late++;
        if (late < turn && moment - when[late] > most)
            most = moment - when[late];
    }
    double spent = moment - start, last = now();
    while (length_of(copy) < end && (moment = now()) < last + PATIENCE)
        sleep_until(moment + 2e-4);
    int there = length_of(copy) >= end;
    moment = now() - last;
    printf("%.0f %.3f %.3f\n", written / spent, 1e3 * (moment > most ? moment : most),
           there ? 1e3 * moment : -1.0);
}

int main(int argc, char **argv)
{
    char *word = argc > 1 ? argv[1] : "";
    signal(SIGPIPE, SIG_IGN);
    if (argc == 3 && !strcmp(word, "take"))
        take(atoi(argv[2]));
    else if (argc == 6 && !strcmp(word, "send"))
        follow(argv[2], argv[3], atoi(argv[4]), argv[5]);
    else if (argc == 6 && !strcmp(word, "lag"))
        lag(argv[2], argv[3], atoi(argv[4]), atof(argv[5]));
    else if (argc == 6 && !strcmp(word, "rate"))
        rate(argv[2], argv[3], atof(argv[4]), atof(argv[5]));
    else
        errx(2, "take PORT | send FILE HOST PORT COPY | lag FILE COPY COUNT MS | "
                "rate FILE COPY PER_SECOND SECONDS");
    return 0;
}
