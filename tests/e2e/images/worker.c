/* A container step for tests: carries out its arguments, in order. It is static and needs no shell.
 *
 *   print TEXT            to standard output
 *   write FILE TEXT       creates the file and its directories
 *   copy FROM TO          a file
 *   need FILE             ends with 66 if it cannot be read
 *   absent FILE           ends with 70 if it is there
 *   user ID               ends with 70 if it runs as another
 *   once FILE ARGUMENT…   if FILE is not there: writes it and goes on; else ends with 0 (a second attempt)
 *   count FILE            reads a number, adds one, writes it back by rename
 *   until FILE N          count, every 200 ms, until N is reached
 *   on-term FILE TEXT MS  from now on SIGTERM waits so long, writes the file, and ends with 143
 *   eat MB                touches so much memory
 *   sleep SECONDS
 *   exit CODE             ends
 *   crash                 ends by a fault: 132
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char *term_file, *term_text;
static int term_ms;

static void fail(int code, const char *what, const char *file)
{
    fprintf(stderr, "worker: %s %s: %s\n", what, file, strerror(errno));
    exit(code);
}

static void pause_ms(int64_t ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    while (nanosleep(&t, &t) < 0 && errno == EINTR)
        ;
}

static void make_parents(const char *file)
{
    char path[4096];
    snprintf(path, sizeof path, "%s", file);
    for (char *p = path + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        if (mkdir(path, 0755) < 0 && errno != EEXIST && errno != EROFS && errno != EACCES)
            fail(74, "mkdir", path);
        *p = '/';
    }
}

static void write_file(const char *file, const char *text)
{
    char beside[4096];
    make_parents(file);
    snprintf(beside, sizeof beside, "%s.new", file);
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) || close(fd) < 0 ||
        rename(beside, file) < 0)
        fail(74, "write", file);
}

static void copy_file(const char *from, const char *to)
{
    char text[65536];
    int fd = open(from, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n < 0)
        fail(66, "read", from);
    text[n] = '\0';
    write_file(to, text);
}

static int64_t count(const char *file)
{
    char text[32] = "0";
    int fd = open(file, O_RDONLY);
    if (fd >= 0) {
        ssize_t n = read(fd, text, sizeof text - 1);
        text[n > 0 ? n : 0] = '\0';
        close(fd);
    }
    int64_t next = strtoll(text, NULL, 10) + 1;
    snprintf(text, sizeof text, "%" PRId64, next);
    write_file(file, text);
    printf("%s is %" PRId64 "\n", file, next);
    fflush(stdout);
    return next;
}

static void eat(int64_t mb)
{
    for (int64_t i = 0; i < mb; i++) {
        char *p = malloc(1000000);
        if (!p)
            fail(70, "malloc", "");
        memset(p, (int)(i % 255) + 1, 1000000);
    }
}

/* The first process of a container is not ended by a signal that it does not handle. */
static void on_term(int number)
{
    (void)number;
    if (term_file) {
        pause_ms(term_ms);
        write_file(term_file, term_text);
    }
    _exit(143);
}

static const char *take(char ***argv)
{
    if (!**argv) {
        fprintf(stderr, "worker: an argument is missing\n");
        exit(64);
    }
    return *(*argv)++;
}

static void check(int ok, const char *what, const char *file)
{
    if (ok)
        return;
    fprintf(stderr, "worker: expected otherwise: %s %s\n", what, file);
    exit(70);
}

static void carry_out(const char *verb, char ***argv)
{
    const char *file = take(argv);
    if (!strcmp(verb, "print")) {
        puts(file);
        fflush(stdout);
    } else if (!strcmp(verb, "write")) {
        write_file(file, take(argv));
    } else if (!strcmp(verb, "copy")) {
        copy_file(file, take(argv));
    } else if (!strcmp(verb, "need")) {
        if (access(file, R_OK) < 0)
            fail(66, "need", file);
    } else if (!strcmp(verb, "absent")) {
        check(access(file, F_OK) < 0, verb, file);
    } else if (!strcmp(verb, "user")) {
        check((int64_t)getuid() == strtoll(file, NULL, 10), verb, file);
    } else if (!strcmp(verb, "once")) {
        if (access(file, F_OK) == 0)
            exit(0);
        write_file(file, "1");
    } else if (!strcmp(verb, "count")) {
        (void)count(file);
    } else if (!strcmp(verb, "until")) {
        for (int64_t n = strtoll(take(argv), NULL, 10); count(file) < n;)
            pause_ms(200);
    } else if (!strcmp(verb, "on-term")) {
        term_file = file;
        term_text = take(argv);
        term_ms = atoi(take(argv));
    } else if (!strcmp(verb, "eat")) {
        eat(strtoll(file, NULL, 10));
    } else if (!strcmp(verb, "sleep")) {
        pause_ms((int64_t)(strtod(file, NULL) * 1000));
    } else if (!strcmp(verb, "exit")) {
        exit(atoi(file));
    } else {
        fprintf(stderr, "worker: %s is no verb\n", verb);
        exit(64);
    }
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_term};
    (void)argc;
    sigaction(SIGTERM, &action, NULL);
    for (argv++; *argv;) {
        const char *verb = *argv++;
        if (!strcmp(verb, "crash"))
            __builtin_trap(); /* a fault ends the first process, too, which a signal that is sent does not */
        carry_out(verb, &argv);
    }
    return 0;
}
