#ifndef KDN_XXHASH_SHIM_H
#define KDN_XXHASH_SHIM_H
// XXH3 with run-time choice of SSE2, AVX2 or AVX-512: Debian's library has it on x86-64 only.
#include <xxhash.h>
#if defined(__x86_64__) && __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h>
static inline XXH64_hash_t kdn_xxh3(const void *bytes, size_t count) {
  return XXH3_64bits_dispatch(bytes, count);
}
static inline XXH_errorcode kdn_xxh3_update(XXH3_state_t *state, const void *bytes, size_t count) {
  return XXH3_64bits_update_dispatch(state, bytes, count);
}
#else
static inline XXH64_hash_t kdn_xxh3(const void *bytes, size_t count) {
  return XXH3_64bits(bytes, count);
}
static inline XXH_errorcode kdn_xxh3_update(XXH3_state_t *state, const void *bytes, size_t count) {
  return XXH3_64bits_update(state, bytes, count);
}
#endif
static inline XXH64_hash_t kdn_xxh3_digest(const XXH3_state_t *state) {
  return XXH3_64bits_digest(state);
}
static inline XXH_errorcode kdn_xxh3_reset(XXH3_state_t *state) {
  return XXH3_64bits_reset(state);
}
static inline XXH3_state_t *kdn_xxh3_create(void) { return XXH3_createState(); }
static inline void kdn_xxh3_free(XXH3_state_t *state) { XXH3_freeState(state); }
#endif
