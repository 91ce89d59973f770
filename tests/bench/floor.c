/* The least that a container costs: one process in new namespaces, another root, a program.
 *
 * usage: floor ROOT PROGRAM [ROUNDS]
 * Makes it so often and waits each time; with ROUNDS it prints the microseconds of each. No configuration, no control
 * group, no file system but the root, no state: what a runtime takes on top of this is its own. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *what) {
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    _exit(1);
}

static void live(const char *root, char *program) {
    if (mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) < 0) fail("make mounts our own");
    if (mount(root, root, NULL, MS_BIND | MS_REC, NULL) < 0) fail("mount the root");
    if (chdir(root) < 0) fail("enter the root");
    if (syscall(SYS_pivot_root, ".", ".") < 0) fail("pivot");
    if (umount2(".", MNT_DETACH) < 0) fail("let go of the old root");
    char *arguments[] = {program, NULL}, *environment[] = {NULL};
    execve(program, arguments, environment);
    fail(program);
}

static void one(const char *root, char *program) {
    unsigned long namespaces = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
    /* As fork(2): without a stack of its own the child goes on with a copy of this one. */
    long pid = syscall(SYS_clone, namespaces | SIGCHLD, 0, 0, 0, 0);
    if (pid < 0) fail("clone");
    if (pid == 0) live(root, program);
    int status;
    if (waitpid((pid_t)pid, &status, 0) < 0) fail("wait");
    if (status != 0) exit(1);
}

int main(int count, char **words) {
    if (count < 3) {
        fprintf(stderr, "usage: floor ROOT PROGRAM [ROUNDS]\n");
        return 2;
    }
    for (long rounds = count > 3 ? atol(words[3]) : 0, round = 0; round < rounds; round++) {
        struct timespec before, after;
        clock_gettime(CLOCK_MONOTONIC, &before);
        one(words[1], words[2]);
        clock_gettime(CLOCK_MONOTONIC, &after);
        printf("%.1f\n", (double)(after.tv_sec - before.tv_sec) * 1e6 + (double)(after.tv_nsec - before.tv_nsec) / 1e3);
    }
    if (count == 3) one(words[1], words[2]);
    return 0;
}
