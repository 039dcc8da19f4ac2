/* The authenticated hello of every connection between workers, and the socket work around it.
 *
 *   acceptor → connector  magic, nonce
 *   connector → acceptor  hello (purpose, rank, size, attempt, nonce, run UID, identity), HMAC(key, "connector", nonce of the acceptor, hello)
 *   acceptor → connector  verdict, HMAC(key, "acceptor", both nonces, verdict)
 *
 * So neither side talks to anyone who does not hold the key of this attempt, and nothing said before is of use again. A
 * refused or silent stranger costs the acceptor nothing but that connection. All waiting ends at a deadline
 * (milliseconds of CLOCK_MONOTONIC). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"

enum {
    HANDSHAKE_NONCE = 32,
    HANDSHAKE_TEXT = 64,
    HANDSHAKE_MAC = 32,
    HANDSHAKE_GREETING = 8 + HANDSHAKE_NONCE
};
enum handshake_purpose { HANDSHAKE_RENDEZVOUS = 1, HANDSHAKE_PEER = 2 };

/* Who is talking; integers in network byte order on the wire. */
struct handshake_id {
    uint32_t purpose, rank, size, attempt;
    char run_uid[HANDSHAKE_TEXT];
    char identity[HANDSHAKE_TEXT];
};
enum {
    HANDSHAKE_HELLO = 8 + 16 + HANDSHAKE_NONCE + 2 * HANDSHAKE_TEXT + HANDSHAKE_MAC,
    HANDSHAKE_VERDICT = 4 + HANDSHAKE_MAC
};
enum handshake_verdict { VERDICT_WELCOME = 1, VERDICT_KEY, VERDICT_OTHER_RUN, VERDICT_RANK };

int64_t handshake_now_ms(void);
void handshake_greeting(uint8_t ret[static HANDSHAKE_GREETING]); /* a new nonce inside */
/* Judges a hello against our own identity; fills *ret_id whatever the verdict. */
enum handshake_verdict handshake_judge(const uint8_t key[static 32],
                                       const uint8_t greeting[static HANDSHAKE_GREETING],
                                       const uint8_t hello[static HANDSHAKE_HELLO],
                                       const struct handshake_id *self, struct handshake_id *ret_id);
void handshake_answer(const uint8_t key[static 32], const uint8_t greeting[static HANDSHAKE_GREETING],
                      const uint8_t hello[static HANDSHAKE_HELLO], enum handshake_verdict verdict,
                      uint8_t ret[static HANDSHAKE_VERDICT]);

/* Connects and says hello, again and again until the deadline: the acceptor may not be there yet, or may be one of an
 * earlier attempt. Past it: exit 75, or 78 (reason "rendezvous-refused") when the last answer was a refusal. The descriptor blocks. */
struct handshake_patience {
    int64_t deadline;
    int (*stopping)(void *ctx); /* asked between tries; NULL: never */
    void *stopping_ctx;
};
int handshake_connect(const char *host, int port, const uint8_t key[static 32],
                      const struct handshake_id *self, const struct handshake_patience *patience, int *ret_fd,
                      struct err *err);
/* Exit 75, reason "stopped". */
int handshake_stopped(const struct handshake_id *self, struct err *err);
/* Accepts until someone with the right hello came. */
int handshake_accept(int listener, const uint8_t key[static 32], const struct handshake_id *self,
                     int64_t deadline, int *ret_fd, struct handshake_id *ret_peer, struct err *err);
/* host NULL: any address. Port 0: a free one. The descriptor does not block. */
int handshake_listen(const char *host, int port, int *ret_fd, int *ret_port, struct err *err);
/* Whole buffers before the deadline. False on end of stream, error, deadline. */
bool handshake_read(int fd, void *data, size_t len, int64_t deadline);
bool handshake_write(int fd, const void *data, size_t len, int64_t deadline);
