/* Runs commands in turn, and prints what each run took. Small, so that starting a program costs next to nothing here.
 *
 * usage: turns [rotate] ROUNDS -- NAME PROGRAM [ARGUMENT...] [-- NAME PROGRAM...]
 * With `rotate` each round begins with another one: what one leaves the machine in is not always the same one's gain.
 * In arguments, %d stands for the number of the round. One line for each run: name, microseconds until its end,
 * microseconds of processor time of it and what it waited for, its peak resident KiB. The first five rounds warm the
 * caches and are not printed. Output of the programs is thrown away; one that fails ends everything. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WARM = 5, WORDS = 64, LENGTH = 512 };

extern char **environ;

static double microseconds(struct timeval time) { return (double)time.tv_sec * 1e6 + (double)time.tv_usec; }

static void one(char **command, long round, posix_spawn_file_actions_t *files) {
    static char texts[WORDS][LENGTH];
    char *arguments[WORDS + 1] = {0};
    for (int i = 0; command[i + 1] && strcmp(command[i + 1], "--") != 0; i++) {
        if (i == WORDS) exit(2);
        char *mark = strstr(command[i + 1], "%d");
        int before = mark ? (int)(mark - command[i + 1]) : LENGTH - 1;
        if (mark) snprintf(texts[i], LENGTH, "%.*s%ld%s", before, command[i + 1], round, mark + 2);
        else snprintf(texts[i], LENGTH, "%s", command[i + 1]);
        arguments[i] = texts[i];
    }
    struct timespec before, after;
    struct rusage used;
    pid_t pid;
    int status;
    clock_gettime(CLOCK_MONOTONIC, &before);
    int error = posix_spawn(&pid, arguments[0], files, NULL, arguments, environ);
    if (error) {
        fprintf(stderr, "turns: %s: %s\n", arguments[0], strerror(error));
        exit(1);
    }
    while (wait4(pid, &status, 0, &used) < 0 && errno == EINTR) {}
    clock_gettime(CLOCK_MONOTONIC, &after);
    if (status != 0) {
        fprintf(stderr, "turns: %s failed in round %ld, status %#x\n", command[0], round, status);
        exit(1);
    }
    double wall = (double)(after.tv_sec - before.tv_sec) * 1e6 + (double)(after.tv_nsec - before.tv_nsec) / 1e3;
    double cpu = microseconds(used.ru_utime) + microseconds(used.ru_stime);
    if (round >= WARM) printf("%s %.1f %.1f %ld\n", command[0], wall, cpu, used.ru_maxrss);
}

int main(int count, char **words) {
    int rotate = count > 1 && strcmp(words[1], "rotate") == 0;
    count -= rotate;
    words += rotate;
    if (count < 5 || strcmp(words[2], "--") != 0) {
        fprintf(stderr, "usage: turns [rotate] ROUNDS -- NAME PROGRAM [ARGUMENT...] [-- NAME PROGRAM...]\n");
        return 2;
    }
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
    char **commands[WORDS];
    int number = 0;
    for (int i = 2; i < count && number < WORDS; i++)
        if (strcmp(words[i], "--") == 0) commands[number++] = &words[i + 1];
    for (long round = 0; round < atol(words[1]) + WARM; round++)
        for (int i = 0; i < number; i++) one(commands[rotate ? (round + i) % number : i], round, &files);
    return 0;
}
