/* Uses the library wrongly, in every way that must not hurt: usage: misuse CASE ADDRESS [LINK] */
#include <kdn.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXPECT(condition) \
  do { \
    if (!(condition)) { \
      fprintf(stderr, "line %d: %s; last error: %s\n", __LINE__, #condition, kdn_error_text()); \
      _exit(1); \
    } \
  } while (0)

static const char *address;
static const char *link_wanted;

static kdn_options make_options(void) {
  kdn_options options = {
    .size = sizeof options, .address = address, .namespace_name = "default", .link = link_wanted};
  return options;
}

static kdn_client *connect_client(void) {
  kdn_options options = make_options();
  kdn_client *client = NULL;
  EXPECT(kdn_connect(&options, &client) == KDN_OK);
  EXPECT(client != NULL && kdn_is_open(client));
  return client;
}

static void make_key(uint8_t *key, uint32_t number) {
  memset(key, 0, 64);
  key[0] = 2;
  memcpy(key + 8, &number, sizeof number);
}

static int put(kdn_client *client, uint32_t number, uint8_t *bytes, uint64_t length,
               kdn_put_result *result) {
  uint8_t facts[128] = {0};
  make_key(facts, number);
  memcpy(facts + 96, &length, sizeof length);
  kdn_buffer piece = {bytes, length, NULL};
  kdn_put put = {.facts = facts, .pieces = &piece, .piece_count = 1};
  return kdn_put_from(client, &put, 1, 0, result);
}

static int get(kdn_client *client, uint32_t number, uint8_t *bytes, size_t length,
               kdn_get_result *result) {
  uint8_t item[72] = {0};
  make_key(item, number);
  kdn_buffer buffer = {bytes, length, NULL};
  return kdn_get_into(client, item, sizeof item, 1, &buffer, 0, 0, result);
}

/* ---- Wrong options ---- */

static void expect_options(kdn_options *options, int status, const char *word) {
  kdn_client *client = (kdn_client *)options;
  EXPECT(kdn_connect(options, &client) == status);
  EXPECT(client == NULL);
  EXPECT(strstr(kdn_error_text(), word) != NULL);
}

static void wrong_options(void) {
  EXPECT(strcmp(kdn_error_text(), "") == 0);
  kdn_client *client = NULL;
  kdn_options options = make_options();
  EXPECT(kdn_connect(&options, NULL) == KDN_INVALID);
  EXPECT(kdn_connect(NULL, &client) == KDN_INVALID);
  options.size = sizeof options - 8;
  expect_options(&options, KDN_INVALID, "size");
  /* A newer caller: what is behind must be zero. */
  struct {
    kdn_options options;
    char more[64];
  } newer = {.options = make_options()};
  newer.options.size = sizeof newer;
  EXPECT(kdn_connect(&newer.options, &client) == KDN_OK);
  kdn_close(client);
  newer.more[63] = 1;
  expect_options(&newer.options, KDN_INVALID, "size");
  options = make_options();
  options.address = NULL;
  expect_options(&options, KDN_INVALID, "address");
  options.address = "nowhere";
  expect_options(&options, KDN_INVALID, "address");
  options = make_options();
  options.namespace_name = "";
  expect_options(&options, KDN_INVALID, "namespace");
  options = make_options();
  options.namespace_name = "\xFF";
  expect_options(&options, KDN_INVALID, "namespace_name");
  options = make_options();
  options.link = "telepathy";
  expect_options(&options, KDN_INVALID, "telepathy");
  options = make_options();
  options.flags = 1u << 31;
  expect_options(&options, KDN_INVALID, "flags");
  options = make_options();
  options.address = "127.0.0.1:1";
  options.link = "tcp";
  expect_options(&options, KDN_CANNOT_CONNECT, "127.0.0.1:1");
  options = make_options();
  options.namespace_name = "no-such-tenant";
  expect_options(&options, KDN_REFUSED, "unauthorised");
  EXPECT(kdn_error_server_status() == 3);
}

/* ---- Wrong arguments ---- */

static void wrong_arguments(void) {
  uint8_t bytes[64] = {0};
  uint8_t items[72] = {2};
  size_t length = 0;
  kdn_get_result got;
  kdn_put_result stored;
  kdn_lease *lease = NULL;
  kdn_region *region = NULL;
  kdn_buffer buffer = {bytes, sizeof bytes, NULL};
  EXPECT(kdn_request(NULL, 16, NULL, 0, 0, NULL, 0, &length) == KDN_INVALID);
  EXPECT(kdn_get_into(NULL, items, 72, 1, &buffer, 0, 0, &got) == KDN_INVALID);
  EXPECT(kdn_link(NULL) == NULL && !kdn_is_open(NULL));
  kdn_close(NULL);
  kdn_lease_release(NULL);
  kdn_region_release(NULL);

  kdn_client *client = connect_client();
  /* Operations with functions of their own, or unknown; a reply without room; a malformed body. */
  for (int operation = 5; operation <= 9; operation++)
    EXPECT(kdn_request(client, (uint8_t)operation, NULL, 0, 0, NULL, 0, &length) == KDN_INVALID);
  EXPECT(kdn_request(client, 200, NULL, 0, 0, NULL, 0, &length) == KDN_INVALID);
  EXPECT(kdn_request(client, 16, NULL, 0, 0, NULL, 0, &length) == KDN_NO_ROOM && length > 100);
  EXPECT(kdn_request(client, 16, NULL, 0, 0, NULL, 10, &length) == KDN_INVALID);
  EXPECT(kdn_request(client, 16, NULL, 4, 0, bytes, 64, &length) == KDN_INVALID);
  EXPECT(kdn_request(client, 4, bytes, 7, 0, bytes, 64, &length) == KDN_INVALID);
  EXPECT(strcmp(kdn_error_field(), "bodyLength") == 0 && kdn_error_value() == 7);
  EXPECT(kdn_request(client, 4, bytes, 8, 0, bytes, 64, NULL) == KDN_INVALID);
  EXPECT(kdn_request(client, 4, bytes, 8, 0, bytes, 64, &length) == KDN_OK && length == 8);
  EXPECT(kdn_request(client, 1, NULL, 0, 0, bytes, 64, &length) == KDN_NO_ROOM && length >= 82);
  /* Items that are no items, and counts that do not fit. */
  EXPECT(kdn_get_into(client, items, 71, 1, &buffer, 0, 0, &got) == KDN_INVALID);
  EXPECT(kdn_get_into(client, items, 72, 2, (kdn_buffer[2]){buffer, buffer}, 0, 0, &got) ==
         KDN_INVALID);
  EXPECT(kdn_get_into(client, items, 72, 0, &buffer, 0, 0, &got) == KDN_INVALID);
  EXPECT(kdn_get_into(client, items, 72, (size_t)-1, &buffer, 0, 0, &got) == KDN_INVALID);
  EXPECT(kdn_get_into(client, NULL, 72, 1, &buffer, 0, 0, &got) == KDN_INVALID);
  EXPECT(kdn_get_into(client, items, (size_t)-1, 1, &buffer, 0, 0, &got) == KDN_INVALID);
  EXPECT(kdn_get_into(client, items, 72, 1, NULL, 0, 0, &got) == KDN_INVALID);
  EXPECT(kdn_get_into(client, items, 72, 1, &buffer, 8, 0, &got) == KDN_INVALID);
  EXPECT(kdn_get_into(client, items, 72, 1, &(kdn_buffer){NULL, 5, NULL}, 0, 0, &got) ==
         KDN_INVALID);
  EXPECT(kdn_get_into(client, items, 72, 1, &buffer, 0, 0, NULL) == KDN_INVALID);
  /* Stores whose facts and bytes disagree. */
  uint8_t facts[128] = {2};
  facts[96] = 65;
  kdn_put put = {.facts = facts, .pieces = &buffer, .piece_count = 1};
  EXPECT(kdn_put_from(client, &put, 1, 0, &stored) == KDN_INVALID);
  put.facts = NULL;
  EXPECT(kdn_put_from(client, &put, 1, 0, &stored) == KDN_INVALID);
  put.facts = facts;
  put.piece_count = 0;
  EXPECT(kdn_put_from(client, &put, 1, 0, &stored) == KDN_INVALID);
  EXPECT(kdn_put_from(client, NULL, 1, 0, &stored) == KDN_INVALID);
  /* Leases and regions of nothing. */
  EXPECT(kdn_lease_get(client, items, 72, 1, 0, 0, 0, &got, NULL) == KDN_INVALID);
  EXPECT(kdn_region_register(client, NULL, 4096, &region) == KDN_INVALID && region == NULL);
  EXPECT(kdn_region_register(client, bytes, 0, &region) == KDN_INVALID);
  EXPECT(kdn_region_register_dmabuf(client, -1, 0, 4096, 0, &region) == KDN_INVALID);
  EXPECT(kdn_region_register_dmabuf(client, 0, 0, 4096, 0, &region) == KDN_UNSENDABLE);
  EXPECT(region == NULL);
  /* A region that is not over its buffer, or another client's. */
  EXPECT(kdn_region_register(client, bytes, 32, &region) == KDN_OK && region != NULL);
  buffer.region = region;
  EXPECT(kdn_get_into(client, items, 72, 1, &buffer, 0, 0, &got) == KDN_INVALID);
  EXPECT(strstr(kdn_error_text(), "region") != NULL);
  buffer.length = 32;
  EXPECT(kdn_get_into(client, items, 72, 1, &buffer, 0, 0, &got) == KDN_OK);
  kdn_client *other = connect_client();
  EXPECT(kdn_get_into(other, items, 72, 1, &buffer, 0, 0, &got) == KDN_INVALID);
  kdn_close(other);
  kdn_region_release(region);
  buffer = (kdn_buffer){bytes, sizeof bytes, NULL};
  if (strcmp(kdn_link(client), "shm") == 0) {
    EXPECT(kdn_lease_get(client, items, 72, 1, 0, 0, 0, &got, &lease) == KDN_OK);
    EXPECT(got.outcome == KDN_MISS && got.miss_cause == 1);
    const void *pointer;
    EXPECT(kdn_lease_pieces(lease, 0) == 0 && kdn_lease_pieces(lease, 9) == 0);
    EXPECT(kdn_lease_piece(lease, 0, 0, &pointer, &length) == KDN_INVALID);
    EXPECT(!kdn_lease_is_held(lease));
    kdn_lease_release(lease);
  } else {
    EXPECT(kdn_lease_get(client, items, 72, 1, 0, 0, 0, &got, &lease) == KDN_UNSENDABLE);
    EXPECT(lease == NULL);
  }
  /* None of it cost the connection. */
  EXPECT(kdn_is_open(client));
  EXPECT(kdn_get_into(client, items, 72, 1, &buffer, 0, 0, &got) == KDN_OK);
  EXPECT(got.outcome == KDN_MISS && got.miss_cause == 1);
  kdn_close(client);
}

/* ---- Room ---- */

static void too_little_room(void) {
  kdn_client *client = connect_client();
  uint8_t bytes[100000];
  memset(bytes, 5, sizeof bytes);
  kdn_put_result stored;
  kdn_get_result got;
  EXPECT(put(client, 1, bytes, sizeof bytes, &stored) == KDN_OK);
  EXPECT(stored.outcome == KDN_PUBLISHED && stored.checksum != 0);
  EXPECT(get(client, 1, bytes, 99999, &got) == KDN_OK);
  EXPECT(got.outcome == KDN_GET_NO_ROOM && got.bytes == sizeof bytes);
  EXPECT(get(client, 1, NULL, 0, &got) == KDN_OK && got.outcome == KDN_GET_NO_ROOM);
  EXPECT(get(client, 1, bytes, sizeof bytes, &got) == KDN_OK && got.outcome == KDN_HIT);
  EXPECT(got.object_checksum == stored.checksum && got.object_bytes == sizeof bytes);
  /* The same key with other bytes is refused, and the text says so. */
  memset(bytes, 6, sizeof bytes);
  EXPECT(put(client, 1, bytes, sizeof bytes, &stored) == KDN_OK);
  EXPECT(stored.outcome == KDN_PUT_REFUSED && stored.server_status == 5);
  EXPECT(strstr(kdn_error_text(), "conflict") != NULL && kdn_error_server_status() == 5);
  EXPECT(strcmp(kdn_error_field(), "checksum") == 0 && strlen(kdn_error_message()) > 0);
  kdn_close(client);
}

/* ---- Threads ---- */

enum { THREADS = 8, ROUNDS = 40, OBJECT_BYTES = 30000 };
static kdn_client *shared_client;

static void *work(void *argument) {
  uint32_t thread = (uint32_t)(uintptr_t)argument;
  uint8_t bytes[OBJECT_BYTES], back[OBJECT_BYTES];
  for (uint32_t round = 0; round < ROUNDS; round++) {
    uint32_t number = thread * 1000 + round;
    memset(bytes, (int)(number % 251), sizeof bytes);
    kdn_put_result stored;
    kdn_get_result got;
    EXPECT(put(shared_client, number, bytes, sizeof bytes, &stored) == KDN_OK);
    EXPECT(stored.outcome == KDN_PUBLISHED);
    memset(back, 255, sizeof back);
    EXPECT(get(shared_client, number, back, sizeof back, &got) == KDN_OK);
    EXPECT(got.outcome == KDN_HIT && memcmp(bytes, back, sizeof back) == 0);
    /* Each thread has its own last error. */
    EXPECT(get(shared_client, number, NULL, thread + 1, &got) == KDN_INVALID);
    char text[64];
    snprintf(text, sizeof text, "buffer: %u bytes", thread + 1);
    EXPECT(strstr(kdn_error_text(), text) != NULL);
  }
  return NULL;
}

static void threads(void) {
  shared_client = connect_client();
  pthread_t workers[THREADS];
  for (uintptr_t index = 0; index < THREADS; index++)
    EXPECT(pthread_create(&workers[index], NULL, work, (void *)index) == 0);
  for (int index = 0; index < THREADS; index++) pthread_join(workers[index], NULL);
  kdn_close(shared_client);
}

/* ---- Fork ---- */

static void in_child(kdn_client *inherited, kdn_lease *lease, kdn_region *region) {
  uint8_t bytes[64];
  kdn_get_result got;
  size_t length;
  EXPECT(get(inherited, 1, bytes, sizeof bytes, &got) == KDN_FORKED);
  EXPECT(strstr(kdn_error_text(), "fork") != NULL);
  EXPECT(kdn_request(inherited, 16, NULL, 0, 0, NULL, 0, &length) == KDN_FORKED);
  EXPECT(!kdn_is_open(inherited) && kdn_link(inherited) == NULL);
  EXPECT(!kdn_lease_is_held(lease) && kdn_lease_pieces(lease, 0) == 0);
  /* What the child lets go of is the parent's still. */
  kdn_lease_release(lease);
  kdn_region_release(region);
  kdn_close(inherited);
  kdn_client *own = connect_client();
  EXPECT(get(own, 1, bytes, sizeof bytes, &got) == KDN_OK && got.outcome == KDN_HIT);
  kdn_close(own);
  _exit(0);
}

static void forks(void) {
  kdn_client *client = connect_client();
  uint8_t bytes[64] = {9}, item[72] = {0};
  kdn_put_result stored;
  kdn_get_result got;
  kdn_lease *lease = NULL;
  kdn_region *region = NULL;
  EXPECT(put(client, 1, bytes, sizeof bytes, &stored) == KDN_OK);
  int shares = strcmp(kdn_link(client), "shm") == 0;
  make_key(item, 1);
  if (shares)
    EXPECT(kdn_lease_get(client, item, 72, 1, 0, 0, 0, &got, &lease) == KDN_OK);
  EXPECT(kdn_region_register(client, bytes, sizeof bytes, &region) == KDN_OK);
  for (int round = 0; round < 3; round++) {
    pid_t child = fork();
    if (child == 0) in_child(client, lease, region);
    int status = 0;
    EXPECT(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    /* The parent goes on, with its lease and connection. */
    EXPECT(get(client, 1, bytes, sizeof bytes, &got) == KDN_OK && got.outcome == KDN_HIT);
    if (shares) EXPECT(kdn_lease_is_held(lease) && kdn_lease_pieces(lease, 0) == 1);
  }
  kdn_lease_release(lease);
  kdn_region_release(region);
  kdn_close(client);
}

/* ---- The order of the end ---- */

static void closed_first(void) {
  kdn_client *client = connect_client();
  uint8_t bytes[70000] = {3}, item[72] = {0};
  kdn_put_result stored;
  kdn_get_result got;
  kdn_lease *lease = NULL;
  kdn_region *region = NULL;
  EXPECT(put(client, 1, bytes, sizeof bytes, &stored) == KDN_OK);
  make_key(item, 1);
  EXPECT(kdn_lease_get(client, item, 72, 1, 0, 0, 0, &got, &lease) == KDN_OK);
  EXPECT(kdn_lease_is_held(lease));
  EXPECT(kdn_region_register(client, bytes, sizeof bytes, &region) == KDN_OK);
  kdn_close(client);
  /* The lease is over, and its bytes can be read without harm. */
  EXPECT(!kdn_lease_is_held(lease));
  const void *pointer;
  size_t length;
  EXPECT(kdn_lease_piece(lease, 0, 0, &pointer, &length) == KDN_OK && length == sizeof bytes);
  EXPECT(((const uint8_t *)pointer)[0] == 3);
  kdn_lease_release(lease);
  kdn_region_release(region);
}

int main(int count, char **arguments) {
  if (count < 3) return 2;
  address = arguments[2];
  link_wanted = count > 3 ? arguments[3] : "auto";
  static const struct {
    const char *name;
    void (*run)(void);
  } cases[] = {
    {"options", wrong_options}, {"arguments", wrong_arguments}, {"room", too_little_room},
    {"threads", threads}, {"forks", forks}, {"closed", closed_first},
  };
  for (size_t index = 0; index < sizeof cases / sizeof cases[0]; index++) {
    if (strcmp(cases[index].name, arguments[1]) != 0) continue;
    cases[index].run();
    printf("%s: ok\n", arguments[1]);
    return 0;
  }
  return 2;
}
