/* Counts the calls by which processes change the files below a folder, and spoils one of them; moves the clock.

   Preloaded by LD_PRELOAD. All processes of a command share one plan: a file, mapped into memory, that HETERREC_FAULTS names.
   A process looks for the variable until it has found it, so that forks of a prepared process may have plans of their own.
   `faults.py` writes the plan, whose layout it repeats. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { NOTHING, KILL_BEFORE, KILL_AFTER, KILL_HALF, FAIL_ONCE, FAIL_ON, SHORT, SLOW, STEP };

struct plan {
    int64_t calls;   /* calls so far, of all processes */
    int64_t at;      /* the call that is spoilt, from 1 */
    int64_t kind;    /* what happens there */
    int64_t error;   /* errno of FAIL_ONCE and FAIL_ON */
    int64_t leader;  /* process group that KILL_* kill: that of the first process; 0 at first */
    int64_t shift;   /* seconds by which the clock is wrong */
    int64_t step;    /* seconds that STEP adds to `shift` */
    int64_t happened;
    char folder[PATH_MAX];
    char log[PATH_MAX]; /* a file with a line per call; empty for none */
};

static struct plan *the_plan;

#define REAL(name)                                                                  \
    ({                                                                               \
        static __typeof__(&name) found;                                              \
        if (!found) found = (__typeof__(&name))dlsym(RTLD_NEXT, #name);              \
        found;                                                                       \
    })

static struct plan *plan(void) {
    if (the_plan) return the_plan;
    const char *path = getenv("HETERREC_FAULTS");
    if (!path) return NULL;
    int handle = REAL(open)(path, O_RDWR | O_CLOEXEC);
    if (handle < 0) return NULL;
    void *found = mmap(NULL, sizeof(struct plan), PROT_READ | PROT_WRITE, MAP_SHARED, handle, 0);
    REAL(close)(handle);
    if (found == MAP_FAILED) return NULL;
    struct plan *p = found;
    int64_t nobody = 0;
    __atomic_compare_exchange_n(&p->leader, &nobody, (int64_t)getpgrp(), 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    return the_plan = p;
}

/* The absolute path of `path`, of which no part need exist; of a file handle if `path` is NULL. */
static int resolve(int folder, const char *path, char *out) {
    if (path && path[0] == '/') return snprintf(out, PATH_MAX, "%s", path) < PATH_MAX;
    char link[64];
    if (path && folder == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t length = readlink(link, out, PATH_MAX - 1);
    if (length < 0) return 0;
    out[length] = 0;
    return !path || snprintf(out + length, PATH_MAX - length, "/%s", path) < PATH_MAX - length;
}

static void die(struct plan *p) {
    kill(-(pid_t)p->leader, SIGKILL);
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* What a call may fail by, besides EIO and EROFS: lack of space; also a signal. */
enum { NEVER_FULL, FULL, INTERRUPTED };

/* Begin a call: what happens to it. NOTHING for calls elsewhere. Of FAIL_*, errno is set. */
static int begin(const char *name, int folder, const char *path, int fails) {
    struct plan *p;
    char full[PATH_MAX];
    int saved = errno;
    if (!(p = plan()) || !resolve(folder, path, full)) return errno = saved, NOTHING;
    size_t length = strlen(p->folder);
    if (strncmp(full, p->folder, length) || (full[length] && full[length] != '/')) return errno = saved, NOTHING;
    int64_t call = __atomic_add_fetch(&p->calls, 1, __ATOMIC_SEQ_CST);
    if (p->log[0]) {
        char line[PATH_MAX + 64];
        int size = snprintf(line, sizeof line, "%s %s\n", name, full);
        int handle = REAL(open)(p->log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        if (REAL(write)(handle, line, size) != size) abort();
        REAL(close)(handle);
    }
    errno = saved;
    int kind = (int)p->kind;
    if (kind == FAIL_ON ? call < p->at || fails == NEVER_FULL : call != p->at) return NOTHING;
    if (kind == FAIL_ONCE && p->error == EINTR && fails != INTERRUPTED) return NOTHING;
    p->happened = 1;
    if (kind == KILL_BEFORE) die(p);
    if (kind == SLOW) usleep(300000);
    if (kind == STEP) p->shift += p->step;
    if (kind == FAIL_ONCE || kind == FAIL_ON) errno = (int)p->error;
    return kind;
}

static void end(int kind) {
    if (kind == KILL_AFTER || kind == KILL_HALF) die(the_plan);
}

#define FAILS(kind) ((kind) == FAIL_ONCE || (kind) == FAIL_ON)

/* A call that does not write bytes. */
#define SIMPLE(type, name, folder, path, fails, parameters, ...)                    \
    type name parameters {                                                           \
        int kind = begin(#name, folder, path, fails);                                \
        if (FAILS(kind)) return -1;                                                  \
        type result = REAL(name)(__VA_ARGS__);                                       \
        end(kind);                                                                   \
        return result;                                                               \
    }

/* A call that writes `size` bytes, of which half are written where it is cut short. */
#define WRITES(name, handle, size, parameters, whole, half)                         \
    ssize_t name parameters {                                                        \
        int kind = begin(#name, handle, NULL, INTERRUPTED);                                    \
        if (FAILS(kind)) return -1;                                                  \
        if ((kind == SHORT || kind == KILL_HALF) && (size) > 1) {                    \
            ssize_t done = half;                                                     \
            end(kind);                                                               \
            return done;                                                             \
        }                                                                            \
        ssize_t result = whole;                                                      \
        end(kind);                                                                   \
        return result;                                                               \
    }

WRITES(write, h, n, (int h, const void *b, size_t n), REAL(write)(h, b, n), REAL(write)(h, b, n / 2))
WRITES(pwrite, h, n, (int h, const void *b, size_t n, off_t o), REAL(pwrite)(h, b, n, o), REAL(pwrite)(h, b, n / 2, o))
WRITES(pwrite64, h, n, (int h, const void *b, size_t n, off64_t o), REAL(pwrite64)(h, b, n, o), REAL(pwrite64)(h, b, n / 2, o))
WRITES(writev, h, n, (int h, const struct iovec *v, int n), REAL(writev)(h, v, n), REAL(writev)(h, v, n / 2))
WRITES(copy_file_range, out, n, (int in, off64_t *i, int out, off64_t *o, size_t n, unsigned f),
       REAL(copy_file_range)(in, i, out, o, n, f), REAL(copy_file_range)(in, i, out, o, n / 2, f))
WRITES(sendfile, out, n, (int out, int in, off_t *i, size_t n), REAL(sendfile)(out, in, i, n), REAL(sendfile)(out, in, i, n / 2))
WRITES(sendfile64, out, n, (int out, int in, off64_t *i, size_t n), REAL(sendfile64)(out, in, i, n), REAL(sendfile64)(out, in, i, n / 2))

SIMPLE(int, ftruncate, h, NULL, FULL, (int h, off_t n), h, n)
SIMPLE(int, ftruncate64, h, NULL, FULL, (int h, off64_t n), h, n)
SIMPLE(int, truncate, AT_FDCWD, p, FULL, (const char *p, off_t n), p, n)
SIMPLE(int, fallocate, h, NULL, FULL, (int h, int m, off_t o, off_t n), h, m, o, n)
SIMPLE(int, fsync, h, NULL, INTERRUPTED, (int h), h)
SIMPLE(int, fdatasync, h, NULL, INTERRUPTED, (int h), h)
SIMPLE(int, flock, h, NULL, NEVER_FULL, (int h, int o), h, o)
SIMPLE(int, rename, AT_FDCWD, new, FULL, (const char *old, const char *new), old, new)
SIMPLE(int, renameat, b, new, FULL, (int a, const char *old, int b, const char *new), a, old, b, new)
SIMPLE(int, renameat2, b, new, FULL, (int a, const char *old, int b, const char *new, unsigned f), a, old, b, new, f)
SIMPLE(int, link, AT_FDCWD, new, FULL, (const char *old, const char *new), old, new)
SIMPLE(int, linkat, b, new, FULL, (int a, const char *old, int b, const char *new, int f), a, old, b, new, f)
SIMPLE(int, symlink, AT_FDCWD, new, FULL, (const char *old, const char *new), old, new)
SIMPLE(int, symlinkat, b, new, FULL, (const char *old, int b, const char *new), old, b, new)
SIMPLE(int, unlink, AT_FDCWD, p, NEVER_FULL, (const char *p), p)
SIMPLE(int, unlinkat, h, p, NEVER_FULL, (int h, const char *p, int f), h, p, f)
SIMPLE(int, remove, AT_FDCWD, p, NEVER_FULL, (const char *p), p)
SIMPLE(int, rmdir, AT_FDCWD, p, NEVER_FULL, (const char *p), p)
SIMPLE(int, mkdir, AT_FDCWD, p, FULL, (const char *p, mode_t m), p, m)
SIMPLE(int, mkdirat, h, p, FULL, (int h, const char *p, mode_t m), h, p, m)
SIMPLE(int, utimensat, h, p, NEVER_FULL, (int h, const char *p, const struct timespec t[2], int f), h, p, t, f)
SIMPLE(int, futimens, h, NULL, NEVER_FULL, (int h, const struct timespec t[2]), h, t)

/* Files are opened by many names. Only opening for writing changes anything. */

#define OPENS(name, folder, parameters, ...)                                        \
    int name parameters {                                                            \
        mode_t mode = 0;                                                             \
        if (flags & (O_CREAT | __O_TMPFILE)) {                                       \
            va_list more;                                                            \
            va_start(more, flags);                                                   \
            mode = va_arg(more, mode_t);                                             \
            va_end(more);                                                            \
        }                                                                            \
        int changes = flags & (O_CREAT | O_TRUNC | O_WRONLY | O_RDWR);               \
        int kind = changes ? begin(#name, folder, path, INTERRUPTED) : NOTHING;                \
        if (FAILS(kind)) return -1;                                                  \
        int result = REAL(name)(__VA_ARGS__, flags, mode);                           \
        end(kind);                                                                   \
        return result;                                                               \
    }

OPENS(open, AT_FDCWD, (const char *path, int flags, ...), path)
OPENS(open64, AT_FDCWD, (const char *path, int flags, ...), path)
OPENS(openat, folder, (int folder, const char *path, int flags, ...), folder, path)
OPENS(openat64, folder, (int folder, const char *path, int flags, ...), folder, path)
SIMPLE(int, creat, AT_FDCWD, p, FULL, (const char *p, mode_t m), p, m)
SIMPLE(int, creat64, AT_FDCWD, p, FULL, (const char *p, mode_t m), p, m)

/* Streams of C write inside of libc, which no library sees: their calls count themselves. */

#define STREAMS(name)                                                               \
    FILE *name(const char *path, const char *mode) {                                 \
        int kind = strpbrk(mode, "wa+") ? begin(#name, AT_FDCWD, path, FULL) : NOTHING; \
        if (FAILS(kind)) return NULL;                                                \
        FILE *result = REAL(name)(path, mode);                                       \
        end(kind);                                                                   \
        return result;                                                               \
    }

STREAMS(fopen)
STREAMS(fopen64)

size_t fwrite(const void *data, size_t size, size_t count, FILE *stream) {
    int kind = begin("fwrite", fileno(stream), NULL, FULL);
    if (FAILS(kind)) return 0;
    if (kind == KILL_HALF) REAL(fwrite)(data, size, count / 2, stream);
    else count = REAL(fwrite)(data, size, count, stream);
    if (kind == KILL_HALF || kind == KILL_AFTER) fflush(stream);
    end(kind);
    return count;
}

int fclose(FILE *stream) {
    int kind = begin("fclose", fileno(stream), NULL, FULL), failed = FAILS(kind) ? errno : 0;
    int result = REAL(fclose)(stream);
    end(kind);
    return failed ? (errno = failed, EOF) : result;
}

/* The clock of the wall, and the times of files, which the system writes by its own clock. */

int close(int handle) {
    char path[PATH_MAX];
    struct plan *p = plan();
    int flags = p ? fcntl(handle, F_GETFL) : -1, kind = NOTHING, failed = 0;
    if (flags >= 0 && (flags & O_ACCMODE) != O_RDONLY) {
        kind = begin("close", handle, NULL, FULL);
        failed = FAILS(kind) ? errno : 0;
        size_t length = strlen(p->folder);
        if (p->shift && resolve(handle, NULL, path) && !strncmp(path, p->folder, length)) {
            struct timespec now;
            REAL(clock_gettime)(CLOCK_REALTIME, &now);
            now.tv_sec += p->shift;
            REAL(futimens)(handle, (struct timespec[2]){now, now});
        }
    }
    int result = REAL(close)(handle);
    end(kind);
    return failed ? (errno = failed, -1) : result;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    int result = REAL(clock_gettime)(clock, at);
    if (!result && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) && plan()) at->tv_sec += the_plan->shift;
    return result;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    int result = REAL(gettimeofday)(at, zone);
    if (!result && plan()) at->tv_sec += the_plan->shift;
    return result;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
