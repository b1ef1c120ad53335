/* libkdn: the client of KDN, for C and for whatever can call C.
 *
 * It speaks KDNP/1 over TCP, TLS, Unix sockets, shared memory and RDMA, and chooses the best link
 * by itself. Keys, items and request bodies are passed as they go over the wire, little-endian; the
 * protocol document of KDN says how they look.
 *
 * Calls return KDN_OK or a negative kdn_status; kdn_error_text() then says what happened, in the
 * thread that made the call. Any thread may use any handle: calls of one client wait for each
 * other, so whoever wants more requests at once opens more clients. Calls block until the answer is
 * there or the deadline is over; they start no threads and install no signal handlers.
 *
 * After fork() the child uses none of the handles it inherited: calls return KDN_FORKED, and what
 * returns a number or text gives 0 or NULL. It connects anew; the parent goes on undisturbed.
 *
 * Within one KDN_ABI_VERSION nothing here changes its meaning or layout, except that functions are
 * added and that structures with a `size` grow at their end. */
#ifndef KDN_H
#define KDN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KDN_ABI_VERSION 1

/* KDN_ABI_VERSION of the library; whoever loads it at run time compares. */
uint32_t kdn_abi_version(void);
/* The version of KDN, such as "0.1.0". */
const char *kdn_version(void);

enum kdn_status {
  KDN_OK = 0,
  /* An argument is wrong, and nothing was sent; the text names it. */
  KDN_INVALID = -1,
  /* No connection could be made, or not over the link asked for. */
  KDN_CANNOT_CONNECT = -2,
  /* The server refused; kdn_error_server_status() says why. The client can be used on. */
  KDN_REFUSED = -3,
  /* The server has closed the connection, and said why. The client is of no use any more. */
  KDN_WENT_AWAY = -4,
  /* The connection broke, or the client was closed. */
  KDN_LOST = -5,
  /* No complete answer in time; the client is of no use any more. */
  KDN_DEADLINE = -6,
  /* The server sent what no server may send; the client is of no use any more. */
  KDN_PROTOCOL = -7,
  /* More than the server takes, or not over this link; nothing was sent. */
  KDN_UNSENDABLE = -8,
  /* The answer is longer than the room for it; it is lost, its length is told. */
  KDN_NO_ROOM = -9,
  /* The handle was made before a fork, by the parent. */
  KDN_FORKED = -10,
  /* This library cannot do it. */
  KDN_UNSUPPORTED = -11
};

/* A connection in one namespace. */
typedef struct kdn_client kdn_client;
/* Memory that the fabric may write and read. */
typedef struct kdn_region kdn_region;
/* Objects that are read where the server keeps them. */
typedef struct kdn_lease kdn_lease;

/* ---- What went wrong ---- */

/* What the last call of this thread that failed came to: one line, UTF-8; "" before any failed.
 * Valid until the thread's next call that fails. */
const char *kdn_error_text(void);
/* The protocol's status behind KDN_REFUSED and KDN_WENT_AWAY of this thread's last failed call,
 * such as 4 for busy; else 0. */
uint32_t kdn_error_server_status(void);
/* When to try again, in milliseconds, if the server said so; else 0. */
uint32_t kdn_error_retry_after_ms(void);
/* Of a wrong argument or a refusal: the field at fault as the protocol spells it ("" if none is
 * known), what it held, what it may hold, and what is wrong with it. The texts are valid as
 * kdn_error_text's. */
const char *kdn_error_field(void);
uint64_t kdn_error_value(void);
uint64_t kdn_error_limit(void);
const char *kdn_error_message(void);

/* ---- Connections ---- */

/* The token may travel over RDMA in the clear: the fabric is trusted. */
#define KDN_CONNECT_RDMA_TRUSTED 1u
/* Bytes that come are not checked against their checksums, and kdn_lease_get checks none. */
#define KDN_CONNECT_UNVERIFIED 2u

typedef struct kdn_options {
  /* sizeof(kdn_options) as the caller knows it. What a newer caller has behind it must be 0. */
  size_t size;
  /* HOST:PORT, tls://HOST:PORT, unix:///PATH or rdma://HOST:PORT. */
  const char *address;
  const char *namespace_name;
  /* The namespace's token; NULL: none. */
  const char *token;
  /* Who connects, for the server's logs; NULL: libkdn and its version. */
  const char *agent;
  /* "auto", "tcp", "unix", "shm" or "rdma"; NULL: auto. */
  const char *link;
  /* PEM files: authorities (NULL: the system's), own certificate and its key (NULL: none). */
  const char *tls_authorities;
  const char *tls_certificate;
  const char *tls_key;
  /* The name that the server's certificate must bear; NULL: the host of the address. */
  const char *tls_server_name;
  /* For connecting and greeting together; 0: 5000. */
  uint32_t connect_timeout_ms;
  /* KDN_CONNECT_… */
  uint32_t flags;
} kdn_options;

/* Connects and greets the server. On failure *client is NULL. */
int kdn_connect(const kdn_options *options, kdn_client **client);
/* Ends the connection, after a running call of another thread, and frees the handle: no call may
 * begin with it from now on. Regions and leases of it stay to be released. NULL is ignored. */
void kdn_close(kdn_client *client);
/* 1 while requests can be made; 0 once the connection has ended. */
int kdn_is_open(kdn_client *client);

/* The link: "tcp", "tls", "unix", "shm" or "rdma"; where the server was reached; and why this one
 * and no better one. Valid until kdn_close. */
const char *kdn_link(const kdn_client *client);
const char *kdn_link_address(const kdn_client *client);
const char *kdn_link_reason(const kdn_client *client);

/* Makes a request that is answered by one frame without payload: LAYOUT, MATCH, EXISTS, RELEASE,
 * TOUCH, PIN, UNPIN, PREFETCH, PURGE, STATS, DOCUMENT, COMPOSE, EDIT, WORK, LINK_TICKET;
 * `operation` is its number.
 * For operation 1, HELLO, nothing is sent: the answer is the one the server gave at first.
 *
 * `*reply_length` becomes the length of the answer's body, also with KDN_NO_ROOM. A room as long as
 * the server's maxBodyBytes is always enough. deadline_ms 0 is the server's default. */
int kdn_request(kdn_client *client, uint8_t operation, const void *body, size_t body_length,
                uint32_t deadline_ms, void *reply, size_t reply_room, size_t *reply_length);

/* ---- Which objects are there ---- */

/* A lease is wanted: what matched stays for lease_ms, or until RELEASE. */
#define KDN_MATCH_LEASE 1u

typedef struct kdn_match_query {
  /* sizeof(kdn_match_query). */
  size_t size;
  /* The chain of chunk hashes, 32 bytes each. */
  const uint8_t *hashes;
  size_t hash_count;
  /* The parts of a chunk that must be there, 8 bytes each. */
  const uint8_t *parts;
  size_t part_count;
  uint8_t layout[16];
  uint32_t variant;
  /* With KDN_MATCH_LEASE; 0: the server's default. */
  uint32_t lease_ms;
  uint32_t flags;
  uint32_t deadline_ms;
} kdn_match_query;

typedef struct kdn_match_result {
  /* Chunks from the first that are all there. */
  uint32_t matched_chunks;
  /* Why the next one is not: a miss cause; 0 if all are. */
  uint32_t miss_cause;
  /* How many of them have this tier as their slowest. */
  uint32_t gpu_chunks, ram_chunks, disk_chunks, origin_chunks;
  uint64_t matched_bytes;
  /* Time to fetch them all; 0: unknown. */
  uint64_t estimate_us;
  /* 0: none. */
  uint64_t lease_id;
  uint32_t lease_ms;
  uint32_t reserved;
} kdn_match_result;

/* Finds the longest prefix of a chain that is there. */
int kdn_match(kdn_client *client, const kdn_match_query *query, kdn_match_result *result);

/* ---- Objects in and out ---- */

/* Bytes of the caller's. `region`, or NULL, is one of the same client's registered over all of
 * them: RDMA then needs to pin nothing. */
typedef struct kdn_buffer {
  void *pointer;
  size_t length;
  kdn_region *region;
} kdn_buffer;

/* Wait up to the deadline until missing objects are stored. */
#define KDN_GET_WAIT 1u
/* The server need take no checksums of parts of objects, and nothing is checked here. */
#define KDN_GET_UNVERIFIED 2u

enum kdn_get_outcome { KDN_HIT = 0, KDN_MISS = 1, KDN_GET_NO_ROOM = 2 };

typedef struct kdn_get_result {
  /* enum kdn_get_outcome. A buffer holds undefined bytes unless this is KDN_HIT. */
  uint32_t outcome;
  /* Of a miss: 1 never_stored, 2 evicted, 3 expired, 4 wrong_layout, 5 over_deadline, 6 corrupt,
   * 7 not_ready, 8 purged, 9 over_credit. Else 0. */
  uint32_t miss_cause;
  /* Bytes in the buffer, or those that had no room in it. */
  uint64_t bytes;
  /* Of a hit: XXH3-64 of the whole object. */
  uint64_t object_checksum;
  /* Of a hit: bytes of the whole object. */
  uint64_t object_bytes;
} kdn_get_result;

/* Fetches `count` items, each into its own buffer. `items` are the items of GET one behind the
 * other. `results` has room for `count`. KDN_OK says that all results are there, misses too. */
int kdn_get_into(kdn_client *client, const void *items, size_t items_length, size_t count,
                 const kdn_buffer *buffers, uint32_t flags, uint32_t deadline_ms,
                 kdn_get_result *results);

/* `checksum` is given: it need not be computed here. */
#define KDN_PUT_CHECKSUM 1u

typedef struct kdn_put {
  /* The body of PUT_BEGIN, 128 bytes. */
  const void *facts;
  /* The object's bytes, in order; they sum to the totalBytes of the facts. */
  const kdn_buffer *pieces;
  size_t piece_count;
  /* With KDN_PUT_CHECKSUM: XXH3-64 of all bytes. */
  uint64_t checksum;
  uint32_t flags;
  uint32_t reserved;
} kdn_put;

enum kdn_put_outcome { KDN_PUBLISHED = 0, KDN_PRESENT = 1, KDN_PUT_REFUSED = 2 };

typedef struct kdn_put_result {
  /* enum kdn_put_outcome; PRESENT: it was there with the same bytes. */
  uint32_t outcome;
  /* Of a refusal: the protocol's status, and when to try again, 0 if the server did not say. */
  uint32_t server_status;
  uint32_t retry_after_ms;
  uint32_t reserved;
  /* XXH3-64 of the bytes; 0 of a refusal. */
  uint64_t checksum;
} kdn_put_result;

/* Stores `count` objects, many on their way at once. The bytes are only read, and must stay until
 * the call returns. KDN_OK says that all results are there, refusals too; kdn_error_text() then
 * tells of the last refusal. After another failure it is unknown which objects are stored. */
int kdn_put_from(kdn_client *client, const kdn_put *puts, size_t count, uint32_t deadline_ms,
                 kdn_put_result *results);

/* ---- Objects in place, over shared memory ---- */

/* Finds `count` items where the server keeps them; KDN_UNSENDABLE over another link than shm.
 *
 * They stay for lease_ms (0: the server's default), counted from the call, or until the lease is
 * released or the connection ends. They are checked where they lie, unless flags or options say no.
 * *lease is never NULL after KDN_OK: it is to be released also if all items missed. */
int kdn_lease_get(kdn_client *client, const void *items, size_t items_length, size_t count,
                  uint32_t lease_ms, uint32_t flags, uint32_t deadline_ms,
                  kdn_get_result *results, kdn_lease **lease);
/* How many pieces an item's bytes lie in: 0 unless it was a hit. */
size_t kdn_lease_pieces(const kdn_lease *lease, size_t item);
/* Where a piece is. It can be read until kdn_lease_release, but is the object's bytes only as long
 * as the lease is held. It cannot be written. */
int kdn_lease_piece(const kdn_lease *lease, size_t item, size_t piece, const void **pointer,
                    size_t *length);
/* 1 if the lease is held now: asked after the bytes were used, it says that they were right. */
int kdn_lease_is_held(const kdn_lease *lease);
/* Gives the lease back and frees the handle; its pieces cannot be read any more. NULL is
 * ignored. */
void kdn_lease_release(kdn_lease *lease);

/* ---- Memory for RDMA ---- */

/* Registers memory with the client's device, once for many transfers; it must stay until the
 * region is released. Over other links this is allowed and of no effect. */
int kdn_region_register(kdn_client *client, void *pointer, size_t length, kdn_region **region);
/* Registers memory of a GPU that its driver exported as the dmabuf `descriptor`, which stays the
 * caller's. Buffers name it by the address `address` that the GPU's memory has for the caller, with
 * this region. The processor never touches it: what a GET brings there is not verified, and a PUT
 * from there needs its checksum. KDN_UNSENDABLE over another link, or if the driver refuses. */
int kdn_region_register_dmabuf(kdn_client *client, int descriptor, uint64_t offset, size_t length,
                               uint64_t address, kdn_region **region);
/* Ends the registration and frees the handle. NULL is ignored. */
void kdn_region_release(kdn_region *region);

#ifdef __cplusplus
}
#endif
#endif
