/* Stores an object, finds it and reads it back, over the best link there is.
 *
 * usage: example ADDRESS [LINK [BYTES]], such as: example unix:///run/kdn/kdn.sock auto */
#include <kdn.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_BYTES = 64, FACTS_BYTES = 128, ITEM_BYTES = 72, RANGE_BYTES = 16 };

static void fail(const char *call) {
  fprintf(stderr, "%s: %s\n", call, kdn_error_text());
  exit(1);
}

static void put64(uint8_t *place, uint64_t value) {
  for (int byte = 0; byte < 8; byte++) place[byte] = (uint8_t)(value >> (8 * byte));
}

/* The key of an opaque object: its kind, and a hash that the caller chooses. */
static void make_key(uint8_t *key, uint8_t mark) {
  memset(key, 0, KEY_BYTES);
  key[0] = 2;
  memset(key + 8, mark, 32);
}

/* The whole of an object, as an item of GET. */
static void make_item(uint8_t *item, const uint8_t *key) {
  memset(item, 0, ITEM_BYTES);
  memcpy(item, key, KEY_BYTES);
}

static void store(kdn_client *client, const uint8_t *key, uint8_t *bytes, size_t length) {
  uint8_t facts[FACTS_BYTES] = {0};
  memcpy(facts, key, KEY_BYTES);
  put64(facts + 96, length);
  /* The bytes may lie in several places. */
  size_t third = length / 3;
  kdn_buffer pieces[2] = {{bytes, third, NULL}, {bytes + third, length - third, NULL}};
  kdn_put put = {.facts = facts, .pieces = pieces, .piece_count = 2};
  kdn_put_result result;
  for (int round = 0; round < 2; round++) {
    if (kdn_put_from(client, &put, 1, 0, &result) != KDN_OK) fail("kdn_put_from");
    static const char *const outcomes[] = {"published", "present", "refused"};
    printf("stored: %s\n", outcomes[result.outcome]);
    if (result.outcome == KDN_PUT_REFUSED) fail("kdn_put_from");
  }
}

static void fetch(kdn_client *client, const uint8_t *key, const uint8_t *expected, size_t length) {
  uint8_t missing[KEY_BYTES];
  make_key(missing, 0xEE);
  uint8_t items[2 * ITEM_BYTES];
  make_item(items, key);
  make_item(items + ITEM_BYTES, missing);
  uint8_t *bytes = malloc(length);
  kdn_region *region = NULL;
  if (kdn_region_register(client, bytes, length, &region) != KDN_OK) fail("kdn_region_register");
  uint8_t spare[16];
  kdn_buffer buffers[2] = {{bytes, length, region}, {spare, sizeof spare, NULL}};
  kdn_get_result results[2];
  if (kdn_get_into(client, items, sizeof items, 2, buffers, 0, 0, results) != KDN_OK)
    fail("kdn_get_into");
  int right = results[0].outcome == KDN_HIT && memcmp(bytes, expected, length) == 0;
  printf("fetched: %llu bytes, %s; the other: miss %u\n", (unsigned long long)results[0].bytes,
         right ? "right" : "wrong", results[1].miss_cause);
  kdn_region_release(region);
  free(bytes);
  if (!right) exit(1);
}

/* A range of the object: 16 bytes from the 1000th on. */
static void fetch_range(kdn_client *client, const uint8_t *key, const uint8_t *expected,
                        size_t length) {
  uint8_t item[ITEM_BYTES + RANGE_BYTES];
  make_item(item, key);
  item[64] = 1;
  item[66] = 1;
  put64(item + 72, 1000);
  put64(item + 80, 16);
  uint8_t bytes[16];
  kdn_buffer buffer = {bytes, sizeof bytes, NULL};
  kdn_get_result result;
  if (kdn_get_into(client, item, sizeof item, 1, &buffer, 0, 0, &result) != KDN_OK)
    fail("kdn_get_into");
  int right = result.outcome == KDN_HIT && result.object_bytes == length &&
              memcmp(bytes, expected + 1000, 16) == 0;
  printf("range: %s\n", right ? "right" : "wrong");
  if (!right) exit(1);
}

/* Reads the object where the daemon keeps it. */
static void read_in_place(kdn_client *client, const uint8_t *key, const uint8_t *expected,
                          size_t length) {
  uint8_t item[ITEM_BYTES];
  make_item(item, key);
  kdn_get_result result;
  kdn_lease *lease = NULL;
  if (kdn_lease_get(client, item, sizeof item, 1, 0, 0, 0, &result, &lease) != KDN_OK)
    fail("kdn_lease_get");
  size_t done = 0;
  int right = result.outcome == KDN_HIT;
  for (size_t piece = 0; piece < kdn_lease_pieces(lease, 0); piece++) {
    const void *pointer;
    size_t count;
    if (kdn_lease_piece(lease, 0, piece, &pointer, &count) != KDN_OK) fail("kdn_lease_piece");
    right = right && done + count <= length && memcmp(pointer, expected + done, count) == 0;
    done += count;
  }
  /* Asked at the end: only then is it certain that nothing else was read. */
  right = right && done == length && kdn_lease_is_held(lease);
  printf("in place: %zu bytes, %s\n", done, right ? "right" : "wrong");
  kdn_lease_release(lease);
  if (!right) exit(1);
}

int main(int count, char **arguments) {
  if (count < 2) return 2;
  if (kdn_abi_version() != KDN_ABI_VERSION) return 3;
  kdn_options options = {
    .size = sizeof options,
    .address = arguments[1],
    .namespace_name = "default",
    .link = count > 2 ? arguments[2] : "auto",
    .agent = "example",
  };
  size_t length = count > 3 ? strtoul(arguments[3], NULL, 10) : 1 << 20;
  kdn_client *client = NULL;
  if (kdn_connect(&options, &client) != KDN_OK) fail("kdn_connect");
  printf("link: %s at %s, %s\n", kdn_link(client), kdn_link_address(client),
         kdn_link_reason(client));

  uint8_t *bytes = malloc(length);
  for (size_t at = 0; at < length; at++) bytes[at] = (uint8_t)(at * 31 + at / 256);
  uint8_t key[KEY_BYTES];
  make_key(key, 7);
  store(client, key, bytes, length);
  fetch(client, key, bytes, length);
  fetch_range(client, key, bytes, length);
  if (strcmp(kdn_link(client), "shm") == 0) read_in_place(client, key, bytes, length);
  free(bytes);
  kdn_close(client);
  return 0;
}
