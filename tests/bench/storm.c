/* Makes new flows as fast as the machine can: each datagram goes to another port or address.
 * usage: storm COUNT BASE [PER_SECOND]
 * Datagram number N goes from one socket to port 1024 + N % 60000 of address BASE + N / 60000.
 * Prints the seconds that it took. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define BATCH 64

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: storm COUNT BASE [PER_SECOND]\n");
        return 2;
    }
    long count = atol(argv[1]);
    uint32_t base = ntohl(inet_addr(argv[2]));
    double rate = argc > 3 ? atof(argv[3]) : 0;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    int size = 4 << 20;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    struct sockaddr_in to[BATCH];
    struct iovec part = {.iov_base = "storm", .iov_len = 5};
    struct mmsghdr messages[BATCH];
    memset(messages, 0, sizeof messages);
    memset(to, 0, sizeof to);
    for (int i = 0; i < BATCH; i++) {
        to[i].sin_family = AF_INET;
        messages[i].msg_hdr.msg_name = &to[i];
        messages[i].msg_hdr.msg_namelen = sizeof to[i];
        messages[i].msg_hdr.msg_iov = &part;
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    double started = now();
    for (long sent = 0; sent < count;) {
        int several = count - sent < BATCH ? count - sent : BATCH;
        for (int i = 0; i < several; i++) {
            to[i].sin_port = htons(1024 + (sent + i) % 60000);
            to[i].sin_addr.s_addr = htonl(base + (sent + i) / 60000);
        }
        int done = sendmmsg(fd, messages, several, 0);
        if (done <= 0) {
            perror("sendmmsg");
            return 1;
        }
        sent += done;
        while (rate > 0 && sent / rate > now() - started) {
            struct timespec pause = {0, 200000};
            nanosleep(&pause, NULL);
        }
    }
    printf("%.6f\n", now() - started);
    return 0;
}
