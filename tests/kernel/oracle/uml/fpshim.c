/* User-mode Linux 6.1 gives the host 2696 bytes of a task's floating point state (up to PKRU), and a host whose CPU
   has AMX takes no less than 11008: EFAULT, and init is killed. What is missing is AMX's, which nobody here uses: zeros.
   gcc -O2 -shared -fPIC -o fpshim.so fpshim.c */
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define GETREGSET 0x4204
#define SETREGSET 0x4205
#define XSTATE 0x202

static unsigned long whole;

long ptrace(int request, ...) {
  va_list list;
  va_start(list, request);
  long pid = va_arg(list, int);
  void *addr = va_arg(list, void *);
  void *data = va_arg(list, void *);
  va_end(list);
  static char big[65536] __attribute__((aligned(64)));
  if (request == SETREGSET && (unsigned long)addr == XSTATE) {
    struct iovec *small = data;
    if (!whole) {
      struct iovec all = {big, sizeof big};
      if (syscall(SYS_ptrace, GETREGSET, pid, addr, &all) < 0) return -1;
      whole = all.iov_len;
    }
    if (small->iov_len < whole) {
      memcpy(big, small->iov_base, small->iov_len);
      memset(big + small->iov_len, 0, whole - small->iov_len);
      *(unsigned long *)(big + 512) &= ~(3ul << 17);
      struct iovec all = {big, whole};
      return syscall(SYS_ptrace, request, pid, addr, &all);
    }
  }
  long word;
  if (request >= 1 && request <= 3) { /* PEEK*: glibc gives the word back */
    if (syscall(SYS_ptrace, request, pid, addr, &word) < 0) return -1;
    errno = 0;
    return word;
  }
  return syscall(SYS_ptrace, request, pid, addr, data);
}
