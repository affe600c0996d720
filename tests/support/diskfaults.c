/* Lets the Nth system call of a kind on files below a directory fail, in the process it is loaded into with LD_PRELOAD
 * and in its children, each counting for itself. DISKFAULT_ROOT is the directory, DISKFAULT is "KIND:ERRNO:N", and
 * DISKFAULT_TOLD a file that is made when a call failed. N is 0 for all of them. Kinds: create, open, read, write, sync,
 * rename, link, mkdir, unlink.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_int seen;

static int below(const char *path)
{
    const char *root = getenv("DISKFAULT_ROOT");
    return root && path && strncmp(path, root, strlen(root)) == 0;
}

static int below_fd(int fd)
{
    char name[64], path[PATH_MAX];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t size = syscall(SYS_readlinkat, AT_FDCWD, name, path, sizeof path - 1);
    if (size < 0)
        return 0;
    path[size] = 0;
    return below(path);
}

static int fails(const char *kind)
{
    const char *wanted = getenv("DISKFAULT");
    size_t length = strlen(kind);
    int number, nth;
    if (!wanted || strncmp(wanted, kind, length) || wanted[length] != ':')
        return 0;
    if (sscanf(wanted + length + 1, "%d:%d", &number, &nth) != 2 || (nth && atomic_fetch_add(&seen, 1) + 1 != nth))
        return 0;
    const char *told = getenv("DISKFAULT_TOLD");
    if (told)
        close(syscall(SYS_openat, AT_FDCWD, told, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    errno = number;
    return 1;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int opened(int (*next)(int, const char *, int, ...), int directory, const char *path, int flags, mode_t mode)
{
    if (below(path) && fails(flags & O_CREAT ? "create" : "open"))
        return -1;
    return next(directory, path, flags, mode);
}

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | __O_TMPFILE)) { \
        va_list list; \
        va_start(list, flags); \
        mode = va_arg(list, mode_t); \
        va_end(list); \
    }

int open(const char *path, int flags, ...) { MODE(flags) return opened(NEXT(openat), AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return opened(NEXT(openat64), AT_FDCWD, path, flags, mode); }

ssize_t read(int fd, void *data, size_t size)
{
    return below_fd(fd) && fails("read") ? -1 : NEXT(read)(fd, data, size);
}

ssize_t pread64(int fd, void *data, size_t size, off64_t at)
{
    return below_fd(fd) && fails("read") ? -1 : NEXT(pread64)(fd, data, size, at);
}

ssize_t write(int fd, const void *data, size_t size)
{
    return below_fd(fd) && fails("write") ? -1 : NEXT(write)(fd, data, size);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at)
{
    return below_fd(fd) && fails("write") ? -1 : NEXT(pwrite64)(fd, data, size, at);
}

int fsync(int fd) { return below_fd(fd) && fails("sync") ? -1 : NEXT(fsync)(fd); }

int rename(const char *from, const char *to) { return below(to) && fails("rename") ? -1 : NEXT(rename)(from, to); }

int link(const char *from, const char *to) { return below(to) && fails("link") ? -1 : NEXT(link)(from, to); }

int linkat(int a, const char *from, int b, const char *to, int flags)
{
    return below(to) && fails("link") ? -1 : NEXT(linkat)(a, from, b, to, flags);
}

int mkdir(const char *path, mode_t mode) { return below(path) && fails("mkdir") ? -1 : NEXT(mkdir)(path, mode); }

int unlink(const char *path) { return below(path) && fails("unlink") ? -1 : NEXT(unlink)(path); }
